"""The coordinator: joins workers, turns their messages into events and instructions into messages.

Decides: what travels inline and what on a data connection, and what a worker must be to join. The scheduler decides who
does what; the caller's thread holds the datasource and takes the results. Never unpickles anything: bodies stay bytes.

::

    caller's thread                     event loop                                   workers
      want_split, want_payload  <---   Coordinator                   <--- control --- Hello, Heartbeat, MapDone, ...
      post(handle, event)       --->     scheduler.machine           --- control ---> MapStart, ReduceStart, ...
      reduce_done, job_ended    <---     sessions                    <--- channel --- Get split, Put result, relays
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mincemeat import limits
from mincemeat.cluster.blocks import save
from mincemeat.cluster.connection import Connection, Listener
from mincemeat.errors import ConnectionFailed, MincemeatError, ProtocolError, RemoteProtocolError
from mincemeat.model import AttemptId, Failure, FailureKind, Job, MapReport, Phase, TaskId, shorten
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import Counts
from mincemeat.wire import messages, tickets
from mincemeat.wire.handshake import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("mincemeat")

# The machine asks for a tick when something may be due; this bounds how late it gets one.
_TICK_SECONDS = 0.5
# Results are there: workers get this long to take the good-bye before their connections close.
_GOODBYE_SECONDS = 0.5


class Caller(Protocol):
    """What the coordinator asks of the thread that holds the user's objects. None of these calls waits."""

    def want_split(self) -> None: ...
    def want_payload(self, index: int, deliver: Callable[[bytes], None]) -> None: ...
    def data_chunks(self, index: int) -> Iterable[bytes]: ...
    def map_done(self, index: int, report: MapReport) -> None: ...
    def reduce_done(self, index: int, path: Path) -> None: ...
    def job_ended(self, ended: JobEnded) -> None: ...


@dataclass(frozen=True)
class JobEnded:
    """Why a job is over: done (all ``None``), failed, or ``error`` of our own."""

    failure: Failure | None = None
    task: TaskId | None = None
    attempt: AttemptId | None = None
    attempts: int = 0
    error: BaseException | None = None


@dataclass(eq=False)
class WorkerRecord:
    """The coordinator's note about one joined worker."""

    worker: str
    connection: Connection
    hello: messages.Hello
    ticket_key: bytes
    outbox: asyncio.Queue[messages.Message | None] = field(default_factory=asyncio.Queue)

    def send(self, message: messages.Message) -> None:
        """Queue ``message``; a writer task sends them in order."""
        self.outbox.put_nowait(message)

    @property
    def host(self) -> str:
        return self.connection.peer[0]


class _Relay:
    """An upload that somebody waits for. Made in the event loop."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.finished = asyncio.Event()


class Coordinator:
    """One job's coordinator. Construct it anywhere; everything else happens in its event loop, ``post`` excepted."""

    def __init__(self, job: Job, code: bytes, secret: bytes, scratch: Path, caller: Caller) -> None:
        self._job = job
        self._code = code
        self._secret = secret
        self._scratch = scratch
        self._caller = caller
        self._machine = Machine(
            partitions=job.partitions,
            max_attempts=job.max_attempts,
            reduce_task_bytes=job.reduce_task_bytes,
            lease_seconds=limits.LEASE_SECONDS,  # the one that workers are told
        )
        self._events: deque[events.Event] = deque()
        self._workers: dict[str, WorkerRecord] = {}
        self._by_resume_id: dict[bytes, WorkerRecord] = {}
        self._names: dict[str, int] = {}
        self._payloads: dict[int, bytes] = {}
        self._relays: dict[str, _Relay] = {}
        self._relay_count = 0
        self._root = secrets.token_bytes(32)
        self._ended = False
        self._begun = asyncio.Event()
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Listener | None = None

    # -- from the calling thread -------------------------------------------------------------------------

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call ``function`` in the event loop, soon. Harmless once the loop is gone."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._guarded, function, *arguments)
        except RuntimeError:  # closed
            pass

    def begin(self) -> None:
        """The caller serves its queue now: workers may be taken in."""
        self.post(self._begun.set)
        self.post(self.handle, events.Tick())

    def stop(self) -> None:
        self.post(self._stopped.set)

    def counts(self) -> Counts:
        return self._machine.counts()

    # -- life --------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises: PortInUse."""
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(self._secret, self._resume_key, self._on_connection, on_unexpected=self._crashed)
        return await self._listener.start(host, port)

    async def serve_until_stopped(self) -> None:
        """Tick until ``stop``; then say good-bye, and close everything."""
        assert self._listener is not None
        try:
            while not self._stopped.is_set():
                try:
                    await asyncio.wait_for(self._stopped.wait(), _TICK_SECONDS)
                except TimeoutError:
                    self._guarded(self.handle, events.Tick())
        finally:
            for record in self._workers.values():
                record.send(messages.Bye(reason="the job is over", again=False))
                record.outbox.put_nowait(None)
            await self._listener.close(_GOODBYE_SECONDS)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run ``function``; a fault of ours ends the job with its error instead of leaving it hanging."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - the caller's thread raises it
            self._crashed(error)

    def _crashed(self, error: BaseException) -> None:
        self._end(JobEnded(error=error))

    def _end(self, ended: JobEnded) -> None:
        if not self._ended:
            self._ended = True
            self._caller.job_ended(ended)

    # -- the machine -------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """Feed the machine; what an instruction causes at once is fed after it, not inside it."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        try:
            while self._events:
                for instruction in self._machine.handle(self._events[0], time.monotonic()):
                    self._carry_out(instruction)
                self._events.popleft()
        finally:
            self._events.clear()

    def split_produced(self, index: int, payload: bytes) -> None:
        """The caller's thread cut a split; its payload is kept until its map task is committed."""
        self._payloads[index] = payload
        self.handle(events.SplitProduced(index))

    def _carry_out(self, instruction: instructions.Instruction) -> None:
        match instruction:
            case instructions.ProduceSplit():
                self._caller.want_split()
            case instructions.StartAttempt(worker=worker, attempt=attempt, partitions=None):
                self._start_map(self._workers[worker], attempt)
            case instructions.StartAttempt(worker=worker, attempt=attempt, partitions=range() as partitions):
                self._start_reduce(self._workers[worker], attempt, partitions)
            case instructions.CancelAttempt(worker=worker, attempt=attempt):
                self._tell(worker, messages.AttemptCancel(job=self._job.job_id, attempt=str(attempt)))
            case instructions.DropOutput(worker=worker, attempt=attempt):
                self._tell(worker, messages.DropOutputs(job=self._job.job_id, attempts=[str(attempt)]))
            case instructions.ExcludeWorker(worker=worker, reason=reason):
                log.warning("worker %s gets no more attempts: %s", worker, reason)
            case instructions.ReadmitWorker(worker=worker, reason=reason):
                log.warning("worker %s gets attempts again: %s", worker, reason)
            case instructions.ExpireWorker(worker=worker, reason=reason):
                log.warning("worker %s is given up: %s", worker, reason)
                self._workers[worker].connection.abort()
            case instructions.FinishJob():
                self._end(JobEnded())
            case instructions.FailJob():
                self._end(JobEnded(instruction.failure, instruction.task, instruction.attempt, instruction.attempts))

    def _tell(self, worker: str, message: messages.Message) -> None:
        record = self._workers.get(worker)
        if record is not None:
            record.send(message)

    def _start_map(self, record: WorkerRecord, attempt: AttemptId) -> None:
        index = attempt.task.index
        payload = self._payloads.get(index)
        if payload is None:  # committed once, and its output lost with its worker

            def deliver(payload: bytes) -> None:
                self._payloads[index] = payload
                self._send_map(record, attempt, payload)

            self._caller.want_payload(index, deliver)
        else:
            self._send_map(record, attempt, payload)

    def _send_map(self, record: WorkerRecord, attempt: AttemptId, payload: bytes) -> None:
        record.send(
            messages.MapStart(
                job=self._job.job_id,
                attempt=str(attempt),
                payload_bytes=len(payload),
                body=payload if len(payload) <= limits.INLINE_BODY_BYTES else b"",
            )
        )

    def _start_reduce(self, record: WorkerRecord, attempt: AttemptId, partitions: range) -> None:
        inputs = self._reduce_inputs(record)
        record.send(
            messages.ReduceStart(
                job=self._job.job_id,
                attempt=str(attempt),
                first_partition=partitions.start,
                last_partition=partitions.stop,
                inputs_bytes=len(inputs),
                body=inputs if len(inputs) <= limits.INLINE_BODY_BYTES else b"",
            )
        )

    def _reduce_inputs(self, fetcher: WorkerRecord) -> bytes:
        """Where the map outputs lie, in map order, with a ticket for each holder."""
        holders: dict[str, int] = {}
        maps: list[tuple[int, int, int]] = []
        for index, output, worker in self._machine.map_outputs():
            maps.append((index, output.number, holders.setdefault(worker, len(holders))))
        described = []
        for worker in holders:
            record = self._workers[worker]
            described.append(
                {
                    "worker": worker,
                    "host": record.host,
                    "port": record.hello.data_port,
                    "fingerprint": record.hello.data_fingerprint,
                    "ticket": tickets.ticket(record.ticket_key, self._job.job_id, fetcher.worker),
                }
            )
        return json.dumps({"holders": described, "maps": maps}, separators=(",", ":")).encode("ascii")

    # -- workers -----------------------------------------------------------------------------------------

    def _resume_key(self, resume_id: bytes) -> bytes | None:
        record = self._by_resume_id.get(resume_id)
        return None if record is None else record.connection.session.resume_key

    async def _on_connection(self, connection: Connection) -> None:
        """Serve one authenticated connection until it ends. The listener closes it afterwards."""
        try:
            if connection.session.role is Role.CHANNEL:
                await self._serve_channel(connection)
            else:
                await self._serve_worker(connection)
        except (ConnectionFailed, ProtocolError) as error:
            log.info("connection from %s:%d ended: %s", *connection.peer[:2], error)

    async def _serve_worker(self, connection: Connection) -> None:
        hello = await asyncio.wait_for(connection.receive(), limits.HANDSHAKE_SECONDS)
        if not isinstance(hello, messages.Hello):
            raise RemoteProtocolError(f"a worker began with {type(hello).__name__} instead of Hello")
        reason = unsuitable(hello)
        if reason:
            log.warning("worker %s:%d was refused: %s", *connection.peer[:2], reason)
            await connection.send(messages.Refused(reason=reason))
            return
        await self._begun.wait()
        record = self._welcome(connection, hello)
        writer = self._spawn(self._write(record))
        reason = "it left"
        try:
            self.handle(events.WorkerJoined(record.worker, hello.slots))
            while True:
                message = await connection.receive()
                if isinstance(message, messages.Leaving):
                    reason = message.reason
                    break
                self._receive(record, message)
        except (ConnectionFailed, ProtocolError) as error:
            reason = str(error)
        finally:
            writer.cancel()
            del self._workers[record.worker]
            self._by_resume_id.pop(connection.session.resume_id, None)
            if not self._stopped.is_set():
                log.info("worker %s left: %s", record.worker, reason)
                self._guarded(self.handle, events.WorkerLeft(record.worker, reason))

    def _welcome(self, connection: Connection, hello: messages.Hello) -> WorkerRecord:
        address = f"{connection.peer[0]}:{connection.peer[1]}"
        count = self._names[address] = self._names.get(address, 0) + 1
        worker = address if count == 1 else f"{address}/{count}"  # a port used again is another worker
        record = WorkerRecord(worker, connection, hello, tickets.ticket_key(self._root, worker, 0))
        self._workers[worker] = record
        self._by_resume_id[connection.session.resume_id] = record
        log.info("worker %s joined with %d slots (%s)", worker, hello.slots, shorten(hello.hostname))
        record.send(
            messages.Welcome(
                worker=worker,
                heartbeat_seconds=limits.HEARTBEAT_SECONDS,
                lease_seconds=limits.LEASE_SECONDS,
                ticket_key=record.ticket_key.hex(),
            )
        )
        record.send(
            messages.JobStart(
                job=self._job.job_id,
                partitions=self._job.partitions,
                memory_bytes=self._job.memory_bytes,
                task_timeout_seconds=self._job.task_timeout_seconds,
                code_bytes=len(self._code),
                body=self._code if len(self._code) <= limits.INLINE_BODY_BYTES else b"",
            )
        )
        return record

    async def _write(self, record: WorkerRecord) -> None:
        try:
            while (message := await record.outbox.get()) is not None:
                await record.connection.send(message)
        except ConnectionFailed:
            pass  # the reader sees it, too, and tells the machine
        finally:
            record.connection.close()

    def _receive(self, record: WorkerRecord, message: messages.Message) -> None:
        """One control message of a joined worker. Raises: RemoteProtocolError."""
        worker = record.worker
        if isinstance(message, messages.Heartbeat):
            record.send(messages.Heartbeat())
            self.handle(events.Heartbeat(worker))
            return
        if getattr(message, "job", None) != self._job.job_id:
            return  # late, from an earlier job of this worker
        match message:
            case messages.MapDone():
                self._map_done(worker, message)
            case messages.ReduceDone():
                self._reduce_done(worker, message)
            case messages.AttemptFailed():
                attempt = AttemptId.parse(message.attempt)
                self.handle(events.AttemptFailed(worker, attempt, read_failure(message, worker)))
            case messages.BlocksUnreachable():
                self.handle(
                    events.BlocksUnreachable(
                        worker, AttemptId.parse(message.attempt), tuple(message.maps), message.reason
                    )
                )
            case _:
                raise RemoteProtocolError(
                    f"worker {worker} sent {type(message).__name__}, which a worker does not send"
                )

    def _map_done(self, worker: str, message: messages.MapDone) -> None:
        attempt = AttemptId.parse(message.attempt)
        if len(message.partition_bytes) != self._job.partitions:
            raise RemoteProtocolError(f"{attempt} has {len(message.partition_bytes)} partitions")
        report = MapReport(
            records=message.records,
            pairs=message.pairs,
            seconds=message.seconds,
            spills=message.spills,
            partition_bytes=tuple(message.partition_bytes),
        )
        if self._machine.is_running(worker, attempt):
            self._payloads.pop(attempt.task.index, None)
            self._caller.map_done(attempt.task.index, report)
        self.handle(events.AttemptDone(worker, attempt, report.partition_bytes))

    def _reduce_done(self, worker: str, message: messages.ReduceDone) -> None:
        attempt = AttemptId.parse(message.attempt)
        if attempt.task.phase is not Phase.REDUCE:
            raise RemoteProtocolError(f"{attempt} is not a reduce attempt")
        path = self._result_path(worker, attempt)
        if self._machine.is_running(worker, attempt):
            if message.body:
                path.write_bytes(message.body)
            if not path.exists() or path.stat().st_size != message.output_bytes:
                raise RemoteProtocolError(f"the output of {attempt} did not arrive whole")
            self._caller.reduce_done(attempt.task.index, path)
        else:
            path.unlink(missing_ok=True)
        self.handle(events.AttemptDone(worker, attempt))

    def _result_path(self, worker: str, attempt: AttemptId) -> Path:
        name = worker.encode("utf-8").hex()  # a peer's address is no file name
        return self._scratch / f"{attempt}-{name}.result"

    # -- data connections --------------------------------------------------------------------------------

    async def _serve_channel(self, connection: Connection) -> None:
        record = self._by_resume_id.get(connection.session.resume_id)
        if record is None:
            return
        while True:
            message = await connection.receive()
            match message:
                case messages.Get():
                    await self._answer(record, connection, message)
                case messages.Put(what="result"):
                    await self._take_result(record, connection, message)
                case messages.Put(what="relay"):
                    await self._hand_over(connection, message)
                case _:
                    raise RemoteProtocolError(f"a data connection carried {type(message).__name__}")

    async def _answer(self, record: WorkerRecord, connection: Connection, get: messages.Get) -> None:
        if get.what == "relay":
            await self._relay(connection, get)
            return
        try:
            size, chunks = self._find(record, get)
        except MincemeatError as error:
            await connection.send(messages.Answer(ok=False, message=str(error), size=0))
            return
        await connection.send(messages.Answer(ok=True, message="", size=size))
        await connection.send_body(chunks)

    def _find(self, record: WorkerRecord, get: messages.Get) -> tuple[int, AsyncIterator[bytes]]:
        """The size (-1: not known before the end) and the bytes of what ``get`` asks for."""
        if get.what == "code":
            return len(self._code), _in_chunks(self._code)
        attempt = AttemptId.parse(get.name)
        match get.what:
            case "inputs":
                inputs = self._reduce_inputs(record)
                return len(inputs), _in_chunks(inputs)
            case "split":
                payload = self._payloads.get(attempt.task.index)
                if payload is None:
                    raise MincemeatError(f"{attempt} is not wanted any more")
                return len(payload), _in_chunks(payload)
            case "split-data":
                return -1, _in_thread(self._caller.data_chunks(attempt.task.index))
        raise RemoteProtocolError(f"a worker asked for {get.what!r}, which is not to be had")

    async def _relay(self, connection: Connection, get: messages.Get) -> None:
        """Blocks that the fetcher cannot reach: the holder is asked to upload them, and they pass through."""
        holder = self._workers.get(get.name)
        if holder is None:
            await connection.send(messages.Answer(ok=False, message=f"worker {get.name} is gone", size=0))
            return
        self._relay_count += 1
        request = f"relay-{self._relay_count}"
        relay = self._relays[request] = _Relay()
        try:
            holder.send(
                messages.Serve(
                    request=request,
                    job=get.job,
                    first_partition=get.first_partition,
                    last_partition=get.last_partition,
                    body=get.body,
                )
            )
            try:
                source = await asyncio.wait_for(relay.arrived, limits.LEASE_SECONDS)
                answer = await source.receive()
            except (TimeoutError, ConnectionFailed):
                message = f"worker {get.name} did not send its blocks"
                await connection.send(messages.Answer(ok=False, message=message, size=0))
                return
            await connection.send(answer)
            if isinstance(answer, messages.Answer) and answer.ok:
                await connection.send_body(source.receive_body())
        finally:
            del self._relays[request]
            relay.finished.set()

    async def _hand_over(self, connection: Connection, put: messages.Put) -> None:
        """A holder's upload has arrived: whoever waits for it reads this connection until it is through."""
        relay = self._relays.get(put.request)
        if relay is None or relay.arrived.done():
            raise RemoteProtocolError("an upload came that nobody waits for")
        relay.arrived.set_result(connection)
        await relay.finished.wait()

    async def _take_result(self, record: WorkerRecord, connection: Connection, put: messages.Put) -> None:
        attempt = AttemptId.parse(put.name)
        path = self._result_path(record.worker, attempt)
        if put.job == self._job.job_id and self._machine.is_running(record.worker, attempt):
            await save(connection.receive_body(), path)
        else:
            async for _ in connection.receive_body():
                pass
        await connection.send(messages.Answer(ok=True, message="", size=0))

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def unsuitable(hello: messages.Hello) -> str:
    """Why this worker cannot take part, as a sentence; "" if it can."""
    ours = ".".join(platform.python_version_tuple()[:2])
    if hello.python != ours or hello.implementation != platform.python_implementation():
        return (
            f"this server runs {platform.python_implementation()} {ours}, and functions travel as its bytecode; the "
            f"worker runs {shorten(hello.implementation, 40)} {shorten(hello.python, 40)}. "
            f"Start the worker with Python {ours}."
        )
    if not 1 <= hello.slots <= 4096:
        return f"a worker needs between 1 and 4096 slots, and this one offers {hello.slots}."
    return ""


def read_failure(message: messages.AttemptFailed, worker: str) -> Failure:
    """A failure as ``worker`` told it. Raises: RemoteProtocolError for a kind that does not exist."""
    try:
        kind = FailureKind(message.kind)
    except ValueError:
        raise RemoteProtocolError(f"a failure of the unknown kind {shorten(message.kind, 40)!r}") from None
    return Failure(
        kind=kind,
        message=message.message,
        function=message.function,
        key=message.key,
        exception_type=message.exception_type,
        traceback=message.traceback,
        worker=worker,
        exception=message.body,
    )


async def _in_chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), limits.CHUNK_BYTES):
        yield data[start : start + limits.CHUNK_BYTES]


async def _in_thread(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """``chunks``, each read in another thread: the disk must not hold up heartbeats."""
    loop = asyncio.get_running_loop()
    iterator = iter(chunks)
    while (chunk := await loop.run_in_executor(None, next, iterator, b"")) != b"":
        yield chunk
