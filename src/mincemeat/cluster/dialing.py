"""Dialing a coordinator, or another worker, and proving on both sides who is there.

Decides: what each failure means and how it is told. Does not know: whether and when to dial again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import ssl
from collections.abc import AsyncIterator

from mincemeat import limits
from mincemeat.cluster.messaging import Connection, format_address
from mincemeat.cluster.stream import TlsStream, is_damage
from mincemeat.cluster.tls import ALPN, client_context, peer_fingerprint
from mincemeat.errors import (
    AuthenticationError,
    ConnectionFailed,
    LocalProtocolError,
    MincemeatError,
    RemoteProtocolError,
    ServerBusy,
)
from mincemeat.wire.first_bytes import describe_stranger, looks_like_tls_answer
from mincemeat.wire.handshake import FINGERPRINT_BYTES, Authenticated, ClientHandshake, RandomBytes, Role

# A join token has room for this much of a fingerprint; less would be no protection.
PIN_BYTES_MIN = 16


async def dial(
    host: str,
    port: int,
    *,
    role: Role,
    secret: bytes,
    pinned_fingerprint: bytes | None = None,
    resume_id: bytes | None = None,
    timeout: float = limits.HANDSHAKE_SECONDS,
    random_bytes: RandomBytes = os.urandom,
) -> Connection:
    """An authenticated connection to the coordinator at `host`:`port`.

    Args:
        secret: the normalised password for Role.WORKER, a join token's for Role.TOKEN, the resume key of `resume_id`
            for Role.CHANNEL.
        pinned_fingerprint: the server's certificate must have it; its first 16 bytes or more are enough.
        timeout: seconds for everything together.

    Raises: ConnectionFailed (nobody is there, or silent), ServerBusy (try again), AuthenticationError (the secret or
    the pinned certificate is wrong), RemoteProtocolError (something else answers). No socket is left open.
    """
    async with _opened(host, port, timeout) as stream:
        fingerprint = await _start_tls(stream, pinned_fingerprint)
        handshake = ClientHandshake(secret, role, fingerprint, random_bytes, resume_id)
        while True:
            data = await stream.read()
            step = handshake.receive(data) if data else handshake.receive_eof()
            if step.send:
                # The server may have closed: what that means depends on what it said before, which is read next.
                with contextlib.suppress(ConnectionFailed):
                    await stream.write(step.send)
            if isinstance(step.event, Authenticated):
                return Connection(stream, fingerprint=fingerprint, session=step.event.session, early=handshake.trailing)


async def dial_pinned(
    host: str, port: int, fingerprint: bytes, *, timeout: float = limits.FETCH_CONNECT_SECONDS
) -> Connection:
    """A connection to the worker that presents exactly this certificate.

    It has no session: the first message has to carry the ticket, and is up to the caller.
    Raises: ConnectionFailed, ServerBusy, AuthenticationError (another certificate), RemoteProtocolError.
    """
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise LocalProtocolError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(fingerprint)}")
    async with _opened(host, port, timeout) as stream:
        return Connection(stream, fingerprint=await _start_tls(stream, fingerprint))


@contextlib.asynccontextmanager
async def _opened(host: str, port: int, timeout: float) -> AsyncIterator[TlsStream]:
    """A stream that is aborted unless the body succeeds in time; errors are told with the server's address."""
    where = format_address(host, port)
    stream: TlsStream | None = None
    try:
        async with asyncio.timeout(timeout):
            _, stream = await asyncio.get_running_loop().create_connection(TlsStream, host, port)
            yield stream
    except BaseException as error:
        if stream is not None:
            stream.abort()
        told = _tell(where, error, timeout, is_connected=stream is not None)
        if told is None:
            raise
        raise told from error


class _Stranger(RemoteProtocolError):
    """What answers is something else; the text says what."""


def _tell(where: str, error: BaseException, timeout: float, *, is_connected: bool) -> MincemeatError | None:
    """What the caller should read; None for what is none of the connection's failures."""
    if isinstance(error, ssl.SSLError) and is_damage(error):
        return ConnectionFailed(f"{where} answers, and something was damaged on its way")
    if isinstance(error, ssl.SSLError):
        error = _Stranger(_explain_tls(error))
    if isinstance(error, _Stranger):
        return RemoteProtocolError(f"{where} answers, but is not a mincemeat server ({error})")
    if isinstance(error, LocalProtocolError):
        return None
    if isinstance(error, MincemeatError):
        return type(error)(f"{where}: {error}", **vars(error))
    if isinstance(error, TimeoutError) and error.errno is None:  # ours; the system's own has a number
        verb = "accepted the connection but did not finish the handshake" if is_connected else "did not answer"
        return ConnectionFailed(f"{where} {verb} within {timeout:g} seconds")
    if isinstance(error, ConnectionRefusedError):
        return ConnectionFailed(f"nothing listens at {where} (is the server started? is it another port?)")
    if isinstance(error, OSError):
        return ConnectionFailed(f"cannot connect to {where}: {error.strerror or error}")
    return None


def _explain_tls(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if "PROTOCOL" in reason and "APPLICATION" in reason:
        return f"it speaks TLS, but not {ALPN}"
    if "VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return "it does not speak TLS 1.3"
    return f"TLS with it fails: {reason or error}"


async def _start_tls(stream: TlsStream, pin: bytes | None) -> bytes:
    """TLS, ALPN and the pin, if there is one. The fingerprint of the server's certificate."""
    if pin is not None and len(pin) < PIN_BYTES_MIN:
        raise LocalProtocolError(f"a pinned fingerprint needs at least {PIN_BYTES_MIN} bytes, not {len(pin)}")
    stream.begin_tls(client_context(), is_server=False)
    try:
        start = await stream.first_bytes(lambda data: True)
    except ConnectionFailed as error:
        # Anything may do this (a forwarded port with nobody behind it, say), so it is not ServerBusy.
        raise ConnectionFailed(
            "it closed the connection without a word. Either it is too busy, or it is not a mincemeat server"
        ) from error
    if not looks_like_tls_answer(start):
        raise _Stranger(describe_stranger(start))
    try:
        tls = await stream.finish_tls()
    except ConnectionFailed as error:
        raise ServerBusy("the server closed the connection before the password was tried: it is busy") from error
    if tls.selected_alpn_protocol() != ALPN:
        raise _Stranger(f"it speaks TLS, but not {ALPN}")
    fingerprint = peer_fingerprint(tls)
    if pin is not None and not hmac.compare_digest(fingerprint[: len(pin)], pin):
        raise AuthenticationError(
            "the server presents another certificate than the pinned one: it is another server, was given another "
            "identity, or somebody is in between. Nothing was sent to it."
        )
    return fingerprint
