"""What a driver is to do, as values: the only way out of the scheduler.

Decides: the words in which the machine asks. Knows nothing of how they are carried out.

Instructions are carried out in the order given. Each may turn out impossible because the world has moved on (the worker
is gone, the attempt has ended): then the driver drops it, and the event that tells of the change comes anyway.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from mincemeat.model import AttemptId, Failure, RecordMark, TaskId


class ProduceSplit(NamedTuple):
    """Cut one or more splits for a free slot, answered by ``SplitsProduced``, ``InputExhausted`` or ``SourceFailed``.

    Several may be outstanding; one ``InputExhausted`` answers all of them.
    """


class StartAttempt(NamedTuple):
    """Carry out ``attempt`` in a slot of ``worker``. ``partitions``: what a reduce attempt reduces, ``None`` for map.

    ``splits``: a map attempt takes so many consecutive ones, from its task's index on, into one output.
    ``careful``: record by record, so that one which fails is known even if its process is lost; of one split only. Then
    ``skip`` names those that have killed their processes: they are set aside and not run any more.
    The slot may be the one of an attempt that was cancelled a moment ago: the worker ends that one first.
    """

    worker: str
    attempt: AttemptId
    partitions: range | None
    splits: int = 1
    careful: bool = False
    skip: tuple[RecordMark, ...] = ()


class CancelAttempt(NamedTuple):
    """End ``attempt`` if it still runs; nobody waits for its output."""

    worker: str
    attempt: AttemptId


class DropOutput(NamedTuple):
    """The output of ``attempt`` on ``worker`` did not become its task's output and may be deleted."""

    worker: str
    attempt: AttemptId


class DropResult(NamedTuple):
    """The results of the reduce attempt ``attempt``, which was committed, do not count: its task is attempted again.

    Only where the machine may restart (``on_nondeterminism="restart"``): else a result that was taken stays taken.
    """

    attempt: AttemptId


class ExcludeWorker(NamedTuple):
    """``worker`` gets no more attempts. It stays connected: it may hold map outputs, which it goes on serving."""

    worker: str
    reason: str


class ReadmitWorker(NamedTuple):
    """``worker`` was excluded and gets attempts again, because nobody else is left."""

    worker: str
    reason: str


class ExpireWorker(NamedTuple):
    """The lease of ``worker`` ran out: close its connection. To the machine it has left already."""

    worker: str
    reason: str


class ReleaseWorker(NamedTuple):
    """``worker``, which wants to leave, runs nothing and holds nothing that is needed. To the machine it has left."""

    worker: str


class FinishJob(NamedTuple):
    """Every reduce task is committed. The last instruction of a job that ends well."""


class FailJob(NamedTuple):
    """The job cannot end well. The last instruction of a job that does not.

    ``failure`` is the one that decided it, of ``attempt`` of ``task``; both are ``None`` when the source failed.
    ``attempts`` is how many failed attempts the task had had (lost ones not counted).
    """

    failure: Failure
    task: TaskId | None
    attempt: AttemptId | None
    attempts: int


Instruction: TypeAlias = (
    ProduceSplit
    | StartAttempt
    | CancelAttempt
    | DropOutput
    | DropResult
    | ExcludeWorker
    | ReadmitWorker
    | ExpireWorker
    | ReleaseWorker
    | FinishJob
    | FailJob
)
