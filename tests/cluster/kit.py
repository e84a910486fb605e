"""Listeners, dialers and strangers on loopback: what the tests of connections stand on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mincemeat.cluster.connection import Connection, Listener, dial
from mincemeat.errors import ConnectionFailed
from mincemeat.wire.handshake import Role
from mincemeat.wire.messages import Get, Message

PASSWORD = b"secret"
HOST = "127.0.0.1"

_T = TypeVar("_T")
StrangerHandler = Callable[[socket.socket], Awaitable[None]]


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a test's coroutine; fail rather than hang, and fail if it leaves a task behind."""

    async def watched() -> _T:
        before = asyncio.all_tasks()
        async with asyncio.timeout(30):
            result = await work
        left = asyncio.all_tasks() - before
        assert not left, f"tasks left behind: {left}"
        return result

    return asyncio.run(watched())


@dataclass
class Hall:
    """A listener that answers each message with the same one, and remembers who came in."""

    listener: Listener
    port: int
    connections: list[Connection] = field(default_factory=list)

    async def dial(self, secret: bytes = PASSWORD, *, timeout: float = 10.0) -> Connection:
        return await dial(HOST, self.port, role=Role.WORKER, secret=secret, timeout=timeout)

    async def join(self) -> None:
        """An honest worker gets in and is served."""
        async with closing(await self.dial()) as connection:
            await check_echo(connection)


@contextlib.asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Hall]:
    connections: list[Connection] = []

    async def echo(connection: Connection) -> None:
        connections.append(connection)
        while True:
            await connection.send(await connection.receive())

    def lookup_resume_key(resume_id: bytes) -> bytes | None:
        keys = {known.session.resume_id: known.session.resume_key for known in connections}
        return keys.get(resume_id)

    listener = Listener(PASSWORD, lookup_resume_key, echo, **options)
    hall = Hall(listener, await listener.start(HOST, 0), connections)
    try:
        yield hall
    finally:
        await listener.close()


@contextlib.asynccontextmanager
async def closing(connection: Connection) -> AsyncIterator[Connection]:
    try:
        yield connection
    finally:
        connection.close()
        await connection.wait_closed()


@contextlib.asynccontextmanager
async def stranger_server(handle: StrangerHandler) -> AsyncIterator[int]:
    """A server that accepts one connection and hands its plain socket to `handle`; gives the port."""
    loop = asyncio.get_running_loop()
    with socket.create_server((HOST, 0)) as listening_socket:
        listening_socket.setblocking(False)

        async def serve() -> None:
            accepted, _ = await loop.sock_accept(listening_socket)
            with accepted:
                await handle(accepted)

        task = loop.create_task(serve())
        try:
            yield int(listening_socket.getsockname()[1])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def stranger(port: int) -> AsyncIterator[socket.socket]:
    """A plain socket that is connected to `port`."""
    with socket.socket() as plain:
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (HOST, port))
        yield plain


async def read_to_end(plain: socket.socket) -> bytes:
    """All that the other end says before it closes; a reset is an end, too."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(plain, 65536):
            data += piece
    return data


async def check_echo(connection: Connection) -> None:
    message: Message = Get("split", "job-1", "m-00017.0", 0, 0, 1, "", "", body=b"\0\xff")
    await connection.send(message)
    assert await connection.receive() == message


async def check_closed(connection: Connection) -> None:
    try:
        message = await connection.receive()
    except ConnectionFailed:
        return
    raise AssertionError(f"the connection is open and brought {message}")
