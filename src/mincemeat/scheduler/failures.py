"""What a failed attempt means: for its task, for the records in it, for its worker, and for the job.

Decides: who is blamed, and what follows from it, by the judgements of policy.py: a task is attempted again, carefully
where a record may be the cause; a record at which processes were lost twice is skipped; a worker is excluded; the job
fails. Does not know: attempts that were lost, which are nobody's failure (losses.py).
"""

from __future__ import annotations

from mincemeat import limits
from mincemeat.model import Failure, FailureKind, shorten
from mincemeat.scheduler import instructions, policy
from mincemeat.scheduler.state import AttemptRecord, AttemptState, TaskRecord, WorkerRecord, WorkerState
from mincemeat.scheduler.turn import Turn


def fail_attempt(turn: Turn, attempt: AttemptRecord, failure: Failure) -> None:
    """``attempt``, which runs, ends FAILED."""
    ledger, task, worker = turn.ledger, attempt.task, attempt.worker
    ledger.failed_attempts += 1
    tells_nothing_new = _tells_nothing_new(turn, attempt, failure)
    failed_elsewhere = bool(task.failed_on - {worker.name})
    if failure.kind is FailureKind.EXCESS:
        ledger.drop_attempt(attempt, AttemptState.FAILED, turn.now, shorten(failure.message))
        turn.fail_job(failure, attempt)
        return
    if policy.calls_for_care(failure) and _is_found(turn, attempt, failure):
        ledger.drop_attempt(attempt, AttemptState.FAILED, turn.now, shorten(failure.message))
        ledger.first_set_aside = ledger.first_set_aside or failure
        check_excess(turn, attempt)
        return
    if not attempt.others or policy.is_of_the_worker(failure.kind):
        for member in attempt.tasks:
            member.failed_on |= {worker.name}
    ledger.drop_attempt(attempt, AttemptState.FAILED, turn.now, shorten(failure.message))
    code_missing = failure.kind is FailureKind.CODE
    if code_missing and worker.state is WorkerState.DRAINING:
        return  # it gets no other task anyway
    if code_missing and policy.should_exclude(failed_tasks=1, code_missing=True, other_workers=ledger.alive - 1):
        # Says nothing about the task, which may meet any number of such workers; each of them only once.
        _exclude_worker(turn, worker, f"the job's code could not be loaded on it: {shorten(failure.message)}")
        return
    if attempt.others:
        return  # nobody knows which of them it was
    task.failures += not tells_nothing_new
    is_damaged = policy.is_of_the_data(failure)
    if task.failures >= turn.rules.max_attempts or (is_damaged and task in ledger.damaged):
        turn.fail_job(failure, attempt)
        return
    if is_damaged:
        ledger.damaged.add(task)
    if policy.counts_against_worker(failure.kind, failed_elsewhere=failed_elsewhere):
        hold_against(turn, worker, task)


def _tells_nothing_new(turn: Turn, attempt: AttemptRecord, failure: Failure) -> bool:
    """Whether it ran into what is known since it began: a backup that was not told, of a task that needs care."""
    suspicion = None if attempt.others else turn.ledger.suspicions.get(attempt.task)
    is_behind = suspicion is not None and attempt.known < len(suspicion.skip)
    return turn.rules.skips and is_behind and policy.calls_for_care(failure)


def _is_found(turn: Turn, attempt: AttemptRecord, failure: Failure) -> bool:
    """Have the tasks of ``attempt`` attempted carefully; whether that has shown a record which is to be skipped."""
    ledger = turn.ledger
    # Of several splits a function's exception tells the one; where the process was lost it may be any.
    for task in [task for task in attempt.tasks if task.id.index == failure.split] or attempt.tasks:
        ledger.suspect(task)
    mark = policy.lost_at(failure)
    if mark is None or not turn.rules.skips or attempt.others:
        return False
    suspicion = ledger.suspect(attempt.task)
    if any(mark[:2] == known[:2] for known in suspicion.skip):
        return False  # by one that was not told
    if mark not in suspicion.lost_at:
        suspicion.lost_at.add(mark)
        return False
    ledger.skip_record(attempt.task, mark._replace(reason=policy.reason_to_skip(failure)))
    return True


def check_excess(turn: Turn, attempt: AttemptRecord) -> None:
    """Fail the job if more records are set aside than it may lose, now that ``attempt`` has ended."""
    ledger, rules = turn.ledger, turn.rules
    if policy.is_excess(ledger.set_aside_total, rules.max_skipped):
        failure = policy.excess_failure(ledger.set_aside_total, rules.max_skipped, ledger.first_set_aside)
        turn.fail_job(failure, attempt)


def hold_against(turn: Turn, worker: WorkerRecord, task: TaskRecord) -> None:
    """``task`` failed on ``worker`` and the worker is to blame. Counted once for each task."""
    if worker.state is not WorkerState.ALIVE:
        return
    if len(worker.strikes) < limits.EXCLUDE_AFTER_FAILED_TASKS:  # more would not be looked at, only kept
        worker.strikes[task] = None
    failed = len(worker.strikes)
    if policy.should_exclude(failed_tasks=failed, code_missing=False, other_workers=turn.ledger.alive - 1):
        _exclude_worker(turn, worker, f"{failed} different tasks failed on it, the last one {task.id}")


def _exclude_worker(turn: Turn, worker: WorkerRecord, reason: str) -> None:
    ledger = turn.ledger
    ledger.exclude_worker(worker, reason)
    turn.instruct(instructions.ExcludeWorker(worker.name, reason))
    for attempt in list(worker.running):
        # Not counted as a loss of the task: it was our own decision.
        ledger.drop_attempt(attempt, AttemptState.LOST, turn.now, f"worker excluded: {reason}")
        turn.instruct(instructions.CancelAttempt(worker.name, attempt.id))


def readmit_if_alone(turn: Turn) -> None:
    """Nobody left but workers that fail: better than nobody at all. If they fail on, max_attempts ends the job."""
    ledger = turn.ledger
    if not ledger.alive:
        for excluded in list(ledger.excluded.values()):
            ledger.readmit_worker(excluded)
            turn.instruct(instructions.ReadmitWorker(excluded.name, "no other worker is left"))
