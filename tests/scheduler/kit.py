"""A machine on a stage: time in hand, invariants checked after every event, instructions sorted by kind."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from mincemeat.model import AttemptId, Failure, FailureKind
from mincemeat.scheduler import (
    AttemptDone,
    AttemptFailed,
    AttemptLost,
    BlocksUnreachable,
    Event,
    FailJob,
    FinishJob,
    InputExhausted,
    Instruction,
    JobState,
    Machine,
    ProduceSplit,
    SplitsProduced,
    StartAttempt,
    WorkerJoined,
    WorkerLeft,
    invariants,
)

I = TypeVar("I")  # noqa: E741 - an instruction


def attempt(name: str) -> AttemptId:
    return AttemptId.parse(name)


def failure(kind: FailureKind = FailureKind.USER, message: str = "ValueError: no") -> Failure:
    return Failure(kind=kind, message=message)


class Stage:
    """Drives one machine with 4 partitions (unless told otherwise); ``now`` moves by a millisecond an event."""

    def __init__(self, **options: Any) -> None:
        self.machine = Machine(**{"partitions": 4, "lease_seconds": math.inf, **options})
        self.now = 0.0
        self.said: list[Instruction] = []
        self.wanted = 0  # splits asked for and not yet produced
        self.produced = 0

    @property
    def state(self) -> JobState:
        return self.machine.state

    # -- events ------------------------------------------------------------------------------------------

    def send(self, event: Event, at: float | None = None) -> list[Instruction]:
        self.now = self.now + 0.001 if at is None else at
        said = self.machine.handle(event, self.now)
        invariants.check(self.machine)
        self.said += said
        self.wanted += sum(isinstance(instruction, ProduceSplit) for instruction in said)
        return said

    def join(self, *workers: str, slots: int = 1, host: str | None = None) -> list[Instruction]:
        """Each on a machine of its own, unless told otherwise."""
        joins = [WorkerJoined(worker, slots, host=worker if host is None else host) for worker in workers]
        return [said for join in joins for said in self.send(join)]

    def leave(self, worker: str) -> list[Instruction]:
        return self.send(WorkerLeft(worker, "gone"))

    def split(self, count: int = 1) -> list[Instruction]:
        said = []
        for _ in range(count):
            said += self.send(SplitsProduced(self.produced))
            self.produced += 1
        return said

    def group(self, count: int) -> list[Instruction]:
        """``count`` splits, cut at once for one attempt."""
        said = self.send(SplitsProduced(self.produced, count))
        self.produced += count
        return said

    def exhaust(self) -> list[Instruction]:
        return self.send(InputExhausted())

    def done(self, worker: str, name: str, sizes: tuple[int, ...] | None = None) -> list[Instruction]:
        if sizes is None:
            sizes = (1,) * self.machine.partitions if name.startswith("m") else ()
        return self.send(AttemptDone(worker, attempt(name), sizes))

    def fail(
        self, worker: str, name: str, kind: FailureKind = FailureKind.USER, message: str = "no", **facts: Any
    ) -> list[Instruction]:
        return self.send(AttemptFailed(worker, attempt(name), failure(kind, message)._replace(**facts)))

    def lose(self, worker: str, name: str) -> list[Instruction]:
        return self.send(AttemptLost(worker, attempt(name), "the slot was taken away"))

    def unreachable(self, worker: str, name: str, *maps: int) -> list[Instruction]:
        return self.send(BlocksUnreachable(worker, attempt(name), maps, "connection refused"))

    def damaged(self, worker: str, name: str, *maps: int) -> list[Instruction]:
        return self.send(BlocksUnreachable(worker, attempt(name), maps, "checksum mismatch", damaged=True))

    # -- scenes ------------------------------------------------------------------------------------------

    def reduce_phase(self, maps: int = 2, *, workers: tuple[str, ...] = ("a", "b")) -> list[Instruction]:
        """Workers with one slot each have mapped ``maps`` splits in turn; what was said to the last event."""
        self.join(*workers)
        self.split(maps)
        said = self.exhaust()
        while self.machine.counts().map_committed < maps:
            for worker, name in self.running():
                said = self.done(worker, name)
        return said

    def running(self) -> list[tuple[str, str]]:
        """(worker, attempt) of everything that runs, by worker."""
        workers = self.machine.ledger.workers.values()
        return [(worker.name, str(record.id)) for worker in workers for record in worker.running]


def of_kind(said: list[Instruction], kind: type[I]) -> list[I]:
    return [instruction for instruction in said if isinstance(instruction, kind)]


def starts(said: list[Instruction]) -> list[tuple[str, str]]:
    """(worker, attempt) of each start, in order."""
    return [(start.worker, str(start.attempt)) for start in of_kind(said, StartAttempt)]


def is_finished(said: list[Instruction]) -> bool:
    return bool(said) and isinstance(said[-1], FinishJob)


def verdict(said: list[Instruction]) -> FailJob:
    """The ``FailJob`` that must be the last instruction."""
    assert said
    assert isinstance(said[-1], FailJob), said
    return said[-1]
