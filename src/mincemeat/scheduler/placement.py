"""Which worker an attempt goes to.

Decides: by reading a ledger, without changing it. Knows nothing of events and instructions.
"""

from __future__ import annotations

import functools
import math

from mincemeat.model import Phase
from mincemeat.scheduler import policy
from mincemeat.scheduler.ledger import Ledger, PhaseLedger
from mincemeat.scheduler.state import AttemptRecord, AttemptState, WorkerRecord


def choose_worker(ledger: Ledger, avoided: frozenset[str]) -> WorkerRecord | None:
    """The free worker that has waited longest, if possible one that is not in ``avoided``.

    ``None``: nobody is free, or one that is not avoided is alive but busy, and worth waiting for.
    Cost: looks at no more than one worker beyond those avoided.
    """
    for name, worker in ledger.free.items():
        if name not in avoided:
            return worker
    if ledger.alive > sum(map(ledger.is_alive, avoided)):
        return None
    return next(iter(ledger.free.values()), None)


def choose_backups(ledger: Ledger, phase: PhaseLedger, now: float) -> list[tuple[AttemptRecord, WorkerRecord]]:
    """Which attempts of ``phase`` get a second one beside them, and where. The longest running first.

    A straggler's is made on another worker: what makes that one slow would slow the second as well. What is repeated
    without being one goes to another machine, where it takes nothing from the first. Attempts at several splits that
    failed together are not repeated: as long as they are attempted so, none of them is attempted alone.
    Cost: O(workers + running attempts), once the phase is old enough.
    """
    total = len(phase.tasks)
    patience = functools.partial(
        policy.straggler_seconds, committed=phase.committed, total=total, recent_seconds=phase.seconds
    )
    straggles_after, slow_straggles_after = patience(), patience(was_slow=True)
    cloned_after = policy.clone_seconds(total=total, recent_seconds=phase.seconds)
    if min(straggles_after, cloned_after) == math.inf:
        return []
    slow_seconds = {told: policy.slow_seconds(ledger.phase(told).seconds) for told in Phase}
    earliest = now - min(slow_straggles_after, cloned_after)
    late: list[tuple[AttemptRecord, bool]] = []
    backups = 0
    for worker in ledger.workers.values():
        for attempt in worker.running:
            if attempt.started >= earliest and attempt.id.number <= ledger.first_number:
                continue  # neither late nor a backup, as most are
            rivals = attempt.task.running_attempts()
            if len(rivals) > 1:
                backups += attempt is rivals[-1]
                continue
            age = now - attempt.started
            was_slow = worker.latest is not None and worker.latest[1] > slow_seconds[worker.latest[0]]
            is_straggler = age > (slow_straggles_after if was_slow else straggles_after)
            if (is_straggler or age > cloned_after) and _may_have_backup(attempt, phase):
                late.append((attempt, is_straggler))
    room = policy.backup_room(
        running_total=ledger.running, backups_running=backups, idle_slots=ledger.free_slots, total=total
    )
    free = {worker: worker.free for worker in ledger.free.values()} if late else {}
    placed: list[tuple[AttemptRecord, WorkerRecord]] = []
    for first, is_straggler in sorted(late, key=lambda pair: pair[0].started):
        if len(placed) >= room:
            break
        avoided = first.task.avoided | {first.worker.name}
        for worker, slots in free.items():
            if slots and worker.name not in avoided and (is_straggler or worker.host != first.worker.host):
                free[worker] -= 1
                placed.append((first, worker))
                break
    return placed


def _may_have_backup(attempt: AttemptRecord, phase: PhaseLedger) -> bool:
    task = attempt.task
    if task.id.phase is not phase.phase:
        return False
    return not attempt.others or all(earlier.state is not AttemptState.FAILED for earlier in task.attempts)
