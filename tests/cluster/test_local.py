"""Workers that a server starts beside itself end with it, whether or not it came to be."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mincemeat
from mincemeat.cluster.local import LocalWorkers
from tests.kit.gates import wait_until

# A server that is gone before it has told its workers of itself.
ABANDONED = """
import os
from mincemeat.cluster.local import LocalWorkers
workers = LocalWorkers()
workers.start(2)
print(*(process.pid for process in workers._processes), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_workers_that_were_never_introduced_end_when_they_are_stopped() -> None:
    workers = LocalWorkers()
    workers.start(2)
    processes = list(workers._processes)
    workers.stop()
    assert [process.poll() is not None for process in processes] == [True, True]
    workers.stop()  # may be called again


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
def test_workers_of_a_server_that_died_before_it_was_one_end_by_themselves() -> None:
    done = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, text=True, check=True, timeout=60)
    pids = done.stdout.split()
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids), "the workers to end")
    assert done.stderr == ""


@pytest.mark.slow
def test_functions_that_cannot_travel_leave_no_worker_behind() -> None:
    lock = threading.Lock()
    with pytest.raises(mincemeat.InvalidJob, match="lock"):
        mincemeat.run({1: 1}, lambda _key, _value: [(lock.locked(), 1)], engine="cluster", workers=1, port=0)


def is_running(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
