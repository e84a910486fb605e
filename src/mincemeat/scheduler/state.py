"""The states of job, task, attempt and worker, the legal moves between them, and the records that are in them.

Decides: which moves exist. Knows nothing of when they happen: ``machine.py`` decides that, ``ledger.py`` does them.

A task is what the job needs exactly once; an attempt is one execution of it. A task may have several running attempts
(an attempt and its backup): the first to end well commits, the others are cancelled. So a task's state follows from its
attempts: COMMITTED exactly when one of them is, else RUNNING exactly when at least one of them is, else PENDING.

A committed map attempt can still be lost, because its output lies with its worker until the last reduce task is
committed; a committed reduce attempt cannot, for its output is in the driver's hands. An attempt that has ended stays
as it ended: a message about it that comes later changes nothing, which is what makes late and duplicate ones harmless.

docs/scheduler.md shows the tables below; docs/make_scheduler_tables.py draws them there, and a test compares.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from mincemeat.errors import MincemeatError
from mincemeat.model import AttemptId, Phase, RecordMark, TaskId
from mincemeat.scheduler.digests import Digests


class JobState(enum.Enum):
    MAP = "map"
    REDUCE = "reduce"
    DONE = "done"
    FAILED = "failed"


class TaskState(enum.Enum):
    PENDING = "pending"
    RUNNING = "running"
    COMMITTED = "committed"


class AttemptState(enum.Enum):
    RUNNING = "running"
    COMMITTED = "committed"
    FAILED = "failed"
    LOST = "lost"
    GONE = "gone"
    CANCELLED = "cancelled"


class WorkerState(enum.Enum):
    ALIVE = "alive"
    EXCLUDED = "excluded"
    DRAINING = "draining"
    LEFT = "left"
    AWAY = "away"


# Nobody speaks for these any more, or not yet again.
ABSENT: Final = frozenset({WorkerState.LEFT, WorkerState.AWAY})

S = TypeVar("S", bound=enum.Enum)

# One object for all tasks: every frozenset() is another one, of 216 bytes.
NOBODY: Final[frozenset[str]] = frozenset()

# From each state: the states it may move to, and on what occasion.
JOB_MOVES: Final[Mapping[JobState, Mapping[JobState, str]]] = {
    JobState.MAP: {
        JobState.REDUCE: "the input is exhausted and every map task committed; there are pairs to reduce",
        JobState.DONE: "the input is exhausted and every map task committed; there is nothing to reduce",
        JobState.FAILED: "a map task has spent its attempts, or the source failed",
    },
    JobState.REDUCE: {
        JobState.DONE: "every reduce task is committed",
        JobState.FAILED: "a task has spent its attempts",
    },
    JobState.DONE: {},
    JobState.FAILED: {},
}

TASK_MOVES: Final[Mapping[TaskState, Mapping[TaskState, str]]] = {
    TaskState.PENDING: {
        TaskState.RUNNING: "an attempt starts",
    },
    TaskState.RUNNING: {
        TaskState.COMMITTED: "the first of its attempts ends well",
        TaskState.PENDING: "its last running attempt failed, was lost or was cancelled",
    },
    TaskState.COMMITTED: {
        TaskState.PENDING: "a map output that is needed was lost, or what a reduce task read of one has changed",
    },
}

ATTEMPT_MOVES: Final[Mapping[AttemptState, Mapping[AttemptState, str]]] = {
    AttemptState.RUNNING: {
        AttemptState.COMMITTED: "it ended well, first of its task",
        AttemptState.FAILED: "it ended in a failure",
        AttemptState.LOST: "its worker left or was excluded, its slot was taken away, or its input was unreachable",
        AttemptState.CANCELLED: "another attempt of its task committed, what it read has changed, or the job is over",
    },
    AttemptState.COMMITTED: {
        AttemptState.LOST: "its map output could not be fetched, or what it read has changed",
        AttemptState.GONE: "its map output went with its worker",
    },
    AttemptState.GONE: {
        AttemptState.COMMITTED: "its worker has come back with its output, which nobody has made again",
    },
    AttemptState.FAILED: {},
    AttemptState.LOST: {},
    AttemptState.CANCELLED: {},
}

WORKER_MOVES: Final[Mapping[WorkerState, Mapping[WorkerState, str]]] = {
    WorkerState.ALIVE: {
        WorkerState.EXCLUDED: "too many different tasks failed on it, or the job's code cannot be loaded there",
        WorkerState.DRAINING: "it says that it wants to leave",
        WorkerState.LEFT: "its connection closed, or its lease ran out",
    },
    WorkerState.EXCLUDED: {
        WorkerState.ALIVE: "no other worker is left",
        WorkerState.DRAINING: "it says that it wants to leave",
        WorkerState.LEFT: "its connection closed, or its lease ran out",
    },
    WorkerState.DRAINING: {
        WorkerState.LEFT: "it runs and holds nothing that is needed, its connection closed, or its lease ran out",
    },
    WorkerState.LEFT: {},
    # Of an earlier life of the job, and expected back; under another name, for that is another incarnation.
    WorkerState.AWAY: {
        WorkerState.LEFT: "all it held came back with another incarnation, or its time to come back is over",
    },
}


class IllegalMove(MincemeatError):
    """The machine was about to make a move that its table does not have: a fault of this program, or of its driver.

    Nothing was changed. Attributes: ``subject`` (which task, attempt, worker), ``source`` and ``target`` (names of
    states), ``story`` (what happened before, one line for each attempt).
    """

    subject: str = ""
    source: str = ""
    target: str = ""
    story: str = ""


def check_move(moves: Mapping[S, Mapping[S, str]], source: S, target: S, subject: object, story: str = "") -> None:
    """Raises: IllegalMove unless ``moves`` has the way from ``source`` to ``target``."""
    if target not in moves[source]:
        legal = ", ".join(state.name for state in moves[source]) or "nothing, it is final"
        raise IllegalMove(
            f"{subject} cannot move from {source.name} to {target.name} (legal: {legal}). {story}".rstrip(),
            subject=str(subject),
            source=source.name,
            target=target.name,
            story=story,
        )


class WorkerRecord:
    """What the scheduler knows of one incarnation of a worker. Kept after it left, so that late words find nobody."""

    __slots__ = ("host", "latest", "name", "outputs", "reason", "running", "slots", "state", "strikes")

    def __init__(self, name: str, slots: int, host: str = "") -> None:
        self.name = name
        self.slots = slots
        self.host = host
        self.state = WorkerState.ALIVE
        # A dict for its order: instructions must not depend on addresses of objects.
        self.running: dict[AttemptRecord, None] = {}
        # Indices of the map tasks whose committed output lies here.
        self.outputs: set[int] = set()
        # Different tasks whose failure here is held against the worker, oldest first; a commit here takes one off.
        self.strikes: dict[TaskRecord, None] = {}
        self.reason = ""
        # In which phase its latest attempt was that committed, or was overtaken by a backup, and its seconds.
        self.latest: tuple[Phase, float] | None = None

    @property
    def free(self) -> int:
        return self.slots - len(self.running)


class AttemptRecord:
    """One execution of a task, from its start; of several map tasks if it takes several splits into one output.

    ``task`` is the first of them, whose identity it bears, ``others`` the rest: all commit together or none does.
    Times are the driver's ``now``, in seconds.
    """

    __slots__ = (
        "digests",
        "ended",
        "generation",
        "id",
        "known",
        "others",
        "reason",
        "started",
        "state",
        "task",
        "worker",
    )

    def __init__(
        self,
        task: TaskRecord,
        others: tuple[TaskRecord, ...],
        worker: WorkerRecord,
        now: float,
        generation: int,
        number: int,
    ) -> None:
        self.id = AttemptId(task.id, number)
        self.task = task
        self.others = others
        self.worker = worker
        self.state = AttemptState.RUNNING
        self.started = now
        self.ended: float | None = None
        # How many times map outputs had been lost when it started: tells whether it can know a later output.
        self.generation = generation
        self.reason = ""
        # How many bad records of its task it was told of; -1: it is not a careful one.
        self.known = -1
        # Of the map output while it is committed; None if it has none.
        self.digests: Digests | None = None

    @property
    def tasks(self) -> tuple[TaskRecord, ...]:
        return (self.task, *self.others)


class TaskRecord:
    """One task. About 0.5 KB with its first attempt; ``bench/scheduler.py`` measures it."""

    __slots__ = (
        "attempts",
        "attempts_started",
        "committed",
        "failed_on",
        "failures",
        "generation",
        "id",
        "losses",
        "lost_on",
        "sized",
        "state",
    )

    def __init__(self, task: TaskId) -> None:
        self.id = task
        self.state = TaskState.PENDING
        # The latest attempts, oldest first; the last of them has number attempts_started - 1 above the first of this
        # life of the job, unless it bears the name of another task with which it began, or is of an earlier life.
        self.attempts: list[AttemptRecord] = []
        self.attempts_started = 0
        self.committed: AttemptRecord | None = None
        # How many times map outputs had been lost when this output was committed.
        self.generation = 0
        # Failures that count towards max_attempts, and losses that count towards LOST_ATTEMPTS_MAX.
        self.failures = 0
        self.losses = 0
        # Where attempts of this task failed; where they were lost although the worker stayed.
        self.failed_on = NOBODY
        self.lost_on = NOBODY
        # Whether the sizes of its partitions are in the totals: a second commit must not add them again.
        self.sized = False

    @property
    def avoided(self) -> frozenset[str]:
        """Workers on which this task is not attempted again while there is another one."""
        return self.failed_on | self.lost_on if self.lost_on else self.failed_on

    def running_attempts(self) -> list[AttemptRecord]:
        return [attempt for attempt in self.attempts if attempt.state is AttemptState.RUNNING]


class LostOutput(NamedTuple):
    """A map output that reduce attempts may have read, and that is not yet there again.

    ``attempt`` made it, over ``attempt.tasks``, and is LOST; ``digests`` are what it was. Those that had started before
    ``generation`` may have read it.
    """

    attempt: AttemptRecord
    digests: Digests
    generation: int


class Suspicion:
    """What is known of the bad records of a task, one of whose attempts has failed: all further ones are careful."""

    __slots__ = ("lost_at", "skip")

    def __init__(self) -> None:
        # Where a process was lost, once each, since a record was last found.
        self.lost_at: set[RecordMark] = set()
        # Where processes were lost twice: not to be run any more.
        self.skip: tuple[RecordMark, ...] = ()


def tell_story(task: TaskRecord) -> str:
    """What happened to ``task``, a line for each of its latest attempts, oldest first."""
    how_many = f"{task.attempts_started} attempts ({task.failures} failed, {task.losses} lost)"
    lines = [f"{task.id} is {task.state.name} after {how_many}"]
    if task.attempts_started > len(task.attempts):
        lines.append(f"  ({task.attempts_started - len(task.attempts)} older attempts are forgotten)")
    for attempt in task.attempts:
        line = f"  {attempt.id} on {attempt.worker.name} from {attempt.started:.3f} s: {attempt.state.name}"
        if attempt.ended is not None:
            line += f" at {attempt.ended:.3f} s"
        lines.append(f"{line}: {attempt.reason}" if attempt.reason else line)
    return "\n".join(lines)


class Counts(NamedTuple):
    """How the job stands. ``workers`` and ``slots`` are those that may get attempts: excluded ones are not in them.

    ``map_total`` counts the splits so far, ``reduce_total`` is 0 until the reduce phase is planned; the rest as in
    ``model.Snapshot``.
    """

    workers: int
    slots: int
    running: int
    map_committed: int
    map_total: int
    input_exhausted: bool
    reduce_committed: int
    reduce_total: int
    failed_attempts: int
