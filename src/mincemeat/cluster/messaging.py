"""Messages over a TLS stream, once it is known who is at the other end.

Decides: how messages and bodies are sent and received. Does not know: how the peer was authenticated (dialing.py,
listening.py), nor what messages mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Protocol

from mincemeat import limits
from mincemeat.errors import ConnectionFailed, LocalProtocolError, RemoteProtocolError
from mincemeat.wire.codec import decode, encode
from mincemeat.wire.frames import Frame, FrameDecoder
from mincemeat.wire.handshake import Session
from mincemeat.wire.messages import Chunk, End, Message


class Stream(Protocol):
    """What a connection needs of the bytes below it. See ``TlsStream``, which is the one there is."""

    @property
    def peer(self) -> tuple[str, int]: ...
    @property
    def local(self) -> tuple[str, int]: ...

    last_received: float

    def trust(self) -> None: ...
    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    async def wait_closed(self) -> None: ...


class Connection:
    """An authenticated connection. One task receives; any number may send messages, but only one at a time a body.

    Attributes: `peer` and `local` (host, port), `fingerprint` (of the server's certificate, at both ends).
    Life: whoever has it ends it, by `close` or `abort`.
    """

    def __init__(
        self, stream: Stream, *, fingerprint: bytes, session: Session | None = None, early: bytes = b""
    ) -> None:
        stream.trust()
        self._stream = stream
        self._session = session
        self._decoder = FrameDecoder()
        self._frames: deque[Frame] = deque(self._decoder.feed(early))
        self.fingerprint = fingerprint
        self.peer = stream.peer
        self.local = stream.local

    @property
    def session(self) -> Session:
        """What the key exchange gave. Raises: LocalProtocolError on a pinned connection, which has none."""
        if self._session is None:
            raise LocalProtocolError("a pinned connection has no session")
        return self._session

    @property
    def last_received(self) -> float:
        """When the peer's last byte arrived, in seconds of the event loop's clock (time.monotonic)."""
        return self._stream.last_received

    async def send(self, message: Message) -> None:
        """Send one message; waits while the peer does not keep up.

        Raises: LocalProtocolError (nothing was sent), ConnectionFailed.
        """
        await self._stream.write(encode(message))

    async def receive(self) -> Message:
        """The next message.

        Raises: ConnectionFailed when the stream has ended, RemoteProtocolError for what is no message. The connection
        is of no use after either.
        """
        if not self._frames:
            await self.wait_for_message()
        return decode(self._frames.popleft())

    async def wait_for_message(self) -> None:
        """Wait until `receive` has a message, without taking it. Raises: as `receive`."""
        while not self._frames:
            data = await self._stream.read()
            if not data:
                cut = " in the middle of a message" if self._decoder.has_partial else ""
                raise ConnectionFailed(f"{format_address(*self.peer)} closed the connection{cut}")
            self._frames.extend(self._decoder.feed(data))

    async def send_body(self, pieces: Iterable[bytes] | AsyncIterable[bytes]) -> None:
        """Send all `pieces`, of any sizes, as chunks of at most `limits.CHUNK_BYTES`, and End.

        Raises: ConnectionFailed, and what `pieces` raises; a body broken off so cannot be taken up again: abort.
        """
        if isinstance(pieces, AsyncIterable):
            async for piece in pieces:
                await self._send_piece(piece)
        else:
            for piece in pieces:
                await self._send_piece(piece)
        await self.send(End())

    async def _send_piece(self, piece: bytes) -> None:
        if len(piece) <= limits.CHUNK_BYTES:
            await self.send(Chunk(body=piece))
            return
        for start in range(0, len(piece), limits.CHUNK_BYTES):
            await self.send(Chunk(body=piece[start : start + limits.CHUNK_BYTES]))

    async def receive_body(self) -> AsyncIterator[bytes]:
        """The pieces of a body until its End, none of them empty; read them all before anything else is received.

        Memory: one piece at a time, whatever size was announced.
        Raises: as `receive`; RemoteProtocolError for any other message in between.
        """
        while True:
            message = await self.receive()
            if isinstance(message, End):
                return
            if not isinstance(message, Chunk):
                raise RemoteProtocolError(f"{type(message).__name__} came in the middle of a body")
            if message.body:
                yield message.body

    def close(self) -> None:
        """Close once everything sent has left, within `limits.CLOSE_SECONDS`; receiving ends at once."""
        self._stream.close()

    def abort(self) -> None:
        """Close now; what has not left yet is dropped."""
        self._stream.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, after `close` or `abort`."""
        await self._stream.wait_closed()


def format_address(host: str, port: int) -> str:
    """``10.0.0.7:11235``, ``[::1]:11235``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
