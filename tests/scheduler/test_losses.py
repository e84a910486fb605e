"""Workers that leave or fall silent, outputs that are gone: what is done again, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mincemeat import limits
from mincemeat.model import Phase, TaskId
from mincemeat.scheduler import (
    DropOutput,
    ExpireWorker,
    FailJob,
    Heartbeat,
    InputExhausted,
    JobState,
    ProduceSplit,
    StartAttempt,
    Tick,
    WorkerJoined,
)
from tests.scheduler.kit import Stage, attempt, is_finished, of_kind, starts, verdict


def test_running_map_attempt_of_a_lost_worker_goes_to_another(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    assert starts(stage.leave("a")) == [("b", "m-00000.1")]


def test_without_workers_the_job_waits_and_goes_on_with_the_next_one(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    assert stage.leave("a") == []
    assert stage.machine.counts().workers == 0
    assert starts(stage.join("a2")) == [("a2", "m-00000.1")]


def test_committed_map_output_of_a_lost_worker_is_made_again_in_the_map_phase(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.done("a", "m-00000.0")
    stage.leave("a")
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]


def test_what_is_done_again_goes_before_what_is_new(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(3)  # the third has no slot
    stage.leave("a")
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]


def test_lost_map_output_is_made_again_while_a_reduce_task_needs_it() -> None:
    stage = Stage(reduce_task_bytes=1)
    stage.reduce_phase()  # m-0 and r-0 on a, m-1 and r-1 on b
    assert starts(stage.join("c")) == [("c", "r-00002.0")]
    assert starts(stage.leave("a")) == []  # everybody reduces
    assert starts(stage.done("b", "r-00001.0")) == [("b", "m-00000.1")]
    assert stage.done("c", "r-00002.0") == []  # reduce tasks wait for the output
    assert starts(stage.done("b", "m-00000.1")) == [("c", "r-00000.1"), ("b", "r-00003.0")]


def test_lost_map_output_is_not_made_again_when_all_is_reduced(stage: Stage) -> None:
    stage.reduce_phase()
    assert is_finished(stage.done("a", "r-00000.0"))
    assert stage.leave("a") == []
    assert stage.state is JobState.DONE


def test_running_reduce_attempt_goes_on_when_an_output_is_lost(stage: Stage) -> None:
    stage.reduce_phase()  # r-0 runs on a
    said = stage.leave("b")
    assert ("a", "r-00000.0") in stage.running()
    assert starts(said) == []
    assert is_finished(stage.done("a", "r-00000.0"))


def test_job_that_finishes_cancels_a_map_attempt_that_nobody_needs_any_more(stage: Stage) -> None:
    stage.reduce_phase()  # m-1 on b, r-0 on a
    stage.leave("b")
    assert starts(stage.join("c")) == [("c", "m-00001.1")]
    said = stage.done("a", "r-00000.0")
    assert is_finished(said)
    assert stage.running() == []
    assert len(said) == 2


def test_committed_reduce_task_is_never_done_again() -> None:
    stage = Stage(reduce_task_bytes=1)
    stage.reduce_phase()
    stage.done("a", "r-00000.0")
    stage.leave("a")
    stage.join("c")
    while stage.running():
        for worker, name in stage.running():
            stage.done(worker, name)
    assert [name for _, name in starts(stage.said) if name.startswith("r-00000")] == ["r-00000.0"]
    assert stage.state is JobState.DONE


def test_unreachable_block_is_made_again_without_blame(stage: Stage) -> None:
    stage.reduce_phase()  # m-0 on a, m-1 on b, r-0 on a
    said = stage.unreachable("a", "r-00000.0", 1)
    # Not on b, which held it, and the reduce task waits.
    assert starts(said) == [("a", "m-00001.1")]
    counts = stage.machine.counts()
    assert (counts.failed_attempts, counts.workers) == (0, 2)
    assert starts(stage.done("a", "m-00001.1"))[0][1] == "r-00000.1"


def test_unreachable_output_that_has_been_replaced_since_is_kept() -> None:
    stage = Stage(reduce_task_bytes=2)
    stage.reduce_phase()
    stage.join("c", "d")
    assert {name for _, name in stage.running()} == {"r-00000.0", "r-00001.0", "r-00002.0", "r-00003.0"}
    stage.unreachable("a", "r-00000.0", 1)
    worker = next(worker for worker, name in stage.running() if name == "m-00001.1")
    stage.done(worker, "m-00001.1")
    generation = stage.machine.generation
    reducer = next(worker for worker, name in stage.running() if name == "r-00001.0")
    # It started before the output was replaced, so it is the old one that it could not reach.
    assert starts(stage.unreachable(reducer, "r-00001.0", 1))[0][1] == "r-00001.1"
    assert stage.machine.generation == generation


def test_unreachable_output_that_is_being_made_is_not_lost_twice() -> None:
    stage = Stage(reduce_task_bytes=2)
    stage.reduce_phase()
    stage.join("c", "d")
    stage.unreachable("a", "r-00000.0", 0, 1)
    generation = stage.machine.generation
    stage.unreachable("b", "r-00001.0", 0, 1)
    assert stage.machine.generation == generation


def end_without_reducing(stage: Stage, answer: Callable[..., object]) -> FailJob:
    """How the job ends if every reduce attempt says ``answer`` of output 0, however often that is made again."""
    stage.reduce_phase()
    for _ in range(1000):
        for worker, name in stage.running():
            if name.startswith("m"):
                stage.done(worker, name)
            else:
                answer(worker, name, 0)
        if stage.machine.is_over:
            break
    return verdict(stage.said)


def test_unreachable_blocks_do_not_go_round_for_ever(stage: Stage) -> None:
    end = end_without_reducing(stage, stage.unreachable)
    assert end.task == TaskId(Phase.MAP, 0)
    assert f"lost {limits.LOST_ATTEMPTS_MAX + 1} times" in end.failure.message


def test_damaged_output_is_made_again_elsewhere_and_not_served_any_more(stage: Stage) -> None:
    stage.reduce_phase()  # m-0 on a, m-1 on b, r-0 on a
    said = stage.damaged("a", "r-00000.0", 1)
    assert of_kind(said, DropOutput) == [DropOutput("b", attempt("m-00001.0"))]
    assert starts(said) == [("a", "m-00001.1")]
    counts = stage.machine.counts()
    assert (counts.failed_attempts, counts.workers) == (0, 2)


def test_holder_keeps_an_output_that_only_could_not_be_fetched(stage: Stage) -> None:
    stage.reduce_phase()
    assert of_kind(stage.unreachable("a", "r-00000.0", 1), DropOutput) == []


def test_who_found_the_output_of_another_damaged_is_not_the_next_to_look(stage: Stage) -> None:
    """It may be the fetcher's disk that damages them all."""
    stage.reduce_phase()
    stage.damaged("a", "r-00000.0", 1)
    assert starts(stage.done("a", "m-00001.1")) == [("b", "r-00000.1")]


def test_own_damaged_output_is_no_reason_to_look_from_elsewhere(stage: Stage) -> None:
    stage.reduce_phase()
    assert starts(stage.damaged("a", "r-00000.0", 0)) == [("b", "m-00000.1")]
    assert starts(stage.done("b", "m-00000.1")) == [("a", "r-00000.1")]


def test_only_worker_makes_a_damaged_output_again_itself() -> None:
    stage = Stage()
    stage.reduce_phase(workers=("a",))
    assert starts(stage.damaged("a", "r-00000.0", 0, 1)) == [("a", "m-00000.1")]
    stage.done("a", "m-00000.1")
    assert starts(stage.done("a", "m-00001.1")) == [("a", "r-00000.1")]


def test_damage_that_never_ends_fails_the_job_with_the_story(stage: Stage) -> None:
    end = end_without_reducing(stage, stage.damaged)
    assert end.task == TaskId(Phase.MAP, 0)
    assert "its output is damaged: checksum mismatch" in end.failure.message


def test_unreachable_blocks_without_a_name_do_not_go_round_for_ever(stage: Stage) -> None:
    stage.reduce_phase()
    while not stage.machine.is_over:
        [(worker, name)] = stage.running()
        stage.unreachable(worker, name)
    assert verdict(stage.said).task == TaskId(Phase.REDUCE, 0)


def test_lost_attempt_does_not_count_as_a_failure() -> None:
    stage = Stage(max_attempts=1)
    stage.join("a", "b")
    stage.split()
    assert starts(stage.lose("a", "m-00000.0")) == [("b", "m-00000.1")]
    assert stage.machine.counts().failed_attempts == 0


def test_attempts_lost_again_and_again_fail_the_job_with_the_story(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    for number in range(limits.LOST_ATTEMPTS_MAX + 1):
        said = stage.lose("a", f"m-00000.{number}")
    end = verdict(said)
    assert (end.task, end.attempts) == (TaskId(Phase.MAP, 0), 0)
    assert "the slot was taken away" in end.failure.message


def test_task_that_takes_its_workers_down_does_not_do_so_for_ever(stage: Stage) -> None:
    stage.split()
    for number in range(limits.LOST_ATTEMPTS_MAX + 1):
        stage.join(f"w{number}")
        said = stage.leave(f"w{number}")
    assert verdict(said).attempt == attempt(f"m-00000.{limits.LOST_ATTEMPTS_MAX}")


def test_committed_outputs_lost_with_their_workers_are_no_losses_of_the_task(stage: Stage) -> None:
    stage.split(1)
    for number in range(3 * limits.STORY_ATTEMPTS_MAX):
        stage.join(f"w{number}")
        stage.done(f"w{number}", f"m-00000.{number}")
        stage.leave(f"w{number}")
    assert stage.state is JobState.MAP
    story = stage.machine.story(TaskId(Phase.MAP, 0)).splitlines()
    assert len(story) == limits.STORY_ATTEMPTS_MAX + 2
    assert "older attempts are forgotten" in story[1]


def test_generation_counts_lost_outputs(stage: Stage) -> None:
    stage.join("a", slots=2)
    stage.split(2)
    stage.done("a", "m-00000.0")
    stage.done("a", "m-00001.0")
    assert stage.machine.generation == 0
    stage.leave("a")
    assert stage.machine.generation == 2


def test_plan_does_not_change_when_workers_die_later() -> None:
    stage = Stage(reduce_task_bytes=1)
    stage.reduce_phase()
    stage.leave("a")
    stage.leave("b")
    stage.join("c")
    while stage.running():
        for worker, name in stage.running():
            stage.done(worker, name, (100, 100, 100, 100) if name.startswith("m") else ())
    assert stage.state is JobState.DONE
    assert stage.machine.counts().reduce_total == 4


def test_lost_attempt_waits_for_another_worker_rather_than_return_to_the_same(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    assert starts(stage.lose("a", "m-00000.0")) == []
    assert starts(stage.done("b", "m-00001.0")) == [("b", "m-00000.1")]


def test_sizes_of_an_output_that_is_made_again_are_not_added_twice() -> None:
    stage = Stage(reduce_task_bytes=40)
    stage.join("a", "b")
    stage.split(2)
    stage.done("a", "m-00000.0", (10, 10, 10, 10))
    stage.leave("a")
    stage.exhaust()
    stage.done("b", "m-00001.0", (0, 0, 0, 0))
    stage.done("b", "m-00000.1", (10, 10, 10, 10))
    assert stage.machine.counts().reduce_total == 1


# -- leases ----------------------------------------------------------------------------------------------


@pytest.fixture
def leased() -> Stage:
    stage = Stage(lease_seconds=10.0)
    stage.send(WorkerJoined("a", 1), at=0.0)
    stage.send(WorkerJoined("b", 1), at=1.0)
    return stage


def test_silent_worker_expires_when_its_lease_ends(leased: Stage) -> None:
    leased.send(Heartbeat("b"), at=9.0)
    assert leased.machine.next_deadline() == 10.0
    assert leased.send(Tick(), at=9.999) == []
    [expired] = of_kind(leased.send(Tick(), at=10.0), ExpireWorker)
    assert expired == ExpireWorker("a", "no sign of life for 10.0 s (lease 10 s)")
    assert leased.machine.counts().workers == 1


def test_late_result_of_expired_lease_is_ignored(leased: Stage) -> None:
    leased.split()
    leased.send(Heartbeat("b"), at=9.0)
    assert StartAttempt("b", attempt("m-00000.1"), None) in leased.send(Tick(), at=11.0)
    assert leased.done("a", "m-00000.0") == []
    leased.done("b", "m-00000.1")
    assert list(leased.machine.map_outputs()) == [(0, attempt("m-00000.1"), "b")]


@pytest.mark.parametrize("word", ["heartbeat", "done", "failed", "lost", "nonsense"])
def test_every_word_of_a_worker_renews_its_lease(leased: Stage, word: str) -> None:
    leased.split()
    leased.now = 8.0
    if word == "heartbeat":
        leased.send(Heartbeat("a"))
    elif word == "done":
        leased.done("a", "m-00000.0")
    elif word == "failed":
        leased.fail("a", "m-00000.0")
    elif word == "lost":
        leased.lose("a", "m-00000.0")
    else:
        leased.done("a", "m-00077.0")
    expired = of_kind(leased.send(Tick(), at=12.0), ExpireWorker)
    assert [instruction.worker for instruction in expired] == ["b"]


def test_all_silent_workers_expire_in_one_tick(leased: Stage) -> None:
    assert len(of_kind(leased.send(Tick(), at=99.0), ExpireWorker)) == 2
    assert leased.machine.next_deadline() is None


def test_without_a_lease_there_is_no_deadline(stage: Stage) -> None:
    stage.join("a")
    assert stage.machine.next_deadline() is None
    assert stage.send(Tick(), at=1e12) == []


def test_worker_that_leaves_while_splits_are_outstanding_gives_its_request_to_the_next(stage: Stage) -> None:
    assert stage.join("a") == [ProduceSplit()]
    stage.leave("a")
    assert stage.join("b") == []
    assert starts(stage.split()) == [("b", "m-00000.0")]


def test_split_that_arrives_when_nobody_is_left_waits(stage: Stage) -> None:
    stage.join("a")
    stage.leave("a")
    assert stage.split() == []
    assert stage.send(InputExhausted()) == []
    assert starts(stage.join("b")) == [("b", "m-00000.0")]
