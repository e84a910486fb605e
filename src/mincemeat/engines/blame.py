"""What the caller sees raised when a job fails: the user's own exception, caused by the story of the failure.

Decides: type, text and chain of that exception. Does not know: engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.errors import JobFailed, UserCodeError
from mincemeat.model import AttemptId, Failure, FailureKind, TaskId
from mincemeat.set_aside import as_far_as_data

if TYPE_CHECKING:
    from mincemeat.scheduler.state import Counts


def raise_original(error: UserCodeError) -> NoReturn:
    """Raise the user's exception that ``error`` carries, caused by its story: for user code run in this process.

    An exception that would end the caller's program without a word (SystemExit and its like) is told, not raised.
    """
    from mincemeat.describing import describe_failure

    original = error.__cause__
    failure = describe_failure(error)
    key = failure.place()
    where = error.function or "user code"
    story = JobFailed(
        f"{where} raised {failure.exception_type}{_said(key, failure)}. The job stops.",
        function=error.function,
        key=error.key,
        exception_type=failure.exception_type,
        remote_traceback=failure.traceback,
        record=failure.record,
        split=failure.split,
        data=failure.data,
        reason=failure.message,
    )
    if not isinstance(original, Exception):
        raise story from original
    story.__cause__ = original.__cause__  # what the user raised it from stays in the chain
    original.add_note(f"(mincemeat: raised in {where}{key})")
    raise original from story


def is_remote(error: Exception) -> bool:
    """Whether ``job_error`` made ``error``: its own traceback says nothing, because it happened elsewhere."""
    story = error if isinstance(error, JobFailed) else error.__cause__
    return isinstance(story, JobFailed) and story.attempt != ""


def job_error(
    failure: Failure,
    task: TaskId | None = None,
    attempt: AttemptId | None = None,
    attempts: int = 1,
    counts: Counts | None = None,
    coding: Coding = PLAIN,
) -> Exception:
    """What the caller should see raised for ``failure``: the user's own exception, caused by the story, or the story.

    An exception that would end the caller's program without a word (SystemExit and its like) is told, not raised. So is
    one that ``coding`` does not read: of it there are its type's name, its text and its traceback.
    """
    failure = as_far_as_data(failure, coding)
    story = JobFailed(
        _tell(failure, task, attempt, attempts, counts),
        task=str(task or ""),
        attempt=str(attempt or ""),
        worker=failure.worker,
        function=failure.function,
        key=failure.key,
        exception_type=failure.exception_type,
        remote_traceback=failure.traceback,
        record=failure.record,
        split=failure.split,
        data=failure.data,
        reason=failure.message,
    )
    original = _load_exception(failure, coding)
    if original is None:
        return story
    where = f" in {failure.function}" if failure.function else ""
    key = failure.place()
    worker = f" on worker {failure.worker}" if failure.worker else ""
    original.add_note(f"(mincemeat: raised{where}{key}{worker})")
    original.__cause__ = story
    return original


def _load_exception(failure: Failure, coding: Coding) -> Exception | None:
    if not failure.exception:
        return None
    try:
        loaded = coding.loads(failure.exception)
    except Exception:  # noqa: BLE001 - unpickling an exception may run any constructor; the story remains
        return None
    return loaded if isinstance(loaded, Exception) else None


def preflight_error(failure: Failure) -> Exception:
    """What the caller should see raised for what a preflight found: as ``job_error``."""
    where = f"{failure.place()} in a look ahead"
    story = JobFailed(
        f"{failure.function} raised {failure.exception_type}{_said(where, failure)}. The job stops before it comes to "
        "that; preflight=False (--no-preflight) goes without this look.",
        function=failure.function,
        key=failure.key,
        exception_type=failure.exception_type,
        remote_traceback=failure.traceback,
        attempt="preflight",
    )
    original = _load_exception(failure, PLAIN)  # of a process of our own
    if original is None:
        return story
    original.__cause__ = story
    return original


_MORE = "Mend the function, or allow more with max_skipped= (--max-skipped)."


def _tell(
    failure: Failure, task: TaskId | None, attempt: AttemptId | None, attempts: int, counts: Counts | None
) -> str:
    function = f" in {failure.function}{failure.place()}" if failure.function else ""
    worker = f" on worker {failure.worker}" if failure.worker else ""
    happened = f"{worker} {_what_happened(failure)}{_said(function, failure)}"
    stop = " The job stops"
    if counts is not None:
        known = "" if counts.input_exhausted else " known so far"
        stop += f"; {counts.map_committed} of {counts.map_total} map tasks{known} were committed"
    # Without a frame of the user's own (a pair that is no pair) it would only say the message a second time.
    has_frames = '  File "' in failure.traceback
    text = f".{stop}.\n\nTraceback on the worker:\n{failure.traceback}" if has_frames else f".{stop}."
    if failure.kind is FailureKind.NONDETERMINISM:
        return f"{failure.message}{text.removeprefix('.')}"
    if failure.kind is FailureKind.EXCESS:
        return f"{failure.message}. {_MORE}{text.removeprefix('.')}"
    if task is None:
        return f"the job failed:{happened}{text}"
    times = "once" if attempts == 1 else f"{attempts} times"
    last = f"the last, {attempt}," if attempts > 1 else str(attempt)
    return f"{task.phase.name.lower()} task {task} failed {times}; {last}{happened}{text}"


def _said(where: str, failure: Failure) -> str:
    """``where``, and what the exception said, if it said anything."""
    return f"{where}: {failure.message}" if failure.message else where


def _what_happened(failure: Failure) -> str:
    match failure.kind:
        case FailureKind.USER:
            return f"raised {failure.exception_type}"
        case FailureKind.CODE:
            return "could not load the job's functions"
        case FailureKind.CRASH:
            return "lost its process"
        case FailureKind.TIMEOUT:
            return "exceeded its time limit"
        case FailureKind.SYSTEM:
            return "could not be carried out"
        case FailureKind.EXCESS:
            return "set aside too many records"
        case FailureKind.NONDETERMINISM:
            return "gave other pairs when it was carried out again"
