"""What was lost is there again: an output that comes back with its worker, or that was made a second time.

Decides: what of a worker's earlier outputs is of use still, and whether what was made again is what reduce attempts
have read; where it differs, who has to read it anew, or that the job fails. Does not know: how outputs are lost
(losses.py), or how digests tell them apart (digests.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from mincemeat.model import AttemptId, Failure, FailureKind
from mincemeat.scheduler import digests, instructions
from mincemeat.scheduler.state import AttemptRecord, AttemptState, LostOutput, WorkerRecord
from mincemeat.scheduler.turn import Turn


def take_back(turn: Turn, outputs: Iterable[AttemptId], worker: WorkerRecord) -> None:
    """What ``worker`` holds from before is of use where nobody has made it again."""
    ledger = turn.ledger
    for name in outputs:
        if turn.is_over:
            return  # one of them was not what had been read of it, and everything goes with the job
        attempt = ledger.find_attempt(name)
        if attempt is None:
            is_wanted = False
        elif attempt.state is AttemptState.GONE:
            is_wanted = _return_output(turn, attempt, worker)
        else:
            # Of another worker only in name: nobody else can have the output of this very attempt. Its earlier
            # connection may seem to live until the lease has run out.
            is_wanted = attempt.state is AttemptState.COMMITTED
            if is_wanted and attempt.worker is not worker:
                ledger.move_output(attempt, worker)
        if not is_wanted:
            turn.instruct(instructions.DropOutput(worker.name, name))


def _return_output(turn: Turn, attempt: AttemptRecord, worker: WorkerRecord) -> bool:
    """Whether nobody has made again what ``attempt`` had made; who is about to is told to stop."""
    if any(task.committed is not None or attempt not in task.attempts for task in attempt.tasks):
        return False
    for task in attempt.tasks:
        for rival in task.running_attempts():
            turn.cancel(rival, f"the output of {attempt.id} is back")
    turn.ledger.return_output(attempt, worker)
    compare_remade(turn, attempt)
    return True


def compare_remade(turn: Turn, attempt: AttemptRecord) -> None:
    """Compare with what was lost that which is complete again, now that ``attempt`` is committed."""
    for lost in turn.ledger.take_remade(attempt):
        if not turn.is_over and turn.rules.on_nondeterminism != "ignore":
            _compare_outputs(turn, lost, attempt)


def _compare_outputs(turn: Turn, lost: LostOutput, again: AttemptRecord) -> None:
    """``lost`` is there again, the last of it by ``again``: whoever has read what is no more there is found.

    O(reduce tasks) if there is a difference.
    """
    ledger = turn.ledger
    changed = _changed(turn, lost)
    if not changed:
        return
    reason = f"the output of {lost.attempt.id} was made again by {again.id}, and differs"
    committed: list[AttemptRecord] = []
    for task, partitions in zip(ledger.reduce.tasks, ledger.plan, strict=True):
        if not digests.overlap(partitions, changed):
            continue
        for attempt in task.attempts:
            if attempt.generation >= lost.generation:
                continue
            if attempt.state is AttemptState.RUNNING:
                turn.cancel(attempt, reason)
            elif attempt.state is AttemptState.COMMITTED:
                committed.append(attempt)
    if committed and turn.rules.on_nondeterminism == "raise":
        story = digests.tell_difference(
            (lost.attempt.id, lost.attempt.worker.name, lost.attempt.reason),
            (again.id, again.worker.name),
            changed,
            len(ledger.partition_bytes),
            [attempt.task.id for attempt in committed],
        )
        turn.fail_job(Failure(FailureKind.NONDETERMINISM, story, worker=again.worker.name), again)
        return
    for attempt in committed:
        ledger.reopen_result(attempt, turn.now, reason)
        turn.instruct(instructions.DropResult(attempt.id))


def _changed(turn: Turn, lost: LostOutput) -> list[range]:
    """The partitions in which what is there now differs from ``lost``, as far as that can be told."""
    tasks = lost.attempt.tasks
    outputs = list(dict.fromkeys(task.committed for task in tasks if task.committed is not None))
    # One that is of other splits, too, tells nothing.
    known = [output.digests if set(output.tasks) <= set(tasks) else None for output in outputs]
    return digests.differing(lost.digests, known, len(turn.ledger.partition_bytes))
