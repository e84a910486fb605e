"""What is recorded when: results never behind a map output that may show them to be out of date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mincemeat.cluster.committing import Committer
from mincemeat.model import AttemptId, Job, UserFunctions
from mincemeat.scheduler import events
from mincemeat.wire import messages
from tests.cluster.test_committing import RESULTS, reduce_done
from tests.kit.desk import map_done


class Slow:
    """A recorder whose disk is as slow as a test wants it to be."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def commit(self, write: object, then: Callable[[], None]) -> None:
        self.waiting.append(then)

    def note(self, write: object) -> None:
        raise AssertionError("nothing that was recorded is taken back")

    def sync(self) -> None:
        waiting, self.waiting = self.waiting, []
        for then in waiting:
            then()


class Scene:
    """A committer in the reduce phase: an output is made again while a result made of the former one comes in."""

    def __init__(self, path: Path) -> None:
        self.running = {("w1", "m-00000.1"), ("w2", "r-00000.0")}
        self.recorder = Slow()
        self.reduced: list[int] = []
        self.handled: list[str] = []
        self.on_map_done: Callable[[], None] = lambda: None
        self.path = path
        machine: Any = SimpleNamespace(
            is_running=lambda worker, attempt: (worker, str(attempt)) in self.running,
            splits_of=lambda attempt: range(attempt.task.index, attempt.task.index + 1),
        )
        supply: Any = SimpleNamespace(payloads={}, commit_result=self._stored, drop_result=lambda *_: None)
        caller: Any = SimpleNamespace(
            map_done=lambda *_: None,
            set_aside=lambda *_: None,
            reduce_done=lambda index, path: self.reduced.append(index),
        )
        self.committer = Committer(
            Job("job-1", UserFunctions(), partitions=2),
            caller,
            machine=machine,
            supply=supply,
            recorder=self.recorder,  # type: ignore[arg-type]
            handle=self._handle,
            spawn=lambda work: None,
            crashed=lambda error: None,
        )

    def _stored(self, worker: str, attempt: AttemptId, message: messages.ReduceDone) -> Path:
        self.path.write_bytes(RESULTS)
        return self.path

    def _handle(self, event: events.Event) -> None:
        assert isinstance(event, events.AttemptDone)
        self.handled.append(str(event.attempt))
        self.running.discard((event.worker, str(event.attempt)))
        if str(event.attempt).startswith("m-"):
            self.on_map_done()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "result")
    scene.committer.map_done("w1", map_done("m-00000.1", [1, 1]))
    scene.committer.reduce_done("w2", reduce_done("r-00000.0"))
    assert len(scene.recorder.waiting) == 1, "the result waits for the output"
    return scene


def test_a_result_of_what_differs_is_never_recorded(scene: Scene) -> None:
    """Recorded behind the output, it would pass for one of the new output if the coordinator died then."""
    scene.on_map_done = lambda: scene.running.discard(("w2", "r-00000.0"))  # as the machine does with what differs
    scene.recorder.sync()
    assert scene.recorder.waiting == []
    assert not scene.path.exists()
    assert (scene.handled, scene.reduced) == (["m-00000.1", "r-00000.0"], [])


def test_one_of_what_is_the_same_is_recorded_then(scene: Scene) -> None:
    scene.recorder.sync()
    assert len(scene.recorder.waiting) == 1
    scene.recorder.sync()
    assert (scene.handled, scene.reduced) == (["m-00000.1", "r-00000.0"], [0])
    assert scene.path.exists()


def test_told_twice_meanwhile_it_is_there_once(scene: Scene) -> None:
    scene.committer.reduce_done("w2", reduce_done("r-00000.0"))
    scene.recorder.sync()
    scene.recorder.sync()
    assert (scene.handled, scene.reduced) == (["m-00000.1", "r-00000.0"], [0])
