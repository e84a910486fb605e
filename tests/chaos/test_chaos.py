"""The short version: a handful of seeds that cover much, and one that is new each day. `python -m tests.chaos` goes on.

Each test prints its scenario; what a failure shows ends with the command that plays it again.
"""

from __future__ import annotations

import datetime
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import cgroups, leftovers, processes
from tests.chaos.jobs import JobPlan, oracle
from tests.chaos.means import means_here
from tests.chaos.planted import PLANTS
from tests.chaos.play import ChaosFound, differences, fill, play
from tests.chaos.scenario import Scenario, WorkerPlan, scenario
from tests.chaos.stage import Stage
from tests.kit.clusters import LOOPBACK
from tests.kit.disks import can_have_small_disks, on_a_small_disk
from tests.kit.gates import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found, frozen and limited as Linux has it"),
]

# Chosen for what they cover together, see the test below.
SEEDS = (88, 881, 544)


def is_short(each: Scenario) -> bool:
    """Whether it is over in some ten seconds on a busy machine."""
    sleeping = each.job.records * each.job.map_seconds + 97 * each.job.reduce_seconds
    lasting = sum(fault.seconds for fault in each.faults)
    deaths = sum(fault.kind == "kill the server" for fault in each.faults)
    return sleeping < 4 and lasting < 5 and deaths < 2 and len(each.workers) < 4


def seed_of_today() -> int:
    first = datetime.datetime.now(datetime.UTC).date().toordinal() * 1000
    return next(seed for seed in itertools.count(first) if is_short(scenario(seed, pace="quick")))


@pytest.mark.parametrize("seed", [*SEEDS, seed_of_today()])
def test_the_answer_is_right_and_nothing_is_left_whatever_happens(seed: int) -> None:
    means, reasons = means_here()
    print(*reasons, sep="\n")
    each = scenario(seed, means=means, pace="quick")
    print(each)
    print(play(each).story)


def test_the_seeds_cover_most_of_what_can_be_done() -> None:
    kinds = set().union(*(scenario(seed, pace="quick").kinds for seed in SEEDS))
    assert {"kill", "kill the server", "freeze", "tiny disk", "drain", "silence", "cut"} <= kinds
    assert len(kinds) >= 15
    assert all(is_short(scenario(seed, pace="quick")) for seed in SEEDS)


@pytest.mark.skipif(bool(cgroups.obstacle()), reason=f"no control groups here: {cgroups.obstacle()}")
def test_a_slot_that_takes_more_memory_than_its_group_has_is_killed_and_its_worker_is_not(tmp_path: Path) -> None:
    with Stage(empty_scenario(), tmp_path, LOOPBACK, 0) as stage:
        server = stage.start_server([])
        [address] = wait_until(lambda: processes.listening_ports(server.pid), "it listens")
        worker = stage.start_worker(WorkerPlan(0, memory="group"), address, [])
        (tmp_path / "gate").touch()
        wait_until(lambda: stage.memory_kills() >= 2, "a second slot is killed")
        assert worker.is_alive


def test_a_disk_is_filled_only_where_it_is_another_and_never_beyond_its_size(tmp_path: Path) -> None:
    """It was the real disk, and all of it, where a worker had not mounted its own yet."""
    assert not fill(tmp_path, tmp_path, 2**40)
    assert list(tmp_path.iterdir()) == []
    assert not fill(tmp_path / "nowhere", tmp_path, 2**40)


@pytest.mark.skipif(not can_have_small_disks(), reason="this machine lets nobody mount a small disk of his own")
def test_a_disk_that_is_filled_has_no_room_left(tmp_path: Path) -> None:
    for size, is_full in ((2**20, True), (2**16, False)):
        outside = tmp_path / str(size)
        outside.mkdir()
        command = on_a_small_disk(outside, str(2**20), "sh", "-c", "echo here; read word")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
            inside = Path(f"/proc/{process.pid}/root{outside}")
            assert fill(inside, outside, size)
            assert (os.statvfs(inside).f_bavail == 0) is is_full
            assert list(outside.iterdir()) == []


def test_a_planted_fault_is_found() -> None:
    """One of those that `python -m tests.chaos --planted` plays: all of them would take too long here."""
    planted = PLANTS[name := "order changes after a loss"]
    with pytest.raises(ChaosFound, match=planted.found):
        play(planted.scenario, plant=name)


# -- the checks find what they look for ----------------------------------------------------------------------

PLAN = JobPlan("values in input order", 1, 12, 1, 1, 0.0, 0.0)


def test_an_answer_that_differs_in_anything_is_told() -> None:
    right = oracle(PLAN)
    pairs = list(right.items())
    assert differences(pairs, right, is_sorted=False) == []
    assert differences(sorted(pairs), right, is_sorted=True) == []
    (key, value), *others = pairs
    assert "is missing" in differences(others, right, is_sorted=False)[0]
    assert "is there 2 times" in differences([*pairs, pairs[0]], right, is_sorted=False)[0]
    assert "should not be there" in differences([*pairs, ("x", [])], right, is_sorted=False)[0]
    assert "and should be" in differences([*others, (key, [*value, value[0]])], right, is_sorted=False)[0]
    assert differences(sorted(pairs, reverse=True), right, is_sorted=True) == ["keys are not in order"]


def empty_scenario() -> Scenario:
    return Scenario(0, "proxy", "quick", PLAN, False, 0, (), ())


def test_processes_and_files_that_are_left_are_told(tmp_path: Path) -> None:
    with Stage(empty_scenario(), tmp_path, LOOPBACK, 1) as stage:
        assert leftovers.processes_left(stage.mark) == []
        assert leftovers.files_left(stage) == []
        # A grandchild whose parent is gone, in a session of its own.
        actor = stage._start("worker 0", ["sh", "-c", "setsid sleep 600 & exec sleep 0"], {})
        actor.process.wait()
        assert len(found := leftovers.processes_left(stage.mark, 0.1)) == 1
        assert "sleep 600" in found[0]
        (stage.temporary / "mincemeat-x").mkdir()
        assert "nobody was killed" in leftovers.files_left(stage)[0]
        actor.killed = True
        assert "does not bear the mark" in leftovers.files_left(stage)[0]
    assert leftovers.processes_left(stage.mark) == [], "the stage ends what is left"


def test_what_a_killed_server_left_is_swept_by_the_next_job_and_its_socket_is_told_while_it_lives(
    tmp_path: Path,
) -> None:
    with Stage(empty_scenario(), tmp_path, LOOPBACK, 0) as stage:
        server = stage.start_server([])
        addresses = wait_until(lambda: processes.listening_ports(server.pid), "it listens")
        assert len(leftovers.still_listening(addresses)) == 1
        assert leftovers.files_left(stage) != []
        stage.kill(server)
        assert leftovers.still_listening(addresses) == []
        assert list(stage.temporary.iterdir())
        assert leftovers.files_left(stage) == []
        assert server.process.returncode == -signal.SIGKILL


def test_descriptors_of_our_own_are_told(tmp_path: Path) -> None:
    before = leftovers.open_descriptors()
    with (tmp_path / "open").open("w"):
        assert len(leftovers.open_descriptors() - before) == 1
    assert leftovers.open_descriptors() == before
