"""The loop, the network and the dying of processes, on which every verdict of the simulation rests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from mincemeat.cluster.connection import Connection
from mincemeat.errors import ConnectionFailed, MincemeatError
from mincemeat.wire import messages
from mincemeat.wire.handshake import Role
from tests.simulation.loop import Process, VirtualLoop, current
from tests.simulation.network import Network
from tests.simulation.outside import SimOutside
from tests.simulation.trace import Trace


class Stage:
    """A loop, a network and two processes, each on a machine of its own."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()  # type: ignore[abstract]
        self.network = Network(self.loop, random.Random(1), Trace())
        self.server, self.client = Process("server", "10.0.0.1"), Process("client", "10.0.0.2")
        self.outside = SimOutside(self.network, random.Random(2), "")
        self.received: list[tuple[float, str]] = []
        self.connection: Connection | None = None

    def run(self, seconds: float = 100.0) -> None:
        self.loop.run(lambda: False, callbacks_max=10_000, until=self.loop.time() + seconds)
        assert not self.loop.unexpected

    def start(self, process: Process, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.loop.start(process, main)

    async def serve(self) -> None:
        async def take(connection: Connection) -> None:
            while True:
                message = await connection.receive()
                self.received.append((self.loop.time(), getattr(message, "reason", type(message).__name__)))

        door = self.outside.listener(b"secret", lambda _: None, take, on_unexpected=print)
        await door.start("", 1)

    async def dial(self) -> Connection:
        self.connection = await self.outside.dial("10.0.0.1", 1, role=Role.WORKER, secret=b"secret")
        return self.connection

    async def say(self, *words: str) -> None:
        connection = await self.dial()
        for word in words:
            await connection.send(messages.Leaving(reason=word))


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.start(stage.server, stage.serve())
    return stage


def test_time_passes_only_where_nothing_is_left_to_be_done() -> None:
    loop = VirtualLoop()  # type: ignore[abstract]
    order: list[tuple[float, str]] = []

    async def wait(seconds: float, name: str) -> None:
        await asyncio.sleep(seconds)
        order.append((loop.time(), name))

    process = Process("process", "host")
    for seconds, name in ((3600.0, "late"), (1.5, "soon"), (1.5, "soon, too")):
        loop.start(process, wait(seconds, name))
    loop.run(lambda: False, callbacks_max=1000, until=float("inf"))
    assert order == [(1.5, "soon"), (1.5, "soon, too"), (3600.0, "late")]


def test_messages_of_one_connection_arrive_late_and_in_order(stage: Stage) -> None:
    stage.network.spike_share = 0.5
    words = [str(number) for number in range(50)]
    stage.start(stage.client, stage.say(*words))
    stage.run()
    assert [word for _, word in stage.received] == words
    assert stage.received[0][0] > 0


def test_a_killed_process_does_nothing_more_and_its_peer_sees_the_end(stage: Stage) -> None:
    done: list[str] = []

    async def main() -> None:
        try:
            await stage.say("alive")
            await asyncio.sleep(5)
        finally:
            done.append("a finally block of a killed process")

    stage.start(stage.client, main())
    stage.run(1)
    stage.client.is_alive = False
    stage.network.end_of(stage.client)
    stage.run()
    assert [word for _, word in stage.received] == ["alive"]
    assert not done
    assert not stage.network.streams


def test_a_frozen_process_finds_what_arrived_before_what_had_become_due(stage: Stage) -> None:
    order: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(2.0, order.append, "due")
        assert current() is stage.client
        connection = await stage.dial()
        try:
            await connection.receive()
        except ConnectionFailed:
            order.append("arrived")

    stage.start(stage.client, main())
    stage.run(1)
    stage.client.is_frozen = True
    stage.network.cut(next(iter(stage.network.streams)), loses=False)
    stage.run(50)
    assert order == []
    stage.loop.thaw(stage.client)
    stage.run(0.0)
    assert sorted(order) == ["arrived", "due"]


def test_a_blocked_direction_delays_and_the_other_one_does_not(stage: Stage) -> None:
    async def main() -> None:
        await stage.say("before")
        stage.network.blocked["10.0.0.2", "10.0.0.1"] = stage.loop.time() + 20
        assert stage.connection is not None
        await stage.connection.send(messages.Leaving(reason="behind"))

    stage.start(stage.client, main())
    stage.run()
    (before, _), (behind, _) = stage.received
    assert before < 1
    assert 20 < behind < 25


def test_a_cut_connection_is_seen_at_both_ends(stage: Stage) -> None:
    seen: list[str] = []

    async def main() -> None:
        connection = await stage.dial()
        try:
            await connection.receive()
        except ConnectionFailed:
            seen.append("read")
        try:
            await connection.send(messages.Leaving(reason=""))
        except ConnectionFailed:
            seen.append("written")

    stage.start(stage.client, main())
    stage.run(1)
    stage.network.cut(next(iter(stage.network.streams)), loses=True)
    stage.run()
    assert seen == ["read", "written"]
    assert not stage.network.streams


def test_nobody_gets_in_without_the_secret_and_nobody_is_where_nobody_listens(stage: Stage) -> None:
    seen: list[type[MincemeatError]] = []

    async def main() -> None:
        for port, secret in ((1, b"guess"), (2, b"secret")):
            try:
                await stage.outside.dial("10.0.0.1", port, role=Role.WORKER, secret=secret)
            except MincemeatError as error:
                seen.append(type(error))

    stage.start(stage.client, main())
    stage.run()
    assert [kind.__name__ for kind in seen] == ["AuthenticationError", "ConnectionFailed"]
