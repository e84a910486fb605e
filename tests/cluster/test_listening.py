"""The listener on loopback: who gets in, and what strangers can(not) do to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster import listening as listening_module
from mincemeat.cluster.connection import Connection, Listener, Refusal, dial
from mincemeat.cluster.identity import Identity, make_identity
from mincemeat.cluster.stream import TlsStream
from mincemeat.cluster.tls import client_context, server_context
from mincemeat.errors import (
    AuthenticationError,
    ConnectionFailed,
    LocalProtocolError,
    MincemeatError,
    PortInUse,
    ServerBusy,
)
from mincemeat.wire.frames import encode_frame
from mincemeat.wire.handshake import Role, normalise_password
from tests.cluster.kit import (
    HOST,
    PASSWORD,
    Hall,
    check_closed,
    check_echo,
    closing,
    listening,
    read_to_end,
    run,
    stranger,
    stranger_server,
)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition()` holds: what a peer causes shows a few turns of the loop later."""
    while not condition():
        await asyncio.sleep(0.001)


def no_resume_key(resume_id: bytes) -> bytes | None:
    return None


# -- who gets in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["secret", b"secret"])
def test_the_right_password_gets_in_as_text_or_bytes(password: str | bytes) -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial(normalise_password(password))) as connection:
            await check_echo(connection)
            (server_end,) = hall.connections
            assert server_end.session == connection.session
            assert server_end.fingerprint == connection.fingerprint == hall.listener.fingerprint
            assert (connection.peer, connection.local) == (server_end.local, server_end.peer)

    run(scenario())


def test_a_wrong_password_is_told_at_both_ends_and_the_next_worker_gets_in(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with listening() as hall:
            with pytest.raises(AuthenticationError, match=f"{HOST}:{hall.port}.*-p value"):
                await hall.dial(b"wrong-guess")
            await until(lambda: hall.listener.refusals[Refusal.PASSWORD] == 1)
            await hall.join()
            assert len(hall.connections) == 1

    run(scenario())
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("worker 127.0.0.1:")
    assert warning.getMessage().endswith(
        " did not prove knowledge of the password and was disconnected before any job data was sent."
        " Start it with the -p value the server uses."
    )
    assert "wrong-guess" not in caplog.text
    assert "secret" not in caplog.text


def test_a_channel_gets_in_by_its_resume_key_while_no_guess_is_left() -> None:
    async def scenario() -> None:
        async with listening(clock=lambda: 0.0) as hall, closing(await hall.dial()) as worker:
            await check_echo(worker)
            for _ in range(limits.GUESS_BURST):
                with pytest.raises(AuthenticationError):
                    await hall.dial(b"wrong")
            with pytest.raises(ServerBusy):
                await hall.dial()
            session = worker.session
            async with closing(
                await dial(
                    HOST,
                    hall.port,
                    role=Role.CHANNEL,
                    secret=session.resume_key,
                    resume_id=session.resume_id,
                    pinned_fingerprint=worker.fingerprint,
                )
            ) as channel:
                await check_echo(channel)
                assert hall.connections[-1].session.resume_id == session.resume_id

    run(scenario())


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return make_identity(str(tmp_path / "mincemeat.identity"))


def test_a_token_gets_in_where_its_identity_is_while_no_guess_is_left(identity: Identity) -> None:
    async def scenario() -> None:
        async with listening(clock=lambda: 0.0, identity=identity) as hall:
            for _ in range(limits.GUESS_BURST):
                with pytest.raises(AuthenticationError):
                    await hall.dial(b"wrong")
            with pytest.raises(ServerBusy):
                await hall.dial()
            token = identity.token
            async with closing(
                await dial(HOST, hall.port, role=Role.TOKEN, secret=token.secret, pinned_fingerprint=token.pin)
            ) as connection:
                await check_echo(connection)
                assert connection.fingerprint == identity.fingerprint

    run(scenario())


def test_a_wrong_token_is_told_at_both_ends_and_so_is_any_where_there_is_none(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        for server in ({"identity": identity}, {}):
            async with listening(**server) as hall:
                with pytest.raises(AuthenticationError, match="does not take this join token"):
                    await dial(HOST, hall.port, role=Role.TOKEN, secret=bytes(16))
                await until(lambda hall=hall: hall.listener.refusals[Refusal.PASSWORD] == 1)  # type: ignore[misc]

    run(scenario())
    assert "did not prove knowledge of a join token" in caplog.text


def test_who_knows_the_token_cannot_pose_as_its_server(identity: Identity, tmp_path: Path) -> None:
    """He has the secret, and a certificate of his own: it is refused before a byte of the key exchange."""
    impostor = replace(make_identity(str(tmp_path / "his")), token=identity.token)

    async def scenario() -> None:
        async with listening(identity=impostor) as hall:
            with pytest.raises(AuthenticationError, match="another certificate than the pinned one"):
                await dial(
                    HOST,
                    hall.port,
                    role=Role.TOKEN,
                    secret=identity.token.secret,
                    pinned_fingerprint=identity.token.pin,
                )
            assert not hall.connections

    run(scenario())


def test_control_without_the_pin_he_could(identity: Identity, tmp_path: Path) -> None:
    impostor = replace(make_identity(str(tmp_path / "his")), token=identity.token)

    async def scenario() -> None:
        async with (
            listening(identity=impostor) as hall,
            closing(await dial(HOST, hall.port, role=Role.TOKEN, secret=identity.token.secret)) as connection,
        ):
            await check_echo(connection)

    run(scenario())


def test_an_unknown_resume_key_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with listening() as hall:
            with pytest.raises(AuthenticationError, match="join again"):
                await dial(HOST, hall.port, role=Role.CHANNEL, secret=bytes(32), resume_id=bytes(16))
            await until(lambda: hall.listener.refusals[Refusal.PASSWORD] == 1)

    run(scenario())
    assert "resume key" in caplog.text


def test_a_busy_server_turns_newcomers_away_before_their_password_is_tried() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            hall.listener.is_busy = True
            with pytest.raises(ServerBusy, match="busy"):
                await hall.dial(b"wrong")
            hall.listener.is_busy = False
            await hall.join()
            assert hall.listener.refusals == {Refusal.BUSY: 1}

    run(scenario())


def test_a_listener_needs_a_password() -> None:
    async def nobody(connection: Connection) -> None:
        raise AssertionError

    with pytest.raises(LocalProtocolError, match="password"):
        Listener(b"", no_resume_key, nobody)


# -- guesses and places ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_sixty_parallel_wrong_guesses_ten_are_tested() -> None:
    async def scenario() -> None:
        async with listening(clock=lambda: 0.0) as hall:
            guesses = [hall.dial(b"wrong %d" % number) for number in range(60)]
            results = await asyncio.gather(*guesses, return_exceptions=True)
            assert not [result for result in results if not isinstance(result, MincemeatError)]
            tested = [result for result in results if isinstance(result, AuthenticationError)]
            assert len(tested) <= limits.GUESS_BURST
            assert hall.listener.refusals[Refusal.PASSWORD] <= limits.GUESS_BURST
            # Whoever was dropped, or found no guess left, tries again: the burst stays what it was.
            for _ in range(limits.GUESS_BURST):
                with pytest.raises((AuthenticationError, ServerBusy)):
                    await hall.dial(b"wrong")
            assert hall.listener.refusals[Refusal.PASSWORD] <= limits.GUESS_BURST
            with pytest.raises(ServerBusy):
                await hall.dial()

    run(scenario())


@pytest.mark.slow
def test_a_crowd_behind_one_address_gets_in_by_trying_again() -> None:
    async def join(hall: Hall) -> None:
        while True:
            try:
                connection = await hall.dial()
            except (ServerBusy, ConnectionFailed):
                await asyncio.sleep(0)
                continue
            async with closing(connection):
                await check_echo(connection)
            return

    async def scenario() -> None:
        async with listening(clock=lambda: 0.0) as hall:
            await asyncio.gather(*(join(hall) for _ in range(60)))
            assert len(hall.connections) == 60
            assert not hall.listener.refusals[Refusal.PASSWORD]

    run(scenario())


def test_silent_peers_lose_their_place_to_a_worker() -> None:
    async def scenario() -> None:
        async with listening() as hall, contextlib.AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(stranger(hall.port)) for _ in range(40)]
            await until(lambda: hall.listener.refusals[Refusal.DROPPED] >= 40 - limits.UNAUTHENTICATED_PER_ADDRESS_MAX)
            await hall.join()
            assert await read_to_end(silent[0]) == b""

    run(scenario())


def test_a_silent_peer_is_dropped_at_the_deadline_while_another_joins() -> None:
    async def scenario() -> None:
        async with listening(handshake_seconds=0.2) as hall, stranger(hall.port) as silent:
            await hall.join()
            assert hall.listener.refusals == {}
            assert await read_to_end(silent) == b""
            assert hall.listener.refusals == {Refusal.SILENT: 1}

    run(scenario())


def test_one_deadline_covers_everything_so_dripping_does_not_help() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with listening(handshake_seconds=0.1) as hall, stranger(hall.port) as slow:
            hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
            began = loop.time()
            with contextlib.suppress(ConnectionError):
                for byte in hello + bytes(500):
                    await loop.sock_sendall(slow, bytes([byte]))
                    await asyncio.sleep(0.005)
            assert loop.time() - began < 2
            assert hall.listener.refusals == {Refusal.SILENT: 1}

    run(scenario())


def test_a_connection_that_has_got_in_is_not_bound_by_the_deadline() -> None:
    async def scenario() -> None:
        async with listening(handshake_seconds=0.1) as hall, closing(await hall.dial()) as connection:
            await asyncio.sleep(0.15)
            await check_echo(connection)

    run(scenario())


# -- strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it speaks HTTP"),
        (b"auth:0123\n", "original mincemeat.py"),
        (b"\0" * 100, "its first bytes are"),
        (b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb", "at most 16384"),
        (b"\x16\x03\x01\x00\x30\x01\0\0\x2c" + b"\xff" * 44, "STRANGER"),
    ],
)
def test_strangers_are_disconnected_and_named(said: bytes, told: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mincemeat")

    async def scenario() -> None:
        async with listening() as hall, stranger(hall.port) as plain:
            await asyncio.get_running_loop().sock_sendall(plain, said)
            answer = await read_to_end(plain)
            assert len(answer) < 10  # an alert at most
            assert hall.listener.refusals == {Refusal.STRANGER: 1}
            await hall.join()

    run(scenario())
    assert (told if told != "STRANGER" else Refusal.STRANGER.value) in caplog.text


def test_a_stranger_without_a_client_hello_costs_no_tls_object(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with listening() as hall:
            monkeypatch.setattr(TlsStream, "begin_tls", lambda *_, **__: pytest.fail("a TLS object was created"))
            for said in (b"\x16\x03\x01\x02\x00\x01", b"garbage"):
                async with stranger(hall.port) as plain:
                    await asyncio.get_running_loop().sock_sendall(plain, said)
                    plain.shutdown(socket.SHUT_WR)
                    assert await read_to_end(plain) == b""
            assert hall.listener.refusals == {Refusal.GONE: 1, Refusal.STRANGER: 1}

    run(scenario())


def tls_stranger(*, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = maximum
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def test_tls_1_2_is_refused() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            context = tls_stranger(maximum=ssl.TLSVersion.TLSv1_2, alpn=["mincemeat/2"])
            with pytest.raises(ssl.SSLError, match="(?i)version"):
                await asyncio.open_connection(HOST, hall.port, ssl=context)
            await until(lambda: hall.listener.refusals == {Refusal.STRANGER: 1})

    run(scenario())


@pytest.mark.parametrize("alpn", [None, ["h2", "http/1.1"]])
def test_tls_without_our_protocol_is_refused_before_the_greeting(alpn: list[str] | None) -> None:
    async def scenario() -> None:
        async with listening() as hall:
            reader, writer = await asyncio.open_connection(HOST, hall.port, ssl=tls_stranger(alpn=alpn))
            assert await reader.read() == b""
            writer.transport.abort()
            assert hall.listener.refusals == {Refusal.STRANGER: 1}

    run(scenario())


@contextlib.asynccontextmanager
async def tls_opened(hall: Hall) -> AsyncIterator[TlsStream]:
    """TLS as a worker speaks it, and nothing after it."""
    _, stream = await asyncio.get_running_loop().create_connection(TlsStream, HOST, hall.port)
    stream.begin_tls(client_context(), is_server=False)
    await stream.finish_tls()
    try:
        yield stream
    finally:
        stream.abort()


def test_messages_before_the_proof_are_refused() -> None:
    async def scenario() -> None:
        async with listening() as hall, tls_opened(hall) as stream:
            await stream.write(encode_frame(2, b"\0\0\0\x02{}"))
            greeting = b""
            while data := await stream.read():
                greeting += data
            assert len(greeting) in (0, 38)
            assert hall.listener.refusals == {Refusal.STRANGER: 1}
            assert not hall.connections

    run(scenario())


def test_a_giant_before_the_proof_is_disconnected() -> None:
    async def scenario() -> None:
        async with listening() as hall, tls_opened(hall) as stream:
            with contextlib.suppress(ConnectionFailed):
                for _ in range(1000):
                    await stream.write(b"MCM2" * 16384)
            await until(lambda: hall.listener.refusals == {Refusal.STRANGER: 1})

    run(scenario())


def test_a_frame_that_is_too_large_ends_an_authenticated_connection() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            await connection._stream.write((limits.FRAME_BYTES_MAX - 3).to_bytes(4, "big"))
            await check_closed(connection)
            await hall.join()

    run(scenario())


@pytest.mark.slow
def test_a_flood_of_strangers_does_not_keep_workers_out() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as hall:
            for number in range(300):
                async with stranger(hall.port) as plain:
                    await loop.sock_sendall(plain, (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n")[number % 3])
                if number % 100 == 0:
                    await hall.join()
            await hall.join()
            assert len(hall.connections) == 4

    run(scenario())


# -- a relay ---------------------------------------------------------------------------------------------


async def dial_through_relay(hall: Hall) -> None:
    """Dial through a man in the middle with a certificate of his own."""
    context, _ = server_context()

    async def pump(source: TlsStream, sink: TlsStream) -> None:
        with contextlib.suppress(ConnectionFailed):
            while data := await source.read():
                await sink.write(data)
        sink.close()

    async def relay(accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        _, victim = await loop.connect_accepted_socket(TlsStream, accepted)
        _, server = await loop.create_connection(TlsStream, HOST, hall.port)
        try:
            victim.begin_tls(context, is_server=True)
            await victim.finish_tls()
            server.begin_tls(client_context(), is_server=False)
            await server.finish_tls()
            await asyncio.gather(pump(victim, server), pump(server, victim))
        finally:
            victim.abort()
            server.abort()

    async with stranger_server(relay) as port:
        connection = await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
        async with closing(connection):
            await check_echo(connection)


def test_a_relay_with_another_certificate_is_refused_by_both_ends() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            with pytest.raises(AuthenticationError, match="another certificate"):
                await dial_through_relay(hall)
            assert hall.listener.refusals == {Refusal.PASSWORD: 1}
            assert not hall.connections

    run(scenario())


def test_control_with_the_certificate_unbound_the_relay_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the test above would prove nothing: same relay, but both ends bind a constant."""
    monkeypatch.setattr("mincemeat.cluster.dialing.peer_fingerprint", lambda tls: b"")

    async def scenario() -> None:
        async with listening() as hall:
            hall.listener.fingerprint = b""
            await dial_through_relay(hall)
            assert len(hall.connections) == 1

    run(scenario())


# -- the listener's own life -----------------------------------------------------------------------------


def test_a_port_in_use_is_told_with_the_way_out() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            second = Listener(PASSWORD, no_resume_key, lambda _: asyncio.sleep(0))
            with pytest.raises(PortInUse, match=f"port {hall.port} is already in use.*-P") as caught:
                await second.start(HOST, hall.port)
            assert caught.value.port == hall.port  # type: ignore[attr-defined]
            await second.close()

    run(scenario())


def test_a_host_that_is_not_ours_is_told() -> None:
    async def scenario() -> None:
        listener = Listener(PASSWORD, no_resume_key, lambda _: asyncio.sleep(0))
        with pytest.raises(PortInUse, match=r"cannot listen on 192\.0\.2\.1:"):
            await listener.start("192.0.2.1", 0)

    run(scenario())


def test_the_empty_host_is_every_address() -> None:
    async def scenario() -> None:
        listener = Listener(PASSWORD, no_resume_key, lambda _: asyncio.sleep(0))
        port = await listener.start("", 0)
        with pytest.raises(LocalProtocolError, match="already"):
            await listener.start("", 0)
        connection = await dial("localhost", port, role=Role.WORKER, secret=PASSWORD)
        connection.abort()
        await connection.wait_closed()
        await listener.close()

    run(scenario())


def test_close_ends_every_connection() -> None:
    async def scenario() -> None:
        async with listening() as hall, stranger(hall.port) as silent:
            connection = await hall.dial()
            await check_echo(connection)
            await hall.listener.close()
            await check_closed(connection)
            assert await read_to_end(silent) == b""
            with pytest.raises(ConnectionFailed):
                await hall.dial()
            connection.abort()

    run(scenario())


def test_close_gives_connections_their_grace() -> None:
    async def scenario() -> None:
        leaving = asyncio.Event()
        done: list[bool] = []

        async def serve(connection: Connection) -> None:
            await leaving.wait()
            await asyncio.sleep(0)
            done.append(True)

        listener = Listener(PASSWORD, no_resume_key, serve)
        port = await listener.start(HOST, 0)
        async with closing(await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)):
            leaving.set()
            await listener.close(grace_seconds=5)
        assert done

    run(scenario())


def test_a_fault_in_serving_is_reported_and_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        faults: list[BaseException] = []

        async def serve(connection: Connection) -> None:
            raise ZeroDivisionError

        listener = Listener(PASSWORD, no_resume_key, serve, on_unexpected=faults.append)
        port = await listener.start(HOST, 0)
        for _ in range(2):
            async with closing(await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)) as connection:
                await check_closed(connection)
        await listener.close()
        assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2

    run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_an_accept_that_fails_does_not_stop_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file descriptor left, accept fails again and again until one is free."""
    monkeypatch.setattr(listening_module, "_ACCEPT_PAUSE_SECONDS", 0.0)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [OSError(24, "Too many open files")] * 3

        async def sock_accept(listening_socket: socket.socket) -> tuple[socket.socket, object]:
            if failures:
                raise failures.pop()
            return await accept(listening_socket)

        monkeypatch.setattr(loop, "sock_accept", sock_accept)
        async with listening() as hall:
            await hall.join()
        assert not failures

    run(scenario())


def test_a_fault_in_the_handshake_costs_that_peer_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with listening() as hall:
            with monkeypatch.context() as patch:
                patch.setattr("mincemeat.cluster.listening.is_client_hello_complete", lambda data: 1 // 0)
                with pytest.raises(ConnectionFailed):
                    await hall.dial()
            await hall.join()

    run(scenario())
    assert "ZeroDivisionError" in caplog.text
