"""What kill -9 leaves in the temporary directory is removed by who starts next, and nothing of anybody who lives."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mincemeat
from tests.kit import gates, jobs
from tests.kit.clusters import ROOT, worker_process
from tests.kit.serving import ServedJob

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="directories are locked on POSIX only"),
]

JOB = """
import sys; sys.path.insert(0, {root!r})
import mincemeat
from pathlib import Path
from tests.kit import gates
data = gates.records(Path({directory!r}), 6)
"""
LOCAL = JOB + "print(mincemeat.run(data, gates.held, gates.as_given, split=1, workers=2, progress=False))\n"
SERVER = JOB + (
    "server = mincemeat.Server(data, gates.held, gates.as_given, split=1, progress=False)\n"
    "print(server.run_server(password='pw', port=0, host='127.0.0.1', workers=2))\n"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of all processes, this one included."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@contextmanager
def running(source: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A job in a process of its own, held at its first records, whose notes are in ``directory``."""
    directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", source.format(root=str(ROOT), directory=str(directory))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        gates.wait_for_slots(directory, 2)
        yield process
    finally:
        process.kill()
        process.communicate()


def gone(*processes: int) -> bool:
    states = [
        subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False).stdout
        for process in processes
    ]
    return all(state.strip()[:1] in ("", "Z") for state in states)


def kill(process: subprocess.Popen[str], directory: Path) -> None:
    """kill -9 a job and the workers it has started; and wait until all slots have seen it."""
    slots = {slot for _, _, slot in gates.starts(directory)}
    for worker in {worker for _, worker, _ in gates.starts(directory)} - {process.pid}:
        os.kill(worker, signal.SIGKILL)
    process.kill()
    process.wait()
    gates.wait_until(lambda: gone(*slots), "the slots of the killed process end")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("source", [LOCAL, SERVER], ids=["processes", "server"])
def test_the_next_job_removes_what_a_killed_one_left_and_nothing_of_one_that_runs(
    source: str, temporary: Path, tmp_path: Path
) -> None:
    with running(source, tmp_path / "killed") as killed:
        of_killed = names(temporary)
        with running(LOCAL, tmp_path / "alive") as alive:
            of_alive = names(temporary) - of_killed
            assert len(of_alive) == 1
            kill(killed, tmp_path / "killed")
            assert names(temporary) - of_alive == of_killed
            assert mincemeat.run(jobs.RHYME, jobs.words, jobs.total, progress=False) == jobs.count_words(jobs.RHYME)
            gates.wait_until(lambda: names(temporary) == of_alive, "the next job removes it")
            alive.send_signal(signal.SIGSTOP)
            assert mincemeat.run(jobs.RHYME, jobs.words, jobs.total, engine="inline") == jobs.count_words(jobs.RHYME)
            assert names(temporary) == of_alive
            alive.send_signal(signal.SIGCONT)
            gates.open_gate(tmp_path / "alive")
            output, errors = alive.communicate(timeout=30)
    assert (ast.literal_eval(output), errors) == (gates.grouped(6), "")
    assert names(temporary) == set()


def test_the_next_worker_removes_what_a_killed_one_left(temporary: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    with ServedJob(gates.records(notes, 6), gates.held, gates.as_given) as job:
        of_server = names(temporary)
        with worker_process(job.port, "-n", "1") as killed:
            gates.wait_for_workers(notes, killed.pid)
            of_killed = names(temporary) - of_server
            with worker_process(job.port, "-n", "1") as alive:
                gates.wait_for_workers(notes, alive.pid)
                of_alive = names(temporary) - of_server - of_killed
                assert (len(of_killed), len(of_alive)) == (1, 1)
                os.kill(killed.pid, signal.SIGKILL)
                killed.wait()
                assert of_killed <= names(temporary)
                with worker_process(job.port, "-n", "1") as third:
                    gates.wait_for_workers(notes, third.pid)
                    gates.wait_until(lambda: not of_killed & names(temporary), "the next worker removes it")
                    assert of_server | of_alive < names(temporary)
                    gates.open_gate(notes)
                    assert job.results() == gates.grouped(6)
                    assert (alive.wait(20), third.wait(20)) == (0, 0)
    assert names(temporary) == set()
