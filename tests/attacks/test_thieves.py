"""Workers that take what is others', or keep it from them: outputs, results that were checked, places, patience."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.errors import ConnectionFailed, MincemeatError
from mincemeat.wire import messages
from mincemeat.wire.codec import encode
from tests.attacks import lies
from tests.attacks.stage import RESULTS, is_heard_out, staging
from tests.cluster.kit import run
from tests.kit.desk import JOB, coordinating, get, hello, map_done


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("incarnation", ["", "the thief's own"])
def test_outputs_of_a_worker_that_is_there_cannot_be_claimed_by_another(incarnation: str, scratch: Path) -> None:
    """Whoever named them had them all, and they were gone when it left."""

    async def scenario() -> None:
        async with staging(scratch) as stage:
            owner = await stage.join(incarnation="the owner's")
            start = await owner.expect(messages.MapStart)
            await owner.connection.send(map_done(start.attempt))
            await is_heard_out(owner.connection)
            thief = stage.stranger()
            await thief.connection.send(hello(held_job=JOB, held=1, incarnation=incarnation))
            await thief.connection.send(messages.Holding([start.attempt]))
            assert not await thief.is_heard_out()
            assert stage.coordinator.counts().map_committed == 1
            assert await owner.is_heard_out()
            owner.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_worker_may_come_back_before_its_earlier_connection_was_seen_to_end(scratch: Path) -> None:
    async def scenario() -> None:
        async with staging(scratch) as stage:
            before = await stage.join(incarnation="the same")
            start = await before.expect(messages.MapStart)
            await before.connection.send(map_done(start.attempt))
            await is_heard_out(before.connection)
            again = stage.stranger()
            await again.connection.send(hello(held_job=JOB, held=1, incarnation="the same"))
            await again.connection.send(messages.Holding([start.attempt]))
            assert await again.is_heard_out()
            before.connection.abort()
            assert await again.is_heard_out()
            assert stage.coordinator.counts().map_committed == 1
            again.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_results_cannot_be_changed_once_they_were_checked(scratch: Path) -> None:
    """Two uploads wrote into one file: what the second had completed, and was checked, the first wrote over."""

    async def scenario() -> None:
        async with staging(scratch) as stage:
            peer, done = await stage.staged(messages.ReduceDone)
            assert isinstance(done, messages.ReduceDone)
            put = messages.Put("result", JOB, done.attempt, "")
            first, second = peer.channel(), peer.channel()
            await first.send(put)
            await first.send(messages.Chunk(body=b"wrong" * 10))
            await is_heard_out(first)
            await second.send(put)
            with pytest.raises(ConnectionFailed):
                await second.receive()
            # Nor can a message say that all is there while the rest of it is on its way.
            await peer.connection.send(done)
            assert not await peer.is_heard_out()
            first.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_only_results_can_be_put(scratch: Path) -> None:
    """The payload of a map attempt that ran lay in the server's directory until the job was over."""

    async def scenario() -> None:
        async with staging(scratch) as stage:
            peer, _ = await stage.staged(messages.MapDone)
            channel = peer.channel()
            await channel.send(messages.Put("result", JOB, "m-00000.0", ""))
            with pytest.raises(ConnectionFailed):
                await channel.receive()
            assert await peer.is_heard_out()
            assert not list(scratch.iterdir())
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_what_an_attempt_uploaded_before_it_failed_does_not_stay(scratch: Path) -> None:
    async def scenario() -> None:
        async with staging(scratch) as stage:
            peer, done = await stage.staged(messages.ReduceDone)
            assert isinstance(done, messages.ReduceDone)
            channel = peer.channel()
            await channel.send(messages.Put("result", JOB, done.attempt, ""))
            await channel.send_body([bytes(1000)])
            assert await channel.receive() == messages.Answer(ok=True, message="", size=0)
            assert len(list(scratch.iterdir())) == 1
            failed = lies.plain(messages.AttemptFailed, job=JOB, attempt=done.attempt, kind="user")
            await peer.connection.send(failed)
            await is_heard_out(peer.connection)
            assert not [path for path in scratch.iterdir() if path.name.startswith(done.attempt)]
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_request_for_a_relay_that_no_holder_could_be_sent_does_not_end_the_job(scratch: Path) -> None:
    """It was passed on in a message with other fields, which was larger than a frame: the job ended with our error."""

    async def scenario() -> None:
        async with staging(scratch) as stage:
            holder, fetcher = await stage.join(), await stage.join()
            request = messages.Get("relay", "", holder.name, 0, 0, 0, "", "")
            room = limits.FRAME_BYTES_MAX - len(encode(request))
            channel = fetcher.channel()
            await channel.send(messages.Get("relay", "", holder.name, 0, 0, 2**62, "", "", body=bytes(room - 18)))
            with pytest.raises(ConnectionFailed):
                await channel.receive()
            assert await holder.is_heard_out()
            for peer in (holder, fetcher):
                peer.connection.abort()
            assert await stage.finish() == RESULTS

    run(scenario())


def test_a_fetcher_that_does_not_read_does_not_keep_the_holders_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder serves so many relays at a time, and all of them waited for that fetcher for ever."""
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.3)

    async def upload(channel: Connection, request: str) -> None:
        await channel.send(messages.Put("relay", JOB, "", request))
        await channel.send(messages.Answer(ok=True, message="", size=-1))
        await channel.send_body(_endless())

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as holder, desk.liar() as fetcher:
            monkeypatch.setattr(desk.coordinator._machine, "lease_seconds", 60.0)
            deaf = [await fetcher.channel() for _ in range(limits.DATA_CONNECTIONS_PER_PEER)]
            for channel in deaf:
                await channel.send(get("relay", holder.name))
            uploads = []
            for _ in deaf:
                serve = await holder.expect(messages.Serve)
                uploads.append(asyncio.create_task(upload(await holder.channel(), serve.request)))
            honest = await fetcher.channel()
            await honest.send(get("relay", holder.name))
            serve = await holder.expect(messages.Serve)  # as soon as the deaf ones are given up
            answering = await holder.channel()
            await answering.send(messages.Put("relay", JOB, "", serve.request))
            await answering.send(messages.Answer(ok=False, message="here I am", size=0))
            answer = await honest.receive()
            assert isinstance(answer, messages.Answer)
            assert answer.message == "here I am"
            for outcome in await asyncio.gather(*uploads, return_exceptions=True):
                assert isinstance(outcome, MincemeatError)
            for channel in (*deaf, honest, answering):
                channel.abort()

    run(scenario())


def _endless() -> Iterator[bytes]:
    return itertools.repeat(bytes(limits.CHUNK_BYTES))
