"""A worker whose disk is full costs some attempts, and is named; one's own full disk ends the job with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from tests.kit import gates
from tests.kit.clusters import ROOT, worker_command, worker_process
from tests.kit.disks import can_have_small_disks, on_a_small_disk
from tests.kit.serving import ServedJob

VALUE_BYTES = 60_000


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_have_small_disks(), reason="this machine lets nobody mount a small disk of his own"),
]


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    """``command`` with ``directory`` as its temporary directory."""
    environment = {
        **os.environ,
        "TMPDIR": str(directory),
        "MINCEMEAT_PASSWORD": "changeme",
    }
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def bulky(key: str, record: gates.Record) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """As ``gates.held``, with values that a small disk has no room for. On the other worker it waits for its gate."""
    number, gate = record
    if os.path.basename(os.environ.get("TMPDIR", "")) != "small":
        gates.pass_gate(Path(key).parent, gate)
    yield number % gates.GROUPS, (number, os.urandom(VALUE_BYTES))


def numbers(key: Any, values: list[tuple[int, bytes]]) -> list[int]:
    return [number for number, _ in values]


@pytest.mark.parametrize("splits_per_attempt", [1, limits.SPLITS_PER_ATTEMPT_MAX], ids=["one split", "many splits"])
def test_the_job_goes_on_without_a_worker_whose_disk_is_full_and_the_log_names_both(
    splits_per_attempt: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", splits_per_attempt)
    caplog.set_level("INFO", "mincemeat")
    small = tmp_path / "small"
    small.mkdir()
    # An attempt over many splits says nothing about any of them, until each is committed elsewhere.
    awaited = "gets no more attempts" if splits_per_attempt == 1 else "could not carry out"
    with ExitStack() as stack:
        job = stack.enter_context(ServedJob(gates.records(tmp_path, 30), bulky, numbers))
        stack.enter_context(worker_process(job.port, "-n", "1"))
        # Alone, the sick one would spend all attempts of the first task before anybody else can try.
        gates.wait_until(lambda: "joined with" in caplog.text, "the first worker joined")
        command = on_a_small_disk(small, "200k", *worker_command(job.port, "-n", "1"))
        sick = stack.enter_context(running(command, small))
        gates.wait_until(lambda: awaited in caplog.text, f"the log says {awaited!r}")
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(30)
        _, errors = sick.communicate(timeout=20)
        assert sick.returncode == 0
    assert f"could not be carried out here: the disk that holds {small}/mincemeat-" in errors
    told = [record.getMessage() for record in caplog.records]
    failures = [line for line in told if "could not carry out" in line]
    worker = failures[0].split()[1]
    for line in failures:
        assert line.startswith(f"worker {worker} could not carry out ")
        assert f"the disk that holds {small}/mincemeat-" in line
        assert "more bytes did not fit" in line
    if splits_per_attempt == 1:
        assert len(failures) == 3
        assert any(line.startswith(f"worker {worker} gets no more attempts: 3 different tasks") for line in told)


JOB = """
import sys; sys.path.insert(0, {root!r})
import mincemeat, os

def mapfn(key, value):
    yield key, value

def large(key, value):
    yield key, os.urandom({size})

def reducefn(key, values):
    return os.urandom({size})
"""
LOCAL = JOB + "mincemeat.run({{1: 1}}, large, workers=1, progress=False)\n"
INLINE = JOB + "mincemeat.run({{1: 1}}, large, engine='inline', progress=False)\n"
SERVER = JOB + (
    "server = mincemeat.Server({{1: 1}}, mapfn, reducefn, progress=False)\n"
    "server.on_listening = lambda port: print(port, flush=True)\n"
    "server.run_server(password='changeme', port=0, host='127.0.0.1')\n"
)


@pytest.mark.parametrize("source", [LOCAL, INLINE], ids=["processes", "inline"])
def test_a_job_on_this_machine_alone_ends_with_its_full_disk(source: str, tmp_path: Path) -> None:
    script = source.format(root=str(ROOT), size=1_000_000)
    with running(on_a_small_disk(tmp_path, "200k", sys.executable, "-c", script), tmp_path) as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert f"SpillSpaceExhausted: the disk that holds {tmp_path}/mincemeat-" in errors
    assert "more bytes did not fit; make room there, or let TMPDIR name a larger disk" in errors


@pytest.mark.parametrize("size", [250_000, 1_000_000], ids=["in the message", "uploaded"])
def test_a_server_without_room_for_the_results_ends_the_job_with_a_sentence(size: int, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = SERVER.format(root=str(ROOT), size=size)
    with running(on_a_small_disk(small, "200k", sys.executable, "-c", script), small) as server:
        assert server.stdout is not None
        with worker_process(int(server.stdout.readline()), "-n", "1"):
            _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert f"SpillSpaceExhausted: the disk that holds {small}/mincemeat-" in errors
