"""Which worker an attempt goes to.

Decides: by reading a ledger, without changing it. Knows nothing of events and instructions.
"""

from __future__ import annotations

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
    """Which attempts of ``phase`` get a second one beside them, and where. O(workers + running attempts).

    Only on another worker than the first attempt's: what makes that one slow would slow the second as well.
    """
    alone: dict[AttemptId, AttemptRecord] = {}
    backups = 0
    for worker in ledger.workers.values():
        for attempt in worker.running:
            if len(attempt.task.running_attempts()) == 1:
                alone[attempt.id] = attempt
            elif attempt is attempt.task.attempts[-1]:
                backups += 1
    chosen = policy.choose_backups(
        ((name, now - attempt.started) for name, attempt in alone.items()),
        running_total=ledger.running,
        backups_running=backups,
        idle_slots=ledger.free_slots,
        committed=phase.committed,
        total=len(phase.tasks),
        recent_seconds=phase.seconds,
    )
    room = {name: worker.free for name, worker in ledger.free.items()}
    placed: list[tuple[AttemptRecord, WorkerRecord]] = []
    for first in map(alone.__getitem__, chosen):
        avoided = first.task.avoided | {first.worker.name}
        name = next((name for name, free in room.items() if free and name not in avoided), None)
        if name is not None:
            room[name] -= 1
            placed.append((first, ledger.workers[name]))
    return placed
