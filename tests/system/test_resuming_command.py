"""kill -9 of ``mincemeat run JOB --journal J``: the same command goes on, and one with a changed job file does not."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.clusters import LOOPBACK
from tests.kit.gates import PATIENCE_SECONDS
from tests.kit.rerunning import NOTE, Rerun, free_port, maps, records_of

pytestmark = pytest.mark.slow

JOB = (
    NOTE
    + """
import time

datasource = {number: number for number in range(200)}

def mapfn(key, value):
    note(f"map {key}")
    time.sleep(0.02)
    yield value % 10, value

def reducefn(key, values):
    return sum(values)
"""
)
ORACLE = "".join(f"{key}\t{sum(range(key, 200, 10))}\n" for key in range(10))
ENGINES = ("processes", "cluster with workers beside", "cluster with a worker that stays")


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Command(Rerun):
    """``mincemeat run`` with a job file that can be changed in between."""

    def __init__(self, directory: Path, cleanup: ExitStack, engine: str) -> None:
        self.job = directory / "job.py"
        self.job.write_text(JOB)
        self.port = free_port()
        words = ["run", str(self.job), "--split", "4", "--sort", "--journal", str(directory / "job.journal")]
        if engine == "processes":
            words += ["--workers", "2"]
        else:
            words += ["--serve", f"{LOOPBACK}:{self.port}"]
            words += [] if "generated" in engine else ["-p", "changeme"]
            words += ["--workers", "2"] if "beside" in engine else []
        super().__init__(directory, cleanup, ["-m", "mincemeat", *words])
        if "stays" in engine:
            self.start_worker(self.port)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_command_goes_on_and_does_nothing_twice(tmp_path: Path, cleanup: ExitStack, engine: str) -> None:
    command = Command(tmp_path, cleanup, engine)
    history = command.killed(maps(10))
    before = command.noted("map", records_of(history.map_commits()))
    assert len(before) >= 40
    output, errors = command.start().communicate(timeout=PATIENCE_SECONDS)
    assert output == ORACLE, errors
    assert "going on with the job of the journal" in errors
    assert command.noted("map", set(before)) == before
    assert not command.journal.exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("old", "new", "said"), [("value % 10", "value % 9", "mapfn"), ("sum(values)", "max(values)", "reducefn")]
)
def test_a_changed_job_file_does_not_go_on(
    tmp_path: Path, cleanup: ExitStack, engine: str, old: str, new: str, said: str
) -> None:
    """Results were a mixture of both jobs: keys 0 to 9 where value % 9 was asked for."""
    command = Command(tmp_path, cleanup, engine)
    command.killed(maps(10))
    command.job.write_text(JOB.replace(old, new))
    other = command.start()
    output, errors = other.communicate(timeout=PATIENCE_SECONDS)
    assert (other.returncode, output) == (1, ""), errors
    assert f"is of another job: {said} is not what it was" in errors
    command.job.write_text(JOB)
    output, errors = command.start().communicate(timeout=PATIENCE_SECONDS)
    assert output == ORACLE, errors


@pytest.mark.parametrize(
    ("before", "after"), [("{number: number for", "{number: number + 1 for"), ("[1] * 200", "[100] * 200")]
)
def test_values_that_have_changed_are_another_input(
    tmp_path: Path, cleanup: ExitStack, before: str, after: str
) -> None:
    """Only keys were compared: the results were of both inputs."""
    command = Command(tmp_path, cleanup, "processes")
    job = JOB if before in JOB else JOB.replace("{number: number for number in range(200)}", before)
    command.job.write_text(job)
    command.killed(maps(10))
    command.job.write_text(job.replace(before, after))
    other = command.start()
    output, errors = other.communicate(timeout=PATIENCE_SECONDS)
    assert (other.returncode, output) == (1, ""), errors
    assert "does not fit the input: since it was begun, what was split 0 has changed" in errors


def test_workers_come_back_with_the_password_that_the_server_before_had_generated(
    tmp_path: Path, cleanup: ExitStack
) -> None:
    """The second server generated another one: workers were refused, ended, and took their outputs along."""
    command = Command(tmp_path, cleanup, "cluster with a generated password")
    first = command.start()
    join = told_to_join(first)
    workers = [command.start_worker(command.port, join.split()[4]) for _ in range(2)]
    history = command.kill_at(maps(10), first)
    kept = Path(f"{command.journal}.files", "password")
    assert kept.read_text().strip() == join.split()[4]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    before = command.noted("map", records_of(history.map_commits()))
    second = command.start()
    assert told_to_join(second) == join
    output, errors = second.communicate(timeout=PATIENCE_SECONDS)
    assert output == ORACLE, errors
    assert command.noted("map", set(before)) == before
    for worker in workers:
        _, said = worker.communicate(timeout=PATIENCE_SECONDS)
        assert worker.returncode == 0, said
        assert "lost the server" in said
    assert not kept.exists()


def told_to_join(server: subprocess.Popen[str]) -> str:
    """The command to join that a server prints."""
    assert server.stderr is not None
    while line := server.stderr.readline():
        if "python -m mincemeat -p" in line:
            return line.strip()
    raise AssertionError(server.communicate())


def test_a_password_that_was_given_is_not_written(tmp_path: Path, cleanup: ExitStack) -> None:
    command = Command(tmp_path, cleanup, "cluster with workers beside")
    command.killed(maps(10))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert command.journal in files
    assert [path for path in files if b"changeme" in path.read_bytes()] == []
