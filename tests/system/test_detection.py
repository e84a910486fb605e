"""How soon a lost worker, or a lost server, is noticed, with the limits that users have: real signals, a real cut.

A worker's end within a second, a freeze or a cut within ten. These tests mostly wait.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.model import Snapshot
from tests.kit import gates
from tests.kit.clusters import LOOPBACK, worker_process
from tests.kit.serving import ServedJob
from tests.kit.silence import wire_to

pytestmark = pytest.mark.slow

NOTICED_SECONDS = 10.0
# A connection that ends is noticed at once. A busy machine may be late for one kill, and is not for each of several.
ENDED_SECONDS = 1.0
KILLS = 3
# What is left of a lease at the least when a peer falls silent: its last sign of life was then so old at most.
LEAST_SECONDS = limits.LEASE_SECONDS - 2 * limits.HEARTBEAT_SECONDS


def wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} was not said: {''.join(said)}")


def test_a_frozen_worker_and_one_that_is_cut_off_are_noticed_within_ten_seconds_on_both_sides(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 3), gates.held, gates.as_given) as job,
        wire_to(job.port) as wire,
        worker_process(job.port, "-n", "1") as frozen,
        worker_process(wire.port, "-n", "1", "--wait", "0") as cut_off,
        worker_process(job.port, "-n", "1") as present,
    ):
        gates.wait_for_workers(tmp_path, frozen.pid, cut_off.pid, present.pid)
        began = time.monotonic()
        frozen.send_signal(signal.SIGSTOP)
        wire.cut()
        job.wait_for(lambda seen: seen.workers == 1, "the server gives both of them up")
        server_noticed = time.monotonic() - began
        wait_for_line(cut_off, f"lost the server at {LOOPBACK}:{wire.port}")
        worker_noticed = time.monotonic() - began
        assert LEAST_SECONDS < server_noticed < NOTICED_SECONDS
        assert LEAST_SECONDS < worker_noticed < NOTICED_SECONDS
        assert cut_off.wait(20) == 1
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(3)
        assert present.wait(20) == 0


SERVER = """
import sys, mincemeat
from tests.kit import gates
from pathlib import Path

def listening(port):
    print(port, flush=True)

directory = Path(sys.argv[1])
server = mincemeat.Server(gates.records(directory, 1), gates.held, gates.as_given, on_listening=listening)
server.run_server("changeme", 0, host="127.0.0.1")
"""


def has_workers(count: int, seen: Snapshot) -> bool:
    return seen.workers == count


def seconds_until_noticed(number: int, directory: Path) -> float:
    """How long a worker takes to see what ``number``, a signal, did to its server."""
    directory.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(directory)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with worker_process(port, "-n", "1", "--wait", "0") as worker:
            gates.wait_for_workers(directory, worker.pid)
            began = time.monotonic()
            server.send_signal(number)
            wait_for_line(worker, f"lost the server at {LOOPBACK}:{port}")
            took = time.monotonic() - began
            assert worker.wait(20) == 1
            return took
    finally:
        server.kill()
        server.communicate()


def test_a_worker_notices_that_its_server_is_frozen_within_ten_seconds(tmp_path: Path) -> None:
    assert LEAST_SECONDS < seconds_until_noticed(signal.SIGSTOP, tmp_path / "job") < NOTICED_SECONDS


def test_a_worker_notices_that_its_server_is_killed_within_a_second(tmp_path: Path) -> None:
    took = [seconds_until_noticed(signal.SIGKILL, tmp_path / f"job-{n}") for n in range(KILLS)]
    assert min(took) < ENDED_SECONDS, took
    assert max(took) < LEAST_SECONDS, f"{took}: by its lease, and not because the connection ended"


def test_a_killed_worker_is_noticed_within_a_second(tmp_path: Path) -> None:
    with ServedJob(gates.records(tmp_path, KILLS + 1), gates.held, gates.as_given) as job, ExitStack() as workers:
        killed = [workers.enter_context(worker_process(job.port, "-n", "1")) for _ in range(KILLS)]
        present = workers.enter_context(worker_process(job.port, "-n", "1"))
        gates.wait_for_workers(tmp_path, present.pid, *(worker.pid for worker in killed))
        took = []
        for left, worker in zip(range(KILLS, 0, -1), killed, strict=True):
            began = time.monotonic()
            worker.kill()
            job.wait_for(partial(has_workers, left), "the server gives it up")
            took.append(time.monotonic() - began)
        assert min(took) < ENDED_SECONDS, took
        assert max(took) < LEAST_SECONDS, f"{took}: by its lease, and not because the connection ended"
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(KILLS + 1)
        assert present.wait(20) == 0


def test_a_worker_frozen_for_less_than_its_lease_is_not_lost(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 1), gates.held, gates.as_given) as job,
        worker_process(job.port, "-n", "1") as worker,
    ):
        gates.wait_for_workers(tmp_path, worker.pid)
        worker.send_signal(signal.SIGSTOP)
        time.sleep(limits.LEASE_SECONDS - 2 * limits.HEARTBEAT_SECONDS)
        worker.send_signal(signal.SIGCONT)
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(1)
        assert worker.wait(20) == 0
    assert len(gates.starts(tmp_path)) == 1, "its attempt was made again elsewhere"
