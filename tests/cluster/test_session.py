"""A worker's session with a server that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.connection import Connection, Listener, dial
from mincemeat.cluster.session import WorkerSession
from mincemeat.errors import ConnectionFailed, PortInUse
from mincemeat.wire import messages
from mincemeat.wire.handshake import Role
from tests.cluster.kit import HOST, PASSWORD, run

WELCOME = messages.Welcome(worker="w", heartbeat_seconds=10.0, lease_seconds=60.0, ticket_key="00" * 32)
JOB = messages.JobStart("job-1", 2, 2**20, None, 0.0, 4, body=b"code")


class Playing:
    """The worker's task, and the server's end of its control connection."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def serve(self, connection: Connection) -> None:
        self.arrived.set_result(connection)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def session(scratch: Path) -> AsyncIterator[tuple[asyncio.Task[None], Connection]]:
    playing = Playing()
    listener = Listener(PASSWORD, lambda resume_id: None, playing.serve)
    port = await listener.start(HOST, 0)
    connection = await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
    task = asyncio.get_running_loop().create_task(WorkerSession(connection, (HOST, port), scratch, 1, "").run())
    try:
        server = await playing.arrived
        assert isinstance(await server.receive(), messages.Hello)
        yield task, server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await listener.close()


def test_an_attempt_cancelled_in_the_same_breath_never_begins(tmp_path: Path) -> None:
    """Its coroutine was never awaited, which Python complained about on the terminal, and its name stayed taken."""

    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(WELCOME)
            await server.send(JOB)
            start = messages.MapStart("job-1", "m-00000.0", [1], body=b"x")
            cancel = messages.AttemptCancel("job-1", "m-00000.0")
            for message in (start, cancel) * 3:
                await server.send(message)
            await server.send(messages.Bye("that was all", again=False))
            await task
            assert task.exception() is None, "the worker left as it was told to"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(scenario())


def test_a_server_that_never_welcomes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.05)

    async def scenario() -> None:
        async with session(tmp_path) as (task, _):
            with pytest.raises(ConnectionFailed, match="no welcome"):
                await task

    run(scenario())


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(messages.Welcome("w", 0.01, 0.05, "00" * 32))
            with pytest.raises(ConnectionFailed):
                await task

    run(scenario())


def test_a_worker_that_was_stopped_itself_lets_the_server_speak_first(tmp_path: Path) -> None:
    """A laptop suspended for some seconds found the lease over, although the server would have answered."""

    async def answer(server: Connection) -> None:
        while True:
            if isinstance(await server.receive(), messages.Heartbeat):
                await server.send(messages.Heartbeat())

    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(messages.Welcome("w", 0.02, 1.0, "00" * 32))
            answering = asyncio.get_running_loop().create_task(answer(server))
            await asyncio.sleep(0.1)
            time.sleep(1.2)  # both ends stand still
            done, _ = await asyncio.wait([task, answering], timeout=0.3)
            assert not done, "the worker gave the server up"
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    run(scenario())


@pytest.mark.parametrize("name", ["../../escape", "m-00000.0/../../x", ""])
def test_an_attempt_whose_name_is_a_path_ends_the_session(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(WELCOME)
            await server.send(messages.MapStart("job-1", name, [1], body=b"x"))
            with pytest.raises(Exception, match="not the name of an attempt"):
                await task

    run(scenario())


def test_a_worker_that_cannot_listen_joins_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with a scope, say: its blocks are relayed."""

    async def fail(*_: object) -> int:
        raise PortInUse("cannot listen on fe80::1:0")

    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(WELCOME)
            await server.send(messages.Bye("that was all", again=False))
            await task
            assert task.exception() is None, "the worker left as it was told to"

    monkeypatch.setattr("mincemeat.cluster.fetching.HolderServer.start", fail)
    run(scenario())
