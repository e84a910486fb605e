"""Late, doubled, reordered and foreign messages, for each state an attempt can be in."""

from __future__ import annotations

import pytest

from mincemeat.model import FailureKind
from mincemeat.scheduler import (
    AttemptDone,
    AttemptFailed,
    AttemptLost,
    BlocksUnreachable,
    DropOutput,
    Event,
    Heartbeat,
    Machine,
    SourceFailed,
    StartAttempt,
    WorkerJoined,
    WorkerLeft,
)
from tests.scheduler.kit import Stage, attempt, failure, of_kind, starts

SIZES = (1, 1, 1, 1)
NAME = "m-00000.0"


def into_state(stage: Stage, state: str) -> None:
    """Attempt m-00000.0 on worker a, which stays connected, is in ``state``; worker b is there, too."""
    stage.join("a", "b")
    stage.split(2)
    if state == "committed":
        stage.done("a", NAME)
    elif state == "failed":
        stage.fail("a", NAME)
    elif state == "lost":
        stage.lose("a", NAME)
    elif state == "excluded":
        stage.fail("b", "m-00001.0", FailureKind.CODE)


def messages(name: str, worker: str = "a") -> list[Event]:
    who = attempt(name)
    return [
        AttemptDone(worker, who, SIZES),
        AttemptFailed(worker, who, failure()),
        AttemptLost(worker, who, "lost"),
        BlocksUnreachable(worker, who, (0,), "refused"),
    ]


@pytest.mark.parametrize("state", ["committed", "failed", "lost"])
@pytest.mark.parametrize("event", messages(NAME), ids=lambda event: type(event).__name__)
def test_message_about_an_attempt_that_has_ended_changes_nothing(stage: Stage, state: str, event: Event) -> None:
    into_state(stage, state)
    before = stage.machine.counts(), stage.running()
    said = stage.send(event)
    assert (stage.machine.counts(), stage.running()) == before
    # The output of an attempt that did not commit frees a disk; the committed one must stay.
    expected = isinstance(event, AttemptDone) and state != "committed"
    assert said == ([DropOutput("a", attempt(NAME))] if expected else [])


@pytest.mark.parametrize("event", messages(NAME, worker="b"), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", ["running", "committed"])
def test_message_from_the_wrong_worker_changes_nothing(stage: Stage, state: str, event: Event) -> None:
    into_state(stage, state)
    before = stage.machine.counts(), stage.running()
    said = stage.send(event)
    assert (stage.machine.counts(), stage.running()) == before
    assert said == ([DropOutput("b", attempt(NAME))] if isinstance(event, AttemptDone) else [])


@pytest.mark.parametrize("name", ["m-00000.1", "m-00099.0", "r-00000.0"])
def test_message_about_an_unknown_attempt_changes_nothing(stage: Stage, name: str) -> None:
    into_state(stage, "running")
    before = stage.machine.counts(), stage.running()
    for event in messages(name):
        said = stage.send(event)
        assert said == ([DropOutput("a", attempt(name))] if isinstance(event, AttemptDone) else [])
    assert (stage.machine.counts(), stage.running()) == before


@pytest.mark.parametrize(
    "event",
    [*messages(NAME, worker="z"), Heartbeat("z"), WorkerLeft("z", "gone")],
    ids=lambda event: type(event).__name__,
)
def test_message_from_an_unknown_worker_is_ignored(stage: Stage, event: Event) -> None:
    into_state(stage, "running")
    before = stage.machine.counts(), stage.running()
    assert stage.send(event) == []
    assert (stage.machine.counts(), stage.running()) == before


@pytest.mark.parametrize(
    "event",
    [*messages(NAME), Heartbeat("a"), WorkerLeft("a", "gone"), WorkerJoined("a", 1)],
    ids=lambda event: type(event).__name__,
)
def test_message_from_a_worker_that_left_is_ignored(stage: Stage, event: Event) -> None:
    into_state(stage, "running")
    stage.leave("a")
    before = stage.machine.counts(), stage.running()
    assert stage.send(event) == []
    assert (stage.machine.counts(), stage.running()) == before


def test_excluded_worker_may_delete_what_it_still_made(stage: Stage) -> None:
    into_state(stage, "excluded")
    assert stage.send(AttemptDone("b", attempt("m-00001.0"), SIZES)) == [DropOutput("b", attempt("m-00001.0"))]


def test_joining_twice_is_joining_once(stage: Stage) -> None:
    stage.join("a", slots=2)
    assert stage.join("a", slots=5) == []
    assert stage.machine.counts().slots == 2


def test_failed_message_after_its_attempt_was_redone_is_ignored(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    assert starts(stage.lose("a", NAME)) == [("a", "m-00000.1")]
    assert stage.fail("a", NAME) == []
    assert stage.running() == [("a", "m-00000.1")]


def test_negative_indices_name_nothing(stage: Stage) -> None:
    stage.reduce_phase()
    generation = stage.machine.generation
    stage.unreachable("a", "r-00000.0", -1)
    assert stage.machine.generation == generation


def test_wrong_number_of_partition_sizes_is_a_failure_of_the_attempt(stage: Stage) -> None:
    stage.join("a")
    stage.split()
    said = stage.done("a", NAME, (1, 2))
    assert stage.machine.counts().failed_attempts == 1
    assert of_kind(said, StartAttempt) == [StartAttempt("a", attempt("m-00000.1"), None)]


def test_a_worker_without_slots_cannot_be_told_of() -> None:
    with pytest.raises(ValueError, match="worker a offers 0 slots"):
        Machine().handle(WorkerJoined("a", 0), 0.0)


def test_source_failing_twice_fails_the_job_once(stage: Stage) -> None:
    assert stage.send(SourceFailed(failure())) != []
    assert stage.send(SourceFailed(failure())) == []


def test_only_the_worker_that_runs_an_attempt_is_said_to_run_it(stage: Stage) -> None:
    into_state(stage, "running")
    assert stage.machine.is_running("a", attempt(NAME))
    assert not stage.machine.is_running("b", attempt(NAME))
    assert not stage.machine.is_running("a", attempt("m-00000.1"))
    assert not stage.machine.is_running("a", attempt("r-00000.0"))
    stage.done("a", NAME)
    assert not stage.machine.is_running("a", attempt(NAME))
