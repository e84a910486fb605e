"""Failed attempts: where they are attempted again, whom they are held against, when they end the job."""

from __future__ import annotations

import pytest

from mincemeat.model import FailureKind, Phase, TaskId
from mincemeat.scheduler import CancelAttempt, ExcludeWorker, JobState, ReadmitWorker, WorkerLeft
from tests.scheduler.kit import Stage, attempt, of_kind, starts, verdict

OURS_OR_ITS = [FailureKind.CRASH, FailureKind.TIMEOUT, FailureKind.SYSTEM]


def excluded(stage: Stage) -> list[str]:
    return [instruction.worker for instruction in of_kind(stage.said, ExcludeWorker)]


def test_job_fails_after_max_attempts_with_the_last_failure(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    for number in range(3):
        assert starts(stage.fail("a", f"m-00000.{number}")) == [("a", f"m-00000.{number + 1}")]
    end = verdict(stage.fail("a", "m-00000.3", message="ValueError: the last"))
    assert end.failure.message == "ValueError: the last"
    assert (end.task, end.attempt, end.attempts) == (TaskId(Phase.MAP, 0), attempt("m-00000.3"), 4)
    assert stage.state is JobState.FAILED


def test_damaged_input_is_looked_at_once_more_elsewhere(stage: Stage) -> None:
    """A torn archive was read four times over."""
    stage.join("a", "b", "c")
    stage.split(3)
    stage.exhaust()
    stage.done("b", "m-00001.0")
    stage.done("c", "m-00002.0")
    [(worker, name)] = starts(stage.fail("a", "m-00000.0", function="datasource", exception_type="BadGzipFile"))
    assert worker != "a"
    end = verdict(stage.fail(worker, name, function="datasource", exception_type="BadGzipFile"))
    assert (end.task, end.attempts) == (TaskId(Phase.MAP, 0), 2)


def test_a_machine_that_reads_its_disk_wrongly_costs_one_attempt_of_each_task(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.exhaust()
    stage.fail("a", "m-00000.0", function="datasource", exception_type="error")
    stage.done("b", "m-00001.0")
    assert ("b", "m-00000.1") in stage.running()
    stage.done("b", "m-00000.1")
    assert stage.state is JobState.REDUCE


@pytest.mark.parametrize(
    ("function", "exception_type"),
    [("datasource", "ModuleNotFoundError"), ("datasource", "MemoryError"), ("mapfn", "BadGzipFile")],
)
def test_what_another_machine_may_have_or_know_gets_all_its_attempts(
    function: str, exception_type: str, stage: Stage
) -> None:
    stage.join("a")
    stage.split()
    for number in range(3):
        said = stage.fail("a", f"m-00000.{number}", function=function, exception_type=exception_type)
        assert starts(said) == [("a", f"m-00000.{number + 1}")]


def test_input_that_is_damaged_after_another_failure_is_looked_at_twice_all_the_same(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    assert starts(stage.fail("a", "m-00000.1", function="datasource", exception_type="EOFError"))
    verdict(stage.fail("a", "m-00000.2", function="datasource", exception_type="EOFError"))


def test_reduce_task_fails_the_job_likewise() -> None:
    stage = Stage(max_attempts=2)
    stage.reduce_phase()
    [(worker, name)] = stage.running()
    [(worker, name)] = starts(stage.fail(worker, name))
    end = verdict(stage.fail(worker, name))
    assert (end.task, end.attempts) == (TaskId(Phase.REDUCE, 0), 2)


def test_failing_job_cancels_everything_that_runs() -> None:
    stage = Stage(max_attempts=1)
    stage.join("a", "b")
    stage.split(2)
    said = stage.fail("a", "m-00000.0")
    assert of_kind(said, CancelAttempt) == [CancelAttempt("b", attempt("m-00001.0"))]
    verdict(said)


def test_failures_of_different_tasks_do_not_add_up(stage: Stage) -> None:
    stage.join("a")
    stage.split(9)
    for index in range(9):
        stage.fail("a", f"m-{index:05d}.0")
        stage.done("a", f"m-{index:05d}.1")
    assert stage.machine.counts().failed_attempts == 9
    assert stage.state is JobState.MAP


def test_failed_task_goes_to_another_worker(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    assert starts(stage.fail("a", "m-00000.0")) == [("b", "m-00000.1")]


def test_failed_task_waits_for_another_worker_that_is_busy(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    assert starts(stage.fail("a", "m-00000.0")) == []
    assert starts(stage.split()) == [("a", "m-00002.0")]  # the waiting task does not stop others
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]


def test_failed_task_that_waits_goes_to_a_worker_that_joins(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.fail("a", "m-00000.0")
    assert starts(stage.join("c")) == [("c", "m-00000.1")]


def test_failed_task_returns_to_the_same_worker_when_the_other_leaves(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.fail("a", "m-00000.0")
    assert starts(stage.leave("b")) == [("a", "m-00000.1")]  # m-00001 waits for the slot


def test_task_that_failed_everywhere_is_attempted_anywhere(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    stage.fail("a", "m-00000.0")
    assert len(starts(stage.fail("b", "m-00000.1"))) == 1


def test_many_tasks_that_wait_for_one_busy_worker_go_to_it_in_index_order(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)  # b is busy with m-00001
    for index in (0, 2, 3, 4):
        stage.fail("a", f"m-{index:05d}.0")
        stage.split()
    stage.fail("a", "m-00005.0")
    order = []
    name = "m-00001.0"
    for _ in range(5):
        [name] = [started for worker, started in starts(stage.done("b", name)) if worker == "b"]
        order.append(name)
    assert order == ["m-00000.1", "m-00002.1", "m-00003.1", "m-00004.1", "m-00005.1"]


# -- exclusion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS_OR_ITS)
def test_worker_on_which_three_different_tasks_fail_is_excluded(stage: Stage, kind: FailureKind) -> None:
    stage.join("a", "b")
    stage.split(2)
    for index in (0, 2, 3):
        assert excluded(stage) == []
        stage.fail("a", f"m-{index:05d}.0", kind)
        stage.split()
    assert excluded(stage) == ["a"]
    assert stage.machine.counts().workers == 1


def test_the_same_task_failing_three_times_is_held_against_a_worker_once(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    for number in range(3):
        stage.fail("a", f"m-00000.{number}", FailureKind.SYSTEM)
    stage.join("b")
    stage.done("a", "m-00000.3")
    assert excluded(stage) == []


def test_records_that_fail_everywhere_exclude_nobody() -> None:
    stage = Stage(max_attempts=50)
    stage.join("a", "b", slots=2)
    stage.split(4)
    for _ in range(40):
        stage.fail(*stage.running()[0])
    assert excluded(stage) == []


def test_what_others_can_do_is_held_against_the_worker_that_cannot(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    for index in (0, 2, 3):
        stage.fail("a", f"m-{index:05d}.0", FailureKind.USER)
        stage.split()
    stage.done("b", "m-00001.0")
    stage.done("b", "m-00000.1")
    stage.done("b", "m-00002.1")
    assert excluded(stage) == []
    stage.done("b", "m-00003.1")
    assert excluded(stage) == ["a"]


def test_function_that_fails_at_random_excludes_nobody(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    for _ in range(8):  # one failure, committed elsewhere, for every few commits
        [first, second] = stage.running()
        stage.fail(*first)
        stage.done(*second)
        stage.split(stage.wanted - stage.produced)
        for _ in range(4):
            stage.done(*stage.running()[0])
            stage.split(stage.wanted - stage.produced)
    assert excluded(stage) == []


def test_crash_on_a_second_worker_is_held_against_the_record(stage: Stage) -> None:
    stage.join("a", "b", "c")
    stage.split(3)
    a, b = (stage.machine.ledger.workers[name] for name in "ab")
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    assert len(a.strikes) == 1
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]
    stage.fail("b", "m-00000.1", FailureKind.CRASH)
    assert len(b.strikes) == 0


def test_missing_package_excludes_at_once_and_is_no_failure_of_the_task() -> None:
    stage = Stage(max_attempts=1)
    stage.join("a", "b")
    stage.split()
    said = stage.fail("a", "m-00000.0", FailureKind.CODE, "ModuleNotFoundError: numpy")
    assert of_kind(said, ExcludeWorker) == [
        ExcludeWorker("a", "the job's code could not be loaded on it: ModuleNotFoundError: numpy")
    ]
    assert starts(said) == [("b", "m-00000.1")]


def test_missing_package_on_the_last_worker_fails_the_job_after_its_attempts(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    stage.fail("a", "m-00000.0", FailureKind.CODE)
    for number in (1, 2, 3):
        assert starts(stage.fail("b", f"m-00000.{number}", FailureKind.CODE)) == [("b", f"m-00000.{number + 1}")]
    assert verdict(stage.fail("b", "m-00000.4", FailureKind.CODE)).attempts == 4
    assert excluded(stage) == ["a"]


@pytest.mark.parametrize("kind", [*OURS_OR_ITS, FailureKind.CODE])
def test_last_worker_is_never_excluded(stage: Stage, kind: FailureKind) -> None:
    stage.join("a", slots=8)
    stage.split(8)
    for index in range(8):
        stage.fail("a", f"m-{index:05d}.0", kind)
    assert excluded(stage) == []


def test_excluded_worker_gets_no_attempts_and_its_running_ones_go_elsewhere(stage: Stage) -> None:
    stage.join("a", "b", slots=2)
    stage.split(4)  # a: 0 and 2, b: 1 and 3
    said = stage.fail("a", "m-00000.0", FailureKind.CODE)
    assert of_kind(said, CancelAttempt) == [CancelAttempt("a", attempt("m-00002.0"))]
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]
    assert starts(stage.done("b", "m-00003.0")) == [("b", "m-00002.1")]
    assert all(worker == "b" for worker, _ in stage.running())


def test_excluded_worker_goes_on_serving_its_outputs(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.done("a", "m-00000.0")
    stage.split()
    stage.fail("a", "m-00002.0", FailureKind.CODE)
    assert (0, attempt("m-00000.0"), "a") in stage.machine.map_outputs()
    stage.leave("a")
    assert list(stage.machine.map_outputs()) == []


def test_excluded_workers_are_readmitted_when_nobody_else_is_left(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.fail("a", "m-00000.0", FailureKind.CODE)
    said = stage.send(WorkerLeft("b", "gone"))
    assert of_kind(said, ReadmitWorker) == [ReadmitWorker("a", "no other worker is left")]
    assert starts(said) == [("a", "m-00000.1")]
    assert stage.machine.counts().workers == 1


def test_readmitted_worker_starts_with_a_clean_slate(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    for index in (0, 2, 3):
        stage.fail("a", f"m-{index:05d}.0", FailureKind.SYSTEM)
        stage.split()
    assert excluded(stage) == ["a"]
    stage.leave("b")
    stage.join("c")
    [(_, name)] = [start for start in stage.running() if start[0] == "a"]
    stage.fail("a", name, FailureKind.SYSTEM)
    assert excluded(stage) == ["a"]  # once


def test_task_that_a_worker_did_in_the_end_is_not_held_against_it_by_that(stage: Stage) -> None:
    stage.join("a", slots=4)
    stage.split(4)
    for index in range(4):
        stage.fail("a", f"m-{index:05d}.0")
    for index in range(4):
        stage.done("a", f"m-{index:05d}.1")
    assert not stage.machine.ledger.workers["a"].strikes
