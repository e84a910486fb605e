"""What travels on the data connections between workers and coordinator: code, splits, inputs, results, relayed blocks.

Decides: what a worker may get and put, and how blocks pass through from a holder that their fetcher cannot reach. Does
not know: when attempts start and end; it asks the machine which of them run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mincemeat import limits
from mincemeat.cluster.blocks import receive_answer, save, timely
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.roster import Roster, WorkerRecord
from mincemeat.cluster.saying import said_in_line
from mincemeat.errors import ConnectionFailed, MincemeatError, ProtocolError, RemoteProtocolError
from mincemeat.model import AttemptId, Failure, FailureKind, Phase, shorten
from mincemeat.scheduler import events
from mincemeat.scheduler.machine import Machine
from mincemeat.shuffle.store import writing_file
from mincemeat.sources.base import SplitUnreadable
from mincemeat.wire import messages, tickets


class Reader(Protocol):
    """Who can read a split with its data, in any thread."""

    def data_chunks(self, index: int) -> Iterable[bytes]: ...


@dataclass(frozen=True)
class _Inputs:
    """Where all map outputs lay at a moment when none was missing. ``maps``: (map index, attempt, place in holders)."""

    generation: int
    holders: list[WorkerRecord]
    maps: list[tuple[int, int, int]]


class _Relay:
    """An upload that somebody waits for. Made in the event loop."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()
        self.is_through = False


class Supply:
    """Serves the data connections of one job. ``payloads`` are the splits that are not committed, by index."""

    def __init__(
        self,
        job_id: str,
        code: bytes,
        scratch: Path,
        *,
        machine: Machine,
        roster: Roster,
        reader: Reader,
        handle: Callable[[events.Event], None],
    ) -> None:
        self._job_id = job_id
        self._code = code
        self._scratch = scratch
        self._machine = machine
        self._roster = roster
        self._reader = reader
        self._handle = handle
        self.payloads: dict[int, bytes] = {}
        self._inputs: _Inputs | None = None
        # Attempts whose results are on their way, each by one connection.
        self._uploading: set[AttemptId] = set()
        self._relays: dict[str, _Relay] = {}
        self._relay_count = 0

    async def serve(self, record: WorkerRecord, connection: Connection) -> None:
        """Serve one data connection of ``record`` until it ends.

        Raises: ConnectionFailed, ProtocolError; SplitUnreadable; OSError when our own disk is at fault.
        """
        if len(record.channels) >= limits.CHANNELS_PER_WORKER_MAX:
            raise RemoteProtocolError(f"worker {record.worker} has {len(record.channels)} data connections already")
        record.channels[connection] = None
        try:
            while True:
                message = await connection.receive()
                match message:
                    case messages.Get(what="relay"):
                        await self._relay(connection, message)
                    case messages.Get():
                        await self._answer(record, connection, message)
                    case messages.Put(what="result"):
                        await self._take_result(record, connection, message)
                    case messages.Put(what="relay"):
                        await self._hand_over(connection, message)
                    case _:
                        raise RemoteProtocolError(f"a data connection carried {type(message).__name__}")
        finally:
            record.channels.pop(connection, None)

    # -- what a worker gets ------------------------------------------------------------------------------

    async def _answer(self, record: WorkerRecord, connection: Connection, get: messages.Get) -> None:
        try:
            size, chunks = self._find(record, get)
        except ProtocolError:
            raise
        except MincemeatError as error:
            await _refuse(connection, str(error))
            return
        await connection.send(messages.Answer(ok=True, message="", size=size))
        try:
            await connection.send_body(chunks)
        except SplitUnreadable as error:  # no other attempt will fare better
            self._handle(events.SourceFailed(Failure(FailureKind.SYSTEM, str(error), function="datasource")))
            raise

    def _find(self, record: WorkerRecord, get: messages.Get) -> tuple[int, AsyncIterator[bytes]]:
        """The size (-1: not known before the end) and the bytes of what ``get`` asks for."""
        if get.what == "code":
            return len(self._code), _in_chunks(self._code)
        attempt = AttemptId.parse(get.name)
        if not self._machine.is_running(record.worker, attempt):
            raise MincemeatError(f"{attempt} is not wanted any more")
        splits = self._machine.splits_of(attempt)
        match get.what:
            case "inputs" if self._inputs is not None:
                inputs = _describe(self._inputs, self._job_id, record)
                return len(inputs), _in_chunks(inputs)
            case "split" if all(index in self.payloads for index in splits):
                payload = b"".join([self.payloads[index] for index in splits])
                return len(payload), _in_chunks(payload)
            case "split-data" if 0 <= get.split < len(splits):
                return -1, _in_thread(self._reader.data_chunks(splits[get.split]))
        raise RemoteProtocolError(f"a worker asked for {shorten(get.what)!r} of {attempt}, which is not to be had")

    def inputs_for(self, fetcher: WorkerRecord) -> bytes:
        """Where the map outputs lie, in map order, with a ticket for each holder. Only when a reduce attempt starts.

        Then every output is there. A list that is made when the worker asks for it could lack one that was lost in
        between, and the attempt would reduce what is left as if it were everything.
        """
        if self._inputs is None or self._inputs.generation != self._machine.generation:
            places: dict[str, int] = {}
            maps = [
                (index, output.number, places.setdefault(worker, len(places)))
                for index, output, worker in self._machine.map_outputs()
            ]
            holders = [record for record in map(self._roster.find, places) if record is not None]
            assert len(holders) == len(places), "the machine knows of workers that are gone"
            self._inputs = _Inputs(self._machine.generation, holders, maps)
        return _describe(self._inputs, self._job_id, fetcher)

    # -- what a worker puts ------------------------------------------------------------------------------

    async def _take_result(self, record: WorkerRecord, connection: Connection, put: messages.Put) -> None:
        attempt = AttemptId.parse(put.name)
        body = connection.receive_body()
        if attempt.task.phase is not Phase.REDUCE:
            raise RemoteProtocolError(f"{attempt} is not a reduce attempt, and has no results")
        if attempt in self._uploading:  # what is checked would not be what is there in the end
            raise RemoteProtocolError(f"results of {attempt} are on their way already")
        if put.job == self._job_id and self._machine.is_running(record.worker, attempt):
            self._uploading.add(attempt)
            try:
                await save(body, self._upload_path(record.worker, attempt))
            finally:
                self._uploading.discard(attempt)
                if not self._machine.is_running(record.worker, attempt):  # it was cancelled meanwhile
                    self.drop_result(record.worker, attempt)
        else:
            async for _ in body:
                pass
        await connection.send(messages.Answer(ok=True, message="", size=0))

    def commit_result(self, worker: str, attempt: AttemptId, done: messages.ReduceDone) -> Path:
        """The output of ``attempt``, which runs on ``worker``, under a name that no later upload touches.

        Raises: RemoteProtocolError if it is not there or has another size than ``done`` says; SpillSpaceExhausted.
        """
        uploaded = self._upload_path(worker, attempt)
        if attempt in self._uploading:
            raise RemoteProtocolError(f"worker {worker} has done {attempt}, whose results are on their way still")
        if done.body:
            with writing_file(uploaded) as file:
                file.write(done.body)
        if not uploaded.exists() or uploaded.stat().st_size != done.output_bytes:
            self.drop_result(worker, attempt)
            raise RemoteProtocolError(f"the output of {attempt} did not arrive whole")
        return uploaded.rename(self._scratch / f"{attempt}.result")

    def drop_result(self, worker: str, attempt: AttemptId) -> None:
        """Nobody wants what ``worker`` may have uploaded. An upload that is under way is dropped at its end."""
        with contextlib.suppress(PermissionError):  # where an open file cannot be removed
            self._upload_path(worker, attempt).unlink(missing_ok=True)

    def _upload_path(self, worker: str, attempt: AttemptId) -> Path:
        name = worker.encode("utf-8").hex()  # a peer's address is no file name
        return self._scratch / f"{attempt}-{name}.upload"

    # -- blocks that pass through ------------------------------------------------------------------------

    async def _relay(self, connection: Connection, get: messages.Get) -> None:
        """Blocks that the fetcher cannot reach: the holder is asked to upload them, and they pass through."""
        if len(get.body) > limits.FRAME_BYTES_MAX // 2:  # it is passed on in a message with other fields than this one
            raise RemoteProtocolError(f"a worker asked for more than {limits.OUTPUTS_PER_FETCH_MAX} outputs")
        holder = self._roster.find(get.name)
        if holder is None:
            await _refuse(connection, f"worker {said_in_line(get.name)} is gone")
            return
        async with holder.relays:  # more of them would wait there, and seem lost here
            self._relay_count += 1
            request = f"relay-{self._relay_count}"
            relay = self._relays[request] = _Relay()
            try:
                await self._pass_through(holder, request, relay, connection, get)
            finally:
                del self._relays[request]
                relay.finished.set()

    async def _pass_through(
        self, holder: WorkerRecord, request: str, relay: _Relay, connection: Connection, get: messages.Get
    ) -> None:
        if self._roster.find(holder.worker) is not holder:  # it left while this waited for its turn
            await _refuse(connection, f"worker {get.name} is gone")
            return
        holder.send(
            messages.Serve(
                request=request,
                job=self._job_id,
                first_partition=get.first_partition,
                last_partition=get.last_partition,
                body=get.body,
            )
        )
        try:
            source = await asyncio.wait_for(relay.arrived, limits.LEASE_SECONDS)
            answer = await asyncio.wait_for(receive_answer(source), limits.LEASE_SECONDS)
        except (TimeoutError, ConnectionFailed, ProtocolError):
            await _refuse(connection, f"worker {get.name} did not send its blocks")
            return
        await connection.send(answer)
        if answer.ok:
            await connection.send_body(timely(source.receive_body()))
        relay.is_through = True

    async def _hand_over(self, connection: Connection, put: messages.Put) -> None:
        """A holder's upload has arrived: whoever waits for it reads this connection until it is through."""
        relay = self._relays.get(put.request)
        if relay is None or relay.arrived.done():
            raise RemoteProtocolError("an upload came that nobody waits for")
        relay.arrived.set_result(connection)
        await relay.finished.wait()
        if not relay.is_through:  # a rest of it may be under way: this connection cannot be used again
            raise RemoteProtocolError("an upload was broken off, because its fetcher is gone or it came too late")
        await connection.send(messages.Answer(ok=True, message="", size=0))


def _describe(inputs: _Inputs, job_id: str, fetcher: WorkerRecord) -> bytes:
    holders = [
        {
            "worker": holder.worker,
            "host": holder.host,
            "port": holder.hello.data_port,
            "fingerprint": holder.hello.data_fingerprint,
            "ticket": tickets.ticket(holder.ticket_key, job_id, fetcher.worker),
        }
        for holder in inputs.holders
    ]
    return json.dumps({"holders": holders, "maps": inputs.maps}, separators=(",", ":")).encode("ascii")


async def _refuse(connection: Connection, reason: str) -> None:
    await connection.send(messages.Answer(ok=False, message=reason, size=0))


async def _in_chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), limits.CHUNK_BYTES):
        yield data[start : start + limits.CHUNK_BYTES]


async def _in_thread(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """``chunks``, each read in another thread: the disk must not hold up heartbeats."""
    loop = asyncio.get_running_loop()
    iterator = iter(chunks)
    while (chunk := await loop.run_in_executor(None, next, iterator, b"")) != b"":
        yield chunk
