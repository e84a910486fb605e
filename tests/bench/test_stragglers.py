"""The simulated cluster of bench/stragglers.py, small: it ends, repeats itself, and shows what it is there to show."""

from __future__ import annotations

import pytest

from bench.stragglers import Cluster, Shape

SMALL = Shape(workers=60, maps=500, reduces=140, killed=7, slow_factor=10.0, task_sigma=0.05)


def test_same_seed_takes_the_same_time() -> None:
    assert Cluster(SMALL, 1, kill_at=100.0).seconds == Cluster(SMALL, 1, kill_at=100.0).seconds
    assert Cluster(SMALL, 1).seconds != Cluster(SMALL, 2).seconds


@pytest.mark.parametrize("restart", [True, False])
def test_kills_cost_attempts_and_the_job_ends(restart: bool) -> None:
    ideal = Cluster(SMALL, 3)
    assert ideal.attempts == SMALL.maps + SMALL.reduces
    killed = Cluster(SMALL, 3, kill_at=0.5 * ideal.seconds, restart=restart)
    assert killed.attempts >= ideal.attempts + SMALL.killed
    assert killed.seconds < 1.5 * ideal.seconds


def test_backup_attempts_make_up_for_a_slow_worker() -> None:
    ideal = Cluster(SMALL, 4).seconds
    with_backups = Cluster(SMALL, 4, has_slow_worker=True).seconds
    without = Cluster(SMALL, 4, has_slow_worker=True, backups=False).seconds
    assert with_backups < 1.3 * ideal
    assert without > 2 * ideal
