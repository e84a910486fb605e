"""The story of a failure: each thing is told once."""

from __future__ import annotations

import pytest

from mincemeat.describing import describe_failure
from mincemeat.engines.blame import job_error
from mincemeat.errors import InvalidEmission, JobFailed, UserCodeError
from mincemeat.model import Failure


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
