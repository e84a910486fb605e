"""Ctrl-C, notebooks and prints: what a job does to the terminal and the program around it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mincemeat
from tests.kit import gates, jobs
from tests.kit.clusters import LOOPBACK, ROOT, run_script, worker_process
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow

# As long as a person would wait before pressing Ctrl-C again.
PROMPT_SECONDS = 4.0


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background has SIGINT ignored, which processes inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def is_running(process: int) -> bool:
    """A zombie that nobody has reaped yet does not run."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")


def wait_until_gone(*processes: int) -> None:
    gates.wait_until(lambda: not any(map(is_running, processes)), f"{processes} end", seconds=PROMPT_SECONDS)


@contextmanager
def running_script(source: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    script = directory / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{source}", "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


HELD_JOB = """
import mincemeat
from pathlib import Path
from tests.kit import gates
data = gates.records(Path({directory!r}), 8)
"""
SERVER = HELD_JOB + (
    "server = mincemeat.Server(data, gates.held, gates.as_given, split=1)\n"
    "server.run_server(password='pw', port=0, host='127.0.0.1', workers=2)\n"
)
LOCAL = HELD_JOB + "mincemeat.run(data, gates.held, gates.as_given, split=1, workers=2)\n"


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("source", [SERVER, LOCAL], ids=["cluster", "processes"])
def test_ctrl_c_ends_a_script_and_all_its_processes_at_once(source: str, tmp_path: Path) -> None:
    with running_script(source.format(directory=str(tmp_path)), tmp_path) as script:
        slots = gates.wait_for_slots(tmp_path, 2)
        workers = {worker for _, worker, _ in gates.starts(tmp_path)} - {script.pid}
        assert all(map(is_running, [*slots, *workers]))
        script.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, stderr = script.communicate(timeout=20)
        assert time.monotonic() - began < PROMPT_SECONDS
    assert script.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    wait_until_gone(*slots, *workers)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_worker_with_its_slots_and_not_the_job(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 6), gates.held, gates.as_given) as job,
        worker_process(job.port, "-n", "2") as first,
    ):
        slots = gates.wait_for_slots(tmp_path, 2)
        first.send_signal(signal.SIGINT)
        _, stderr = first.communicate(timeout=20)
        assert first.returncode == 130
        assert stderr == "mincemeat: interrupted\n"
        wait_until_gone(*slots)
        gates.open_gate(tmp_path)
        with worker_process(job.port, "-n", "1") as second:
            assert job.results() == gates.grouped(6)
            assert second.wait(20) == 0


# A worker that is told to end just behind the good-bye: the loop closes, and the signal comes in the middle of that.
TERMINATED_WHILE_IT_LEAVES = """
import asyncio, os, signal
closing = asyncio.BaseEventLoop.shutdown_asyncgens

def close(loop):
    coroutine = closing(loop)
    os.kill(os.getpid(), signal.SIGTERM)
    return coroutine

asyncio.BaseEventLoop.shutdown_asyncgens = close
from mincemeat.cluster.local import main
main()
"""


def test_a_local_worker_told_to_end_while_it_leaves_does_so_without_a_word() -> None:
    """Its standard error is the server's: once in some hundred jobs a warning about a coroutine stood there."""
    with ServedJob(jobs.RHYME, jobs.words, jobs.total) as job:
        introduction = {"host": LOOPBACK, "port": job.port, "secret": b"changeme".hex(), "keep_in": ""}
        done = subprocess.run(
            [sys.executable, "-c", TERMINATED_WHILE_IT_LEAVES],
            input=json.dumps(introduction),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert job.results() == jobs.count_words(jobs.RHYME)
    assert (done.returncode, done.stderr) == (0, "")


# -- notebooks -------------------------------------------------------------------------------------------------


def test_a_server_may_be_run_inside_a_running_event_loop() -> None:
    async def cell() -> dict[str, int]:
        server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total, progress=False)
        return server.run_server(password="pw", port=0, host=LOOPBACK, workers=1)

    assert asyncio.run(cell()) == jobs.count_words(jobs.RHYME)


def test_a_client_may_join_inside_a_running_event_loop() -> None:
    async def cell(port: int) -> None:
        mincemeat.Client("changeme").conn(LOOPBACK, port)

    with ServedJob(jobs.RHYME, jobs.words, jobs.total) as job:
        asyncio.run(cell(job.port))
        assert job.results() == jobs.count_words(jobs.RHYME)


def test_an_error_of_joining_passes_through_a_running_event_loop() -> None:
    async def cell(port: int) -> None:
        mincemeat.Client("wrong").conn(LOOPBACK, port)

    with ServedJob(jobs.RHYME, jobs.words, jobs.total) as job, pytest.raises(mincemeat.AuthenticationError):
        asyncio.run(cell(job.port))


# -- output ----------------------------------------------------------------------------------------------------


NOISY = """
import mincemeat, os, sys

def mapfn(key, value):
    print("printed noise")
    os.write(1, b"written noise\\n")
    yield "n", value

def total(key, values):
    print("reducing noise")
    return sum(values)

if __name__ == "__main__":
    print(mincemeat.run({{1: 1, 2: 2}}, mapfn, total, progress=False, {options}))
"""


@pytest.mark.parametrize(
    "options", ["workers=1", f"engine='cluster', password='pw', host='{LOOPBACK}', port=0, workers=1"]
)
def test_what_functions_print_does_not_mix_with_the_results(options: str, tmp_path: Path) -> None:
    done = run_script(NOISY.format(options=options), tmp_path)
    assert done.stdout == "{'n': 3}\n"
    assert {"printed noise", "written noise", "reducing noise"} <= set(done.stderr.splitlines())


def test_what_functions_print_on_a_worker_stays_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def noisy(key: int, value: int) -> Iterator[tuple[str, int]]:
        print("printed noise")
        yield "n", value

    with ServedJob({1: 1, 2: 2}, noisy, jobs.total) as job, worker_process(job.port, "-n", "1") as worker:
        assert job.results() == {"n": 3}
        _, stderr = worker.communicate(timeout=20)
    assert stderr.splitlines().count("printed noise") == 2
    assert capfd.readouterr().out == ""
