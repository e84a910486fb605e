"""What may happen to a job, as values: the only way into the scheduler.

Decides: the words in which a driver tells the machine about its world. Knows nothing of connections or processes.

Every event may come late, twice, out of order or from a worker that the machine has given up on; the machine sorts that
out, so a driver passes on what it hears. Three things it owes the machine:

* A worker's identity is new each time it joins: it contains the incarnation.
* An ``AttemptDone`` of a map attempt means that its output can be fetched from that worker; of a reduce attempt, that
  its output is safe in the driver's hands, for it will not be made again.
* ``SplitsProduced`` numbers the splits 0, 1, 2 ... without a gap, and ``InputExhausted`` comes after the last of them.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from mincemeat.model import AttemptId, Failure
from mincemeat.scheduler.digests import Digests


class RestoredOutput(NamedTuple):
    """A map output that was committed in an earlier life of the job: of ``splits`` tasks, on ``worker``."""

    attempt: AttemptId
    splits: int
    worker: str
    partition_bytes: tuple[int, ...]
    digests: Digests | None = None


class JobRestored(NamedTuple):
    """How far an earlier coordinator had come with the job. The first event, or none at all.

    ``groups``: how many splits were cut together, from split 0 on. The workers of ``outputs`` are expected back, under
    new names: who joins says what it holds. ``reduced``: the reduce attempts whose results are in the driver's hands.
    ``skipped``: how many records the attempts among these set aside that did.
    """

    groups: tuple[int, ...]
    is_input_exhausted: bool
    outputs: tuple[RestoredOutput, ...]
    plan: tuple[range, ...]
    reduced: tuple[AttemptId, ...]
    skipped: tuple[tuple[AttemptId, int], ...] = ()


class WorkerJoined(NamedTuple):
    """A worker offers ``slots`` attempts at a time, at least one; the machine raises ValueError for fewer.

    ``outputs``: map outputs of this job that it holds from an earlier connection. ``host``: the machine it runs on, as
    far as the driver can tell.
    """

    worker: str
    slots: int
    outputs: tuple[AttemptId, ...] = ()
    host: str = ""


class WorkerDraining(NamedTuple):
    """A worker wants to leave: it gets no more attempts, and is told (``ReleaseWorker``) when it is not needed."""

    worker: str


class WorkerLeft(NamedTuple):
    """The connection to a worker is gone, and with it what the worker ran and held."""

    worker: str
    reason: str


class Heartbeat(NamedTuple):
    """A sign of life. Every other event that names a worker is one, too."""

    worker: str


class AttemptDone(NamedTuple):
    """An attempt ended well, with all of its splits. ``partition_bytes``, map only: a size for each partition, or
    ``()`` for no output. ``skipped`` counts the records that it set aside, and ``first_skipped`` tells of one.
    ``digests``, map only: what is in the output; ``None`` if nobody knows."""

    worker: str
    attempt: AttemptId
    partition_bytes: tuple[int, ...] = ()
    skipped: int = 0
    first_skipped: Failure | None = None
    digests: Digests | None = None


class AttemptFailed(NamedTuple):
    """An attempt ended in a failure that counts against its task. A slot that crashed under it is one of these.

    If it had several splits, it counts against none of them: each is attempted alone, and the culprit fails again.
    """

    worker: str
    attempt: AttemptId
    failure: Failure


class AttemptLost(NamedTuple):
    """An attempt is gone through no fault of its own: its start was never delivered, its slot was taken away."""

    worker: str
    attempt: AttemptId
    reason: str


class BlocksUnreachable(NamedTuple):
    """A reduce attempt gave up: the outputs of map tasks ``maps`` could not be had from their holders.

    Shape: indices, of the first split where an output holds several. ``damaged``: they could be had, or were found to
    be gone, and are not what was written; their holders had better not serve them to anybody.
    """

    worker: str
    attempt: AttemptId
    maps: tuple[int, ...]
    reason: str
    damaged: bool = False


class SplitsProduced(NamedTuple):
    """The source cut ``count`` (at least 1) splits from ``first`` on: as many more map tasks, for one attempt."""

    first: int
    count: int = 1  # type: ignore[assignment]  # nobody counts in this tuple


class InputExhausted(NamedTuple):
    """The source has no further split."""


class SourceFailed(NamedTuple):
    """The source raised; there is no second attempt at it, for nobody knows where it stands."""

    failure: Failure


class Tick(NamedTuple):
    """Time has passed. Due whenever ``Machine.next_deadline()`` is reached; harmless at any other moment.

    A driver that was held up itself (a suspended laptop) first passes on what its workers have sent meanwhile.
    """


Event: TypeAlias = (
    JobRestored
    | WorkerJoined
    | WorkerDraining
    | WorkerLeft
    | Heartbeat
    | AttemptDone
    | AttemptFailed
    | AttemptLost
    | BlocksUnreachable
    | SplitsProduced
    | InputExhausted
    | SourceFailed
    | Tick
)
