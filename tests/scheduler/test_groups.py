"""Several splits in one attempt: together they commit, alone they are attempted again."""

from __future__ import annotations

import pytest

from mincemeat.model import FailureKind
from mincemeat.scheduler import CancelAttempt, DropOutput, SplitsProduced, StartAttempt, Tick
from mincemeat.scheduler.state import IllegalMove
from tests.scheduler.kit import Stage, attempt, is_finished, of_kind, starts, verdict

ALONE = [("a", "m-00000.1"), ("a", "m-00001.1"), ("a", "m-00002.1")]


def outputs(stage: Stage) -> list[tuple[int, str, str]]:
    return [(index, str(output), worker) for index, output, worker in stage.machine.map_outputs()]


def alone(stage: Stage, worker: str) -> list[tuple[str, str]]:
    """What starts one after the other as ``worker`` ends what it runs well."""
    started = []
    while running := [name for who, name in stage.running() if who == worker]:
        started += [(worker, name) for name in running]
        for name in running:
            stage.done(worker, name)
    return started


def test_splits_cut_at_once_are_one_attempt_in_one_slot(stage: Stage) -> None:
    stage.join("a", "b")
    [start] = of_kind(stage.group(3), StartAttempt)
    assert start == StartAttempt("a", attempt("m-00000.0"), None, 3)
    assert starts(stage.split()) == [("b", "m-00003.0")]
    assert stage.machine.splits_of(start.attempt) == range(3)
    assert stage.machine.counts().map_total == 4
    assert stage.machine.counts().running == 2


def test_they_commit_together_and_have_one_output(stage: Stage) -> None:
    stage.join("a")
    stage.group(3)
    stage.done("a", "m-00000.0", (1, 2, 3, 4))
    assert stage.machine.counts().map_committed == 3
    assert outputs(stage) == [(0, "m-00000.0", "a")]
    assert stage.machine.ledger.partition_bytes == [1, 2, 3, 4]


def test_a_group_waits_together_for_a_slot(stage: Stage) -> None:
    stage.group(3)
    assert of_kind(stage.join("a"), StartAttempt) == [StartAttempt("a", attempt("m-00000.0"), None, 3)]


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.CRASH, FailureKind.TIMEOUT])
def test_after_a_failure_each_is_attempted_alone_and_none_is_blamed(stage: Stage, kind: FailureKind) -> None:
    stage.join("a")
    stage.group(3)
    assert starts(stage.fail("a", "m-00000.0", kind)) == ALONE[:1]
    assert [task.failures for task in stage.machine.ledger.map.tasks] == [0, 0, 0]
    assert alone(stage, "a") == ALONE
    assert outputs(stage) == [(0, "m-00000.1", "a"), (1, "m-00001.1", "a"), (2, "m-00002.1", "a")]


def test_the_culprit_fails_by_itself(stage: Stage) -> None:
    stage.join("a")
    stage.group(2)
    stage.fail("a", "m-00000.0")
    stage.done("a", "m-00000.1")
    for number in range(1, 4):
        stage.fail("a", f"m-00001.{number}")
    end = verdict(stage.fail("a", "m-00001.4", message="this one"))
    assert (str(end.task), end.attempts, end.failure.message) == ("m-00001", 4, "this one")


def test_a_failure_of_the_machine_sends_all_of_them_elsewhere(stage: Stage) -> None:
    stage.join("a", "b")
    stage.group(2)
    said = stage.fail("a", "m-00000.0", FailureKind.SYSTEM)
    assert starts(said) == [("b", "m-00000.1")]
    assert starts(stage.done("b", "m-00000.1")) == [("b", "m-00001.1")]


def test_a_lost_worker_takes_along_all_splits_of_its_outputs(stage: Stage) -> None:
    stage.join("a", "b")
    stage.group(3)
    stage.done("a", "m-00000.0")
    [again] = of_kind(stage.leave("a"), StartAttempt)
    assert again == StartAttempt(
        "b", attempt("m-00000.1"), None, 3
    )  # as they were: the same splits give the same output
    stage.done("b", "m-00000.1")
    assert stage.machine.ledger.partition_bytes == [1, 1, 1, 1]  # counted once, by whom it was first told
    assert is_finished(stage.exhaust()) is False
    assert stage.machine.counts().reduce_total == 1


def test_lost_again_before_they_are_there_again_each_is_attempted_alone(stage: Stage) -> None:
    stage.join("a", "b", "c")
    stage.group(3)
    stage.done("a", "m-00000.0")
    stage.leave("a")
    [(worker, name)] = stage.running()
    assert name == "m-00000.1"
    said = stage.leave(worker)
    assert sorted(starts(said)) == [("c", "m-00000.2")]
    assert [name for _, name in alone(stage, "c")] == ["m-00000.2", "m-00001.2", "m-00002.2"]


def test_after_a_failure_outputs_are_made_again_alone_too() -> None:
    """Attempts of a task under suspicion are careful, and those are of one split."""
    stage = Stage()
    stage.join("a", "b")
    stage.group(2)
    stage.fail("a", "m-00000.0")
    while stage.running():
        for worker, name in stage.running():
            stage.done(worker, name)
    said = stage.leave("b")
    assert all(start.splits == 1 for start in of_kind(said, StartAttempt))


def test_an_output_that_cannot_be_fetched_is_named_by_its_first_split(stage: Stage) -> None:
    stage.join("a", "b")
    stage.group(2)
    stage.exhaust()
    stage.done("a", "m-00000.0")
    [(reducer, reduce)] = stage.running()
    said = stage.unreachable(reducer, reduce, 0)
    assert starts(said)[0] == ("b", "m-00000.1")  # not where it lay
    assert stage.machine.counts().map_committed == 0


def test_any_of_its_splits_names_an_output(stage: Stage) -> None:
    stage.join("a", "b")
    stage.group(2)
    stage.exhaust()
    stage.done("a", "m-00000.0")
    [(reducer, reduce)] = stage.running()
    stage.unreachable(reducer, reduce, 1, 0)
    assert [task.losses for task in stage.machine.ledger.map.tasks] == [1, 1]


def test_a_late_output_of_a_group_is_dropped_whole(stage: Stage) -> None:
    stage.join("a", "b")
    stage.group(2)
    stage.lose("a", "m-00000.0")
    stage.done("b", "m-00000.1")
    said = stage.done("a", "m-00000.0")
    assert of_kind(said, DropOutput) == [DropOutput("a", attempt("m-00000.0"))]
    assert outputs(stage)[0] == (0, "m-00000.1", "b")


def test_another_split_of_the_group_is_not_the_name_of_its_attempt(stage: Stage) -> None:
    stage.join("a")
    stage.group(2)
    said = stage.done("a", "m-00001.0")
    assert of_kind(said, DropOutput) == [DropOutput("a", attempt("m-00001.0"))]
    assert stage.machine.counts().map_committed == 0


def test_a_backup_takes_all_splits_and_the_first_of_the_two_wins() -> None:
    stage = Stage(backups=True)
    stage.join("a", "b")
    stage.group(2)
    stage.exhaust()
    [backup] = of_kind(stage.send(Tick(), at=60.0), StartAttempt)
    assert backup == StartAttempt("b", attempt("m-00000.1"), None, 2)
    said = stage.done("b", "m-00000.1")
    assert of_kind(said, CancelAttempt) == [CancelAttempt("a", attempt("m-00000.0"))]
    assert outputs(stage) == [(0, "m-00000.1", "b")]


@pytest.mark.parametrize("count", [0, -1])
def test_no_splits_at_all_are_a_fault_of_the_driver(stage: Stage, count: int) -> None:
    with pytest.raises(IllegalMove, match="split 0 cannot be added"):
        stage.send(SplitsProduced(0, count))
