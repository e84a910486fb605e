"""Which worker an attempt goes to.

Decides: by reading a ledger, without changing it. Knows nothing of events and instructions.
"""

from __future__ import annotations

import math

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
    straggles_after = policy.straggler_seconds(committed=phase.committed, total=total, recent_seconds=phase.seconds)
    cloned_after = policy.clone_seconds(total=total, recent_seconds=phase.seconds)
    started_before = now - min(straggles_after, cloned_after)
    if started_before == -math.inf:
        return []
    late: list[AttemptRecord] = []
    backups = 0
    for worker in ledger.workers.values():
        for attempt in worker.running:
            # Else it is nothing to look at, as nearly all are.
            if attempt.started < started_before or attempt.id.number > ledger.first_number:
                rivals = attempt.task.running_attempts()
                if len(rivals) > 1:
                    backups += attempt is rivals[-1]
                elif attempt.started < started_before and _may_have_backup(attempt, phase):
                    late.append(attempt)
    room = policy.backup_room(
        running_total=ledger.running, backups_running=backups, idle_slots=ledger.free_slots, total=total
    )
    free = {worker: worker.free for worker in ledger.free.values()} if late else {}
    placed: list[tuple[AttemptRecord, WorkerRecord]] = []
    for first in sorted(late, key=lambda attempt: attempt.started):
        if len(placed) >= room:
            break
        avoided = first.task.avoided | {first.worker.name}
        is_straggler = first.started < now - straggles_after
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
