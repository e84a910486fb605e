"""A worker that is far slower than the others does not hold up a job: real processes, of which one never gets done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from tests.kit import gates
from tests.kit.clusters import worker_process
from tests.kit.serving import ServedJob
from tests.kit.silence import wire_to

pytestmark = pytest.mark.slow

RECORDS = 12


@pytest.fixture(autouse=True)
def _one_split_per_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)


def serve(directory: Path, records: int = RECORDS, reducefn: Any = gates.as_given, **options: Any) -> ServedJob:
    """Of the records the last wait for the gate: one for each of the workers that shall have one."""
    data = gates.records(directory, records, held_from=max(0, records - 3))
    return ServedJob(data, gates.sluggish, reducefn, **options)


def slow_worker(port: int, directory: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    scratch = directory / "scratch"
    scratch.mkdir()
    return worker_process(port, "-n", "1", environment={gates.SLUGGISH: "1", "TMPDIR": str(scratch)})


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_last_map_attempt_of_a_slow_worker_is_made_elsewhere(tmp_path: Path) -> None:
    with serve(tmp_path) as job, slow_worker(job.port, tmp_path) as slow:
        gates.wait_for_workers(tmp_path, slow.pid)
        [stuck] = gates.records_of(tmp_path, slow.pid)
        with worker_process(job.port, "-n", "1") as first, worker_process(job.port, "-n", "1") as second:
            gates.open_gate(tmp_path)
            assert job.results() == gates.grouped(RECORDS)
            assert [worker.wait(20) for worker in (first, second, slow)] == [0, 0, 0]
            assert stuck in gates.records_of(tmp_path, first.pid) | gates.records_of(tmp_path, second.pid)
    assert [record for record, _, _ in gates.starts(tmp_path)].count(stuck) == 2


def test_the_loser_is_ended_at_once_and_its_slot_is_free_and_nothing_of_it_stays(tmp_path: Path) -> None:
    with (
        serve(tmp_path, reducefn=gates.held_as_given(tmp_path), reduce_task_bytes=1) as job,
        slow_worker(job.port, tmp_path) as slow,
    ):
        gates.wait_for_workers(tmp_path, slow.pid)
        loser = next(slot for _, worker, slot in gates.starts(tmp_path) if worker == slow.pid)
        with worker_process(job.port, "-n", "1") as first, worker_process(job.port, "-n", "1") as second:
            gates.open_gate(tmp_path)
            assert gates.wait_for_reducers(tmp_path, 3) == {slow.pid, first.pid, second.pid}
            assert not is_running(loser)
            assert not list((tmp_path / "scratch").rglob("m-*")), "what the loser wrote is there still"
            gates.open_gate(tmp_path, "reduce")
            assert job.results() == gates.grouped(RECORDS)


def test_the_last_reduce_attempt_of_a_slow_worker_is_made_elsewhere(tmp_path: Path) -> None:
    data = gates.records(tmp_path, RECORDS)
    with (
        ServedJob(data, gates.held, gates.sluggish_as_given(tmp_path), reduce_task_bytes=1) as job,
        slow_worker(job.port, tmp_path) as slow,
        worker_process(job.port, "-n", "1") as other,
    ):
        gates.wait_for_workers(tmp_path, slow.pid, other.pid)
        gates.open_gate(tmp_path)
        gates.wait_for_reducers(tmp_path, 2)
        gates.open_gate(tmp_path, "reduce")
        assert job.results() == gates.grouped(RECORDS)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_a_job_of_one_task_is_repeated_on_an_idle_machine(tmp_path: Path) -> None:
    with serve(tmp_path, records=1) as job, slow_worker(job.port, tmp_path) as slow:
        gates.wait_for_workers(tmp_path, slow.pid)
        gates.open_gate(tmp_path)
        with wire_to(job.port, "127.0.0.2") as wire, worker_process(wire.port, "-n", "1"):
            assert job.results() == gates.grouped(1)


def test_without_backups_a_job_waits_for_its_slowest_worker(tmp_path: Path) -> None:
    with serve(tmp_path, backups=False) as job, slow_worker(job.port, tmp_path) as slow:
        gates.wait_for_workers(tmp_path, slow.pid)
        with worker_process(job.port, "-n", "1"):
            gates.open_gate(tmp_path)
            job.wait_for(lambda seen: seen.map_committed == RECORDS - 1, "all but one are committed")
            time.sleep(limits.BACKUP_SECONDS_LEAST + 1.0)  # there is no sign of what does not happen
            assert len(gates.starts(tmp_path)) == RECORDS
            gates.open_gate(tmp_path, "thaw")
            assert job.results() == gates.grouped(RECORDS)
