"""Workers that come and go while a job runs: real processes, real signals, and the exact result."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mincemeat import limits
from tests.kit import gates
from tests.kit.clusters import LOOPBACK, ROOT, worker_process
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow

RECORDS = 12
FREE = 4  # the records before it do not wait for the gate
OURS = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture(autouse=True)
def _one_split_per_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests hold single records back, and watch where each of them goes."""
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are told these by the server, so they hold in their processes, too."""
    monkeypatch.setattr(limits, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(limits, "HEARTBEAT_SECONDS", 0.2)


def held_job(directory: Path, records: int = RECORDS, free: int = FREE) -> ServedJob:
    return ServedJob(gates.records(directory, records, free), gates.held, gates.as_given)


def wait_for_committed(job: ServedJob, count: int = FREE) -> None:
    job.wait_for(lambda seen: seen.map_committed >= count, f"{count} map tasks are committed")


# -- workers that are lost -----------------------------------------------------------------------------------


def test_a_killed_worker_costs_its_outputs_and_nothing_else(tmp_path: Path) -> None:
    with held_job(tmp_path) as job, worker_process(job.port, "-n", "1") as first:
        wait_for_committed(job)
        with worker_process(job.port, "-n", "1") as second:
            gates.wait_for_workers(tmp_path, first.pid, second.pid)
            first.kill()
            gates.open_gate(tmp_path)
            assert job.results() == gates.grouped(RECORDS)
            assert second.wait(20) == 0
    # What the first had committed lay on its disk and went with it.
    assert gates.records_of(tmp_path, second.pid) == set(range(RECORDS))
    assert set(range(FREE)) < gates.records_of(tmp_path, first.pid)


@pytest.mark.usefixtures("short_lease")
def test_a_worker_frozen_beyond_its_lease_rejoins_when_it_thaws(tmp_path: Path) -> None:
    with held_job(tmp_path) as job, worker_process(job.port, "-n", "1") as first:
        wait_for_committed(job)
        with worker_process(job.port, "-n", "1") as second:
            gates.wait_for_workers(tmp_path, first.pid, second.pid)
            first.send_signal(signal.SIGSTOP)
            job.wait_for(lambda seen: seen.workers == 1, "the lease of the frozen worker ends")
            first.send_signal(signal.SIGCONT)
            job.wait_for(lambda seen: seen.workers == 2, "the thawed worker joins again")
            gates.open_gate(tmp_path)
            assert job.results() == gates.grouped(RECORDS)
            assert first.wait(20) == 0
            assert second.wait(20) == 0


@pytest.mark.usefixtures("short_lease")
def test_a_worker_that_stays_frozen_does_not_hold_up_the_job(tmp_path: Path) -> None:
    with held_job(tmp_path) as job, worker_process(job.port, "-n", "1") as first:
        wait_for_committed(job)
        with worker_process(job.port, "-n", "1") as second:
            gates.wait_for_workers(tmp_path, first.pid, second.pid)
            first.send_signal(signal.SIGSTOP)
            gates.open_gate(tmp_path)
            assert job.results() == gates.grouped(RECORDS)


@pytest.mark.usefixtures("short_lease")
def test_a_worker_that_freezes_between_two_fetches_from_it_does_not_hold_up_the_job(tmp_path: Path) -> None:
    """A reducer with an open connection to a frozen holder sent its next request and waited for ever."""
    data = gates.records(tmp_path, RECORDS)
    impatient = "from mincemeat import limits; limits.LEASE_SECONDS = 1.0"
    with (
        ServedJob(data, gates.held, gates.held_as_given(tmp_path), reduce_task_bytes=1) as job,
        worker_process(job.port, "-n", "1", prelude=impatient) as first,
        worker_process(job.port, "-n", "1", prelude=impatient) as second,
    ):
        gates.wait_for_workers(tmp_path, first.pid, second.pid)
        gates.open_gate(tmp_path)
        gates.wait_for_reducers(tmp_path, 2)
        first.send_signal(signal.SIGSTOP)
        gates.open_gate(tmp_path, "reduce")
        assert job.results() == gates.grouped(RECORDS)


def test_a_job_that_lost_all_its_workers_is_finished_by_a_new_one(tmp_path: Path) -> None:
    with held_job(tmp_path) as job:
        with worker_process(job.port, "-n", "2") as first:
            wait_for_committed(job)
            first.kill()
            job.wait_for(lambda seen: seen.workers == 0, "the only worker is gone")
        gates.open_gate(tmp_path)
        with worker_process(job.port, "-n", "1") as second:
            assert job.results() == gates.grouped(RECORDS)
            assert second.wait(20) == 0


def test_a_server_whose_local_workers_died_says_so_and_waits_for_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ServedJob(gates.records(tmp_path, 6), gates.held, gates.as_given, workers=1) as job:
        gates.wait_for_slots(tmp_path, 1)
        ((_, worker, _),) = gates.starts(tmp_path)
        os.kill(worker, signal.SIGKILL)
        job.wait_for(lambda seen: seen.workers == 0, "the local worker is gone")
        gates.open_gate(tmp_path)
        said = ""

        def sentence_is_there() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "all 1 local workers have ended" in said and f"-P {job.port}" in said

        gates.wait_until(sentence_is_there, "the server says that its workers have ended, and how to start others")
        with worker_process(job.port, "-n", "1") as other:
            assert job.results() == gates.grouped(6)
            assert other.wait(20) == 0


def test_a_worker_lost_while_its_outputs_are_reduced_is_made_up_for(tmp_path: Path) -> None:
    """Reduce attempts are under way on both workers, each needing outputs of the other, when one of them dies."""
    data = gates.records(tmp_path, RECORDS, held_from=0)
    with (
        ServedJob(data, gates.held, gates.held_as_given(tmp_path), reduce_task_bytes=1) as job,
        worker_process(job.port, "-n", "1") as first,
        worker_process(job.port, "-n", "1") as second,
    ):
        gates.wait_for_workers(tmp_path, first.pid, second.pid)
        gates.open_gate(tmp_path)
        gates.wait_for_reducers(tmp_path, 2)
        first.kill()
        gates.open_gate(tmp_path, "reduce")
        assert job.results() == gates.grouped(RECORDS)


def test_a_server_returns_although_an_idle_worker_is_frozen(tmp_path: Path) -> None:
    with (
        ServedJob(gates.records(tmp_path, 1, 1), gates.held, gates.held_as_given(tmp_path)) as job,
        worker_process(job.port, "-n", "1") as first,
        worker_process(job.port, "-n", "1") as second,
    ):
        job.wait_for(lambda seen: seen.workers == 2, "both workers join")
        reducers = gates.wait_for_reducers(tmp_path, 1)
        idle = first if second.pid in reducers else second
        idle.send_signal(signal.SIGSTOP)
        gates.open_gate(tmp_path, "reduce")
        began = time.monotonic()
        assert job.results() == gates.grouped(1)
        assert time.monotonic() - began < limits.LEASE_SECONDS / 2, "the server waited for the frozen worker"
        assert idle.poll() is None


# -- workers that join ---------------------------------------------------------------------------------------


def test_workers_added_in_mid_job_take_their_share(tmp_path: Path) -> None:
    with held_job(tmp_path) as job, worker_process(job.port, "-n", "1") as first:
        wait_for_committed(job)
        with worker_process(job.port, "-n", "1") as second, worker_process(job.port, "-n", "2") as third:
            gates.wait_for_workers(tmp_path, first.pid, second.pid, third.pid)
            gates.wait_for_slots(tmp_path, 4)
            gates.open_gate(tmp_path)
            assert job.results() == gates.grouped(RECORDS)
            assert [worker.wait(20) for worker in (first, second, third)] == [0, 0, 0]


def test_a_worker_may_wait_for_its_server(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    with worker_process(port, "-v", "-n", "1", "--wait", "30") as worker:
        assert worker.stderr is not None
        assert any("trying again for 30 seconds" in line for line in worker.stderr)
        with ServedJob(gates.records(tmp_path, 3, 3), gates.held, gates.as_given, port=port) as job:
            assert job.results() == gates.grouped(3)
        assert worker.wait(20) == 0


# -- workers that are not taken --------------------------------------------------------------------------------


def test_a_worker_with_a_wrong_password_gives_up_at_once_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        held_job(tmp_path, records=1) as job,
        worker_process(job.port, "-n", "1", "--wait", "30", password="changeyou") as worker,
    ):
        _, stderr = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert stderr.count("\n") == 1
    assert stderr.startswith(f"mincemeat: {LOOPBACK}:{job.port}: ")
    assert "password" in stderr
    refusals = [record for record in caplog.records if "did not prove knowledge of the password" in record.message]
    assert len(refusals) == 1, "each further one would cost the other workers of its address a guess"
    assert not gates.starts(tmp_path)


def check_refused(command: list[str], environment: dict[str, str], version: str, directory: Path) -> None:
    with held_job(directory, records=1) as job:
        done = subprocess.run(
            [*command, "-P", str(job.port), LOOPBACK],
            env={**os.environ, **environment, "MINCEMEAT_PASSWORD": "changeme"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"CPython {version}. Start the worker with Python {OURS}." in done.stderr
    assert not gates.starts(directory)


def test_a_worker_that_claims_another_python_is_refused_with_a_sentence(tmp_path: Path) -> None:
    pretend = "import platform; platform.python_version_tuple = lambda: ('3', '2', '1'); import mincemeat"
    command = [sys.executable, "-c", f"{pretend}; mincemeat.run_client()"]
    check_refused(command, {}, "3.2", tmp_path)


OTHERS = [f"3.{minor}" for minor in range(11, 16) if f"3.{minor}" != OURS]


@pytest.mark.parametrize("version", OTHERS)
def test_a_worker_of_another_python_is_refused_with_a_sentence(version: str, tmp_path: Path) -> None:
    python = f"python{version}"
    try:
        subprocess.run([python, "-c", "import cloudpickle"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no {python} with cloudpickle here")
    check_refused([python, "-m", "mincemeat"], {"PYTHONPATH": str(ROOT / "src")}, version, tmp_path)
