"""Dialing: what each thing that may answer, or not, is called."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl

import pytest

from mincemeat.cluster.connection import dial, dial_pinned
from mincemeat.cluster.stream import TlsStream
from mincemeat.cluster.tls import server_context
from mincemeat.errors import (
    AuthenticationError,
    ConnectionFailed,
    LocalProtocolError,
    RemoteProtocolError,
    ServerBusy,
)
from mincemeat.wire.handshake import Role
from tests.cluster.kit import (
    HOST,
    PASSWORD,
    StrangerHandler,
    check_echo,
    closing,
    listening,
    read_to_end,
    run,
    stranger_server,
)


async def dial_port(port: int, **options: object) -> None:
    connection = await dial(HOST, port, role=Role.WORKER, secret=PASSWORD, **options)  # type: ignore[arg-type]
    connection.abort()


@pytest.mark.parametrize("waits_for_client", [False, True])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"challenge:0123456789abcdef\n", "it speaks the unencrypted protocol of the original mincemeat.py"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it speaks SSH"),
        (b"220 mail.example ESMTP\r\n", "its first bytes are b'220 mail.example"),
    ],
)
def test_other_servers_are_named(said: bytes, told: str, waits_for_client: bool) -> None:
    async def speak(accepted: socket.socket) -> None:
        accepted.setblocking(False)
        loop = asyncio.get_running_loop()
        if waits_for_client:
            await loop.sock_recv(accepted, 65536)
        await loop.sock_sendall(accepted, said)
        await read_to_end(accepted)

    async def scenario() -> None:
        async with stranger_server(speak) as port:
            sentence = f"{HOST}:{port} answers, but is not a mincemeat server ({told}"
            with pytest.raises(RemoteProtocolError, match=re.escape(sentence)):
                await dial_port(port)

    run(scenario())


@pytest.mark.parametrize(
    ("maximum", "alpn", "told"),
    [
        (ssl.TLSVersion.TLSv1_2, ["mincemeat/2"], "it does not speak TLS 1.3"),
        (ssl.TLSVersion.TLSv1_3, ["h2"], "it speaks TLS, but not mincemeat/2"),
        (ssl.TLSVersion.TLSv1_3, [], "it speaks TLS, but not mincemeat/2"),
    ],
)
def test_other_tls_servers_are_named(maximum: ssl.TLSVersion, alpn: list[str], told: str) -> None:
    context, _ = server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = maximum
    context.set_alpn_protocols(alpn or ["x"])

    async def scenario() -> None:
        async with stranger_server(tls_server(context)) as port:
            with pytest.raises(RemoteProtocolError, match=re.escape(f"is not a mincemeat server ({told})")):
                await dial_port(port)

    run(scenario())


def tls_server(context: ssl.SSLContext) -> StrangerHandler:
    """Speaks TLS as `context` says, alerts included, and closes after the handshake."""

    async def speak(accepted: socket.socket) -> None:
        _, stream = await asyncio.get_running_loop().connect_accepted_socket(TlsStream, accepted)
        stream.begin_tls(context, is_server=True)
        with contextlib.suppress(ssl.SSLError):
            await stream.finish_tls()
        stream.close()
        await stream.wait_closed()

    return speak


def test_an_answer_damaged_on_its_way_says_nothing_of_the_server() -> None:
    """It was said not to be a mincemeat server, at which a worker ends for good."""
    context, _ = server_context()

    async def speak(accepted: socket.socket) -> None:
        accepted.setblocking(False)
        loop = asyncio.get_running_loop()
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(arrived, leaving, server_side=True)
        arrived.write(await loop.sock_recv(accepted, 65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        answer = bytearray(leaving.read())
        answer[-1] ^= 1
        await loop.sock_sendall(accepted, answer)
        await read_to_end(accepted)

    async def scenario() -> None:
        async with stranger_server(speak) as port:
            with pytest.raises(ConnectionFailed, match="damaged on its way"):
                await dial_port(port)

    run(scenario())


def test_an_echo_is_no_server() -> None:
    async def echo(accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        while data := await loop.sock_recv(accepted, 65536):
            await loop.sock_sendall(accepted, data)

    async def scenario() -> None:
        async with stranger_server(echo) as port:
            with pytest.raises(RemoteProtocolError, match="TLS with it fails"):
                await dial_port(port)

    run(scenario())


def test_nobody_there_is_told() -> None:
    async def scenario() -> None:
        with socket.socket() as bound:  # bound and not listening: the port is refused, and nobody else gets it
            bound.bind((HOST, 0))
            port = bound.getsockname()[1]
            with pytest.raises(ConnectionFailed, match=f"nothing listens at {HOST}:{port} "):
                await dial_port(port)

    run(scenario())


def test_a_host_that_does_not_exist_is_told() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectionFailed, match=r"cannot connect to no\.such\.host\.invalid:1: "):
            await dial("no.such.host.invalid", 1, role=Role.WORKER, secret=PASSWORD)

    run(scenario())


def test_a_silent_server_is_given_up_at_the_timeout() -> None:
    async def silent(accepted: socket.socket) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with stranger_server(silent) as port:
            with pytest.raises(ConnectionFailed, match="accepted the connection.*within 0.05 seconds"):
                await dial_port(port, timeout=0.05)

    run(scenario())


def test_a_connection_that_is_closed_without_a_word_has_failed() -> None:
    async def close(accepted: socket.socket) -> None:
        await asyncio.sleep(0)

    async def scenario() -> None:
        async with stranger_server(close) as port:
            with pytest.raises(ConnectionFailed, match="without a word"):
                await dial_port(port)

    run(scenario())


def test_a_server_that_closes_after_tls_is_busy() -> None:
    context, _ = server_context()

    async def scenario() -> None:
        async with stranger_server(tls_server(context)) as port:
            with pytest.raises(ServerBusy, match="busy"):
                await dial_port(port)

    run(scenario())


def test_another_certificate_than_the_pinned_one_is_refused_before_the_password_is_used() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            for size in (16, 32):
                with pytest.raises(AuthenticationError, match="another certificate than the pinned one"):
                    await dial_port(hall.port, pinned_fingerprint=bytes(size))
                pin = hall.listener.fingerprint[:size]
                connection = await dial(HOST, hall.port, role=Role.WORKER, secret=PASSWORD, pinned_fingerprint=pin)
                async with closing(connection):
                    await check_echo(connection)
            assert len(hall.connections) == 2

    run(scenario())


def test_a_pin_that_is_too_short_to_protect_is_an_error() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            with pytest.raises(LocalProtocolError, match="16 bytes"):
                await dial_port(hall.port, pinned_fingerprint=hall.listener.fingerprint[:15])
            with pytest.raises(LocalProtocolError, match="32 bytes"):
                await dial_pinned(HOST, hall.port, hall.listener.fingerprint[:16])

    run(scenario())


def test_a_dial_that_is_cancelled_leaves_nothing_open() -> None:
    async def silent(accepted: socket.socket) -> None:
        accepted.setblocking(False)
        assert await read_to_end(accepted)  # the ClientHello, then the end
        closed.set()

    closed = asyncio.Event()

    async def scenario() -> None:
        async with stranger_server(silent) as port:
            task = asyncio.create_task(dial_port(port))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), 0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()

    run(scenario())
