"""The words of the house as frozen values: job, task, attempt, failure, report.

Decides: identities and how they print. Knows nothing of scheduling, files or sockets.
Values are NamedTuples, here and in the scheduler, because a frozen dataclass takes five times as long to define and
half as long again to make (measured on CPython 3.11: 1.1 ms against 0.2 ms), and every slot starts by defining them.
"""

from __future__ import annotations

import enum
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from mincemeat import limits
from mincemeat.errors import ProtocolError

Key: TypeAlias = Any
Value: TypeAlias = Any
Pair: TypeAlias = tuple[Key, Value]
MapFunction: TypeAlias = Callable[[Any, Any], Iterable[Pair]]
ReduceFunction: TypeAlias = Callable[[Key, Any], Any]
PartitionFunction: TypeAlias = Callable[[Key], int]


class Phase(enum.Enum):
    """Which half of the job a task belongs to; the value is the letter in its printed identity."""

    MAP = "m"
    REDUCE = "r"


class TaskId(NamedTuple):
    """What the job needs exactly once each: ``m-00017`` is map task 17 (and split 17)."""

    phase: Phase
    index: int  # type: ignore[assignment]  # nobody searches this tuple

    def __str__(self) -> str:
        return f"{self.phase.value}-{self.index:05d}"


class AttemptId(NamedTuple):
    """One execution of a task by one worker: ``m-00017.2`` is the third attempt of map task 17."""

    task: TaskId
    number: int

    def __str__(self) -> str:
        return f"{self.task}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> AttemptId:
        """The identity printed as ``text``. Raises: ProtocolError if it is not one."""
        letter, dash, rest = text.partition("-")
        index, dot, number = rest.partition(".")
        digits = index + number
        if not (dash and dot and index and number and digits.isascii() and digits.isdigit() and len(text) < 40):
            raise ProtocolError(f"{text[:50]!r} is not the name of an attempt (expected one like m-00017.2)")
        try:
            return cls(TaskId(Phase(letter), int(index)), int(number))
        except ValueError:
            raise ProtocolError(f"{text[:50]!r} is not the name of an attempt: phase {letter!r} is unknown") from None


class UserFunctions(NamedTuple):
    """The user's own code, and what else every slot must know of the job. It travels as one pickle.

    ``None`` means the documented default: identity, no combiner, the values themselves. ``sort``: keys in order within
    each partition. ``splitters``: where the range of one partition ends and the next begins, ascending, fewer than
    partitions; none: keys are dealt out by hash. ``sort_values``: True, or a key function as of ``list.sort``.
    ``output``: the form that reduce attempts write results in (``sinks/parts.py``); "": as blocks, for the caller.
    ``stays_here``: every block is read by this very build of Python on this machine. ``as_data``: whoever reads blocks
    and results does not trust who wrote them (decoding/).
    """

    mapfn: MapFunction | None = None
    reducefn: ReduceFunction | None = None
    collectfn: ReduceFunction | None = None
    partitionfn: PartitionFunction | None = None
    sort: bool = False
    sort_values: bool | Callable[[Value], Any] = False
    splitters: tuple[Key, ...] = ()
    output: str = ""
    stays_here: bool = False
    as_data: bool = False


class SlotLimits(NamedTuple):
    """How much one slot may use: bytes of memory, and seconds of processor time for one attempt. None: no limit."""

    memory_bytes: int | None = None
    cpu_seconds: int | None = None

    def tightened(self, other: SlotLimits) -> SlotLimits:
        """The smaller of each."""
        return SlotLimits(*map(_smaller, self, other))

    def budget(self, asked: int) -> int:
        """The budget of a group buffer that is to have ``asked`` bytes, in such a slot."""
        if self.memory_bytes is None:
            return asked
        return min(asked, int(self.memory_bytes * limits.SLOT_MEMORY_BUDGET_SHARE))


def _smaller(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


NO_LIMITS = SlotLimits()


class Job(NamedTuple):
    """One datasource with its functions and options, as every room below the API sees it (the datasource apart).

    ``memory_bytes`` bounds one slot's group buffer; ``task_timeout_seconds`` bounds one attempt, ``None`` is no bound.
    ``backups``: idle slots of a cluster may repeat what takes far longer than it should.
    ``preflight``: a few records go through all functions beside a job that is not over soon.
    ``skips``: bad records are set aside instead of failing the job, at most ``max_skipped`` of them (``None``: any).
    ``on_nondeterminism``: "raise", "restart" or "ignore", as the scheduler knows them; ``None`` is as the engine likes.
    ``slot_limits``: what a slot may use up before the system ends it, which is no plan as ``memory_bytes`` is.
    """

    job_id: str
    functions: UserFunctions
    partitions: int = limits.PARTITIONS
    memory_bytes: int = limits.MEMORY_BYTES
    max_attempts: int = limits.MAX_ATTEMPTS
    task_timeout_seconds: float | None = None
    reduce_task_bytes: int = limits.REDUCE_TASK_BYTES
    backups: bool = True
    preflight: bool = False
    skips: bool = False
    max_skipped: int | None = limits.MAX_SKIPPED
    on_nondeterminism: str | None = None
    slot_limits: SlotLimits = NO_LIMITS


class FailureKind(enum.Enum):
    """Who is to blame, which is what retry and exclusion depend on."""

    USER = "user"  # a function of the job raised, or emitted what cannot be shuffled
    CODE = "code"  # the job's code could not be loaded on that worker: a missing package
    CRASH = "crash"  # the slot died under the attempt: segfault, sys.exit, out of memory
    TIMEOUT = "timeout"  # the attempt exceeded task_timeout
    SYSTEM = "system"  # our side: a full disk, a damaged block
    EXCESS = "excess"  # more records were set aside than max_skipped allows
    NONDETERMINISM = "nondeterminism"  # a map attempt that was carried out again gave other pairs than those reduced


class Failure(NamedTuple):
    """One failed attempt, or one record that was set aside, as data.

    All fields are plain text but ``exception``, the pickled exception or ``b""``, and the position: ``record`` counts
    from 0 within split ``split``, or within the keys of a reduce attempt; -1 where it is not known, or no record is to
    blame. ``data`` is the record, (key, value) or (key, values), pickled; ``b""`` where it is too large or not at hand.
    """

    kind: FailureKind
    message: str
    function: str = ""
    key: str = ""
    exception_type: str = ""
    traceback: str = ""
    worker: str = ""
    exception: bytes = b""
    record: int = -1
    split: int = -1
    data: bytes = b""

    def place(self) -> str:
        """Where in the input, for a sentence: `` for key 'x' (record 17 of split 3)``; ``""`` where it is not known."""
        key = f" for key {self.key}" if self.key else ""
        if self.record < 0:
            return key
        return f"{key} (record {self.record} of split {self.split})" if self.split >= 0 else key


# The exception_type of a failure of kind TIMEOUT, as of what Python raises after a time limit.
TIME_LIMIT = "TimeoutError"


class RecordMark(NamedTuple):
    """Which record of a task is meant: its number, and ``key_digest`` of its key, so that no other is taken for it.

    ``reason``: how the process was lost that ran it, for a record that is not to be run any more; with the type of the
    exception before it, as of ``told``, where it has one.
    """

    record: int
    digest: int
    reason: str = ""


class Span(NamedTuple):
    """A stretch of a file that holds whole blocks, one after the other."""

    path: str
    offset: int
    length: int


class MapReport(NamedTuple):
    """What one committed map attempt did. ``partition_bytes`` has one entry per partition, in bytes of blocks.

    ``records`` counts those, too, of which ``skipped`` were set aside; ``set_aside`` tells of these (set_aside.py).
    ``digests``: of what is in it (shuffle/digest.py), "" where nobody asked.
    """

    records: int
    pairs: int
    seconds: float
    spills: int
    partition_bytes: tuple[int, ...]
    skipped: int = 0
    set_aside: str = ""
    digests: str = ""


class ReduceReport(NamedTuple):
    """What one committed reduce attempt did; ``output_bytes`` is the size of its result file. The rest as above."""

    keys: int
    values: int
    seconds: float
    output_bytes: int
    skipped: int = 0
    set_aside: str = ""


class Snapshot(NamedTuple):
    """How a job stands at one moment: what progress line, page and report read. Counts, bytes and seconds.

    ``map_total`` counts the splits known so far and is final once ``input_exhausted``; ``reduce_total`` is 0 until the
    reduce phase is planned. ``input_bytes_total`` is ``None`` where the datasource does not know its size.
    """

    job_id: str
    seconds: float = 0.0
    workers: int = 0
    slots: int = 0
    running: int = 0
    map_committed: int = 0
    map_total: int = 0
    input_exhausted: bool = False
    reduce_committed: int = 0
    reduce_total: int = 0
    failed_attempts: int = 0
    records: int = 0
    pairs: int = 0
    input_bytes: int = 0
    input_bytes_total: int | None = None


def shorten(text: str, limit: int = limits.REPR_CHARS_MAX) -> str:
    """``text``, cut in the middle to at most ``limit`` characters: an error is read by a person."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def told(exception_type: str, message: str) -> str:
    """An exception as the last line of a traceback has it; either may be ""."""
    return ": ".join(filter(None, (exception_type, message)))


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def without_addresses(text: str) -> str:
    """``text``, a repr, without what differs from process to process: where objects lie in memory."""
    return _ADDRESS.sub("", text) if " at 0x" in text else text


def key_text(key: object) -> str:
    """``describe_key``, the same in every process."""
    return without_addresses(describe_key(key))


def key_digest(text: str) -> int:
    """What tells the key with this ``key_text`` from another in the same place."""
    return zlib.crc32(text.encode("utf-8", "backslashreplace"))


def describe_key(key: object) -> str:
    """A short repr of ``key`` that never raises, for messages."""
    try:
        return shorten(repr(key))
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything, and the message matters more
        return f"<{type(key).__name__} whose repr raises>"
