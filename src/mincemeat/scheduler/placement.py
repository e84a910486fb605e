"""Which worker an attempt goes to.

Decides: by reading a ledger, without changing it. Knows nothing of events and instructions.
"""

from __future__ import annotations

import math

from mincemeat.model import AttemptId
from mincemeat.scheduler import policy
from mincemeat.scheduler.ledger import Ledger, PhaseLedger
from mincemeat.scheduler.state import AttemptRecord, WorkerRecord


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
    """Which attempts of ``phase`` get a second one beside them, and where.

    Only on another worker than the first attempt's: what makes that one slow would slow the second as well.
    Cost: O(workers + running attempts), once the phase is old enough to have stragglers.
    """
    total = len(phase.tasks)
    slower_than = policy.straggler_seconds(committed=phase.committed, total=total, recent_seconds=phase.seconds)
    started_before = now - slower_than
    if started_before == -math.inf:
        return []
    late: dict[AttemptId, AttemptRecord] = {}
    backups = 0
    for worker in ledger.workers.values():
        for attempt in worker.running:
            if (
                attempt.started < started_before or attempt.id.number
            ):  # else it is nothing to look at, as nearly all are
                rivals = attempt.task.running_attempts()
                if len(rivals) > 1:
                    backups += attempt is rivals[-1]
                elif attempt.started < started_before and attempt.task.id.phase is phase.phase:
                    late[attempt.id] = attempt
    chosen = policy.choose_backups(
        ((name, now - attempt.started) for name, attempt in late.items()),
        running_total=ledger.running,
        backups_running=backups,
        idle_slots=ledger.free_slots,
        total=total,
    )
    room = {name: worker.free for name, worker in ledger.free.items()} if chosen else {}
    placed: list[tuple[AttemptRecord, WorkerRecord]] = []
    for first in map(late.__getitem__, chosen):
        avoided = first.task.avoided | {first.worker.name}
        name = next((name for name, free in room.items() if free and name not in avoided), None)
        if name is not None:
            room[name] -= 1
            placed.append((first, ledger.workers[name]))
    return placed
