"""The contract of an engine, and what every engine of ours shares: bookkeeping and the story of a failure.

Decides: how splits are asked for, how results reach the sink in order, what the caller sees when a job fails.
Does not know: processes, sockets, the scheduler's inside.
"""

from __future__ import annotations

import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from mincemeat.errors import JobFailed, UserCodeError
from mincemeat.model import AttemptId, Failure, FailureKind, Job, MapReport, Snapshot, TaskId
from mincemeat.scheduler.policy import next_split_records

if TYPE_CHECKING:
    from mincemeat.scheduler.state import Counts
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

Observer: TypeAlias = Callable[[Snapshot], None]

# Temporary directories of a job are found by this beginning.
SCRATCH_PREFIX = "mincemeat-"
# How often an observer sees a snapshot: fluent to the eye, invisible in a profile.
OBSERVE_SECONDS = 0.1


class Engine(ABC):
    """Carries out one job after the other. Construct it with the options it honours; it refuses the others by name."""

    name: str

    @abstractmethod
    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> None:
        """Carry ``job`` over all records of ``source`` and write every result to ``sink``, which the caller commits.

        Shape: pairs reach the sink in partition order, within a partition in order of the key's first appearance.
        Calls: ``source``, ``sink`` and ``observe`` are only used in the calling thread.
        Raises: the user's own exception (with JobFailed as its cause), or JobFailed; no process is left behind.
        """


@dataclass
class SplitCutter:
    """How many records the next split should have: adaptively, or as the user said (``fixed``)."""

    fixed: int | None = None
    _records: int = 0
    _seconds: float = 0.0
    _previous: int = 0

    def learn(self, records: int, seconds: float) -> None:
        """A map attempt over ``records`` records took ``seconds``."""
        self._records += records
        self._seconds += seconds

    def next_records(self) -> int:
        if self.fixed is not None:
            return self.fixed
        self._previous = next_split_records(self._records, self._seconds, self._previous)
        return self._previous


class Ledger:
    """What the caller's side of a running job remembers: splits, sizes and totals. One per job.

    ``pull`` runs the user's datasource and therefore belongs to the calling thread.
    """

    def __init__(self, job: Job, source: Source, fixed_split: int | None) -> None:
        self.job = job
        self._source = source
        self._cutter = SplitCutter(fixed_split)
        self._split_bytes: dict[int, int] = {}
        self._started = time.monotonic()
        self._records = self._pairs = self._input_bytes = 0

    def pull(self) -> int | None:
        """Cut the next split; its index, or None at the end of the input."""
        info = self._source.next_split(self._cutter.next_records())
        if info is None:
            return None
        self._split_bytes[info.index] = info.bytes or 0
        return info.index

    def map_done(self, index: int, report: MapReport) -> None:
        """Map task ``index`` was committed for the first time or again; only the first time counts."""
        size = self._split_bytes.pop(index, None)
        if size is None:
            return
        self._source.release(index)
        self._cutter.learn(report.records, report.seconds)
        self._records += report.records
        self._pairs += report.pairs
        self._input_bytes += size

    def snapshot(self, counts: Counts) -> Snapshot:
        return Snapshot(
            job_id=self.job.job_id,
            seconds=time.monotonic() - self._started,
            workers=counts.workers,
            slots=counts.slots,
            running=counts.running,
            map_committed=counts.map_committed,
            map_total=counts.map_total,
            input_exhausted=counts.input_exhausted,
            reduce_committed=counts.reduce_committed,
            reduce_total=counts.reduce_total,
            failed_attempts=counts.failed_attempts,
            records=self._records,
            pairs=self._pairs,
            input_bytes=self._input_bytes,
            input_bytes_total=self._source.input_bytes_total,
        )


@dataclass
class ResultDrain:
    """Hands result files to the sink in task order, as soon as every earlier one is there."""

    sink: Sink
    _ready: dict[int, Path] = field(default_factory=dict)
    _next: int = 0

    def add(self, index: int, path: Path) -> None:
        """Reduce task ``index`` is committed and its output lies at ``path`` (removed once it is in the sink)."""
        self._ready[index] = path

    def drain(self) -> None:
        from mincemeat.attempt import iter_results

        while (path := self._ready.pop(self._next, None)) is not None:
            self.sink.write(iter_results(str(path)))
            path.unlink()
            self._next += 1


def raise_original(error: UserCodeError) -> NoReturn:
    """Raise the user's exception that ``error`` carries, caused by its story: for user code run in this process.

    An exception that would end the caller's program without a word (SystemExit and its like) is told, not raised.
    """
    from mincemeat.attempt import describe_failure

    original = error.__cause__
    failure = describe_failure(error)
    key = f" for key {error.key}" if error.key else ""
    where = error.function or "user code"
    story = JobFailed(
        f"{where} raised {failure.exception_type}{key}: {failure.message}. The job stops.",
        function=error.function,
        key=error.key,
        exception_type=failure.exception_type,
        remote_traceback=failure.traceback,
    )
    if not isinstance(original, Exception):
        raise story from original
    story.__cause__ = original.__cause__  # what the user raised it from stays in the chain
    original.add_note(f"(mincemeat: raised in {where}{key})")
    raise original from story


def job_error(
    failure: Failure,
    task: TaskId | None = None,
    attempt: AttemptId | None = None,
    attempts: int = 1,
    counts: Counts | None = None,
) -> Exception:
    """What the caller should see raised for ``failure``: the user's own exception, caused by the story, or the story.

    An exception that would end the caller's program without a word (SystemExit and its like) is told, not raised.
    """
    story = JobFailed(
        _tell(failure, task, attempt, attempts, counts),
        task=str(task or ""),
        attempt=str(attempt or ""),
        worker=failure.worker,
        function=failure.function,
        key=failure.key,
        exception_type=failure.exception_type,
        remote_traceback=failure.traceback,
    )
    original = _load_exception(failure)
    if original is None:
        return story
    where = f" in {failure.function}" if failure.function else ""
    key = f" for key {failure.key}" if failure.key else ""
    worker = f" on worker {failure.worker}" if failure.worker else ""
    original.add_note(f"(mincemeat: raised{where}{key}{worker})")
    original.__cause__ = story
    return original


def _load_exception(failure: Failure) -> Exception | None:
    if not failure.exception:
        return None
    try:
        loaded = pickle.loads(failure.exception)
    except Exception:  # noqa: BLE001 - unpickling an exception may run any constructor; the story remains
        return None
    return loaded if isinstance(loaded, Exception) else None


def _tell(
    failure: Failure, task: TaskId | None, attempt: AttemptId | None, attempts: int, counts: Counts | None
) -> str:
    key = f" for key {failure.key}" if failure.key else ""
    function = f" in {failure.function}{key}" if failure.function else ""
    worker = f" on worker {failure.worker}" if failure.worker else ""
    happened = f"{worker} {_what_happened(failure)}{function}: {failure.message}"
    stop = " The job stops"
    if counts is not None:
        known = "" if counts.input_exhausted else " known so far"
        stop += f"; {counts.map_committed} of {counts.map_total} map tasks{known} were committed"
    text = f".{stop}.\n\nTraceback on the worker:\n{failure.traceback}" if failure.traceback else f".{stop}."
    if task is None:
        return f"the job failed:{happened}{text}"
    times = "once" if attempts == 1 else f"{attempts} times"
    last = f"the last, {attempt}," if attempts > 1 else str(attempt)
    return f"{task.phase.name.lower()} task {task} failed {times}; {last}{happened}{text}"


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
