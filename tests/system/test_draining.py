"""A worker that is asked to end (SIGTERM) finishes, serves what others need, and leaves: nothing is done twice."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mincemeat import limits
from tests.kit import gates
from tests.kit.clusters import LOOPBACK, worker_process
from tests.kit.serving import ServedJob
from tests.kit.silence import wire_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot be asked to end"),
]

RECORDS = 12


@pytest.fixture(autouse=True)
def _one_split_per_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)


def said(worker: subprocess.Popen[str]) -> str:
    """The next line of the worker's standard error."""
    assert worker.stderr is not None
    return worker.stderr.readline()


def drain(worker: subprocess.Popen[str], words: str) -> None:
    """Ask it to end, and wait until it says ``words`` of it."""
    worker.send_signal(signal.SIGTERM)
    line = said(worker)
    assert line.startswith(f"mincemeat: {words}"), line
    assert line.endswith("again to leave at once\n")


def wait_until_left(job: ServedJob, workers: int) -> None:
    job.wait_for(lambda seen: seen.workers == workers, f"{workers} workers get attempts")


def test_a_draining_worker_finishes_and_serves_and_nothing_is_done_twice(tmp_path: Path) -> None:
    data = gates.records(tmp_path, RECORDS, held_from=4)
    with (
        ServedJob(data, gates.held, gates.held_as_given(tmp_path), reduce_task_bytes=1) as job,
        worker_process(job.port, "-n", "2") as leaving,
    ):
        gates.wait_until(lambda: len(gates.starts(tmp_path)) == 6, "two records are held")
        drain(leaving, "finishing 2 attempts, then leaving when nobody needs its map outputs, after 25 seconds")
        wait_until_left(job, 0)
        with worker_process(job.port, "-n", "1") as staying:
            gates.open_gate(tmp_path)
            gates.wait_for_reducers(tmp_path, 1)
            assert leaving.poll() is None, "it left with outputs that are needed"
            gates.open_gate(tmp_path, "reduce")
            assert job.results() == gates.grouped(RECORDS)
            assert [leaving.wait(20), staying.wait(20)] == [0, 0]
    assert gates.records_of(tmp_path, leaving.pid) == set(range(6))
    assert len(gates.starts(tmp_path)) == RECORDS, "something was done twice"


def test_attempts_that_do_not_end_in_time_are_handed_back_without_blame(tmp_path: Path) -> None:
    hasty = "from mincemeat import limits; limits.DRAIN_SECONDS = 0.3"
    data = gates.records(tmp_path, 2)
    with (
        ServedJob(data, gates.held, gates.as_given, max_attempts=1) as job,
        worker_process(job.port, "-n", "1", prelude=hasty) as leaving,
    ):
        gates.wait_for_workers(tmp_path, leaving.pid)
        drain(leaving, "finishing 1 attempt, then leaving")
        assert leaving.wait(20) == 0
        gates.open_gate(tmp_path)
        with worker_process(job.port, "-n", "1"):
            assert job.results() == gates.grouped(2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_a_draining_worker_at_once(number: int, code: int, tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 1), gates.held, gates.as_given) as job,
        worker_process(job.port, "-n", "1") as leaving,
    ):
        gates.wait_for_workers(tmp_path, leaving.pid)
        drain(leaving, "finishing 1 attempt, then leaving")
        began = time.monotonic()
        leaving.send_signal(number)
        assert leaving.wait(20) == code
        assert time.monotonic() - began < limits.DRAIN_SECONDS / 2
        gates.open_gate(tmp_path)
        with worker_process(job.port, "-n", "1"):
            assert job.results() == gates.grouped(1)


def test_a_worker_with_nothing_to_do_leaves_at_once_and_for_good(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 1), gates.held, gates.as_given) as job,
        worker_process(job.port, "-n", "1") as busy,
    ):
        gates.wait_for_workers(tmp_path, busy.pid)
        with worker_process(job.port, "-n", "1", "--forever") as idle:
            wait_until_left(job, 2)
            drain(idle, "leaving when nobody needs its map outputs")
            assert idle.wait(20) == 0
            wait_until_left(job, 1)
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(1)


def test_a_worker_that_waits_for_its_server_leaves_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    with worker_process(port, "-n", "1", "--forever") as worker:
        assert "trying again" in said(worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        assert worker.stderr is not None
        assert worker.stderr.read() == ""


def test_a_draining_worker_that_loses_its_server_does_not_look_for_it(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 1), gates.held, gates.as_given) as job,
        wire_to(job.port) as wire,
        worker_process(wire.port, "-n", "1", "--forever") as leaving,
    ):
        gates.wait_for_workers(tmp_path, leaving.pid)
        drain(leaving, "finishing 1 attempt, then leaving")
        wire.close()
        assert leaving.wait(20) == 0
        gates.open_gate(tmp_path)
        with worker_process(job.port, "-n", "1"):
            assert job.results() == gates.grouped(1)
