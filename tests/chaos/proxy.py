"""A stretch of network between two ends that do not know of it, and everything that can happen to it.

Decides: how bytes travel from one end to the other. Does not know: TLS, who the ends are, when something should happen.

A ``Network`` is a thread with an event loop. Its ``Line`` is all connections of one worker in one direction of dialing
(to the server, or from other workers); ``Door`` is a listening socket of a line. What is done to a line is done to all
of its connections, old and, where that makes sense, new::

    worker --- Door ===== Line: holds, loses, delays, throttles, splits, garbles, cuts ===== server
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tests.kit.gates import PATIENCE_SECONDS

# Closing a socket with this sends RST instead of FIN (lingering, for no time).
_RESET = struct.pack("ii", 1, 0)
_READ_BYTES = 65_536
# A throttled line passes on so much at a time.
_THROTTLED_BYTES = 1024
# Sizes of pieces of a line that splits: mostly small, some as large as a TLS record.
_SPLIT_BITS = 14
# A flapping line ends each connection after at most so many bytes: in TLS, in the password's proof, or behind both.
_FLAP_BYTES = 6_000

UP, DOWN = "up", "down"
_T = TypeVar("_T")


class Line:
    """What happens to connections. Used in the loop's thread only; others go through ``Network.do``."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._pairs: set[_Pair] = set()
        self._held: set[str] = set()
        self._freed = asyncio.Event()
        self._garbles = 0
        self._fuses: list[tuple[int, bool]] = []
        self.passed = 0
        self.delay_seconds = 0.0
        self.bytes_per_second = 0
        self.splits = False
        self.flaps = False

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def cut(self, *, reset: bool) -> None:
        """End all connections, with RST or with FIN."""
        for pair in list(self._pairs):
            pair.end(reset=reset)

    def hold(self, *ways: str) -> None:
        """Nothing passes that way until ``free``, new connections included; nothing is lost."""
        self._held.update(ways)
        self._freed.clear()

    def free(self) -> None:
        self._held.clear()
        self._freed.set()

    def lose(self, *ways: str) -> None:
        """From now on nothing of what is sent that way on the connections that are open now ever arrives."""
        for pair in self._pairs:
            pair.lost.update(ways)

    def garble(self) -> None:
        """Flip one bit of what passes next."""
        self._garbles += 1

    def cut_after(self, count: int, *, reset: bool) -> None:
        """End the connection on which the ``count``-th byte from now passes, just behind that byte."""
        self._fuses.append((self.passed + count, reset))

    def calm(self) -> None:
        """A good line again. What was lost or cut stays so."""
        self.free()
        self.delay_seconds, self.bytes_per_second, self.splits, self.flaps = 0.0, 0, False, False
        self._garbles = 0
        self._fuses.clear()

    # -- for its connections -----------------------------------------------------------------------------

    async def wait_until_free(self, way: str) -> None:
        while way in self._held:
            await self._freed.wait()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._garbles and data:
            self._garbles -= 1
            garbled = bytearray(data)
            garbled[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
            data = bytes(garbled)
        while data:
            size = len(data)
            if self.splits:
                size = 1 + self._chance.getrandbits(self._chance.randint(1, _SPLIT_BITS))
            elif self.bytes_per_second:
                size = _THROTTLED_BYTES
            yield data[:size]
            data = data[size:]

    def fuse(self, piece: bytes) -> tuple[bytes, bool | None]:
        """What of ``piece`` passes, and how the connection ends behind that if it does: True means with RST."""
        for fuse in self._fuses:
            at, reset = fuse
            if at <= self.passed + len(piece):
                self._fuses.remove(fuse)
                piece = piece[: max(0, at - self.passed)]
                self.passed += len(piece)
                return piece, reset
        self.passed += len(piece)
        return piece, None

    def join(self, pair: _Pair) -> None:
        self._pairs.add(pair)
        if self.flaps:
            pair.bytes_left = self._chance.randrange(_FLAP_BYTES)

    def leave(self, pair: _Pair) -> None:
        self._pairs.discard(pair)


class _Pair:
    """One connection: two sockets, and a task for each way."""

    def __init__(self, line: Line, near: socket.socket) -> None:
        self.lost: set[str] = set()
        self.bytes_left: int | None = None
        self._line = line
        self._near = near
        self._far: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, target: tuple[str, int], source: str) -> None:
        self._line.join(self)
        self._task = asyncio.get_running_loop().create_task(self._run(target, source))

    def end(self, *, reset: bool) -> None:
        for end in (self._near, self._far):
            if end is None or end.fileno() < 0:
                continue
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                else:
                    end.shutdown(socket.SHUT_RDWR)
        if self._task is not None:
            self._task.cancel()

    async def _run(self, target: tuple[str, int], source: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._line.wait_until_free(UP)
            self._far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._far.setblocking(False)
            if source:
                self._far.bind((source, 0))
            try:
                await loop.sock_connect(self._far, target)
            except OSError:  # nobody there: as near to a refusal as one gets behind an accept
                self.end(reset=True)
                return
            for end in (self._near, self._far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(self._near, self._far, UP))
                group.create_task(self._pass_on(self._far, self._near, DOWN))
        except BaseExceptionGroup:  # an end is gone: so is the other
            self.end(reset=True)
        finally:
            self._line.leave(self)
            for opened in (self._near, self._far):
                if opened is not None:
                    opened.close()

    async def _pass_on(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        loop = asyncio.get_running_loop()
        line = self._line
        while True:
            try:
                data = await loop.sock_recv(source, _READ_BYTES)
            except OSError:  # a reset is as lost as anything else
                if way not in self.lost:
                    raise
                data = b""
            await line.wait_until_free(way)
            if not data:
                if way in self.lost:
                    await asyncio.Event().wait()  # nor does its end arrive
                sink.shutdown(socket.SHUT_WR)
                return
            for piece in line.pieces(data):
                if line.delay_seconds:
                    await asyncio.sleep(line.delay_seconds)
                if line.bytes_per_second:
                    await asyncio.sleep(len(piece) / line.bytes_per_second)
                await line.wait_until_free(way)
                if way in self.lost:
                    continue
                piece, ends = line.fuse(piece)
                if self.bytes_left is not None:
                    self.bytes_left -= len(piece)
                    if self.bytes_left < 0:
                        piece, ends = piece[: self.bytes_left], bool(self.bytes_left & 1)
                await loop.sock_sendall(sink, piece)
                if ends is not None:
                    self.end(reset=ends)
                    return  # it is cancelled, but only when it next waits


class Door:
    """Listens at ``host``:``port`` (0: a free one) and joins whoever comes to ``target``, seen there as ``source``."""

    def __init__(self, line: Line, target: tuple[str, int], source: str, host: str, port: int) -> None:
        self._line, self._target, self._source = line, target, source
        self._socket = socket.create_server((host, port))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        while True:
            near, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            _Pair(self._line, near).start(self._target, self._source)


class Network:
    """The thread in which all of this happens. A context manager: nothing of it is left on the way out."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._lines: list[Line] = []
        self._doors: list[Door] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the network's thread did not end"
        self._loop.close()

    def do(self, work: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        """``work``, in the loop's thread."""

        async def done() -> _T:
            return work(*arguments, **named)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(PATIENCE_SECONDS)

    def line(self, seed: int) -> Line:
        line = self.do(Line, seed)
        self._lines.append(line)
        return line

    def door(self, line: Line, target: tuple[str, int], *, source: str = "", host: str, port: int = 0) -> Door:
        door = self.do(Door, line, target, source, host, port)
        self._doors.append(door)
        return door

    def close_door(self, door: Door) -> None:
        """Nobody comes in any more; who is in stays."""
        self._doors.remove(door)
        asyncio.run_coroutine_threadsafe(door.close(), self._loop).result(PATIENCE_SECONDS)

    async def _close(self) -> None:
        for door in self._doors:
            await door.close()
        for line in self._lines:
            line.calm()
            line.cut(reset=True)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
