"""A TLS byte stream over a plain asyncio transport.

Decides: when TLS begins, how much waits in either direction, how a connection ends. Does not know: what the bytes mean.

asyncio's own TLS transport would take the socket from its first byte on. Here the first bytes are ours to look at: a
stranger costs no TLS object before it has shown a ClientHello, and a server that is no TLS server can be named by what
it says. Peeking at the socket (MSG_PEEK) was considered for this: it needs `add_reader`, which Windows' event loop has
not, and cannot help the end that dials, which has to speak first. Reading is pulled: nothing is decrypted before
somebody asks for it.

Truncation: the end of the stream is the same with and without the peer's close_notify. Every message has its length
and every body its End, so a stream that was cut short is seen there.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

from mincemeat import limits
from mincemeat.errors import ConnectionFailed, LocalProtocolError

_RECORD_BYTES = 2**14  # a TLS record's plaintext (RFC 8446, section 5.1): what one read of an SSLObject gives at most


class TlsStream(asyncio.Protocol):
    """One connection. One task reads at a time; any number of tasks may write, each write staying in one piece.

    Memory: about `limits.CONNECTION_BUFFER_BYTES` of what was received and of what is to be sent, each; less is taken
    from a peer before `trust`, so that strangers cannot fill it.
    Life: ends by `close` or `abort`; both are harmless when it has ended already.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[bytes] = deque()
        self._arrived_bytes = 0
        self._arrived_bytes_max = limits.CLIENT_HELLO_BYTES_MAX
        self._is_paused = False
        self._at_end = False
        self._is_closing = False
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._close_timer: asyncio.TimerHandle | None = None
        self._incoming = self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._sent_bytes = 0
        self.has_said_anything = False
        self.last_received = self._loop.time()

    # -- called by asyncio -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=limits.CONNECTION_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        self.last_received = self._loop.time()
        self.has_said_anything = True
        self._arrived.append(data)
        self._arrived_bytes += len(data)
        if self._arrived_bytes >= self._arrived_bytes_max and not self._is_paused:
            self._is_paused = True
            self._plain.pause_reading()
        self._wake_reader()

    def eof_received(self) -> None:
        self._at_end = True
        self._wake_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_end = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._lost.set_result(None)
        self._writable.set()
        self._wake_reader()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- before TLS --------------------------------------------------------------------------------------

    @property
    def _plain(self) -> asyncio.Transport:
        assert self._transport is not None, "asyncio connects a protocol before anything else"
        return self._transport

    @property
    def peer(self) -> tuple[str, int]:
        """Host and port of the other end, as they were when the connection was made."""
        return _host_and_port(self._plain.get_extra_info("peername"))

    @property
    def local(self) -> tuple[str, int]:
        """Host and port of this end."""
        return _host_and_port(self._plain.get_extra_info("sockname"))

    async def first_bytes(self, is_enough: Callable[[bytes], bool]) -> bytes:
        """What has arrived, as soon as `is_enough` says so; it stays there for TLS.

        Raises: ConnectionFailed if the peer closes before, and what `is_enough` raises.
        """
        while True:
            data = b"".join(self._arrived)
            if data:
                self._arrived = deque([data])  # one object, however small the pieces a stranger sends
                if is_enough(data):
                    return data
            await self._wait_for_more()

    def begin_tls(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        """Create the TLS object. A client says its ClientHello at once."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server)
        if not is_server:
            self._is_handshake_complete()

    async def finish_tls(self) -> ssl.SSLObject:
        """Carry out the TLS handshake.

        Raises: ssl.SSLError (this side's alert has been sent), ConnectionFailed if the peer closes before its end.
        """
        while True:
            self._take_arrived()
            if self._is_handshake_complete():
                return self._secure
            await self._wait_for_more()

    def trust(self) -> None:
        """The peer is known: buffer as much as throughput needs."""
        self._arrived_bytes_max = limits.CONNECTION_BUFFER_BYTES

    @property
    def _secure(self) -> ssl.SSLObject:
        if self._tls is None:
            raise LocalProtocolError("TLS has not begun on this connection")
        return self._tls

    def _is_handshake_complete(self) -> bool:
        try:
            self._secure.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        return True

    # -- reading -----------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """All bytes that are there, at least one; b"" at the end of the stream, however it came about.

        Raises: ConnectionFailed for bytes, of either side's, that no key fits any more: whoever speaks TLS has made
        them well, so they were changed on their way, by chance or by somebody, and another connection may fare better.
        """
        while True:
            self._take_arrived()
            data = self._decrypt()
            if data or self._at_end:
                return data
            await self._wait_for_bytes()

    def _take_arrived(self) -> None:
        """Hand what has arrived to TLS, and let more arrive."""
        while self._arrived:
            self._incoming.write(self._arrived.popleft())
        self._arrived_bytes = 0
        if self._is_paused:
            self._is_paused = False
            if not self._plain.is_closing():
                self._plain.resume_reading()

    def _decrypt(self) -> bytes:
        pieces = []
        try:
            while piece := self._secure.read(_RECORD_BYTES):
                pieces.append(piece)
            self._at_end = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._at_end = True
        except ssl.SSLError as error:
            raise ConnectionFailed(
                f"the connection broke: something was damaged on its way ({_reason(error)})"
            ) from error
        finally:
            self._flush()  # TLS answers a request for new keys
        return b"".join(pieces)

    async def _wait_for_more(self) -> None:
        if self._at_end:
            raise ConnectionFailed("the peer closed the connection")
        await self._wait_for_bytes()

    async def _wait_for_bytes(self) -> None:
        if self._reader is not None:
            raise LocalProtocolError("two tasks read from one connection")
        self._reader = self._loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- writing -----------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Send `data`, and wait while too much of what was sent is still here.

        Raises: ConnectionFailed if the connection is closed or broken.
        """
        self._check_is_open()
        try:
            view = memoryview(data)
            while view:
                view = view[self._secure.write(view) :]
        except ssl.SSLError as error:
            raise ConnectionFailed(f"the connection broke ({_reason(error)})") from error
        self._flush()
        if not self._writable.is_set():
            await self._wait_until_writable()
            self._check_is_open()

    async def _wait_until_writable(self) -> None:
        """Raises: ConnectionFailed when the peer has taken nothing for a lease.

        Threat: a peer that asks and does not read, to keep what others wait for: their places, and this side's memory.
        """
        while not self._writable.is_set():
            taken = self._taken_bytes()
            try:
                async with asyncio.timeout(limits.LEASE_SECONDS):
                    await self._writable.wait()
            except TimeoutError:
                if self._taken_bytes() == taken:
                    self.abort()
                    raise ConnectionFailed(
                        f"the peer takes nothing of what it is sent, for {limits.LEASE_SECONDS:g} seconds"
                    ) from None

    def _taken_bytes(self) -> int:
        """How much of what was sent has left this process."""
        return self._sent_bytes - self._plain.get_write_buffer_size()

    def _check_is_open(self) -> None:
        if self._is_closing or self._lost.done() or self._plain.is_closing():
            raise ConnectionFailed("the connection is closed")

    def _flush(self) -> None:
        if self._outgoing.pending and not self._plain.is_closing():
            data = self._outgoing.read()
            self._sent_bytes += len(data)
            self._plain.write(data)

    # -- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close once everything sent has left, within `limits.CLOSE_SECONDS`. Reading ends at once."""
        if self._is_closing:
            return
        self._is_closing = self._at_end = True
        self._wake_reader()
        if self._tls is not None:
            try:
                self._tls.unwrap()  # says close_notify; the peer's is not waited for
            except (ssl.SSLError, ValueError):  # the handshake was not complete, or has failed
                pass
            self._flush()
        if not self._lost.done():
            self._close_timer = self._loop.call_later(limits.CLOSE_SECONDS, self._plain.abort)
        self._plain.close()

    def abort(self) -> None:
        """Close now; what has not left yet is dropped."""
        self._is_closing = self._at_end = True
        self._wake_reader()
        # A transport that was closed with something left to deliver, and has delivered it, knows no loop to abort in.
        if not self._lost.done():
            self._plain.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, after `close` or `abort`."""
        await asyncio.shield(self._lost)


def _host_and_port(name: object) -> tuple[str, int]:
    """The first two fields of a socket's name. An IPv4 address behind an IPv6 socket is shown as what it is."""
    if not isinstance(name, tuple):
        return "", 0  # asyncio could not ask: the peer was gone before the connection was made
    host, port = name[:2]
    return (host.removeprefix("::ffff:") if "." in host else host), port


def is_damage(error: ssl.SSLError) -> bool:
    """Whether a handshake failed because bytes were changed on their way. Both ends had agreed on keys then."""
    return "BAD_RECORD_MAC" in (error.reason or "")


def _reason(error: ssl.SSLError) -> str:
    return error.reason or type(error).__name__
