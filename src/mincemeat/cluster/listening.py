"""Listening: strangers come in, peers that have proven who they are come out.

Decides: who gets a place and for how long, what a stranger must show at each step, how refusals are counted and told.
Does not know: what connections are for.

    accept -> a place (64, 16 per address, oldest dropped) -> a sane ClientHello -> TLS 1.3 and ALPN
           -> Listener: a guess of the budget, five frames      PinnedListener: the first message      -> on_connection

One deadline covers everything up to the last arrow. No peer can crash a listener: whatever it does ends its own task.
"""

from __future__ import annotations

import abc
import asyncio
import enum
import errno
import logging
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.cluster.admission import GuessBudget, Places
from mincemeat.cluster.messaging import Connection, format_address
from mincemeat.cluster.stream import TlsStream
from mincemeat.cluster.tls import ALPN, server_context
from mincemeat.errors import (
    AuthenticationError,
    LocalProtocolError,
    MincemeatError,
    PortInUse,
    ProtocolError,
    RemoteProtocolError,
    ServerBusy,
)
from mincemeat.wire.first_bytes import is_client_hello_complete
from mincemeat.wire.handshake import (
    Authenticated,
    GuessPending,
    RandomBytes,
    Refused,
    Role,
    ServerHandshake,
    ServerState,
)

if TYPE_CHECKING:
    from mincemeat.cluster.identity import Identity

log = logging.getLogger("mincemeat")

OnConnection = Callable[[Connection], Awaitable[None]]

# After a failed accept (usually no file descriptor is left): long enough not to spin, short enough not to matter.
_ACCEPT_PAUSE_SECONDS = 0.05
_PORT_ATTEMPTS = 10


class Refusal(enum.Enum):
    """Why a peer did not get in."""

    DROPPED = "its place went to a newcomer"
    SILENT = "it did not get through the handshake in time"
    GONE = "it closed the connection during the handshake"
    STRANGER = "it does not speak this protocol"
    BUSY = "this side was busy, or no guess was left for its address"
    PASSWORD = "it did not prove knowledge of the secret"


class _Doorkeeper(abc.ABC):
    """What both listeners share: accepting, places, the deadline, TLS, and the life of each connection's task."""

    def __init__(
        self,
        on_connection: OnConnection,
        *,
        on_unexpected: Callable[[BaseException], None] | None,
        handshake_seconds: float,
        pem: bytes = b"",
    ) -> None:
        self._on_connection = on_connection
        self._on_unexpected = on_unexpected
        self._handshake_seconds = handshake_seconds
        self._context, self.fingerprint = server_context(pem)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._peers: set[asyncio.Task[None]] = set()
        self._places: Places[asyncio.Task[None]] = Places()
        self.refusals: Counter[Refusal] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen on all addresses of `host` ("" for every address of this machine); the port, also if it was 0.

        Raises: PortInUse.
        """
        if self._sockets:
            raise LocalProtocolError("this listener has been started already")
        self._sockets = await _bind(host, port)
        loop = asyncio.get_running_loop()
        self._accepting = [loop.create_task(self._accept(listening)) for listening in self._sockets]
        chosen: int = self._sockets[0].getsockname()[1]
        return chosen

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Stop listening, drop who has not got in, and wait until all connections are closed.

        `on_connection` is given `grace_seconds` to return for each connection, and is then cancelled.
        """
        await _cancel(self._accepting)
        for listening in self._sockets:
            listening.close()
        self._sockets = []
        await _cancel([task for task in self._peers if task in self._places])
        if self._peers and grace_seconds > 0:
            await asyncio.wait(self._peers, timeout=grace_seconds)
        await _cancel(list(self._peers))

    @abc.abstractmethod
    async def _prove(self, stream: TlsStream, host: str) -> Connection:
        """Everything after TLS that a peer must do to get in."""

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, name = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("a connection could not be accepted: %s", error.strerror or error)
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            accepted.setblocking(False)
            self._let_in(accepted, str(name[0]))
            # While connections are waiting, sock_accept does not yield: a flood would keep everybody else from running.
            await asyncio.sleep(0)

    def _let_in(self, accepted: socket.socket, host: str) -> None:
        """Give the newcomer a place and a task, at the cost of the oldest if need be."""
        task = asyncio.get_running_loop().create_task(self._serve(accepted, host))
        self._peers.add(task)
        task.add_done_callback(self._peers.discard)
        # A task that is cancelled before its first step never reaches its own finally.
        task.add_done_callback(lambda _: accepted.close())
        dropped = self._places.take(task, host)
        if dropped is not None:
            self.refusals[Refusal.DROPPED] += 1
            dropped.cancel()

    async def _serve(self, accepted: socket.socket, host: str) -> None:
        """The life of one peer, from accept to the closed socket."""
        connection = await self._admit(accepted, host)
        if connection is None:
            return
        try:
            await self._on_connection(connection)
            connection.close()
            await connection.wait_closed()
        except (MincemeatError, OSError) as error:
            log.info("the connection from %s ended: %s", format_address(*connection.peer), error)
        except Exception as error:
            log.exception("serving the connection from %s failed", format_address(*connection.peer))
            if self._on_unexpected is not None:
                self._on_unexpected(error)
        finally:
            connection.abort()

    async def _admit(self, accepted: socket.socket, host: str) -> Connection | None:
        """The peer's connection once it has proven itself, or None once it was refused."""
        stream: TlsStream | None = None
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._handshake_seconds):
                _, stream = await asyncio.get_running_loop().connect_accepted_socket(TlsStream, accepted)
                await self._start_tls(stream)
                connection = await self._prove(stream, host)
        except (MincemeatError, OSError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            if isinstance(error, TimeoutError) and stream is not None and not stream.has_said_anything:
                error = _Silent()
            self._note(error, stream.peer if stream is not None else (host, 0))
        except Exception:
            # A fault of ours that a stranger found: it costs that stranger its connection, and nobody else anything.
            log.exception("the handshake with a peer at %s failed", host)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._places.leave(task)
            if stream is not None and connection is None:
                stream.abort()
        return connection

    async def _start_tls(self, stream: TlsStream) -> None:
        await stream.first_bytes(is_client_hello_complete)
        stream.begin_tls(self._context, is_server=True)
        tls = await stream.finish_tls()
        if tls.selected_alpn_protocol() != ALPN:
            raise RemoteProtocolError(f"the peer speaks TLS, but does not offer {ALPN}")

    def _note(self, error: Exception, peer: tuple[str, int]) -> None:
        """Count and log why a peer did not get in. Never what it sent."""
        refusal = _refusal(error)
        self.refusals[refusal] += 1
        where = format_address(*peer)
        if refusal is Refusal.PASSWORD:
            log.warning("worker %s %s", where, error)
        elif isinstance(error, MincemeatError):
            log.info("%s was disconnected: %s", where, error)
        else:
            log.info("%s was disconnected: %s (%s)", where, refusal.value, error or type(error).__name__)


class Listener(_Doorkeeper):
    """The coordinator's: lets in who proves the password, the join token of its `identity` if it has one, or the resume
    key of a worker that has joined.

    `on_connection` runs in a task of its own for each connection, which is closed when it returns. It may raise
    MincemeatError or OSError (the connection has ended); for anything else `on_unexpected` is called.
    `lookup_resume_key(resume_id)` gives the key of that id, or None.

    Attributes: `fingerprint` of the certificate (one for each listener), `refusals` (a count for each Refusal),
    `is_busy`: set it to turn newcomers away with "try again later" before their password is tried.
    """

    def __init__(
        self,
        secret: bytes,
        lookup_resume_key: Callable[[bytes], bytes | None],
        on_connection: OnConnection,
        *,
        identity: Identity | None = None,
        on_unexpected: Callable[[BaseException], None] | None = None,
        handshake_seconds: float = limits.HANDSHAKE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        if not secret:
            raise LocalProtocolError("a listener needs a password that is not empty")
        pem = b"" if identity is None else identity.pem
        super().__init__(on_connection, on_unexpected=on_unexpected, handshake_seconds=handshake_seconds, pem=pem)
        self._secrets = {Role.WORKER: secret, Role.TOKEN: None if identity is None else identity.token.secret}
        self._lookup_resume_key = lookup_resume_key
        self._budget = GuessBudget()
        self._clock = clock
        self._random_bytes = random_bytes
        self.is_busy = False

    def _lookup_secret(self, role: Role, resume_id: bytes) -> bytes | None:
        """Called by the handshake right before our share leaves."""
        secret = self._lookup_resume_key(resume_id) if role is Role.CHANNEL else self._secrets[role]
        task = asyncio.current_task()
        if secret is not None and task is not None:
            # It has a guess reserved, or names a key that exists: neither can be had at will to fill all places.
            self._places.keep(task)
        return secret

    async def _prove(self, stream: TlsStream, host: str) -> Connection:
        handshake = ServerHandshake(self._lookup_secret, self.fingerprint, self._random_bytes, is_busy=self.is_busy)
        step = handshake.start()
        while True:
            if step.send:
                await stream.write(step.send)
            match step.event:
                case Authenticated(session):
                    if session.role is Role.WORKER:
                        self._budget.refund(host, self._clock())
                    return Connection(stream, fingerprint=self.fingerprint, session=session)
                case Refused(role):
                    await _close(stream)
                    raise AuthenticationError(_REFUSALS_TOLD[role])
                case GuessPending():
                    # Reserved before our share leaves: guesses that run at the same time are counted, too.
                    if not self._budget.reserve(host, self._clock()):
                        handshake.deny()
                        raise ServerBusy("no guess is left for its address")
                    step = handshake.grant()
                case None:
                    if handshake.state is ServerState.FAILED:
                        await _close(stream)
                        raise ServerBusy("this server is busy")
                    data = await stream.read()
                    step = handshake.receive(data) if data else handshake.receive_eof()


class PinnedListener(_Doorkeeper):
    """A worker's: for fetchers that pin its certificate and bring a ticket of the coordinator's.

    A connection is handed over once its first message is there, so `on_connection` can receive that without waiting; it
    must check the ticket in it before it does anything else. Attributes and `on_connection` as for Listener.
    """

    def __init__(
        self,
        on_connection: OnConnection,
        *,
        on_unexpected: Callable[[BaseException], None] | None = None,
        handshake_seconds: float = limits.HANDSHAKE_SECONDS,
    ) -> None:
        super().__init__(on_connection, on_unexpected=on_unexpected, handshake_seconds=handshake_seconds)

    async def _prove(self, stream: TlsStream, host: str) -> Connection:
        connection = Connection(stream, fingerprint=self.fingerprint)
        await connection.wait_for_message()
        return connection


class _Silent(TimeoutError):
    """A peer that has not said a word in time."""

    def __str__(self) -> str:
        return "not a word came; the original mincemeat.py's client waits like this for the server to speak first"


_REFUSALS_TOLD = {
    Role.WORKER: "did not prove knowledge of the password and was disconnected before any job data was sent."
    " Start it with the -p value the server uses.",
    Role.TOKEN: "did not prove knowledge of a join token and was disconnected before any job data was sent."
    " Start it with the token of the identity that the server uses.",
    Role.CHANNEL: "did not prove a resume key that is known here and was disconnected before any job data was sent."
    " It has to join again with the password.",
}


def _refusal(error: Exception) -> Refusal:
    match error:
        case AuthenticationError():
            return Refusal.PASSWORD
        case ServerBusy():
            return Refusal.BUSY
        case ProtocolError() | ssl.SSLError():
            return Refusal.STRANGER
        case TimeoutError() if error.errno is None:
            return Refusal.SILENT
    return Refusal.GONE


async def _close(stream: TlsStream) -> None:
    """Close so that the last words arrive."""
    stream.close()
    await stream.wait_closed()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of `host`, all on one port. Raises: PortInUse."""
    where = format_address(host, port)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise PortInUse(f"cannot listen on {where}: {error.strerror or error}") from error
    addresses = list(dict.fromkeys((family, str(name[0])) for family, _, _, _, name in found))
    # With port 0 the first socket's port may be taken on another address: then all of them are chosen anew.
    for attempts_left in reversed(range(1 if port else _PORT_ATTEMPTS)):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and attempts_left:
                continue
            told = f"cannot listen on {where}: {error.strerror or error}"
            if error.errno == errno.EADDRINUSE:
                told = (
                    f"port {port} is already in use on this machine, perhaps by another mincemeat server. End that,"
                    " or choose another port (-P, port=) here and for the workers."
                )
            raise PortInUse(told, port=port) from error
    raise AssertionError("the last attempt returns or raises")


def _bind_all(addresses: Sequence[tuple[int, str]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            try:
                listening = socket.create_server((address, port), family=family, backlog=limits.LISTEN_BACKLOG)
            except OSError as error:
                # Names resolve to IPv6 also where the kernel has it switched off.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error
                continue
            listening.setblocking(False)
            sockets.append(listening)
            port = listening.getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets
