"""That the simulation would notice: faults planted in our own code are all found."""

from __future__ import annotations

import os

import pytest

from tests.simulation import runner
from tests.simulation.canaries import CANARIES, FOUND_AT, SEEDS_MAX


def test_there_are_enough_of_them() -> None:
    assert len(CANARIES) >= 20
    assert FOUND_AT.keys() <= CANARIES.keys()


@pytest.mark.slow
def test_every_planted_fault_is_found() -> None:
    """Each alone, by a seed below ten thousand; the seed that found it last time is tried first."""
    found = dict(runner.find_canaries([*CANARIES], SEEDS_MAX, max(2, os.cpu_count() or 1), FOUND_AT))
    for name, result in found.items():
        print(name, *(result or ("NOT FOUND",)))
    assert [name for name, result in found.items() if result is None] == []
