"""Records that were set aside: on their way from a slot to the caller, and as what the user finds in ``failures``.

Decides: what travels of each, and how much of it. Does not know: why a record was set aside, or what was decided then.

A report is JSON, compressed, as text that fits into a message: it passes through processes that unpickle nothing. Only
``RecordFailure.exception`` unpickles, when the user asks for it.
"""

from __future__ import annotations

import json
import pickle
import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.errors import JobFailed, ProtocolError
from mincemeat.model import AttemptId, Failure, FailureKind, Phase, TaskId, shorten, told

_MESSAGE_CHARS_MAX: Final = 1000


class Report:
    """What one attempt set aside. Memory: bounded, however many there are; ``count`` is exact."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Failure | None = None
        self._listed: list[Failure] = []
        self._room = limits.SET_ASIDE_DETAIL_BYTES

    def add(self, failure: Failure) -> None:
        self.count += 1
        self.first = self.first or failure
        if len(self._listed) >= limits.SET_ASIDE_LISTED_MAX:
            return
        failure = failure._replace(message=shorten(failure.message, _MESSAGE_CHARS_MAX))
        if len(failure.exception) > limits.EXCEPTION_BYTES_MAX:  # its traceback says as much, and was shortened
            failure = _without_exception(failure)
        if _details(failure) > self._room:
            failure = _without_details(failure)
        self._room -= _details(failure)
        self._listed.append(failure)

    def encode(self) -> str:
        """As text of at most ``limits.SET_ASIDE_REPORT_BYTES`` before base64; "" for nothing."""
        listed = self._listed = sorted(self._listed, key=lambda failure: failure.record)
        packed = _pack(listed)
        # The record can be found by its position, where its exception cannot; a traceback says most of what that does.
        for shrunk in (_without_data, _without_exception, _without_details):
            if len(packed) > limits.SET_ASIDE_REPORT_BYTES:
                listed = list(map(shrunk, listed))
                packed = _pack(listed)
        while len(packed) > limits.SET_ASIDE_REPORT_BYTES:
            listed = listed[: len(listed) // 2]
            packed = _pack(listed)
        return b2a_base64(packed, newline=False).decode("ascii") if listed else ""


def _without_data(failure: Failure) -> Failure:
    return failure._replace(data=b"")


def _without_exception(failure: Failure) -> Failure:
    return failure._replace(exception=b"")


def _details(failure: Failure) -> int:
    return len(failure.traceback) + len(failure.exception) + len(failure.data)


def _without_details(failure: Failure) -> Failure:
    return failure._replace(traceback="", exception=b"", data=b"")


def _pack(failures: Sequence[Failure]) -> bytes:
    rows = [
        {
            **failure._asdict(),
            "kind": failure.kind.value,
            "exception": b2a_base64(failure.exception, newline=False).decode("ascii"),
            "data": b2a_base64(failure.data, newline=False).decode("ascii"),
        }
        for failure in failures
    ]
    return zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"))


def decode_report(text: str, worker: str = "") -> list[Failure]:
    """What ``Report.encode`` gave, as far as it was listed. Raises: ProtocolError if it is no such text."""
    if not text:
        return []
    try:
        inflating = zlib.decompressobj()
        content = inflating.decompress(a2b_base64(text, strict_mode=True), limits.SET_ASIDE_INFLATED_BYTES_MAX)
        if not inflating.eof:
            raise ValueError("it is cut, or inflates to more than it may")
        return [_failure(row, worker) for row in json.loads(content)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error) as error:
        raise ProtocolError(f"a report of records that were set aside cannot be read: {error}") from error


def _failure(row: dict[str, Any], worker: str) -> Failure:
    fields = {name: row[name] for name in Failure._fields}
    for name, kind in (("record", int), ("split", int), *((name, str) for name in _TEXTS)):
        if type(fields[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    fields["kind"] = FailureKind(fields["kind"])
    fields["exception"] = a2b_base64(fields["exception"])
    fields["data"] = a2b_base64(fields["data"])
    return Failure(**fields)._replace(worker=worker or fields["worker"])


_TEXTS: Final = ("kind", "message", "function", "key", "exception_type", "traceback", "worker", "exception", "data")


class RecordFailure(NamedTuple):
    """A record that the job set aside, in ``results.failures``.

    ``phase`` is "map" or "reduce", ``function`` the user's ("mapfn"), ``key`` a short repr. ``exception_type`` is ""
    for a record that ended its process, "TimeoutError" for one whose time was over, and ``message`` says how.
    ``record`` counts from 0 in map task ``split``, or among the keys of a reduce task (then ``split`` is -1).
    ``attempts``: how many its task had had then. ``pickled`` and ``data`` are the exception and the
    record, pickled, or ``b""``.
    """

    phase: str
    function: str
    key: str
    exception_type: str
    message: str
    traceback: str
    worker: str
    attempts: int
    task: str
    split: int
    record: int
    pickled: bytes = b""
    data: bytes = b""

    @property
    def exception(self) -> Exception | None:
        """The user's exception; None where there was none, or where it cannot be made again here.

        It is unpickled when it is asked for, which runs code of its class.
        """
        if not self.pickled:
            return None
        try:
            loaded = pickle.loads(self.pickled)
        except Exception:  # noqa: BLE001 - unpickling an exception may run any constructor
            return None
        return loaded if isinstance(loaded, Exception) else None

    def __repr__(self) -> str:
        what = shorten(told(self.exception_type, self.message))
        return f"<RecordFailure {self.function} for key {self.key}: {what}>"


def as_far_as_data(failure: Failure, coding: Coding) -> Failure:
    """``failure`` without its exception or record where ``coding`` would not read them.

    Threat: a pickle that runs when the user asks for ``exception``, or replays the record. What is left may be read by
    plain pickle later, which comes to the same names. Test: test_hostile_report_runs_nothing.
    """
    exception = failure.exception if coding.is_data(failure.exception) else b""
    data = failure.data if coding.is_data(failure.data) else b""
    return failure._replace(exception=exception, data=data)


class SetAside:
    """What the committed attempts of a job set aside: each task's once, whatever else was attempted.

    ``coding``: how those who report may say what they send.
    Memory: reports as they came, up to ``limits.SET_ASIDE_KEPT_BYTES``.
    """

    def __init__(self, coding: Coding = PLAIN) -> None:
        self._coding = coding
        self._reports: dict[TaskId, tuple[str, str, int]] = {}
        self._bytes = 0

    def committed(self, attempt: AttemptId, report: str, worker: str = "") -> None:
        """``attempt`` has committed and reports this, in place of what another attempt of its task did before."""
        task, attempts = attempt.task, attempt.number % limits.ATTEMPTS_PER_LIFE + 1
        before = self._reports.pop(task, None)
        if before is not None:
            self._bytes -= len(before[0])
        if report and self._bytes + len(report) <= limits.SET_ASIDE_KEPT_BYTES:
            self._reports[task] = report, worker, attempts
            self._bytes += len(report)

    def failures(self) -> tuple[RecordFailure, ...]:
        """In the order of the input, then of the reduce tasks, up to ``limits.FAILURES_LISTED_MAX``."""
        tasks = sorted(self._reports, key=lambda task: (task.phase is Phase.REDUCE, task.index))
        found = (
            record_failure(as_far_as_data(failure, self._coding), task, self._reports[task][2])
            for task in tasks
            for failure in decode_report(self._reports[task][0], self._reports[task][1])
        )
        return tuple(islice(found, limits.FAILURES_LISTED_MAX))


def record_failure(failure: Failure, task: TaskId, attempts: int) -> RecordFailure:
    """``failure`` of one record of ``task``, for the user."""
    return RecordFailure(
        phase=task.phase.name.lower(),
        function=failure.function,
        key=failure.key,
        exception_type=failure.exception_type,
        message=failure.message,
        traceback=failure.traceback,
        worker=failure.worker,
        attempts=attempts,
        task=str(task),
        split=failure.split,
        record=failure.record,
        pickled=failure.exception,
        data=failure.data,
    )


def failure_of_story(story: JobFailed) -> RecordFailure:
    """The record that failed a job, of which ``story`` knows which it was."""
    attempt = AttemptId.parse(story.attempt) if story.attempt else None
    failure = Failure(
        kind=FailureKind.USER,
        message=story.reason,
        function=story.function,
        key=story.key,
        exception_type=story.exception_type,
        traceback=story.remote_traceback,
        worker=story.worker,
        record=story.record,
        split=story.split,
        data=story.data,
    )
    if attempt is not None:
        return record_failure(failure, attempt.task, attempt.number % limits.ATTEMPTS_PER_LIFE + 1)
    phase = Phase.MAP if story.function == "mapfn" else Phase.REDUCE
    return record_failure(failure, TaskId(phase, max(0, story.split)), 1)
