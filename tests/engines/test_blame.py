"""The story of a failure: each thing is told once."""

from __future__ import annotations

import asyncio

import pytest

from mincemeat.describing import describe_failure
from mincemeat.engines.blame import job_error, preflight_error, raise_original
from mincemeat.errors import InvalidEmission, JobFailed, UserCodeError
from mincemeat.model import Failure, FailureKind
from mincemeat.scheduler.policy import excess_failure
from mincemeat.shuffle.blame import user_code_error


def failure_of(error: Exception) -> Failure:
    carrier = UserCodeError(function="mapfn", key="1")
    carrier.__cause__ = error
    return describe_failure(carrier)


def story_of(failure: Failure) -> str:
    error = job_error(failure)
    assert isinstance(error.__cause__, JobFailed)
    return str(error.__cause__)


def test_a_failure_without_a_line_of_the_users_is_told_without_a_traceback() -> None:
    """All that was left of the traceback was the message, which the sentence before it had said."""
    story = story_of(failure_of(InvalidEmission("mapfn must give pairs; it gave 5")))
    assert story.count("mapfn must give pairs; it gave 5") == 1
    assert "Traceback" not in story


def test_a_failure_in_the_users_own_line_is_told_with_it() -> None:
    with pytest.raises(ValueError) as caught:
        raise ValueError("bad")
    story = story_of(failure_of(caught.value))
    assert "Traceback on the worker:\nTraceback (most recent call last):\n" in story
    assert 'raise ValueError("bad")' in story


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.EXCESS])
def test_an_exception_without_a_text_leaves_no_gap(kind: FailureKind) -> None:
    """It read ``raised CancelledError for key 3 (record 3 of split 0): . The job stops.``"""
    failure = Failure(FailureKind.USER, "", "mapfn", "3", "CancelledError", record=3, split=0)
    stories = [str(job_error(excess_failure(4, 3, failure) if kind is FailureKind.EXCESS else failure))]
    if kind is FailureKind.USER:
        with pytest.raises(JobFailed) as caught:
            raise_original(user_code_error("mapfn", 3, asyncio.CancelledError()))
        stories += [str(caught.value), str(preflight_error(failure))]
    for story in stories:
        assert "CancelledError" in story
        for gap in (": .", ": ;", "  ", ": \n"):
            assert gap not in story


def test_a_lost_process_among_too_many_is_a_sentence() -> None:
    """It read ``mapfn for key 7 (record 5 of split 2) the process that ran the user's function exited``."""
    lost = Failure(FailureKind.CRASH, "the process that ran it exited with code 0", "mapfn", "7", record=5, split=2)
    told = excess_failure(1, 0, lost).message
    assert told.endswith(
        "One of them: mapfn for key 7 (record 5 of split 2): the process that ran it exited with code 0"
    )
    raised = lost._replace(kind=FailureKind.USER, exception_type="ValueError", message="x")
    assert excess_failure(1, 0, raised).message.endswith(" mapfn for key 7 (record 5 of split 2) raised ValueError: x")
