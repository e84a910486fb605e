"""Who knows the password and talks without end, or does not listen, finds that the server's memory has an end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.errors import ConnectionFailed, MincemeatError
from mincemeat.wire import messages
from tests.attacks import lies
from tests.attacks.stage import RESULTS, Peer, is_heard_out, staging
from tests.cluster.kit import closing, listening, run
from tests.kit.desk import JOB, hello, map_done

MEGABYTE = 2**20


@contextlib.contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """What Python allocates meanwhile, at its peak, is no more than that beyond what there was."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (peak - before) / MEGABYTE < megabytes


async def flood(peer: Peer, message: messages.Message, count: int) -> int:
    """Say it so often, or until nobody listens; how often. What comes back is not read."""
    for said in range(count):
        try:
            await peer.connection.send(message)
        except ConnectionFailed:
            return said
        await is_heard_out(peer.connection)
    return count


@pytest.mark.parametrize(
    "message",
    [
        messages.Heartbeat(),
        messages.Draining(),
        map_done("m-00007.0"),
        lies.plain(messages.AttemptFailed, job=JOB, attempt="m-00007.0", kind="user", message="x" * 100_000),
        lies.plain(messages.BlocksUnreachable, job=JOB, attempt="r-00000.0", maps=[0] * 100),
        lies.plain(messages.MapDone, job="job-0", attempt="x" * 100_000),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_same_over_and_over_costs_no_memory(message: messages.Message, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            peer, _ = await stage.staged(messages.MapDone)
            await flood(peer, message, 10)
            with at_most(3):
                await flood(peer, message, 200)
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_names_that_are_none_are_refused_as_they_come(tmp_path: Path) -> None:
    """They were kept until as many had come as were announced: ten million, of up to a megabyte each."""

    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            peer = stage.stranger()
            await peer.connection.send(hello(held_job=JOB, held=limits.HELD_OUTPUTS_MAX))
            with at_most(8):
                assert await flood(peer, messages.Holding(["x" * 500_000]), 100) <= 2
            assert await stage.finish() == RESULTS

    run(scenario())


def test_outputs_of_another_job_are_counted_and_not_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            peer = stage.stranger()
            await peer.connection.send(hello(held_job="another", held=limits.HELD_OUTPUTS_MAX))
            names = [f"m-{number:05d}.0" for number in range(1000)]
            with at_most(4):
                assert await flood(peer, messages.Holding(names), 100) == 100
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_worker_that_says_long_things_of_itself_is_not_taken(tmp_path: Path) -> None:
    """Its greeting was kept for as long as it was there, a megabyte for each connection."""

    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            for name in ("version", "platform", "hostname", "incarnation", "held_job"):
                peer = stage.stranger()
                await peer.connection.send(hello(**{name: "x" * 100_000}))
                assert isinstance(await peer.connection.receive(), messages.Refused)
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_thousand_data_connections_are_sixteen(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            peer = await stage.join()
            with at_most(24):
                channels = [peer.channel() for _ in range(1000)]
                for channel in channels:
                    await is_heard_out(channel)
                left = [channel for channel in channels if await is_heard_out(channel)]
            assert len(left) == limits.CHANNELS_PER_WORKER_MAX
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_body_without_end_does_not_enter_the_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staging(tmp_path) as stage:
            peer, done = await stage.staged(messages.ReduceDone)
            channel = peer.channel()
            await channel.send(messages.Put("result", JOB, done.attempt, ""))  # type: ignore[attr-defined]
            piece = messages.Chunk(body=bytes(limits.CHUNK_BYTES))
            with at_most(4):
                for _ in range(100):
                    await channel.send(piece)
                    await is_heard_out(channel)
            peer.connection.abort()
            await is_heard_out(channel)
            assert not list(tmp_path.iterdir()), "what it sent goes with it"
            assert await stage.finish() == RESULTS

    run(scenario())


# -- with real sockets ---------------------------------------------------------------------------------------------


def test_who_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sent to it waited for ever, with what it had to send."""
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.1)

    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as deaf:
            await deaf.send(messages.Heartbeat())
            while not hall.connections:
                await asyncio.sleep(0.001)
            with at_most(8), pytest.raises(ConnectionFailed, match="takes nothing"):
                await hall.connections[0].send_body(itertools.repeat(bytes(limits.CHUNK_BYTES), 1000))

    run(scenario())


def test_who_reads_slowly_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.3)
    total = 12 * MEGABYTE

    async def say(connection: Connection) -> None:
        await connection.send_body([bytes(limits.CHUNK_BYTES)] * (total // limits.CHUNK_BYTES))

    async def slowly(body: AsyncIterator[bytes]) -> int:
        received = 0
        async for piece in body:
            received += len(piece)
            await asyncio.sleep(0.02)  # 0.96 s in all, and about a tenth for what a buffer holds
        return received

    async def scenario() -> None:
        async with listening() as hall, closing(await hall.dial()) as slow:
            await slow.send(messages.Heartbeat())
            await slow.receive()
            saying = asyncio.create_task(say(hall.connections[0]))
            assert await slowly(slow.receive_body()) == total
            await saying

    run(scenario())


def test_signs_of_life_to_a_server_that_does_not_read_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.1)

    async def scenario() -> None:
        async with listening() as hall:
            talking = [await hall.dial() for _ in range(3)]
            for connection in talking:
                with contextlib.suppress(MincemeatError):
                    async with asyncio.timeout(5):
                        while True:  # the hall answers each, nobody reads that, and so it stops reading
                            await connection.send(messages.Chunk(body=bytes(limits.CHUNK_BYTES)))
            for connection in talking:
                connection.abort()

    with at_most(24):
        run(scenario())
