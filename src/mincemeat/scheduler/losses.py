"""What a loss means: a worker that is gone, an attempt that nobody carries out any more, an output that is not there.

Decides: what has to be done again, and when a task has been lost so often that it is likely what takes its workers
down. A loss counts against nobody and not towards ``max_attempts``. Does not know: who is attempted next, or what
becomes of an output that is there again (remade.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from mincemeat.model import Failure, FailureKind, Phase, shorten
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.failures import readmit_if_alone
from mincemeat.scheduler.state import AttemptRecord, AttemptState, TaskRecord, WorkerRecord
from mincemeat.scheduler.turn import Turn


def remove_worker(turn: Turn, worker: WorkerRecord, reason: str) -> None:
    """What it ran is lost, and so are the map outputs it held: the job is not over, so a reduce task needs them."""
    ledger = turn.ledger
    ledger.remove_worker(worker, reason)
    lost = list(worker.running)
    for attempt in lost:
        _lose_attempt(turn, attempt, f"worker left: {reason}")
    # In index order, since a set has none that two runs would agree on.
    for index in sorted(worker.outputs):
        output = ledger.map.tasks[index].committed
        if output is not None:  # else it went with a task before
            # What it set aside would not count any more.
            may_return = ledger.set_aside.keys().isdisjoint(output.tasks)
            state = AttemptState.GONE if may_return else AttemptState.LOST
            ledger.lose_output(output, turn.now, f"its output was lost, worker left: {reason}", state)
    readmit_if_alone(turn)
    check_losses(turn, (task for attempt in lost for task in attempt.tasks))


def lose_on_live_worker(turn: Turn, attempt: AttemptRecord, reason: str) -> None:
    """``attempt``, which ran, came to nothing through nobody's fault, and its worker is still there."""
    for task in attempt.tasks:
        task.lost_on |= {attempt.worker.name}
    _lose_attempt(turn, attempt, reason)
    check_losses(turn, attempt.tasks)


def _lose_attempt(turn: Turn, attempt: AttemptRecord, reason: str) -> None:
    for task in attempt.tasks:
        task.losses += 1
    turn.ledger.drop_attempt(attempt, AttemptState.LOST, turn.now, shorten(reason))


def lose_blocks(turn: Turn, attempt: AttemptRecord, event: events.BlocksUnreachable) -> None:
    """``attempt``, which ran, could not have the map outputs that ``event`` names, or found them damaged."""
    ledger = turn.ledger
    named = [ledger.map.tasks[index] for index in sorted(set(event.maps)) if 0 <= index < len(ledger.map.tasks)]
    if not named or attempt.task.id.phase is Phase.MAP:
        # Nothing to do again that would make the next attempt fare better: a plain loss, which is bounded.
        lose_on_live_worker(turn, attempt, event.reason)
        return
    what = "is damaged" if event.damaged else "could not be fetched"
    if event.damaged and any(task.committed and task.committed.worker is not attempt.worker for task in named):
        # The damage may be of the fetcher's own making: its disk must not use up the losses of every map task.
        attempt.task.lost_on |= {attempt.worker.name}
    ledger.drop_attempt(attempt, AttemptState.LOST, turn.now, shorten(event.reason))
    for task in named:
        # Every map task was committed when this attempt started. An output committed later replaced the one it
        # asked for, and one that is gone is being made again: neither is what could not be reached.
        output = task.committed
        if output is not None and task.generation <= attempt.generation:
            for member in output.tasks:
                member.losses += 1
                member.lost_on |= {output.worker.name}
            ledger.lose_output(output, turn.now, f"its output {what}: {shorten(event.reason)}")
            # Else the holder keeps the files: another reduce attempt may be reading them from a place that can
            # reach it. One that still wants a damaged one is told that it is gone, and starts again, too.
            if event.damaged:
                turn.instruct(instructions.DropOutput(output.worker.name, output.id))
    check_losses(turn, named)


def check_losses(turn: Turn, tasks: Iterable[TaskRecord]) -> None:
    """Fail the job if one of ``tasks`` has been lost too often."""
    for task in tasks:
        if task.losses > turn.rules.lost_attempts_max:
            last = task.attempts[-1]
            failure = Failure(
                kind=FailureKind.SYSTEM,
                message=f"attempts of {task.id} were lost {task.losses} times; the last, {last.id}: {last.reason}",
                worker=last.worker.name,
            )
            turn.fail_job(failure, last)
            return
