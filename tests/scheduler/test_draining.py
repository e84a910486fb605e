"""A worker that wants to leave: nothing is lost if it can stay for as long as it is needed."""

from __future__ import annotations

from mincemeat.model import FailureKind
from mincemeat.scheduler import (
    CancelAttempt,
    Instruction,
    JobState,
    ReadmitWorker,
    ReleaseWorker,
    Tick,
    WorkerDraining,
)
from tests.scheduler.kit import Stage, is_finished, of_kind, starts


def released(said: list[Instruction]) -> list[str]:
    return [release.worker for release in of_kind(said, ReleaseWorker)]


def test_idle_worker_is_released_at_once() -> None:
    stage = Stage()
    stage.join("a", "b")
    assert released(stage.send(WorkerDraining("a"))) == ["a"]
    assert stage.machine.counts().workers == 1


def test_draining_worker_ends_what_it_runs_and_gets_no_more() -> None:
    stage = Stage()
    stage.join("a")
    stage.split()
    assert stage.send(WorkerDraining("a")) == []
    assert stage.split(3) == []
    stage.done("a", "m-00000.0")
    assert starts(stage.join("b")) == [("b", "m-00001.0")]
    assert stage.machine.counts().map_committed == 1


def test_draining_worker_is_kept_for_its_outputs_until_the_job_is_done() -> None:
    stage = Stage()
    stage.reduce_phase(maps=2, workers=("a", "b"))
    [(reducer, name)] = stage.running()
    [holder] = {"a", "b"} - {reducer}
    assert stage.send(WorkerDraining(holder)) == []
    assert stage.machine.counts().map_committed == 2
    assert is_finished(stage.done(reducer, name))


def test_draining_worker_is_released_when_its_output_was_replaced() -> None:
    stage = Stage()
    stage.reduce_phase(maps=2, workers=("a", "b", "c"))
    [(reducer, name)] = stage.running()
    holders = {worker: index for index, _, worker in stage.machine.map_outputs()}
    holder = next(worker for worker in holders if worker != reducer)
    stage.send(WorkerDraining(holder))
    assert released(stage.unreachable(reducer, name, holders[holder])) == [holder]


def test_what_a_draining_worker_hands_back_is_no_failure() -> None:
    stage = Stage(max_attempts=1)
    stage.join("a", "b")
    stage.split()
    [(worker, _)] = stage.running()
    [other] = {"a", "b"} - {worker}
    stage.send(WorkerDraining(worker))
    assert starts(stage.leave(worker)) == [(other, "m-00000.1")]


def test_excluded_workers_are_readmitted_when_the_last_other_one_drains() -> None:
    stage = Stage()
    stage.join("a", "b")
    stage.split(2)
    stage.fail("a", "m-00000.0", FailureKind.CODE)
    assert of_kind(stage.send(WorkerDraining("b")), ReadmitWorker) == [ReadmitWorker("a", "no other worker is left")]


def test_excluded_worker_may_drain() -> None:
    stage = Stage()
    stage.join("a", "b")
    stage.split(2)
    stage.fail("a", "m-00000.0", FailureKind.CODE)
    assert released(stage.send(WorkerDraining("a"))) == ["a"]


def test_missing_package_of_a_draining_worker_says_nothing_about_the_task() -> None:
    stage = Stage(max_attempts=1)
    stage.join("a", "b", "c")
    stage.split()
    [(worker, name)] = stage.running()
    stage.send(WorkerDraining(worker))
    said = stage.fail(worker, name, FailureKind.CODE)
    assert released(said) == [worker]
    assert len(starts(said)) == 1


def test_a_straggler_on_a_draining_worker_gets_a_backup() -> None:
    stage = Stage(backups=True)
    stage.join("a", "b")
    stage.split()
    stage.exhaust()
    [(worker, _)] = stage.running()
    stage.send(WorkerDraining(worker))
    [(other, backup)] = starts(stage.send(Tick(), at=stage.now + 100.0))
    said = stage.done(other, backup)
    assert [cancel.worker for cancel in of_kind(said, CancelAttempt)] == [worker]
    assert released(said) == [worker]
    assert stage.state is JobState.REDUCE


def test_draining_worker_that_falls_silent_expires() -> None:
    stage = Stage(lease_seconds=10.0)
    stage.join("a")
    stage.split()
    stage.send(WorkerDraining("a"))
    stage.send(Tick(), at=stage.now + 11.0)
    assert stage.machine.counts().running == 0


def test_second_word_of_draining_and_one_of_a_stranger_change_nothing() -> None:
    stage = Stage()
    stage.join("a")
    stage.split()
    stage.send(WorkerDraining("a"))
    assert stage.send(WorkerDraining("a")) == []
    assert stage.send(WorkerDraining("nobody")) == []
