"""A directory that outlives its worker holds what the next one can use, and nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mincemeat.cluster.keeping import KeptDirectory
from mincemeat.locks import Lock
from tests.cluster.kit import run


def kept(directory: Path, number: int = 0, count: int = 1) -> KeptDirectory:
    return KeptDirectory(f"{directory}/worker-", number, count, os.getpid())


def left(directory: Path, number: int, *outputs: str, job: str = "job-1") -> Path:
    """What a killed worker leaves."""
    path = directory / f"worker-{number}"
    (path / "blocks").mkdir(parents=True)
    for output in outputs:
        (path / "blocks" / output).touch()
    (path / "job").write_text(job)
    return path


def outputs_in(path: str) -> list[str]:
    return sorted(os.listdir(os.path.join(path, "blocks")))


def test_what_a_killed_worker_had_fetched_does_not_pile_up(tmp_path: Path) -> None:
    """It stayed until the job was done, from each life of it."""
    directory = left(tmp_path, 0, "m-00000.0.blocks")
    for name in ("r-00000.0.fetched", "m-00001.0.splits"):
        (directory / name).mkdir()
        (directory / name / "file").touch()
    for name in ("code", "m-00002.0.positions"):
        (directory / name).touch()
    with kept(tmp_path).opened() as path:
        assert sorted(os.listdir(path)) == ["blocks", "job"]
        assert outputs_in(path) == ["m-00000.0.blocks"]


def test_fewer_workers_hold_what_more_had_made(tmp_path: Path) -> None:
    for number in range(5):
        left(tmp_path, number, f"m-0000{number}.0.blocks")
    with kept(tmp_path, 0, 2).opened() as even, kept(tmp_path, 1, 2).opened() as odd:
        assert outputs_in(even) == ["m-00000.0.blocks", "m-00002.0.blocks", "m-00004.0.blocks"]
        assert outputs_in(odd) == ["m-00001.0.blocks", "m-00003.0.blocks"]
    assert sorted(os.listdir(tmp_path)) == ["worker-0", "worker-1"]


def test_a_new_worker_takes_over_the_job_of_what_was_left(tmp_path: Path) -> None:
    left(tmp_path, 1, "m-00000.0.blocks")
    with kept(tmp_path).opened() as path:
        assert outputs_in(path) == ["m-00000.0.blocks"]
        assert Path(path, "job").read_text() == "job-1"


def test_what_is_of_another_job_is_removed(tmp_path: Path) -> None:
    left(tmp_path, 0, "m-00000.0.blocks", job="job-2")
    left(tmp_path, 1, "m-00001.0.blocks")
    with kept(tmp_path).opened() as path:
        assert outputs_in(path) == ["m-00000.0.blocks"]
    assert os.listdir(tmp_path) == ["worker-0"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_what_a_living_worker_holds_is_left_alone(tmp_path: Path) -> None:
    other = left(tmp_path, 1, "m-00001.0.blocks")
    with Lock.waiting_for(str(other)), kept(tmp_path).opened():
        assert outputs_in(str(other)) == ["m-00001.0.blocks"]


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can be asked there")
def test_a_server_is_dead_when_its_process_is(tmp_path: Path) -> None:
    assert run(kept(tmp_path).has_server_died()) is False
    ending = subprocess.Popen([sys.executable, "-c", ""])
    while Path(f"/proc/{ending.pid}/stat").exists() and b") Z" not in Path(f"/proc/{ending.pid}/stat").read_bytes():
        os.sched_yield()
    directory = KeptDirectory(f"{tmp_path}/worker-", 0, 1, ending.pid)
    assert asyncio.run(directory.has_server_died()) is True  # nobody has asked yet how it ended
    ending.wait()
    assert asyncio.run(directory.has_server_died()) is True
