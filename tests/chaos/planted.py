"""Faults planted into mincemeat, each of which chaos must find: the proof that its checks are not blind.

A plant changes one function of a server's or a worker's process, which call ``plant`` as they start. Each comes with a
scenario in which it matters, and the words of what is found. ``python -m tests.chaos --planted`` plays them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mincemeat.model import AttemptId
from tests.chaos.jobs import JobPlan
from tests.chaos.scenario import Fault, Scenario, WorkerPlan

# In the environment of a process that has one.
PLANT = "MINCEMEAT_CHAOS_PLANT"
# A job that will never end need not be waited for as long as one that should.
PATIENCE_SECONDS = 25.0


@dataclass(frozen=True)
class Plant:
    """``found``: what must be said of it. ``change`` is called in the process that is to have it."""

    change: Callable[[], None]
    scenario: Scenario
    found: str


def plant(name: str) -> None:
    if name:
        PLANTS[name].change()


# -- what is changed -----------------------------------------------------------------------------------------


def _never_give_up_a_silent_server() -> None:
    from mincemeat.cluster.session import WorkerSession

    async def watch(self: WorkerSession, welcome: object) -> None:
        await asyncio.Event().wait()

    WorkerSession._watch_server = watch  # type: ignore[method-assign]


def _tell_nobody_that_a_worker_left() -> None:
    from mincemeat.cluster.coordinator import Coordinator
    from mincemeat.scheduler import events

    handle = Coordinator.handle

    def handle_most(self: Coordinator, event: events.Event) -> None:
        if not isinstance(event, events.WorkerLeft):
            handle(self, event)

    Coordinator.handle = handle_most  # type: ignore[method-assign]


def _leave_scratch_directories() -> None:
    from mincemeat.scratch import ScratchDirectory

    ScratchDirectory.close = lambda self: None  # type: ignore[method-assign]


def _leave_the_journal() -> None:
    from mincemeat.journal.journal import Journal

    Journal.remove = Journal.close  # type: ignore[method-assign]


def _reduce_without_what_cannot_be_had() -> None:
    from mincemeat.cluster.fetching import Unreachable
    from mincemeat.cluster.gathering import Gathering

    find = Gathering._find_at

    async def find_or_not(self: Gathering, position: int, outputs: list[Any]) -> None:
        try:
            await find(self, position, outputs)
        except Unreachable:
            self._found.update({output.task.index: [] for output in outputs})

    Gathering._find_at = find_or_not  # type: ignore[method-assign]


def _change_the_order_after_a_loss() -> None:
    from mincemeat.scheduler import losses
    from mincemeat.scheduler.machine import Machine

    in_order, remove = Machine.map_outputs, losses.remove_worker
    lost: list[str] = []

    def outputs(self: Machine) -> Iterator[tuple[int, AttemptId, str]]:
        found = list(in_order(self))
        return iter(found[::-1] if lost else found)

    def remember(turn: Any, worker: Any, reason: str) -> None:
        lost.append(reason)
        remove(turn, worker, reason)

    losses.remove_worker = remember
    Machine.map_outputs = outputs  # type: ignore[method-assign]


# -- where it matters ----------------------------------------------------------------------------------------


def _scenario(kind: str, *faults: Fault, journal: bool = False, reduce_seconds: float = 0.0) -> Scenario:
    return Scenario(
        seed=0,
        ground="proxy",
        pace="quick",
        job=JobPlan(kind, 1, 80, 1, 16, 0.05, reduce_seconds),
        journal=journal,
        local_workers=0,
        workers=(WorkerPlan(0), WorkerPlan(1)),
        faults=faults,
    )


_LOST = Fault("lost connections", 0.3, 1, way="both")
_KILLED = Fault("kill", 0.4, 1)
_FROZEN_LATE = Fault("freeze beyond the lease", 1.01, 1, seconds=6.0)

PLANTS: dict[str, Plant] = {
    "a silent server is never given up": Plant(
        _never_give_up_a_silent_server, _scenario("count without one", _LOST), "nor aware that the server is gone"
    ),
    "nobody is told that a worker left": Plant(
        _tell_nobody_that_a_worker_left, _scenario("count without one", _KILLED), "the job failed"
    ),
    "scratch directories stay": Plant(
        _leave_scratch_directories, _scenario("count without one"), "is left, and nobody was killed"
    ),
    "the journal stays": Plant(
        _leave_the_journal, _scenario("count without one", journal=True), "is left of the journal"
    ),
    "what cannot be fetched is left out": Plant(
        _reduce_without_what_cannot_be_had,
        _scenario("bulky", _FROZEN_LATE, reduce_seconds=0.03),
        "the answer is wrong",
    ),
    "order changes after a loss": Plant(
        _change_the_order_after_a_loss, _scenario("values in input order", _KILLED), "the answer is wrong"
    ),
}
