"""What a driver is to do, as values: the only way out of the scheduler.

Decides: the words in which the machine asks. Knows nothing of how they are carried out.

Instructions are carried out in the order given. Each may turn out impossible because the world has moved on (the worker
is gone, the attempt has ended): then the driver drops it, and the event that tells of the change comes anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mincemeat.model import AttemptId, Failure, TaskId


@dataclass(frozen=True, slots=True)
class ProduceSplit:
    """Cut one more split, answered by ``SplitProduced`` or ``InputExhausted`` or ``SourceFailed``.

    Several may be outstanding; one ``InputExhausted`` answers all of them.
    """


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Carry out ``attempt`` in a slot of ``worker``. ``partitions``: what a reduce attempt reduces, ``None`` for map.

    The slot may be the one of an attempt that was cancelled a moment ago: the worker ends that one first.
    """

    worker: str
    attempt: AttemptId
    partitions: range | None


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """End ``attempt`` if it still runs; nobody waits for its output."""

    worker: str
    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class DropOutput:
    """The output of ``attempt`` on ``worker`` did not become its task's output and may be deleted."""

    worker: str
    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class ExcludeWorker:
    """``worker`` gets no more attempts. It stays connected: it may hold map outputs, which it goes on serving."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadmitWorker:
    """``worker`` was excluded and gets attempts again, because nobody else is left."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExpireWorker:
    """The lease of ``worker`` ran out: close its connection. To the machine it has left already."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Every reduce task is committed. The last instruction of a job that ends well."""


@dataclass(frozen=True, slots=True)
class FailJob:
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
    | ExcludeWorker
    | ReadmitWorker
    | ExpireWorker
    | FinishJob
    | FailJob
)
