"""A coordinator in the test's own event loop, and workers that say whatever the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from mincemeat.cluster.connection import Connection, dial
from mincemeat.cluster.coordinator import Coordinator, JobEnded
from mincemeat.cluster.session import WorkerSession
from mincemeat.limits import VERSION
from mincemeat.model import AttemptId, Job, MapReport, UserFunctions
from mincemeat.scheduler import events
from mincemeat.wire import messages
from mincemeat.wire.handshake import Role

HOST = "127.0.0.1"
PASSWORD = b"secret"
JOB = "job-1"
PARTITIONS = 2

_M = TypeVar("_M", bound=messages.Message)


def hello(**changes: object) -> messages.Hello:
    fields: dict[str, object] = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "version": VERSION,
        "implementation": platform.python_implementation(),
        "platform": sys.platform,
        "hostname": "somewhere",
        "pid": os.getpid(),
        "slots": 1,
        "data_port": 0,
        "data_fingerprint": "00" * 32,
        "incarnation": "",
        "held_job": "",
        "held": 0,
    }
    return messages.Hello(**{**fields, **changes})  # type: ignore[arg-type]


class LyingWorker:
    """A worker that has joined, and has all its messages said for it."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    async def expect(self, kind: type[_M]) -> _M:
        """The next message of this kind; others are skipped."""
        while True:
            message = await self.connection.receive()
            if isinstance(message, kind):
                return message

    async def do_map(self) -> str:
        """Claim to have carried out the next map attempt; its name."""
        start = await self.expect(messages.MapStart)
        await self.connection.send(map_done(start.attempt))
        return start.attempt

    async def channel(self) -> Connection:
        session = self.connection.session
        return await dial(
            HOST,
            self.connection.peer[1],
            role=Role.CHANNEL,
            secret=session.resume_key,
            resume_id=session.resume_id,
            pinned_fingerprint=self.connection.fingerprint,
        )

    async def is_connected(self) -> bool:
        """Whether the coordinator still answers."""
        try:
            await self.connection.send(messages.Heartbeat())
            await self.expect(messages.Heartbeat)
        except ConnectionError:
            return False
        return True


def map_done(attempt: str, sizes: list[int] | None = None) -> messages.MapDone:
    return messages.MapDone(JOB, attempt, 1, 1, 0.1, 0, sizes or [10] * PARTITIONS)


def get(what: str, name: str = "", body: bytes = b"") -> messages.Get:
    return messages.Get(what, JOB, name, 0, 0, PARTITIONS, "", "", body=body)


class Desk:
    """The coordinator of a job of so many splits, and what it asked of its caller. 0: it waits for its input."""

    def __init__(self, scratch: Path, splits: int) -> None:
        self.scratch = scratch
        self.splits = splits
        self.cut = 0
        self.results: dict[int, Path] = {}
        self.reports: dict[str, str] = {}
        self.ended: asyncio.Future[JobEnded] = asyncio.get_running_loop().create_future()
        job = Job(JOB, UserFunctions(), partitions=PARTITIONS)
        self.coordinator = Coordinator(job, b"code", PASSWORD, scratch, self)
        self.port = 0

    # -- the caller's side ---------------------------------------------------------------------------------

    def want_split(self) -> None:
        post, coordinator = self.coordinator.post, self.coordinator
        if self.cut < self.splits:
            self.cut += 1
            post(coordinator.splits_produced, range(self.cut - 1, self.cut), [b"payload"])
        elif self.splits:
            post(coordinator.handle, events.InputExhausted())

    def want_payloads(self, splits: range, deliver: Callable[[list[bytes]], None]) -> None:
        self.coordinator.post(deliver, [b"payload" for _ in splits])

    def data_chunks(self, index: int) -> Iterable[bytes]:
        return {0: [b"data"]}[index]

    def map_done(self, splits: range, report: MapReport) -> None:
        pass

    def reduce_done(self, index: int, path: Path) -> None:
        self.results[index] = path

    def reduce_undone(self, index: int) -> None:
        del self.results[index]

    def set_aside(self, attempt: AttemptId, report: str, worker: str) -> None:
        self.reports[str(attempt)] = report

    def job_ended(self, ended: JobEnded) -> None:
        self.ended.set_result(ended)

    # -- workers -------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def liar(self, *, held: Sequence[str] = (), **changes: object) -> AsyncIterator[LyingWorker]:
        """``held``: map outputs that it announces."""
        connection = await dial(HOST, self.port, role=Role.WORKER, secret=PASSWORD)
        try:
            await connection.send(hello(held=len(held), **changes))
            if held:
                await connection.send(messages.Holding(list(held)))
            welcome = await connection.receive()
            assert isinstance(welcome, messages.Welcome), welcome
            assert isinstance(await connection.receive(), messages.JobStart)
            yield LyingWorker(connection, welcome.worker)
        finally:
            connection.abort()
            await connection.wait_closed()

    @contextlib.asynccontextmanager
    async def honest(self, name: str = "honest") -> AsyncIterator[asyncio.Task[None]]:
        """A worker of ours, whose slots are never started unless it is given an attempt."""
        before = self.coordinator.counts().workers
        connection = await dial(HOST, self.port, role=Role.WORKER, secret=PASSWORD)
        session = WorkerSession(connection, (HOST, self.port), self.scratch / name, 1, name)
        (self.scratch / name).mkdir()
        task = asyncio.get_running_loop().create_task(session.run())
        try:
            await until(lambda: self.coordinator.counts().workers > before)
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def coordinating(scratch: Path, splits: int = 2) -> AsyncIterator[Desk]:
    desk = Desk(scratch, splits)
    desk.port = await desk.coordinator.start(HOST, 0)
    serving = asyncio.get_running_loop().create_task(desk.coordinator.serve_until_stopped())
    try:
        yield desk
    finally:
        desk.coordinator.stop()
        await serving
