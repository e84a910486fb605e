"""Connections: messages, bodies, back-pressure and ends, with and without tickets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mincemeat import limits
from mincemeat.cluster.connection import Connection, PinnedListener, Refusal, dial_pinned, format_address
from mincemeat.cluster.stream import TlsStream
from mincemeat.errors import AuthenticationError, ConnectionFailed, LocalProtocolError, RemoteProtocolError
from mincemeat.wire.messages import Answer, Chunk, End, Get, Heartbeat, Message
from mincemeat.wire.tickets import is_ticket_valid, ticket, ticket_key
from tests.cluster.kit import HOST, check_closed, check_echo, closing, listening, run, stranger

KEY = ticket_key(bytes(32), "holder", 0)


def request(presented: str) -> Get:
    return Get("blocks", "job-1", "holder", 0, 0, 1, presented, "fetcher")


async def holder(connection: Connection) -> None:
    """What a worker does with a fetcher: check the ticket of the first message, then answer."""
    while True:
        message = await connection.receive()
        assert isinstance(message, Get)
        if not is_ticket_valid(KEY, message.job, message.fetcher, message.ticket):
            return
        await connection.send(Answer(True, "", 3))
        await connection.send_body([b"a", b"", b"bc"])


def plain_transport(connection: Connection) -> asyncio.Transport:
    """What carries its bytes, below TLS."""
    stream = connection._stream
    assert isinstance(stream, TlsStream)
    return stream._plain


async def collect(body: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in body]


# -- messages and bodies ---------------------------------------------------------------------------------


def test_messages_keep_their_order_also_when_many_tasks_send() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            count = 200
            await asyncio.gather(*(connection.send(Answer(True, "x" * n, n)) for n in range(count)))
            for n in range(count):
                assert await connection.receive() == Answer(True, "x" * n, n)

    run(scenario())


def test_a_body_comes_in_pieces_of_at_most_a_chunk() -> None:
    data = bytes(range(256)) * 4096  # 1 MiB

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:1]
        yield data[1:]

    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            for body in ([data], pieces(), iter([data[:5], b"", data[5:]])):
                _, received = await asyncio.gather(connection.send_body(body), collect(connection.receive_body()))
                assert b"".join(received) == data
                assert max(map(len, received)) == limits.CHUNK_BYTES
                assert all(received)

    run(scenario())


def test_another_message_in_the_middle_of_a_body_is_refused() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            await connection.send(Chunk(body=b"a"))
            await connection.send(Heartbeat())
            with pytest.raises(RemoteProtocolError, match="Heartbeat came in the middle of a body"):
                await collect(connection.receive_body())

    run(scenario())


def test_a_body_that_is_cut_off_is_no_body() -> None:
    async def cut(connection: Connection) -> None:
        await connection.receive()
        await connection.send(Chunk(body=b"a"))

    async def scenario() -> None:
        listener = PinnedListener(cut)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            await connection.send(Heartbeat())
            with pytest.raises(ConnectionFailed, match="closed the connection"):
                await collect(connection.receive_body())
        await listener.close()

    run(scenario())


def test_the_end_in_the_middle_of_a_message_is_told() -> None:
    async def cut(connection: Connection) -> None:
        await connection.receive()
        await connection._stream.write(b"\0\0\0\x09\x42")

    async def scenario() -> None:
        listener = PinnedListener(cut)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            await connection.send(Heartbeat())
            with pytest.raises(ConnectionFailed, match=f"{HOST}:{port} closed the connection in the middle of a"):
                await connection.receive()
        await listener.close()

    run(scenario())


def test_bytes_damaged_on_their_way_are_a_lost_connection_on_both_sides() -> None:
    """They were a protocol error, at which a worker ended for good instead of dialing again."""

    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            await check_echo(connection)
            [other] = hall.connections
            record = bytes.fromhex("1703030020") + bytes(32)  # the form of a record of TLS 1.3, and no key fits
            plain_transport(other).write(record)
            with pytest.raises(ConnectionFailed, match=r"damaged on its way \(.*BAD_RECORD_MAC"):
                await connection.receive()
        async with listening() as hall, closing(await hall.dial()) as connection:
            await check_echo(connection)
            plain_transport(connection).write(record)  # which the other side tells by an alert
            with pytest.raises(ConnectionFailed, match=r"damaged on its way \(.*BAD_RECORD_MAC"):
                await connection.receive()

    run(scenario())


def test_what_cannot_be_sent_breaks_nothing() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            with pytest.raises(LocalProtocolError):
                await connection.send(Chunk(body=bytes(limits.FRAME_BYTES_MAX)))
            await connection.send(End())
            assert await connection.receive() == End()

    run(scenario())


# -- back-pressure, time, ends ---------------------------------------------------------------------------


def test_a_sender_waits_for_a_receiver_that_does_not_read() -> None:
    """What is on its way stays bounded by the buffers of both ends and the kernel's."""
    sent = 0
    read_on = asyncio.Event()
    amounts: list[int] = []

    async def reader(connection: Connection) -> None:
        await connection.receive()
        await read_on.wait()
        async for piece in connection.receive_body():
            amounts.append(len(piece))
        await connection.send(End())

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(256):
            sent += 1
            yield bytes(limits.CHUNK_BYTES)

    async def scenario() -> None:
        listener = PinnedListener(reader)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            await connection.send(Heartbeat())
            sending = asyncio.create_task(connection.send_body(pieces()))
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.02)
            assert sent < 128, "64 MiB were taken from a sender whose receiver does not read"
            read_on.set()
            await sending
            assert await connection.receive() == End()
        await listener.close()
        assert sum(amounts) == 256 * limits.CHUNK_BYTES

    run(scenario())


def test_the_time_of_the_last_byte_is_known_without_reading() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with listening() as hall, closing(await hall.dial()) as connection:
            await asyncio.sleep(0.01)
            before = loop.time()
            assert connection.last_received <= before
            await connection.send(Heartbeat())
            while connection.last_received < before:
                await asyncio.sleep(0)
            assert await connection.receive() == Heartbeat()

    run(scenario())


def test_a_closed_connection_neither_sends_nor_receives() -> None:
    async def scenario() -> None:
        async with listening() as hall:
            connection = await hall.dial()
            connection.close()
            connection.close()
            with pytest.raises(ConnectionFailed):
                await connection.send(Heartbeat())
            await check_closed(connection)
            await connection.wait_closed()
            connection.abort()

    run(scenario())


def test_close_delivers_what_was_sent() -> None:
    received: list[Message] = []
    done = asyncio.Event()

    async def reader(connection: Connection) -> None:
        try:
            while True:
                received.append(await connection.receive())
        finally:
            done.set()

    async def scenario() -> None:
        listener = PinnedListener(reader)
        port = await listener.start(HOST, 0)
        connection = await dial_pinned(HOST, port, listener.fingerprint)
        for _ in range(8):
            await connection.send(Chunk(body=bytes(limits.CHUNK_BYTES)))
        connection.close()
        await done.wait()
        await connection.wait_closed()
        await listener.close()
        assert len(received) == 8

    run(scenario())


def test_an_abort_behind_the_end_of_a_slow_close_does_nothing() -> None:
    """asyncio's transport raised AttributeError if it had something to deliver when it was closed."""

    async def scenario() -> None:
        go_on = asyncio.Event()

        async def late_reader(connection: Connection) -> None:
            await go_on.wait()
            await collect(connection.receive_body())

        listener = PinnedListener(late_reader)
        port = await listener.start(HOST, 0)
        connection = await dial_pinned(HOST, port, listener.fingerprint)
        pieces = (bytes(limits.CHUNK_BYTES) for _ in range(1000))
        sending = asyncio.get_running_loop().create_task(connection.send_body(pieces))
        while not plain_transport(connection).get_write_buffer_size():
            await asyncio.sleep(0.005)
        connection.close()
        go_on.set()
        await connection.wait_closed()
        connection.abort()
        with pytest.raises(ConnectionFailed):
            await sending
        await listener.close()

    run(scenario())


def test_a_peer_that_does_not_read_cannot_keep_a_closed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLOSE_SECONDS", 0.05)

    async def deaf(connection: Connection) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        listener = PinnedListener(deaf)
        port = await listener.start(HOST, 0)
        connection = await dial_pinned(HOST, port, listener.fingerprint)
        pieces = (bytes(limits.CHUNK_BYTES) for _ in range(1000))
        sending = asyncio.get_running_loop().create_task(connection.send_body(pieces))
        assert isinstance(connection._stream, TlsStream)
        while not connection._stream._plain.get_write_buffer_size():
            await asyncio.sleep(0.005)
        connection.close()
        await connection.wait_closed()
        with pytest.raises(ConnectionFailed):
            await sending
        await listener.close()

    run(scenario())


def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            for n in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await connection.receive()
                await connection.send(Answer(True, "", n))
                assert await connection.receive() == Answer(True, "", n)

    run(scenario())


def test_two_receivers_are_a_fault_of_the_program() -> None:
    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as connection:
            first = asyncio.create_task(connection.receive())
            await asyncio.sleep(0)
            with pytest.raises(LocalProtocolError, match="two tasks"):
                await connection.receive()
            await connection.send(Heartbeat())
            assert await first == Heartbeat()

    run(scenario())


# -- worker to worker ------------------------------------------------------------------------------------


def test_a_fetcher_with_a_ticket_is_served_again_and_again() -> None:
    async def scenario() -> None:
        listener = PinnedListener(holder)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            for _ in range(2):
                await connection.send(request(ticket(KEY, "job-1", "fetcher")))
                assert await connection.receive() == Answer(True, "", 3)
                assert await collect(connection.receive_body()) == [b"a", b"bc"]
            with pytest.raises(LocalProtocolError, match="no session"):
                _ = connection.session
        await listener.close()
        assert not listener.refusals

    run(scenario())


def test_a_fetcher_without_a_valid_ticket_is_refused() -> None:
    async def scenario() -> None:
        listener = PinnedListener(holder)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            await connection.send(request("0" * 64))
            await check_closed(connection)
        await listener.close()

    run(scenario())


def test_a_holder_with_another_certificate_is_refused_and_sees_no_ticket() -> None:
    async def scenario() -> None:
        listener = PinnedListener(holder)
        port = await listener.start(HOST, 0)
        with pytest.raises(AuthenticationError, match="pinned"):
            await dial_pinned(HOST, port, bytes(32))
        await listener.close()

    run(scenario())


def test_a_fetcher_that_brings_no_message_is_dropped_at_the_deadline() -> None:
    async def scenario() -> None:
        listener = PinnedListener(holder, handshake_seconds=0.1)
        port = await listener.start(HOST, 0)
        async with closing(await dial_pinned(HOST, port, listener.fingerprint)) as connection:
            await check_closed(connection)
        async with stranger(port):
            while listener.refusals != {Refusal.SILENT: 2}:
                await asyncio.sleep(0.005)
        await listener.close()

    run(scenario())


@pytest.mark.parametrize(
    ("host", "told"), [("10.0.0.7", "10.0.0.7:80"), ("::1", "[::1]:80"), ("a.example", "a.example:80")]
)
def test_addresses_are_told_unambiguously(host: str, told: str) -> None:
    assert format_address(host, 80) == told
