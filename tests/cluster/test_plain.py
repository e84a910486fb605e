"""The secure handshake where one end or both are without the package `cryptography`: real listener, real dialer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import mincemeat
from mincemeat.cluster.connection import Connection, PinnedListener, Refusal, dial, dial_pinned
from mincemeat.cluster.tls import client_context, server_context
from mincemeat.errors import AuthenticationError
from mincemeat.wire.handshake import Role
from tests.cluster.kit import HOST, PASSWORD, Hall, check_echo, closing, listening, run
from tests.kit.plain import PACKAGED, PLAIN, WAYS, chosen_ways, use

PAIRS = pytest.mark.parametrize(("server", "client"), [(PLAIN, PACKAGED), (PACKAGED, PLAIN), (PLAIN, PLAIN)])


@pytest.fixture
def taken() -> Iterator[list[str]]:
    with chosen_ways() as taken:
        yield taken


@contextlib.asynccontextmanager
async def listening_by(way: str) -> AsyncIterator[Hall]:
    """A listener whose certificate and multiplications are of this way; the test's own stay as they were."""
    async with contextlib.AsyncExitStack() as stack:
        with use(way):
            hall = await stack.enter_async_context(listening())
        yield hall


@PAIRS
def test_both_ends_prove_the_password(server: str, client: str, taken: list[str]) -> None:
    async def scenario() -> None:
        async with listening_by(server) as hall:
            with use(client):
                async with closing(await hall.dial()) as connection:
                    await check_echo(connection)
                    (other_end,) = hall.connections
                    assert other_end.session == connection.session

    run(scenario())
    # A generator's share and a shared point at either end.
    assert Counter(taken) == Counter({server: 2}) + Counter({client: 2})


@PAIRS
def test_a_wrong_password_is_refused(server: str, client: str, taken: list[str]) -> None:
    async def scenario() -> None:
        async with listening_by(server) as hall:
            with use(client), pytest.raises(AuthenticationError, match="refused the password"):
                await hall.dial(b"wrong")
            while not hall.listener.refusals[Refusal.PASSWORD]:
                await asyncio.sleep(0.001)
            assert hall.connections == []

    run(scenario())


@PAIRS
def test_a_resume_key_opens_a_channel(server: str, client: str, taken: list[str]) -> None:
    async def scenario() -> None:
        async with listening_by(server) as hall:
            with use(client):
                async with closing(await hall.dial()) as worker:
                    await check_echo(worker)
                    session = worker.session
                    channel = await dial(
                        HOST,
                        hall.port,
                        role=Role.CHANNEL,
                        secret=session.resume_key,
                        resume_id=session.resume_id,
                        pinned_fingerprint=worker.fingerprint,
                    )
                    async with closing(channel):
                        await check_echo(channel)

    run(scenario())


@contextlib.asynccontextmanager
async def relaying(port: int, way: str) -> AsyncIterator[int]:
    """A man in the middle with a certificate of his own, who passes on all that is said within; gives his port."""
    with use(way):
        context, _ = server_context()

    relays: list[asyncio.Task[None]] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        relays.append(task)
        there, back = await asyncio.open_connection(HOST, port, ssl=client_context())
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(relay, HOST, 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*relays)


@PAIRS
def test_a_relay_with_another_certificate_is_refused_by_both_ends(server: str, client: str, taken: list[str]) -> None:
    """Threat: a man in the middle, who has the plain Python as well."""

    async def scenario() -> None:
        async with listening_by(server) as hall, relaying(hall.port, PLAIN) as port:
            with use(client), pytest.raises(AuthenticationError, match="another certificate"):
                await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
            while not hall.listener.refusals[Refusal.PASSWORD]:
                await asyncio.sleep(0.001)
            assert hall.connections == []

    run(scenario())


@pytest.mark.parametrize("way", WAYS)
def test_a_fetcher_pins_the_certificate_of_a_holder(way: str, taken: list[str]) -> None:
    async def answer(connection: Connection) -> None:
        await connection.send(await connection.receive())

    async def scenario() -> None:
        with use(way):
            holder = PinnedListener(answer)
        port = await holder.start(HOST, 0)
        try:
            async with closing(await dial_pinned(HOST, port, holder.fingerprint)) as connection:
                await check_echo(connection)
            with pytest.raises(AuthenticationError):
                await dial_pinned(HOST, port, bytes(32))
        finally:
            await holder.close()

    run(scenario())


# A Python with nothing but its standard library, which dials each port that it is told, and echoes on its own.
BARE = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from mincemeat.cluster.connection import Listener, dial
from mincemeat.errors import AuthenticationError
from mincemeat.wire.handshake import Role
from mincemeat.wire.messages import Bye

async def echo(connection):
    await connection.send(await connection.receive())

async def main():
    listener = Listener(b"secret", lambda resume_id: None, echo)
    print(await listener.start("127.0.0.1", 0), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        connection = await dial("127.0.0.1", int(line), role=Role.WORKER, secret=b"secret")
        await connection.send(Bye("done", False))
        assert await connection.receive() == Bye("done", False)
        connection.abort()
        try:
            await dial("127.0.0.1", int(line), role=Role.WORKER, secret=b"wrong")
        except AuthenticationError:
            print("well", flush=True)
    await listener.close()

asyncio.run(main())
assert not any(name.partition(".")[0] in ("cryptography", "cffi", "_cffi_backend") for name in sys.modules)
"""


class Bare:
    """Such a Python, as a process."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "error", "-c", BARE, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def joins(self, port: int) -> bool:
        """Whether it gets in there with the password, and does not with another."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{port}\n")
        self.process.stdin.flush()
        return self._read() == "well\n"

    def end(self) -> int:
        self.process.communicate()
        return self.process.returncode


@pytest.mark.slow
def test_pythons_with_nothing_installed_join_each_other_and_the_package_both_ways(tmp_path: Path) -> None:
    """Nothing of this environment is in reach of them: not even the directory that the package lies in."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "mincemeat").symlink_to(Path(mincemeat.__file__).parent, target_is_directory=True)
    one, other = Bare(root), Bare(root)
    try:
        assert one.joins(other.port)

        async def scenario() -> None:
            async with listening() as hall:
                assert await asyncio.to_thread(one.joins, hall.port)
                assert len(hall.connections) == 1
                hall.port = one.port
                await hall.join()
                with pytest.raises(AuthenticationError):
                    await hall.dial(b"wrong")

        run(scenario())
    finally:
        assert [one.end(), other.end()] == [0, 0]
