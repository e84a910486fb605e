"""Connections in memory: a coordinator, a worker or a holder with peers that cost no socket, no TLS and no proof.

Frames, messages and everything above them are the real ones. What proves a peer is replaced, for the tests that use
this are about peers that have proven themselves.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable

from mincemeat.cluster.async_slots import Slot
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.outside import Door, Outside
from mincemeat.errors import ConnectionFailed, MincemeatError
from mincemeat.slot_channel import Header
from mincemeat.wire.handshake import Role, Session

FINGERPRINT = bytes(range(32))
Serve = Callable[[Connection], Awaitable[None]]

_ports = itertools.count(40_000)


class End:
    """One end of a stream. What is written to the other end is there at once, but for ``room`` bytes at most."""

    def __init__(self, local: tuple[str, int], peer: tuple[str, int], room: int = 2**22) -> None:
        self.local, self.peer = local, peer
        self.last_received = asyncio.get_running_loop().time()
        self.other: End
        self._room = room
        self._arrived = bytearray()
        self._ended = self._closed = False
        self._changed = asyncio.Event()

    def trust(self) -> None:
        pass

    async def read(self) -> bytes:
        while not self._arrived and not self._ended:
            await self._wait()
        data = b"" if self._closed else bytes(self._arrived)
        self._arrived.clear()
        self.other._changed.set()
        return data

    async def write(self, data: bytes) -> None:
        while not self._ended and len(self.other._arrived) > self._room:
            await self._wait()
        if self._ended:
            raise ConnectionFailed("the connection is closed")
        self.other._arrived += data
        self.other.last_received = asyncio.get_running_loop().time()
        self.other._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def close(self) -> None:
        self._closed = self._ended = self.other._ended = True
        self._changed.set()
        self.other._changed.set()

    abort = close

    async def wait_closed(self) -> None:
        pass


def connected(session: Session | None = None, host: str = "10.0.0.7") -> tuple[Connection, Connection]:
    """Both ends of a connection: who dialled, from ``host``, and who was dialled."""
    here, there = (host, next(_ports)), ("10.0.0.1", 11235)
    dialling, dialled = End(here, there), End(there, here)
    dialling.other, dialled.other = dialled, dialling
    dialled.local, dialled.peer = there, here
    return (
        Connection(dialling, fingerprint=FINGERPRINT, session=session),
        Connection(dialled, fingerprint=FINGERPRINT, session=session),
    )


class WiredDoor:
    """A listener that is dialled by a call. ``faults``: what serving a connection raised that no peer may cause."""

    fingerprint = FINGERPRINT

    def __init__(self, serve: Serve, on_unexpected: Callable[[BaseException], None] | None) -> None:
        self._serve_connection = serve
        self._on_unexpected = on_unexpected
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: list[BaseException] = []

    async def start(self, host: str, port: int) -> int:
        return port or 11235

    async def close(self, grace_seconds: float = 0.0) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def dial(self, role: Role, of: Connection | None = None) -> Connection:
        """A connection of a new worker, or a data connection of the worker that has ``of``."""
        session = of.session if of is not None else None
        session = Session(
            role,
            os.urandom(32) if session is None else session.resume_key,
            os.urandom(16) if session is None else session.resume_id,
            bytes(32),
        )
        dialling, dialled = connected(session)
        task = asyncio.get_running_loop().create_task(self._serve(dialled))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return dialling

    async def _serve(self, connection: Connection) -> None:
        try:
            await self._serve_connection(connection)
            connection.close()
        except (MincemeatError, OSError):
            pass
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.faults.append(error)
            if self._on_unexpected is not None:
                self._on_unexpected(error)
        finally:
            connection.abort()


class IdleSlot:
    """A slot that never answers."""

    prepared = ""

    async def send(self, header: Header, body: bytes = b"") -> None:
        pass

    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    def kill(self) -> None:
        pass


class Wired(Outside):
    """The world of one process under test. ``doors``: what it has listened with; ``answer``: who it dials."""

    def __init__(self, answer: Serve | None = None) -> None:
        self.doors: list[WiredDoor] = []
        self._answering = None if answer is None else WiredDoor(answer, None)

    def listener(self, *arguments: object, **options: object) -> Door:
        on_connection = arguments[2]
        self.doors.append(WiredDoor(on_connection, options["on_unexpected"]))  # type: ignore[arg-type]
        return self.doors[-1]

    def pinned_listener(self, on_connection: Serve) -> Door:
        self.doors.append(WiredDoor(on_connection, None))
        return self.doors[-1]

    async def dial(self, *arguments: object, **options: object) -> Connection:
        if self._answering is None:
            raise ConnectionFailed("nobody is there")
        return self._answering.dial(Role.CHANNEL)

    async def dial_pinned(self, host: str, port: int, fingerprint: bytes) -> Connection:
        if self._answering is None:
            raise ConnectionFailed("nobody is there")
        return self._answering.dial(Role.CHANNEL)

    def start_slot(self) -> Slot:
        return IdleSlot()

    async def close(self) -> None:
        for door in self.doors:
            await door.close()
        if self._answering is not None:
            await self._answering.close()

    def sweep_soon(self) -> None:
        pass
