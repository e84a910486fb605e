"""The way of a job when nothing goes wrong, and the ends of it."""

from __future__ import annotations

import pytest

from mincemeat.model import Phase, TaskId
from mincemeat.scheduler import (
    AttemptDone,
    AttemptFailed,
    AttemptLost,
    BlocksUnreachable,
    CancelAttempt,
    Event,
    FinishJob,
    Heartbeat,
    IllegalMove,
    InputExhausted,
    JobState,
    ProduceSplit,
    SourceFailed,
    SplitsProduced,
    StartAttempt,
    Tick,
    WorkerJoined,
    WorkerLeft,
)
from tests.scheduler.kit import Stage, attempt, failure, is_finished, of_kind, starts, verdict


def test_job_goes_from_first_split_to_finish(stage: Stage) -> None:
    assert stage.join("a") == [ProduceSplit()]
    assert stage.split() == [StartAttempt("a", attempt("m-00000.0"), None)]
    assert stage.done("a", "m-00000.0") == [ProduceSplit()]
    assert stage.exhaust() == [StartAttempt("a", attempt("r-00000.0"), range(4))]
    assert stage.machine.counts().reduce_total == 1
    assert stage.done("a", "r-00000.0") == [FinishJob()]
    assert stage.state is JobState.DONE


def test_empty_input_finishes_at_once_with_no_workers(stage: Stage) -> None:
    assert stage.exhaust() == [FinishJob()]


def test_nothing_emitted_finishes_without_a_reduce_task(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    stage.exhaust()
    assert stage.done("a", "m-00000.0", (0, 0, 0, 0)) == [FinishJob()]
    assert stage.machine.counts().reduce_total == 0


def test_map_output_reported_as_no_sizes_is_empty(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    stage.exhaust()
    assert stage.done("a", "m-00000.0", ()) == [FinishJob()]


def test_one_split_is_asked_for_on_behalf_of_each_free_slot(stage: Stage) -> None:
    assert stage.join("a", slots=3) == [ProduceSplit()] * 3
    assert stage.join("b", slots=2) == [ProduceSplit()] * 2


def test_no_split_is_asked_for_while_every_slot_is_busy(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    assert stage.send(Heartbeat("a")) == []
    assert stage.send(Tick()) == []


def test_no_split_is_asked_for_while_a_map_task_is_pending(stage: Stage) -> None:
    stage.join("a", "b")
    stage.leave("b")
    stage.split(2)
    assert not of_kind(stage.done("a", "m-00000.0"), ProduceSplit)


def test_outstanding_requests_are_not_repeated(stage: Stage) -> None:
    stage.join("a", slots=2)
    assert stage.send(Heartbeat("a")) == []
    stage.split()
    assert stage.done("a", "m-00000.0") == [ProduceSplit()]


def test_reduce_attempts_wait_for_the_last_map_task(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.exhaust()
    assert stage.done("a", "m-00000.0") == []
    assert starts(stage.done("b", "m-00001.0")) == [("a", "r-00000.0")]


def test_map_tasks_start_in_index_order_spread_over_workers(stage: Stage) -> None:
    stage.join("a", "b", slots=2)
    assert starts(stage.split(4)) == [
        ("a", "m-00000.0"),
        ("b", "m-00001.0"),
        ("a", "m-00002.0"),
        ("b", "m-00003.0"),
    ]


def test_large_output_has_several_reduce_tasks_that_cover_all_partitions() -> None:
    stage = Stage(reduce_task_bytes=10)
    stage.join("a", slots=4)
    stage.split()
    stage.exhaust()
    said = stage.done("a", "m-00000.0", (10, 0, 10, 10))
    assert [start.partitions for start in of_kind(said, StartAttempt)] == [range(1), range(1, 3), range(3, 4)]


def test_sizes_of_all_map_tasks_are_added_up() -> None:
    stage = Stage(reduce_task_bytes=10)
    stage.join("a", slots=2)
    stage.split(2)
    stage.exhaust()
    stage.done("a", "m-00000.0", (10, 0, 0, 0))
    said = stage.done("a", "m-00001.0", (0, 0, 0, 10))
    assert [start.partitions for start in of_kind(said, StartAttempt)] == [range(1), range(1, 4)]


def test_map_outputs_are_listed_in_index_order_with_their_holders(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split(2)
    stage.done("b", "m-00001.0")
    assert list(stage.machine.map_outputs()) == [(1, attempt("m-00001.0"), "b")]
    stage.done("a", "m-00000.0")
    assert [(index, worker) for index, _, worker in stage.machine.map_outputs()] == [(0, "a"), (1, "b")]


def test_counts_tell_how_the_job_stands(stage: Stage) -> None:
    stage.join("a", "b", slots=2)
    stage.split(3)
    stage.done("a", "m-00000.0")
    stage.fail("b", "m-00001.0")
    counts = stage.machine.counts()
    assert (counts.workers, counts.slots, counts.running) == (2, 4, 2)
    assert (counts.map_committed, counts.map_total, counts.input_exhausted) == (1, 3, False)
    assert (counts.reduce_committed, counts.reduce_total, counts.failed_attempts) == (0, 0, 1)


def test_failing_source_fails_the_job_at_once_and_cancels_what_runs(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    problem = failure(message="OSError: gone")
    said = stage.send(SourceFailed(problem))
    assert of_kind(said, CancelAttempt) == [CancelAttempt("a", attempt("m-00000.0"))]
    end = verdict(said)
    assert (end.failure, end.task, end.attempt, end.attempts) == (problem, None, None, 0)


EVERY_EVENT: list[Event] = [
    WorkerJoined("z", 1),
    WorkerLeft("a", "gone"),
    Heartbeat("a"),
    AttemptDone("a", attempt("m-00000.0"), (1, 1, 1, 1)),
    AttemptDone("a", attempt("r-00000.0")),
    AttemptFailed("a", attempt("r-00000.0"), failure()),
    AttemptLost("a", attempt("r-00000.0"), "lost"),
    BlocksUnreachable("a", attempt("r-00000.0"), (0,), "refused"),
    SplitsProduced(7),
    InputExhausted(),
    SourceFailed(failure()),
    Tick(),
]


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("end", ["done", "failed"])
def test_once_the_job_is_over_every_event_is_ignored(stage: Stage, end: str, event: Event) -> None:
    stage.join("a")
    stage.split()
    if end == "done":
        stage.exhaust()
        stage.done("a", "m-00000.0")
        stage.done("a", "r-00000.0")
    else:
        stage.send(SourceFailed(failure()))
    before = stage.machine.counts()
    assert stage.send(event, at=1e9) == []
    assert stage.machine.counts() == before
    assert stage.state.value == end
    assert stage.machine.next_deadline() is None


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_before_anybody_joined_every_event_is_harmless(stage: Stage, event: Event) -> None:
    said = [] if isinstance(event, SplitsProduced) else stage.send(event)  # a first split 7 would be a gap
    assert not of_kind(said, StartAttempt)


def test_split_produced_twice_is_one_map_task(stage: Stage) -> None:
    stage.split(1)
    assert stage.send(SplitsProduced(0)) == []
    assert stage.machine.counts().map_total == 1


def test_gap_between_splits_is_an_illegal_move_that_changes_nothing(stage: Stage) -> None:
    stage.split(1)
    with pytest.raises(IllegalMove, match=r"split 2 cannot be added \(1 splits so far"):
        stage.send(SplitsProduced(2))
    assert stage.machine.counts().map_total == 1


def test_split_after_the_last_one_is_an_illegal_move(stage: Stage) -> None:
    stage.join("a")
    stage.split(1)
    stage.exhaust()
    with pytest.raises(IllegalMove, match="input exhausted: True"):
        stage.send(SplitsProduced(1))


def test_input_exhausted_twice_is_harmless(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    stage.exhaust()
    assert stage.exhaust() == []


def test_no_split_is_asked_for_after_the_last_one(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    stage.exhaust()
    assert stage.join("b") == []


def test_story_tells_each_attempt(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    stage.fail("a", "m-00000.0", message="ValueError: spam")
    stage.done("b", "m-00000.1")
    story = stage.machine.story(TaskId(Phase.MAP, 0)).splitlines()
    assert story[0] == "m-00000 is COMMITTED after 2 attempts (1 failed, 0 lost)"
    assert story[1].strip() == "m-00000.0 on a from 0.003 s: FAILED at 0.004 s: ValueError: spam"
    assert story[2].strip() == "m-00000.1 on b from 0.004 s: COMMITTED at 0.005 s"


def test_story_of_a_stranger_says_so(stage: Stage) -> None:
    assert stage.machine.story(TaskId(Phase.REDUCE, 3)) == "r-00003 is not a task of this job"


def test_all_reduce_tasks_run_at_once_on_free_slots_and_the_last_commit_finishes() -> None:
    stage = Stage(reduce_task_bytes=1)
    assert starts(stage.reduce_phase()) == [("a", "r-00000.0"), ("b", "r-00001.0")]
    assert starts(stage.done("b", "r-00001.0")) == [("b", "r-00002.0")]
    assert starts(stage.done("a", "r-00000.0")) == [("a", "r-00003.0")]
    assert not is_finished(stage.done("a", "r-00003.0"))
    assert is_finished(stage.done("b", "r-00002.0"))


def test_time_that_goes_back_stands_still() -> None:
    stage = Stage(lease_seconds=10.0)
    stage.send(WorkerJoined("a", 1), at=100.0)
    stage.send(Heartbeat("a"), at=50.0)
    assert stage.machine.next_deadline() == 110.0
