"""Random worlds, each from its seed: whatever happens, the job ends once trouble stops, each task committed once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.scheduler import JobState
from tests.scheduler.toy_world import play


@pytest.mark.parametrize("seed", range(40))
def test_job_ends_and_each_task_is_committed_once(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(1000, 2**32))
def test_job_ends_whatever_the_seed(seed: int) -> None:
    play(seed)


def test_the_same_seed_plays_the_same_way() -> None:
    first, second = play(7), play(7)
    assert first.machine.counts() == second.machine.counts()
    assert first.reduced == second.reduced
    assert first.now == second.now


@pytest.mark.slow
def test_worlds_end_both_ways() -> None:
    """Otherwise the toy world would not show what it is meant to show."""
    ends = {play(seed).machine.state for seed in range(25)}
    assert ends == {JobState.DONE, JobState.FAILED}
