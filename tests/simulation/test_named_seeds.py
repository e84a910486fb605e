"""Seeds that once failed, by what they had found.

What a seed plays changes with plan.py, so each fault has a test in its own room besides; these are played again because
what was missed once is missed most easily again.
"""

from __future__ import annotations

import pytest

from tests.simulation.runner import play_seed

FOUND = {
    "payloads stayed in memory when a worker came back with its output": 37,
    "an output that came back was taken for a commit without an attempt": 1011,
    "a job that failed while its input was read could not go on": 20363,
    "a power cut within the first record of a journal": 30417,
    "a story had forgotten an attempt of several tasks": 31541,
    "a backup that was not told of a bad record spent the last attempt": 70,
    "a disk that was full as a coordinator began was told in the system's words": 222,
    "an output that came back failed the job, and something was said of the next one": 2015668,
    "the copy of a message that a power cut had lost arrived": 2019503,
    "what was left when a job was over seemed to stay, as a slow caller had not seen it yet": 2137,
}


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_is_not_there_any_more(found: str) -> None:
    assert play_seed(FOUND[found]).end in ("answered", "failed rightly")
