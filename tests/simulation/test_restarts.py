"""A coordinator with a journal is killed at each of its writes, syncs and messages, one after the other."""

from __future__ import annotations

import pytest

from tests.simulation.plan import FOR_GOOD, SYNC_FAILS, WRITE_FAILS, Plan, draw
from tests.simulation.world import play


def journaled(seed: int, *, kill_at: int = 0, loses_power: bool = False) -> Plan:
    """A small job in a world without other trouble, whose workers stay."""
    plan = draw(seed, trouble=False)
    plan.journal = True
    plan.loses_power = loses_power
    plan.kill_at = frozenset({kill_at})
    return plan


def small_jobs(number: int) -> list[int]:
    """Seeds of jobs with a handful of splits and different ways of sending and writing."""
    found: list[int] = []
    seed = 0
    while len(found) < number:
        world = play(journaled(seed))
        if 40 <= world.faults.moments <= 130 and len(world.job.records) > 1:
            found.append(seed)
        seed += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, FOR_GOOD])
def test_a_disk_that_fails_at_any_write_ends_the_job_and_the_next_start_goes_on_to_the_same_answer(times: int) -> None:
    """Each write, sync and truncation once. What was acknowledged before is known afterwards: claims.py asks for it."""
    failed: set[str] = set()
    [seed] = small_jobs(1)
    operations = play(journaled(seed)).paper.operations
    for operation in range(1, operations + 1):
        plan = journaled(seed)
        plan.disk_fails_at, plan.disk_fails_for = frozenset({operation}), times
        try:
            world = play(plan)
        except AssertionError as error:
            pytest.fail(f"seed {seed}, failing at operation {operation} of {operations}: {error}")
        assert world.end == "answered"
        kinds = {kind for kind in (WRITE_FAILS, SYNC_FAILS) if world.faults.happened[kind]}
        assert kinds
        failed |= kinds
        # What fails behind the last commit is noticed by nobody who waits for it.
        assert world.lives == 2 or operation > operations - 3
    assert failed == {WRITE_FAILS, SYNC_FAILS}


@pytest.mark.slow
@pytest.mark.parametrize("loses_power", [False, True])
def test_a_coordinator_killed_at_any_moment_goes_on_to_the_same_answer(loses_power: bool) -> None:
    """Once to count the moments, then once for each of them: nothing that was acknowledged is done again."""
    for seed in small_jobs(3):
        moments = play(journaled(seed)).faults.moments
        for moment in range(1, moments + 1):
            try:
                world = play(journaled(seed, kill_at=moment, loses_power=loses_power))
            except AssertionError as error:
                pytest.fail(f"seed {seed}, killed at moment {moment} of {moments}: {error}")
            assert world.end == "answered"
            assert world.faults.happened["coordinator killed at a write or message"] == 1


def test_the_moments_are_writes_syncs_and_messages() -> None:
    [seed] = small_jobs(1)
    told: set[str] = set()
    for moment in range(1, 41):
        world = play(journaled(seed, kill_at=moment))
        [line] = [line for line in world.trace.lines if "killed at a write or message" in line]
        told.add(line.rpartition("message ")[2].rpartition(" (")[0])
    assert {"before a write", "within a write", "behind a write", "before a sync", "behind a sync"} <= told
    assert {"before Welcome", "before JobStart", "before MapStart"} <= told


def test_results_are_no_mixture_when_a_coordinator_dies_before_it_can_say_that_they_would_be() -> None:
    """A map output is made again and differs from what was reduced: that is recorded, and then said what follows."""
    for moment in range(86, 96):
        plan = draw(30)
        assert plan.whims
        plan.journal, plan.kill_at = True, frozenset({moment})
        assert play(plan).end in ("answered", "failed rightly")
