"""A server that lies to a worker, and a worker that lies to another: what the process that holds the keys does then.

It runs no code of anybody's, makes, reads and removes no file outside of its own directory, and keeps no more than it
has to: what the server's code does in slots is the server's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.blocks import decode_attempts, read_sections
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.fetching import HolderServer
from mincemeat.cluster.orders import decode_inputs
from mincemeat.cluster.session import WorkerSession
from mincemeat.errors import ConnectionFailed, JoinRefused, MincemeatError, ProtocolError, RemoteProtocolError
from mincemeat.shuffle.store import JobStore
from mincemeat.wire import messages
from mincemeat.wire.codec import encode
from mincemeat.wire.handshake import Role
from mincemeat.wire.tickets import ticket, ticket_key
from tests.attacks import lies
from tests.attacks.stage import is_heard_out
from tests.cluster.kit import run
from tests.kit.auditing import watching
from tests.kit.desk import JOB
from tests.kit.wired import Wired, WiredDoor, connected

OF_SERVERS = tuple(cls for number, cls in messages.KINDS.items() if 32 <= number < 64)
NOT_OF_SERVERS = tuple(cls for number, cls in messages.KINDS.items() if not 32 <= number < 64)
WELCOME = messages.Welcome("w", 2.0, 8.0, "00" * 32)
BEGIN = messages.JobStart(JOB, 2, 2**20, None, 0.0, 4, body=b"code")


class Server:
    """The server's end of a worker's control connection; ``work`` is the worker's session."""

    def __init__(self, connection: Connection, work: asyncio.Task[None], session: WorkerSession) -> None:
        self.connection = connection
        self.work = work
        self.session = session

    async def say(self, *said: messages.Message) -> None:
        for message in said:
            await self.connection.send(message)
        await is_heard_out(self.connection)


@contextlib.asynccontextmanager
async def serving(
    scratch: Path, *said: messages.Message, answers: Iterable[messages.Message] = ()
) -> AsyncIterator[Server]:
    """A worker that has joined, and been told all that is ``said``. Whoever it dials says ``answers``, and no more."""
    answers = list(answers)

    async def answer(channel: Connection) -> None:
        await channel.receive()
        for message in answers:
            await channel.send(message)
        await asyncio.Event().wait()

    world = Wired(answer)
    here, there = connected()
    session = WorkerSession(here, ("10.0.0.1", 11235), scratch, 1, "", outside=world)
    work = asyncio.get_running_loop().create_task(session.run())
    server = Server(there, work, session)
    await there.receive()
    await server.say(*said)
    try:
        yield server
    finally:
        work.cancel()
        outcome = (await asyncio.gather(work, return_exceptions=True))[0]
        await world.close()
        if not isinstance(outcome, MincemeatError | asyncio.CancelledError | None):
            raise outcome


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    scratch, victim = tmp_path / "worker" / "scratch", tmp_path / "victim"
    scratch.mkdir(parents=True)
    victim.mkdir()
    for name in ("m-00000.0", "m-00000.0.blocks", "code"):
        (victim / name).write_text("somebody else's")
    return scratch, victim


@pytest.mark.parametrize("cls", OF_SERVERS)
def test_no_lie_of_a_server_leaves_the_workers_directory(
    cls: type[messages.Message], places: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    scratch, victim = places
    canary = victim / "canary"
    known = {"job": JOB, "attempt": "r-00000.0" if cls is messages.ReduceStart else "m-00000.0", "last_partition": 1}
    honest = {messages.Welcome: WELCOME, messages.JobStart: BEGIN}.get(cls, lies.plain(cls, **known))

    async def scenario() -> None:
        for _, lie in lies.lies_about(honest, str(canary)):
            try:
                encode(lie)
            except MincemeatError:
                continue
            before = () if cls in (messages.Welcome, messages.Refused) else (WELCOME,)
            before = before if cls in (messages.JobStart, messages.Welcome, messages.Refused) else (*before, BEGIN)
            with contextlib.suppress(ConnectionFailed):
                async with serving(scratch, *before) as server:
                    await server.say(lie)
        for _, lie in lies.lies_about(honest, str(canary)):  # and as the answer where another is due
            with contextlib.suppress(MincemeatError):
                async with serving(scratch, lie):
                    pass

    with watching(scratch.parent, victim) as watch:
        run(scenario())
    assert watch.violations == []
    assert not canary.exists()
    assert "a fault of the worker's own" not in caplog.text


@pytest.mark.parametrize("cls", NOT_OF_SERVERS)
def test_what_no_server_says_ends_the_session(cls: type[messages.Message], places: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with serving(places[0], WELCOME) as server:
            if cls is messages.Heartbeat:  # the answer to one's own
                return
            await server.connection.send(lies.plain(cls))
            with pytest.raises(RemoteProtocolError, match=f"{cls.__name__} is not a message to a worker"):
                await server.work

    run(scenario())


@pytest.mark.parametrize(
    "welcome",
    [
        messages.Welcome("w", 0.0, 8.0, "00" * 32),  # signs of life without a pause
        messages.Welcome("w", -1.0, 1e300, "00" * 32),
        messages.Welcome("w", 2.0, 1.0, "00" * 32),
        messages.Welcome("w", 2.0, 8.0, ""),
        messages.Welcome("w", 2.0, 8.0, "zz" * 32),
        messages.Welcome("w", 2.0, 8.0, "00" * 31),
    ],
)
def test_a_welcome_that_cannot_be_is_an_error_of_the_server(
    welcome: messages.Welcome, places: tuple[Path, Path]
) -> None:
    """A key that is not hexadecimal was our own ValueError; without a pause, signs of life filled the memory."""

    async def scenario() -> None:
        async with serving(places[0], welcome) as server:
            with pytest.raises(RemoteProtocolError, match="the server"):
                await server.work

    run(scenario())


def test_a_server_cannot_give_orders_to_the_terminal(places: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with serving(places[0], messages.Refused("\x1b]0;owned\x07no\nmincemeat: all is well")) as server:
            with pytest.raises(JoinRefused) as caught:
                await server.work
            assert str(caught.value).isprintable()

    run(scenario())


def test_attempts_beyond_a_workers_slots_are_not_kept(places: tuple[Path, Path]) -> None:
    """Each waited with its payload, up to a megabyte, for as long as the server liked to send more."""

    async def scenario() -> None:
        async with serving(places[0], WELCOME) as server:
            said = 0
            while not server.work.done():
                await server.say(messages.MapStart(JOB, f"m-{said:05d}.0", [1], body=b"x"))
                said += 1
            assert said < 20
            with pytest.raises(RemoteProtocolError, match="attempts already"):
                await server.work

    run(scenario())


def test_uploads_beyond_what_a_server_may_ask_for_are_not_kept(places: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with serving(places[0], WELCOME, BEGIN) as server:
            serve = messages.Serve("relay-1", JOB, 0, 1, body=b"[]" + b" " * 1000)
            await server.say(*[serve] * 1000)
            assert len(server.session._serving) <= limits.CHANNELS_PER_WORKER_MAX

    run(scenario())


def test_a_second_job_in_a_session_is_refused(places: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with serving(places[0], WELCOME, BEGIN) as server:
            await server.connection.send(BEGIN)
            with pytest.raises(RemoteProtocolError, match="second job"):
                await server.work

    run(scenario())


@pytest.mark.parametrize("size", [-1, 5, 2**62])
def test_code_without_end_does_not_enter_the_memory(size: int, places: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        begin = messages.JobStart(JOB, 2, 2**20, None, 0.0, 4)
        said = [messages.Answer(True, "", size), *[messages.Chunk(body=bytes(1000))] * 1000]
        async with serving(places[0], WELCOME, begin, answers=said) as server:
            with pytest.raises(ConnectionFailed):
                await server.work
            assert not (places[0] / "code").exists() or (places[0] / "code").stat().st_size <= 4

    run(scenario())


HOLDER = {"worker": "w", "host": "h", "port": 1, "fingerprint": "00" * 32, "ticket": ""}


@pytest.mark.parametrize(
    "described",
    [
        None,
        [],
        {"holders": []},
        {"holders": [{}], "maps": []},
        {"holders": [HOLDER | {"port": 2**16}], "maps": []},
        {"holders": [HOLDER | {"fingerprint": "zz"}], "maps": []},
        {"holders": [HOLDER | {"more": 1}], "maps": []},
        {"holders": [HOLDER], "maps": [[0, 0, 1]]},
        {"holders": [HOLDER], "maps": [[0, 0, -1]]},
        {"holders": [HOLDER], "maps": [[-1, 0, 0]]},
        {"holders": [HOLDER], "maps": [[0, "0/../../../victim/m-00000.0", 0]]},
        {"holders": [HOLDER], "maps": [["0", 0, 0]]},
        {"holders": [HOLDER], "maps": [[0, 0, True]]},
        {"holders": [HOLDER], "maps": [[0, 0]]},
        {"holders": [HOLDER], "maps": [[0, 0, 0], [0, 0, 0]]},
    ],
)
def test_inputs_that_cannot_be_are_refused(described: object) -> None:
    """The number of an attempt could be any text, and became a part of the path that blocks were read from."""
    with pytest.raises(RemoteProtocolError):
        decode_inputs(json.dumps(described).encode())


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b'{"holders":' + b"[" * 100_000])
def test_inputs_that_are_no_json_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_inputs(data)


# -- other workers -------------------------------------------------------------------------------------------------


def test_a_stretch_of_nothing_but_heads_is_refused_at_the_first_that_was_not_asked_for(tmp_path: Path) -> None:
    """Each became a span in memory, before anybody looked whether it was asked for."""
    path = tmp_path / "stretch"
    path.write_bytes(b"".join(struct.pack(">IQ", index, 0) for index in range(1000)))
    with pytest.raises(RemoteProtocolError, match="other map outputs"):
        read_sections(path, {0, 1})
    path.write_bytes(struct.pack(">IQ", 0, 0) * 1000)
    with pytest.raises(RemoteProtocolError, match="other map outputs"):
        read_sections(path, {0, 1})


@pytest.mark.parametrize(
    "names",
    [
        ["m-00000.0", "m-00000.0"],
        ["m-00000.0", "m-0.0"],
        ["r-00000.0"],
        ["../../victim/m-00000.0"],
        [f"m-{number}.0" for number in range(limits.OUTPUTS_PER_FETCH_MAX + 1)],
    ],
)
def test_lists_of_outputs_that_would_keep_a_holder_busy_are_refused(names: list[str]) -> None:
    """The same output, a hundred thousand times, was looked up as often while no sign of life could be sent."""
    with pytest.raises(ProtocolError):
        decode_attempts(json.dumps(names).encode())


def fetch(fetcher: str, key: bytes, /, **changes: object) -> messages.Get:
    fields = {"job": JOB, "name": "h", "ticket": ticket(key, JOB, fetcher), "fetcher": fetcher, **changes}
    return messages.Get("blocks", split=0, first_partition=0, last_partition=1, body=b"[]", **fields)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def holding(scratch: Path, key: bytes) -> AsyncIterator[tuple[HolderServer, WiredDoor]]:
    world = Wired()
    server = HolderServer(outside=world)
    await server.start("")
    server.admit(key, JOB, JobStore(scratch / "blocks"))
    try:
        yield server, world.doors[0]
    finally:
        await world.close()
    assert not world.doors[0].faults


def test_a_fetcher_has_a_bounded_number_of_connections(tmp_path: Path) -> None:
    """It could open any number, and read from none of them."""
    key = ticket_key(b"root", "holder", 0)

    async def scenario() -> None:
        async with holding(tmp_path, key) as (server, door):
            opened = [door.dial(Role.CHANNEL) for _ in range(1000)]
            for connection in opened:
                await connection.send(fetch("fetcher", key))
            answered = [connection for connection in opened if await is_heard_out(connection)]
            assert len(answered) == limits.CHANNELS_PER_WORKER_MAX
            other = door.dial(Role.CHANNEL)
            await other.send(fetch("another", key))
            assert isinstance(await other.receive(), messages.Answer)
            for connection in (*answered, other):
                connection.abort()
                await is_heard_out(connection)
            assert not server._connections

    run(scenario())


def test_tickets_that_are_forged_borrowed_or_of_an_earlier_epoch_open_nothing(tmp_path: Path) -> None:
    former, key = ticket_key(b"root", "holder", 0), ticket_key(b"root", "holder", 1)
    other_holder, other_root = ticket_key(b"root", "other", 1), ticket_key(b"toor", "holder", 1)

    async def scenario() -> None:
        async with holding(tmp_path, former) as (server, door):
            server.renew(key)
            forged = [
                fetch("fetcher", former),
                fetch("fetcher", other_holder),
                fetch("fetcher", other_root),
                fetch("fetcher", key, fetcher="another"),
                fetch("fetcher", key, job="job-2"),
                *(fetch("fetcher", key, ticket=name) for name in lies.NAMES if len(name) < 1000),
                fetch("fetcher", key, ticket=ticket(key, JOB, "fetcher").upper()),
            ]
            for request in forged:
                connection = door.dial(Role.CHANNEL)
                await connection.send(request)
                with pytest.raises(ConnectionFailed):  # not a word
                    await connection.receive()
            connection = door.dial(Role.CHANNEL)
            await connection.send(fetch("fetcher", key))
            assert isinstance(await connection.receive(), messages.Answer)
            assert [piece async for piece in connection.receive_body()] == []
            await connection.send(fetch("another", key))  # with a ticket of its own, on somebody else's connection
            with pytest.raises(ConnectionFailed):
                await connection.receive()

    run(scenario())
