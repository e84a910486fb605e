"""The simulation over many seeds, and what makes its verdict worth something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation import runner
from tests.simulation.plan import KINDS, draw
from tests.simulation.world import play

CI_SEEDS = 2000
# Of its own two cores' time, whoever else is busy on them: seeds that take more are too dear to be played each time.
PROCESSOR_SECONDS_MOST = 240.0


def processor_seconds() -> float:
    """What the processes that have been waited for have taken of the processors."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.slow
def test_whatever_goes_wrong_the_answer_is_that_of_a_plain_loop() -> None:
    began = processor_seconds()
    tally = runner.play_many(0, CI_SEEDS, max(2, os.cpu_count() or 1), lambda tally: None)
    print("\n".join(tally.lines()))
    if tally.failed is not None:
        seed, problem = tally.failed
        pytest.fail(f"seed {seed}: {problem}\n{runner.replay_command(seed)}")
    assert tally.seeds == CI_SEEDS
    assert {kind for kind in KINDS if not tally.faults[kind]} == set(), "each kind of fault really happened"
    assert tally.ends["answered"] > CI_SEEDS * 0.75
    assert not tally.ends["not at all"]
    assert processor_seconds() - began < PROCESSOR_SECONDS_MOST


def test_a_job_in_a_world_without_trouble_is_answered_and_nothing_is_done_twice() -> None:
    for seed in range(40):
        plan = draw(seed, trouble=False)
        plan.backups = False
        world = play(plan)
        assert world.end == "answered"
        assert not world.faults.happened
        assert world.watch is not None
        tasks = [*world.watch.machine.ledger.map.tasks, *world.watch.machine.ledger.reduce.tasks]
        assert all(task.attempts_started == 1 for task in tasks)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    """Hashes of str differ between processes, and addresses between runs: nothing may depend on either."""
    script = (
        "from tests.simulation.runner import play_seed\n"
        "for seed in range(12): world = play_seed(seed); print(world.trace.count, world.trace.digest())"
    )
    here = [play(draw(seed)).trace for seed in range(12)]
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert printed == [f"{trace.count} {trace.digest()}" for trace in here]


def test_a_trace_holds_no_secret_and_no_place_of_this_run() -> None:
    world = play(draw(3))
    text = "\n".join(world.trace.lines)
    assert world.trace.lines
    assert world.directory not in text
    assert "ticket" not in text
