"""A job under attack: the real coordinator and the real calling thread's side, in one thread, on connections in memory.

``Stage.staged`` brings a liar to the place where it can say a message of each kind; afterwards an honest worker comes
and does whatever is left, and the job has to end with what an honest worker gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from mincemeat.cluster.connection import Connection
from mincemeat.cluster.coordinator import Coordinator
from mincemeat.engines.cluster_run import Request, _Caller
from mincemeat.errors import ProtocolError
from mincemeat.model import AttemptId, Job, UserFunctions
from mincemeat.shuffle.block import encode_columns
from mincemeat.shuffle.store import JobStore
from mincemeat.sinks.memory import MemorySink
from mincemeat.sources.base import as_source
from mincemeat.wire import messages
from mincemeat.wire.handshake import Role
from tests.attacks.lies import plain
from tests.kit.desk import JOB, PARTITIONS, hello, map_done
from tests.kit.wired import End, Wired, WiredDoor

SPLITS = 2

_M = TypeVar("_M", bound=messages.Message)


class _AtOnce:
    """Requests to the calling thread, which is this one."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def put(self, request: Request, /) -> None:
        asyncio.get_running_loop().call_soon(self._stage.serve, request)

    def get(self, *, timeout: float) -> Request:
        raise AssertionError(timeout)


class Peer:
    """A worker that has joined, all of whose messages the test says."""

    def __init__(self, door: WiredDoor, connection: Connection) -> None:
        self.door = door
        self.connection = connection
        self.name = ""

    async def expect(self, kind: type[_M]) -> _M:
        while True:
            message = await self.connection.receive()
            if isinstance(message, messages.Welcome):
                self.name = message.worker
            if isinstance(message, kind):
                return message

    async def is_heard_out(self) -> bool:
        """Wait until everything that was said has been taken note of; whether the connection is still there."""
        return await is_heard_out(self.connection)

    def channel(self) -> Connection:
        return self.door.dial(Role.CHANNEL, self.connection)


class Stage:
    def __init__(self, scratch: Path, **options: Any) -> None:
        self.scratch = scratch
        self.world = Wired()
        self.sink = MemorySink()
        source = as_source(dict.fromkeys(range(SPLITS), "payload"))
        # reduce_task_bytes=1: a reduce task for each partition.
        job = Job(JOB, UserFunctions(), partitions=PARTITIONS, reduce_task_bytes=1, **options)
        self.caller = _Caller(job, source, self.sink, 1, requests=_AtOnce(self))
        self.coordinator = Coordinator(job, b"code", b"secret", scratch, self.caller, outside=self.world)
        self.ended = asyncio.Event()
        self.error: BaseException | None = None

    def serve(self, request: Request) -> None:
        try:
            request(self.coordinator)
        except BaseException as error:  # noqa: BLE001 - the calling thread would raise it
            self.error = error
            self.ended.set()
        if self.caller.has_ended:
            self.ended.set()

    @property
    def door(self) -> WiredDoor:
        return self.world.doors[0]

    def stranger(self) -> Peer:
        return Peer(self.door, self.door.dial(Role.WORKER))

    async def join(self, **changes: Any) -> Peer:
        peer = self.stranger()
        await peer.connection.send(hello(**changes))
        await peer.expect(messages.Welcome)
        return peer

    async def staged(self, cls: type[messages.Message]) -> tuple[Peer, messages.Message]:
        """A peer that may say something of ``cls`` next, and what an honest one would say there."""
        if cls is messages.Hello:
            return self.stranger(), hello()
        if cls is messages.Holding:
            peer = self.stranger()
            await peer.connection.send(hello(held_job=JOB, held=1))
            return peer, messages.Holding(["m-00000.0"])
        peer = await self.join()
        start: messages.MapStart | messages.ReduceStart = await peer.expect(messages.MapStart)
        if cls in (messages.ReduceDone, messages.BlocksUnreachable):
            for _ in range(SPLITS - 1):
                await peer.connection.send(map_done(start.attempt))
                start = await peer.expect(messages.MapStart)
            await peer.connection.send(map_done(start.attempt))
            start = await peer.expect(messages.ReduceStart)
        if cls is messages.MapDone:
            return peer, map_done(start.attempt)
        body = results_file(self.scratch, 0) if cls is messages.ReduceDone else b""
        known = {"job": JOB, "attempt": start.attempt, "output_bytes": len(body), "body": body, "holder": peer.name}
        return peer, plain(cls, **known, kind="user", maps=[0], record=-1, split=-1)

    async def finish(self) -> dict[Any, Any]:
        """An honest worker joins and does what is left; the results. Raises what the job failed with."""
        honest = asyncio.get_running_loop().create_task(self._work())
        async with asyncio.timeout(10):
            await self.ended.wait()
        honest.cancel()
        await asyncio.gather(honest, return_exceptions=True)
        if self.error is not None:
            raise self.error
        self.caller.check_end(self.coordinator)
        self.caller.failures()
        return dict(self.sink.results)

    async def _work(self) -> None:
        peer = await self.join(slots=1)
        while True:
            message = await peer.connection.receive()
            if isinstance(message, messages.MapStart):
                await peer.connection.send(map_done(message.attempt))
            elif isinstance(message, messages.ReduceStart):
                body = results_file(self.scratch, message.first_partition)
                done = messages.ReduceDone(JOB, message.attempt, 1, 1, 0.1, len(body), body=body)
                await peer.connection.send(done)


async def is_heard_out(connection: Connection) -> bool:
    end = connection._stream
    assert isinstance(end, End)
    while end.other._arrived and not end._ended:
        await asyncio.sleep(0)
    for _ in range(10):  # what was read is acted upon
        await asyncio.sleep(0)
    return not end._ended


_made: dict[int, bytes] = {}


def results_file(scratch: Path, partition: int) -> bytes:
    """What an honest reduce attempt of this partition gives."""
    if partition not in _made:
        with tempfile.TemporaryDirectory(dir=scratch) as directory:
            store = JobStore(directory)
            attempt = AttemptId.parse("r-00000.0")
            with store.writing(attempt) as writer:
                payload = encode_columns([partition], ["honest"], single=True)
                writer.append(partition, payload, keys=1, pairs=1, single=True)
            store.commit(attempt)
            _made[partition] = Path(store.path(attempt)).read_bytes()
            store.drop(attempt)
    return _made[partition]


RESULTS = dict.fromkeys(range(PARTITIONS), "honest")


@contextlib.asynccontextmanager
async def staging(scratch: Path, **options: Any) -> AsyncIterator[Stage]:
    """A job that has begun. At the end nothing but results may lie in ``scratch``."""
    stage = Stage(scratch, **options)
    await stage.coordinator.start("", 0)
    serving = asyncio.get_running_loop().create_task(stage.coordinator.serve_until_stopped())
    stage.caller.begin(stage.coordinator)
    try:
        yield stage
    finally:
        stage.coordinator.stop()
        await serving
    assert not stage.door.faults, stage.door.faults
    for path in scratch.iterdir():
        try:
            AttemptId.parse(path.name.removesuffix(".result"))
        except ProtocolError:
            raise AssertionError(f"{path.name} was left") from None
        path.unlink()
