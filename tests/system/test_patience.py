"""Nobody waits in silence: what keeps a cluster's job from ever ending is raised, or told, where somebody waits."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.cluster import fetching, local, outside, worker
from mincemeat.cluster.coordinator import Coordinator
from mincemeat.errors import AuthenticationError, ConnectionFailed, InvalidJob, JobFailed, ServerBusy
from mincemeat.interpreters import Interpreter
from mincemeat.wire.handshake import Role
from tests.kit import jobs
from tests.kit.clusters import LOOPBACK, ClientThread, run_server
from tests.kit.gates import wait_until
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow


def coordinators() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mincemeat-coordinator"]


# -- the server ------------------------------------------------------------------------------------------------


def one_that_ends(module: str, *arguments: int | None) -> Interpreter:
    return Interpreter([sys.executable, "-c", "raise SystemExit(3)"])


def test_local_workers_that_cannot_start_end_a_job_that_only_they_were_invited_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "another", one_that_ends)
    server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total, progress=False)
    with pytest.raises(JobFailed, match="all 2 local workers have ended, with exit code 3"):
        server.run_server(port=0, host=LOOPBACK, workers=2)
    assert not coordinators()


def test_local_workers_that_cannot_start_are_told_of_where_others_may_come(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "another", one_that_ends)
    told: list[str] = []
    server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total, progress=False)
    ports: list[int] = []
    server.on_listening = ports.append

    def help_out() -> None:
        def is_told() -> bool:
            told.append(capfd.readouterr().err)
            return "local workers have ended" in "".join(told)

        wait_until(is_told, "the end of the local workers is told")
        client = mincemeat.Client(b"pw")
        client.conn(LOOPBACK, ports[0])

    with ThreadPoolExecutor(1) as threads:
        helping = threads.submit(help_out)
        results = server.run_server(password=b"pw", port=0, host=LOOPBACK, workers=1)
        helping.result()
    assert results == jobs.count_words(jobs.RHYME)


@pytest.mark.parametrize("where", ["start", "serve_until_stopped"])
def test_a_fault_of_the_coordinators_thread_is_raised_where_the_caller_waits(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> int:
        raise RuntimeError("no more file descriptors, say")

    monkeypatch.setattr(Coordinator, where, fail)
    if where != "start":
        monkeypatch.setattr(Coordinator, "start", lambda *_: asyncio.sleep(0, result=1))
    with pytest.raises(RuntimeError, match="file descriptors"):
        mincemeat.Server(jobs.RHYME, jobs.words, jobs.total).run_server("pw", 0, host=LOOPBACK)
    assert not coordinators()


def test_what_on_listening_raises_is_raised_and_nothing_is_left_running() -> None:
    def on_listening(port: int) -> None:
        raise KeyError(port)

    server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total, on_listening=on_listening)
    with pytest.raises(KeyError):
        server.run_server("pw", 0, host=LOOPBACK, workers=1)
    assert not coordinators()


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 0, -1])
def test_a_time_limit_that_is_none_is_refused(seconds: float) -> None:
    """Infinity cannot be told to a worker: each was dropped as it joined, and the job waited on."""
    server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total, task_timeout=seconds)
    with pytest.raises(InvalidJob, match="task_timeout must be a positive number"):
        server.run_server("pw", 0, host=LOOPBACK, workers=1)


def raises_at_length(key: Any, value: Any) -> list[Any]:
    raise ValueError("long " * 500_000)


def test_an_exception_of_megabytes_ends_the_job_as_a_short_one_does() -> None:
    """It did not fit into a message, so that its worker left instead of telling it; and the next one."""
    server = mincemeat.Server({1: 1}, raises_at_length, jobs.total, max_attempts=2)
    with pytest.raises(JobFailed, match="raised ValueError in mapfn for key 1 .record 0 of split 0.: long long"):
        run_server(server, clients=2)


# -- workers that cannot reach one another ---------------------------------------------------------------------


def test_workers_that_relay_for_one_another_do_not_wait_in_a_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data connections were taken by fetches, and the uploads that these waited for had none left."""
    monkeypatch.setattr(limits, "DATA_CONNECTIONS_PER_PEER", 1)
    problems: list[Exception] = []
    fetch = fetching.Fetcher.fetch

    async def unreachable(host: str, *_: object, **__: object) -> None:
        raise ConnectionFailed(f"a firewall protects {host}")

    async def watched(*arguments: Any) -> Any:
        try:
            return await fetch(*arguments)
        except Exception as error:
            problems.append(error)
            raise

    monkeypatch.setattr(outside, "dial_pinned", unreachable)
    monkeypatch.setattr(fetching.Fetcher, "fetch", watched)
    data = {number: number for number in range(300)}
    with ServedJob(data, jobs.remainder, jobs.values_as_given, split=10, reduce_task_bytes=1) as job:
        clients = [ClientThread(job.port, "changeme", slots=2) for _ in range(3)]
        for client in clients:
            client.start()
        assert job.results() == {rest: list(range(rest, 300, 3)) for rest in range(3)}
        for client in clients:
            client.join(20)
    assert not problems


# -- the worker ------------------------------------------------------------------------------------------------


def test_a_worker_in_another_thread_can_be_stopped() -> None:
    """Ctrl-C in a notebook ended the cell's call, which then waited for its thread."""
    serving = worker._Worker(
        LOOPBACK, 1, worker.Proof(Role.WORKER, b"pw"), 1, float("inf"), True, lambda sentence: began.set()
    )
    began = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(asyncio.run, serving.serve())
        assert began.wait(10)
        serving.stop()
        assert isinstance(working.exception(timeout=10), asyncio.CancelledError)
        serving.stop()  # too late, and harmless


def test_a_worker_stopped_before_it_began_does_not_begin() -> None:
    serving = worker._Worker(LOOPBACK, 1, worker.Proof(Role.WORKER, b"pw"), 1, float("inf"), True, print)
    serving.stop()
    asyncio.run(serving.serve())


@pytest.mark.parametrize(("is_certain", "times"), [(True, 1), (False, limits.PASSWORD_REFUSALS_MAX)])
def test_a_refused_password_is_not_tried_again_and_a_broken_off_proof_is(
    is_certain: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[int] = []

    async def refuse(host: str, port: int, **_: object) -> None:
        dialled.append(port)
        raise AuthenticationError("the server refused the password", is_certain=is_certain)

    monkeypatch.setattr(limits, "RETRY_SECONDS_MAX", 0.001)
    monkeypatch.setattr(limits, "RETRY_SECONDS_MIN", 0.001)
    monkeypatch.setattr(outside, "dial", refuse)
    with pytest.raises(AuthenticationError):
        worker.serve(LOOPBACK, 1, b"pw", forever=True)
    assert dialled == [1] * times


def test_a_server_that_is_always_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever closes connections after the TLS handshake was dialled for ever."""
    monkeypatch.setattr("mincemeat.limits.BUSY_SECONDS", 0.05)

    async def busy(*_: object, **__: object) -> None:
        raise ServerBusy("the server closed the connection before the password was tried: it is busy")

    monkeypatch.setattr(outside, "dial", busy)
    with pytest.raises(ServerBusy):
        worker.serve(LOOPBACK, 1, b"pw", wait_seconds=0)
