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
from mincemeat.model import AttemptId
from mincemeat.shuffle.store import JobStore
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
    """As ``playing``, behind Hello."""
    async with playing(scratch) as (task, server):
        assert isinstance(await server.receive(), messages.Hello)
        yield task, server


@contextlib.asynccontextmanager
async def playing(scratch: Path) -> AsyncIterator[tuple[asyncio.Task[None], Connection]]:
    """A worker's session, and the server's end of its connection."""
    playing = Playing()
    listener = Listener(PASSWORD, lambda resume_id: None, playing.serve)
    port = await listener.start(HOST, 0)
    connection = await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
    task = asyncio.get_running_loop().create_task(WorkerSession(connection, (HOST, port), scratch, 1, "").run())
    try:
        yield task, await playing.arrived
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


# -- what an earlier session left ----------------------------------------------------------------------------------


def held_outputs(scratch: Path, *names: str, job: str = "job-1") -> JobStore:
    """A worker's directory after a session with the server of ``job``."""
    store = JobStore(scratch / "blocks")
    for name in names:
        with store.writing(AttemptId.parse(name)):
            pass
        store.commit(AttemptId.parse(name))
    (scratch / "job").write_text(job)
    return store


def test_map_outputs_that_are_whole_are_announced_and_all_else_is_removed(tmp_path: Path) -> None:
    store = held_outputs(tmp_path, "m-00000.0", "m-00003.2", "m-00004.0", "r-00000.0")
    torn = Path(store.path(AttemptId.parse("m-00004.0")))
    torn.write_bytes(torn.read_bytes()[:-3])
    (tmp_path / "blocks" / "m-00005.0.blocks.part").touch()

    async def scenario() -> None:
        async with playing(tmp_path) as (_, server):
            said = await server.receive()
            assert isinstance(said, messages.Hello)
            assert (said.held_job, said.held) == ("job-1", 2)
            assert await server.receive() == messages.Holding(["m-00000.0", "m-00003.2"])

    run(scenario())
    assert sorted(path.name for path in (tmp_path / "blocks").iterdir()) == ["m-00000.0.blocks", "m-00003.2.blocks"]


def test_many_names_travel_in_several_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_OUTPUTS_PER_MESSAGE", 2)
    held_outputs(tmp_path, *(f"m-0000{number}.0" for number in range(5)))

    async def scenario() -> None:
        async with playing(tmp_path) as (_, server):
            said = await server.receive()
            assert isinstance(said, messages.Hello)
            names: list[str] = []
            while len(names) < said.held:
                holding = await server.receive()
                assert isinstance(holding, messages.Holding)
                assert len(holding.attempts) <= 2
                names += holding.attempts
            assert names == [f"m-0000{number}.0" for number in range(5)]

    run(scenario())


@pytest.mark.parametrize(("job", "left"), [("job-1", ["m-00000.0.blocks"]), ("job-2", [])])
def test_outputs_stay_for_their_own_job_only(tmp_path: Path, job: str, left: list[str]) -> None:
    held_outputs(tmp_path, "m-00000.0", job=job)

    async def scenario() -> None:
        async with playing(tmp_path) as (task, server):
            while not isinstance(await server.receive(), messages.Holding):
                pass
            await server.send(WELCOME)
            await server.send(JOB)
            while (tmp_path / "job").read_text() != "job-1":
                await asyncio.sleep(0.001)
            await server.send(messages.Bye("I will be back", again=True))
            with pytest.raises(ConnectionFailed, match="I will be back"):
                await task

    run(scenario())
    there = [path.name for path in (tmp_path / "blocks").iterdir()] if (tmp_path / "blocks").exists() else []
    assert there == left
