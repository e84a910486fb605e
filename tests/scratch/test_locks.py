"""A lock ends with the process that holds it, and with nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mincemeat.locks import Lock
from tests.kit.gates import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a child that outlives its parent is forked")

HOLDER = """
import os, sys, time
from mincemeat.locks import Lock

lock = Lock.of_new(sys.argv[1])
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""

RELEASED_IN_A_CHILD = """
import os, sys
from mincemeat.locks import Lock

lock = Lock.of_new(sys.argv[1])
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
another = os.open(os.devnull, os.O_RDONLY)  # it has the number that the lock had
lock.release()
os.fstat(another)
"""


def is_dead(path: Path) -> bool:
    with Lock.if_dead(str(path)) as dead:
        return dead


def test_a_forked_child_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    """A datasource may have a pool of processes, and whoever holds a journal be killed."""
    path = tmp_path / "held"
    path.touch()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            assert not is_dead(path), "what the child closes is its own"
            holder.kill()
            holder.wait()
            wait_until(lambda: is_dead(path), "the lock ends")  # the child may not have had its first turn yet
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()


def test_a_forked_child_that_releases_closes_nothing_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "held"
    path.touch()
    subprocess.run([sys.executable, "-c", RELEASED_IN_A_CHILD, str(path)], check=True)


def test_releasing_twice_closes_nobody_elses_descriptor(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).touch()
    first = Lock.of_new(str(tmp_path / "first"))
    assert first is not None
    first.release()
    second = Lock.of_new(str(tmp_path / "second"))  # it has the number that the first one had
    assert second is not None
    first.release()
    assert not is_dead(tmp_path / "second")
    second.release()
    assert is_dead(tmp_path / "second")
