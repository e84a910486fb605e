"""Fetching blocks: which way is taken, and when a holder is given up."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.connection import Connection, PinnedListener
from mincemeat.cluster.fetching import Channels, Fetcher, Holder, HolderServer, Unreachable
from mincemeat.errors import MincemeatError
from mincemeat.model import AttemptId
from mincemeat.shuffle.store import JobStore
from mincemeat.wire import messages
from mincemeat.wire.tickets import ticket, ticket_key
from tests.cluster.kit import HOST, run, stranger_server

OUTPUTS = [AttemptId.parse("m-00003.0"), AttemptId.parse("m-00005.1")]


def stretch(*maps: int) -> bytes:
    return b"".join(struct.pack(">IQ", index, 2) + b"xy" for index in maps)


class Relay(Channels):
    """The coordinator's way, which works, or says no."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.asked = 0

    async def get(self, request: messages.Get, path: Path, *, bytes_max: int | None = None) -> None:
        self.asked += 1
        assert request.what == "relay"
        if not self.works:
            raise MincemeatError("the holder is gone")
        path.write_bytes(stretch(3, 5))


class Holding:
    """A holder on loopback that answers with ``answer`` and ``body``; None: it never says anything."""

    def __init__(self, answer: messages.Answer | None, body: list[bytes] | None) -> None:
        self.answer = answer
        self.body = body
        self.connections = 0

    async def serve(self, connection: Connection) -> None:
        self.connections += 1
        while True:
            await connection.receive()
            if self.answer is not None:
                await connection.send(self.answer)
            if self.body is None:
                await asyncio.Event().wait()
            else:
                await connection.send_body(self.body)


@contextlib.asynccontextmanager
async def holding(answer: messages.Answer | None, body: list[bytes] | None) -> AsyncIterator[tuple[Holding, Holder]]:
    behaviour = Holding(answer, body)
    listener = PinnedListener(behaviour.serve)
    port = await listener.start(HOST, 0)
    try:
        yield behaviour, Holder("holder", HOST, port, listener.fingerprint.hex(), "ticket")
    finally:
        await listener.close()


async def fetch(holder: Holder, relay: Relay, path: Path) -> set[int]:
    fetcher = Fetcher("fetcher", HOST, relay)
    try:
        return set(await fetcher.fetch("job-1", holder, OUTPUTS, range(2), path / "blocks"))
    finally:
        fetcher.close()


def test_blocks_come_directly_from_a_holder_that_can_be_reached(tmp_path: Path) -> None:
    async def scenario() -> None:
        body = stretch(3, 5)
        async with holding(messages.Answer(True, "", len(body)), [body]) as (_, holder):
            relay = Relay()
            assert await fetch(holder, relay, tmp_path) == {3, 5}
            assert relay.asked == 0

    run(scenario())


def test_who_brings_a_revoked_ticket_gets_its_blocks_from_the_server_and_the_next_ones_directly(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = HolderServer()
        port = await server.start(HOST)
        former, key = ticket_key(b"root", "holder", 0), ticket_key(b"root", "holder", 1)
        server.admit(former, "job-1", JobStore(tmp_path / "store"))
        server.renew(key)
        relay = Relay()
        fetcher = Fetcher("fetcher", HOST, relay)
        fingerprint = server.fingerprint.hex()
        for made_with, relayed in ((former, 1), (key, 1)):
            holder = Holder("holder", HOST, port, fingerprint, ticket(made_with, "job-1", "fetcher"))
            if made_with is former:
                await fetcher.fetch("job-1", holder, OUTPUTS, range(2), tmp_path / "blocks")
            else:
                with pytest.raises(Unreachable, match="no longer has"):  # its store is empty, as it says itself
                    await fetcher.fetch("job-1", holder, OUTPUTS, range(2), tmp_path / "blocks")
            assert relay.asked == relayed
        fetcher.close()
        await server.close()

    run(scenario())


@pytest.mark.parametrize("answer", [None, messages.Answer(True, "", 28)], ids=["at once", "in the middle"])
def test_a_holder_that_falls_silent_is_waited_for_no_longer_than_a_lease(
    answer: messages.Answer | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen holder was waited for for ever."""
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.05)

    async def scenario() -> None:
        async with holding(answer, None) as (_, holder):
            relay = Relay()
            assert await fetch(holder, relay, tmp_path) == {3, 5}
            assert relay.asked == 1

    run(scenario())


def test_where_something_else_answers_the_server_relays(tmp_path: Path) -> None:
    """The holder's outputs were taken for lost, although the server could have relayed them."""

    async def scenario() -> None:
        async def smtp(plain: object) -> None:
            await asyncio.get_running_loop().sock_sendall(plain, b"220 mail.example.org ESMTP\r\n")  # type: ignore[arg-type]

        async with stranger_server(smtp) as port:
            relay = Relay()
            assert await fetch(Holder("holder", HOST, port, "00" * 32, "ticket"), relay, tmp_path) == {3, 5}
            assert relay.asked == 1

    run(scenario())


def test_a_holder_with_another_certificate_is_not_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with holding(None, None) as (behaviour, holder):
            relay = Relay()
            impostor = Holder(holder.worker, HOST, holder.port, "11" * 32, "ticket")
            assert await fetch(impostor, relay, tmp_path) == {3, 5}
            assert (relay.asked, behaviour.connections) == (1, 0)

    run(scenario())


@pytest.mark.parametrize("maps", [(3,), (3, 4), (3, 5, 6)])
def test_a_holder_that_sends_other_outputs_has_not_got_those_asked_for(maps: tuple[int, ...], tmp_path: Path) -> None:
    """A missing one was a KeyError, which ended the fetcher's session."""

    async def scenario() -> None:
        body = stretch(*maps)
        async with holding(messages.Answer(True, "", len(body)), [body]) as (_, holder):
            with pytest.raises(Unreachable, match="other map outputs") as caught:
                await fetch(holder, Relay(), tmp_path)
            assert caught.value.maps == [3, 5]

    run(scenario())


def test_outputs_that_neither_way_gives_are_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with holding(None, []) as (_, holder):
            pass  # it has left
        with pytest.raises(Unreachable, match="gone") as caught:
            await fetch(holder, Relay(works=False), tmp_path)
        assert (caught.value.holder, caught.value.maps) == ("holder", [3, 5])

    run(scenario())


def test_our_own_full_disk_is_not_held_against_the_holder(tmp_path: Path) -> None:
    async def scenario() -> None:
        body = stretch(3, 5)
        async with holding(messages.Answer(True, "", len(body)), [body]) as (_, holder):
            with pytest.raises(FileNotFoundError):
                await fetch(holder, Relay(), tmp_path / "no such directory")

    run(scenario())


def test_many_fetches_from_one_holder_take_few_connections(tmp_path: Path) -> None:
    """A worker with many slots pushed its own connections out of the holder's places for strangers."""

    async def scenario() -> None:
        body = stretch(3, 5)
        async with holding(messages.Answer(True, "", len(body)), [body]) as (behaviour, holder):
            fetcher = Fetcher("fetcher", HOST, Relay())
            work = (fetcher.fetch("job-1", holder, OUTPUTS, range(2), tmp_path / str(n)) for n in range(40))
            assert all(set(found) == {3, 5} for found in await asyncio.gather(*work))
            assert behaviour.connections <= limits.DATA_CONNECTIONS_PER_PEER
            fetcher.close()

    run(scenario())
