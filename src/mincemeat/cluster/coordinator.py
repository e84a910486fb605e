"""The coordinator: joins workers, turns their messages into events and instructions into messages.

Decides: who is connected, and what is said to it when. The scheduler decides who does what; reports.py what a worker's
words may be; committing.py when what it has done counts; supply.py serves the data connections; the caller's thread
holds the datasource and takes the results. Never unpickles anything: bodies stay bytes.

::

    caller's thread                     event loop                                   workers
      want_split, want_payloads <---   Coordinator                   <--- control --- Hello, Heartbeat, MapDone, ...
      post(handle, event)       --->     scheduler.machine, roster   --- control ---> MapStart, ReduceStart, ...
      map_done, reduce_done     <---     committing, recording
      job_ended                 <---     supply                      <--- channel --- Get split, Put result, relays
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mincemeat import limits
from mincemeat.cluster.committing import Committer
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.outside import OUTSIDE, Door, Outside
from mincemeat.cluster.recording import Recorder
from mincemeat.cluster.reports import read_failure, unsuitable
from mincemeat.cluster.roster import Roster, WorkerRecord
from mincemeat.cluster.saying import said_in_line
from mincemeat.cluster.supply import Supply
from mincemeat.cluster.updating import how_to_become, tell_release
from mincemeat.errors import ConnectionFailed, ProtocolError, RemoteProtocolError
from mincemeat.limits import VERSION
from mincemeat.model import AttemptId, Failure, FailureKind, Job, MapReport, TaskId, shorten
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import Counts, IllegalMove
from mincemeat.wire import messages
from mincemeat.wire.handshake import Role

if TYPE_CHECKING:
    from mincemeat.cluster.identity import Identity
    from mincemeat.journal.history import SplitGroup
    from mincemeat.journal.journal import Journal

log = logging.getLogger("mincemeat")

# The machine asks for a tick when something may be due; this bounds how late it gets one.
_TICK_SECONDS = 0.5
# What a worker says of the attempts that it was given.
_OF_ATTEMPTS = (messages.MapDone, messages.ReduceDone, messages.AttemptFailed, messages.BlocksUnreachable)
# Results are there: workers get this long to take the good-bye before their connections close.
_GOODBYE_SECONDS = 0.5


class Caller(Protocol):
    """What the coordinator asks of the thread that holds the user's objects. None of these calls waits."""

    def want_split(self) -> None: ...
    def want_payloads(self, splits: range, deliver: Callable[[list[bytes]], None]) -> None: ...
    def data_chunks(self, index: int) -> Iterable[bytes]: ...
    def map_done(self, splits: range, report: MapReport) -> None: ...
    def reduce_done(self, index: int, path: Path) -> None: ...
    def reduce_undone(self, index: int) -> None: ...
    def set_aside(self, attempt: AttemptId, report: str, worker: str) -> None: ...
    def job_ended(self, ended: JobEnded) -> None: ...


@dataclass(frozen=True)
class JobEnded:
    """Why a job is over: done (all ``None``), failed, or ``error`` of our own."""

    failure: Failure | None = None
    task: TaskId | None = None
    attempt: AttemptId | None = None
    attempts: int = 0
    error: BaseException | None = None


class Coordinator:
    """One job's coordinator. Construct it anywhere; everything else happens in its event loop, ``post`` excepted."""

    def __init__(
        self,
        job: Job,
        code: bytes,
        secret: bytes,
        scratch: Path,
        caller: Caller,
        *,
        identity: Identity | None = None,
        journal: Journal | None = None,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._job = job
        self._code = code
        self._secret = secret
        self._identity = identity
        self._caller = caller
        self._outside = outside
        self._machine = Machine(
            partitions=job.partitions,
            max_attempts=job.max_attempts,
            reduce_task_bytes=job.reduce_task_bytes,
            skips=job.skips,
            max_skipped=job.max_skipped,
            on_nondeterminism=job.on_nondeterminism or "raise",
            lease_seconds=limits.LEASE_SECONDS,  # the one that workers are told
            backups=job.backups,
            life=0 if journal is None else journal.life,
        )
        self._roster = Roster(outside.random_bytes)
        self._supply = Supply(
            job.job_id, code, scratch, machine=self._machine, roster=self._roster, reader=caller, handle=self.handle
        )
        self._recorder = Recorder(journal, self.crashed)
        self._committer = Committer(
            job,
            caller,
            machine=self._machine,
            supply=self._supply,
            recorder=self._recorder,
            handle=self.handle,
            spawn=self._spawn,
            crashed=self.crashed,
        )
        self._is_planned = False
        self._ended = False
        self._ended_well = False
        self._stop_asked = False
        self._stopped = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: Door | None = None

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

    def stop(self) -> None:
        """Let ``serve_until_stopped`` return, now or as soon as it begins."""
        self._stop_asked = True
        self.post(self._stopped.set)

    def counts(self) -> Counts:
        return self._machine.counts()

    # -- life --------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int, restored: events.JobRestored | None = None) -> int:
        """Listen; the port. ``restored``: how far an earlier coordinator had come. Raises: PortInUse."""
        self._loop = asyncio.get_running_loop()
        if restored is not None:
            self._is_planned = bool(restored.plan)
            self.handle(restored)
        self._listener = self._outside.listener(
            self._secret,
            self._roster.resume_key,
            self._on_connection,
            on_unexpected=self.crashed,
            identity=self._identity,
        )
        return await self._listener.start(host, port)

    async def serve_until_stopped(self) -> None:
        """Tick until ``stop``; then say good-bye, and close everything."""
        assert self._listener is not None
        if self._stop_asked:  # before there was a loop to be told in
            self._stopped.set()
        loop = asyncio.get_running_loop()
        epoch_ends = loop.time() + limits.EPOCH_SECONDS
        try:
            while not self._stopped.is_set():
                try:
                    await asyncio.wait_for(self._stopped.wait(), _TICK_SECONDS)
                except TimeoutError:
                    self._guarded(self.handle, events.Tick())
                    if loop.time() >= epoch_ends:
                        self._roster.begin_epoch()
                        epoch_ends = loop.time() + limits.EPOCH_SECONDS
        finally:
            self._stopped.set()
            for record in self._roster.everybody():
                record.send(self._good_bye())
                record.send(None)
            await self._recorder.close()
            await self._listener.close(_GOODBYE_SECONDS)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _good_bye(self) -> messages.Bye:
        if self._recorder.is_recording and not self._ended_well:
            return messages.Bye(reason="the server ends, and its job can go on", again=True)
        return messages.Bye(reason="the job is over", again=False)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run ``function``; a fault of ours ends the job with its error instead of leaving it hanging."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - the caller's thread raises it
            self.crashed(error)

    def crashed(self, error: BaseException) -> None:
        """A fault of our own, or of our own disk: it ends the job, because no worker would fare better."""
        self._end(JobEnded(error=error))

    def _end(self, ended: JobEnded) -> None:
        if not self._ended:
            self._ended = True
            self._ended_well = ended == JobEnded()
            self._caller.job_ended(ended)

    # -- the machine -------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """Feed the machine and carry out what it says; nothing of that feeds it at once."""
        if self._stopped.is_set():
            return
        dropped: dict[str, list[str]] = {}
        for instruction in self._machine.handle(event, asyncio.get_running_loop().time()):
            if isinstance(instruction, instructions.DropOutput):
                dropped.setdefault(instruction.worker, []).append(str(instruction.attempt))
            else:
                self._carry_out(instruction)
        for worker, attempts in dropped.items():
            self._drop_outputs(worker, attempts)
        if not self._is_planned and self._machine.plan:
            self._is_planned = True
            plan = list(self._machine.plan)
            self._recorder.note(lambda journal: journal.planned(plan))

    def splits_produced(self, splits: range, payloads: list[bytes], group: SplitGroup | None = None) -> None:
        """The caller's thread cut splits for one attempt; their payloads are kept until they are committed.

        ``group`` is what the journal should know of them, if there is one.
        """
        if self._machine.is_over:  # it would not count them, and the journal must not either
            return
        self._supply.payloads.update(zip(splits, payloads, strict=True))
        if group is not None:
            self._recorder.note(lambda journal: journal.splits_cut(group))
        self.handle(events.SplitsProduced(splits.start, len(splits)))

    def input_exhausted(self) -> None:
        """The caller's thread has no further split."""
        if self._machine.is_over:
            return
        splits = self._machine.counts().map_total
        self._recorder.note(lambda journal: journal.input_exhausted(splits))
        self.handle(events.InputExhausted())

    def _carry_out(self, instruction: instructions.Instruction) -> None:
        match instruction:
            case instructions.ProduceSplit():
                self._caller.want_split()
            case instructions.StartAttempt(worker=worker, partitions=None):
                self._start_map(self._connected(worker), instruction)
            case instructions.StartAttempt(worker=worker, partitions=range() as partitions):
                self._start_reduce(self._connected(worker), instruction, partitions)
            case instructions.CancelAttempt(worker=worker, attempt=attempt):
                self._supply.drop_result(worker, attempt)
                self._tell(worker, messages.AttemptCancel(job=self._job.job_id, attempt=str(attempt)))
            case instructions.DropResult(attempt=attempt):
                log.warning("%s is carried out again: a map output that it read was made again, and differs", attempt)
                self._recorder.note(lambda journal: journal.void(attempt))
                self._caller.reduce_undone(attempt.task.index)
            case instructions.ExcludeWorker(worker=worker, reason=reason):
                log.warning("worker %s gets no more attempts: %s", worker, reason)
                self._roster.revoke()
            case instructions.ReadmitWorker(worker=worker, reason=reason):
                log.warning("worker %s gets attempts again: %s", worker, reason)
            case instructions.ExpireWorker(worker=worker, reason=reason):
                log.warning("worker %s is given up: %s", worker, reason)
                self._connected(worker).connection.abort()
            case instructions.ReleaseWorker(worker=worker):
                record = self._connected(worker)
                record.send(messages.Bye(reason="nobody needs this worker any more", again=False))
                record.send(None)
            case instructions.FinishJob():
                self._end(JobEnded())
            case instructions.FailJob():
                self._end(JobEnded(instruction.failure, instruction.task, instruction.attempt, instruction.attempts))

    def _drop_outputs(self, worker: str, attempts: list[str]) -> None:
        """Many in a message: a worker that comes back may hold more that nobody wants than its outbox has room for."""
        for start in range(0, len(attempts), limits.HELD_OUTPUTS_PER_MESSAGE):
            names = attempts[start : start + limits.HELD_OUTPUTS_PER_MESSAGE]
            self._tell(worker, messages.DropOutputs(job=self._job.job_id, attempts=names))

    def _connected(self, worker: str) -> WorkerRecord:
        """The record of a worker that the machine counts on: it is told in the same step in which one is removed."""
        record = self._roster.find(worker)
        assert record is not None, f"the machine counts on worker {worker}, which is gone"
        return record

    def _tell(self, worker: str, message: messages.Message) -> None:
        record = self._roster.find(worker)
        if record is not None:
            record.send(message)

    def _start_map(self, record: WorkerRecord, start: instructions.StartAttempt) -> None:
        attempt = start.attempt
        splits = self._machine.splits_of(attempt)
        if all(index in self._supply.payloads for index in splits):
            self._send_map(record, start, splits)
            return

        # Committed once, and the output lost with its worker.
        def deliver(payloads: list[bytes]) -> None:
            if self._machine.is_running(record.worker, attempt):  # still
                self._supply.payloads.update(zip(splits, payloads, strict=True))
                self._send_map(record, start, splits)

        self._caller.want_payloads(splits, deliver)

    def _send_map(self, record: WorkerRecord, start: instructions.StartAttempt, splits: range) -> None:
        payloads = [self._supply.payloads[index] for index in splits]
        sizes = list(map(len, payloads))
        is_inline = sum(sizes) <= limits.INLINE_BODY_BYTES
        record.send(
            messages.MapStart(
                job=self._job.job_id,
                attempt=str(start.attempt),
                split_bytes=sizes,
                **_care_of(start),
                body=b"".join(payloads) if is_inline else b"",
            )
        )

    def _start_reduce(self, record: WorkerRecord, start: instructions.StartAttempt, partitions: range) -> None:
        inputs = self._supply.inputs_for(record)
        record.send(
            messages.ReduceStart(
                job=self._job.job_id,
                attempt=str(start.attempt),
                **_care_of(start),
                first_partition=partitions.start,
                last_partition=partitions.stop,
                inputs_bytes=len(inputs),
                body=inputs if len(inputs) <= limits.INLINE_BODY_BYTES else b"",
            )
        )

    # -- workers -----------------------------------------------------------------------------------------

    async def _on_connection(self, connection: Connection) -> None:
        """Serve one authenticated connection until it ends. The listener closes it afterwards."""
        try:
            if connection.session.role is not Role.CHANNEL:
                await self._serve_worker(connection)
            else:
                record = self._roster.find_resumed(connection.session.resume_id)
                if record is not None:
                    await self._supply.serve(record, connection)
        except (ConnectionFailed, ProtocolError, TimeoutError) as error:
            log.info("connection from %s:%d ended: %s", *connection.peer[:2], error)
        except (OSError, IllegalMove) as error:  # our own disk; a fault of ours, and no reason to lose a worker for
            self.crashed(error)

    async def _serve_worker(self, connection: Connection) -> None:
        hello = await self._receive_hello(connection)
        outputs = await self._receive_holding(connection, hello)
        reason = unsuitable(hello)
        if reason:
            await _refuse(connection, reason)
            return
        self._check_holding(hello, outputs)
        record = self._roster.add(connection, hello)
        log.info("worker %s joined with %d slots (%r)", record.worker, hello.slots, shorten(hello.hostname))
        self._welcome(record)
        writer = self._spawn(self._write(record))
        reason = "it left"
        try:
            self.handle(events.WorkerJoined(record.worker, hello.slots, outputs, host=record.host))
            self._forget_payloads(outputs)
            while True:
                message = await connection.receive()
                if isinstance(message, messages.Leaving):
                    reason = f"it said {shorten(message.reason)!r}"
                    break
                self._receive(record, message)
        except (ConnectionFailed, ProtocolError) as error:
            reason = str(error)
        finally:
            writer.cancel()
            self._roster.remove(record)
            if not self._stopped.is_set():
                log.info("worker %s left: %s", record.worker, reason)
            self._guarded(self.handle, events.WorkerLeft(record.worker, reason))

    async def _receive_hello(self, connection: Connection) -> messages.Hello:
        try:
            hello = await asyncio.wait_for(connection.receive(), limits.HANDSHAKE_SECONDS)
        except ProtocolError:
            # It has proven the password: another version, most likely.
            await _refuse(connection, f"this server runs mincemeat {VERSION}. {how_to_become(VERSION)}")
            raise
        if isinstance(hello, messages.AskRelease):
            await tell_release(connection, hello, self._outside.own_release)
            hello = await asyncio.wait_for(connection.receive(), limits.HANDSHAKE_SECONDS)
        if not isinstance(hello, messages.Hello):
            raise RemoteProtocolError(f"a worker began with {type(hello).__name__} instead of Hello")
        return hello

    def _forget_payloads(self, outputs: Iterable[AttemptId]) -> None:
        """What was laid ready so that ``outputs`` could be made again is of no use where they are back."""
        for attempt in filter(self._machine.is_committed, outputs):
            for index in self._machine.splits_of(attempt):
                self._supply.payloads.pop(index, None)

    async def _receive_holding(self, connection: Connection, hello: messages.Hello) -> tuple[AttemptId, ...]:
        """What the worker holds of this job from an earlier connection."""
        if not 0 <= hello.held <= limits.HELD_OUTPUTS_MAX:
            raise RemoteProtocolError(f"a worker says that it holds {hello.held} outputs")
        outputs: list[AttemptId] = []
        left = hello.held
        while left > 0:
            holding = await asyncio.wait_for(connection.receive(), limits.HANDSHAKE_SECONDS)
            if not isinstance(holding, messages.Holding) or not holding.attempts:
                raise RemoteProtocolError(f"{type(holding).__name__} came where Holding is due")
            left -= len(holding.attempts)
            # As they come: a name that is none may be as long as a frame, and there may be millions of them.
            named = map(AttemptId.parse, holding.attempts)
            if hello.held_job == self._job.job_id:
                outputs += named
        return tuple(outputs)

    def _check_holding(self, hello: messages.Hello, outputs: Iterable[AttemptId]) -> None:
        """Raises: RemoteProtocolError for an output that is another worker's, which is connected.

        Threat: whoever named the outputs of everybody else would have them all, and could take them away. One that
        comes back before its earlier connection was seen to end is the same process.
        """
        for attempt in outputs:
            holder = self._roster.find(self._machine.holder_of(attempt))
            if holder is not None and not hello.incarnation == holder.hello.incarnation != "":
                raise RemoteProtocolError(f"it says that it holds the output of {attempt}, which {holder.worker} has")

    def _welcome(self, record: WorkerRecord) -> None:
        record.send(
            messages.Welcome(
                worker=record.worker,
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
                keep_seconds=limits.KEEP_OUTPUTS_SECONDS if self._recorder.is_recording else 0.0,
                code_bytes=len(self._code),
                skips=self._job.skips,
                max_skipped=-1 if self._job.max_skipped is None else self._job.max_skipped,
                digests=self._machine.rules.on_nondeterminism != "ignore",
                slot_memory_bytes=self._job.slot_limits.memory_bytes or 0,
                slot_cpu_seconds=self._job.slot_limits.cpu_seconds or 0,
                body=self._code if len(self._code) <= limits.INLINE_BODY_BYTES else b"",
            )
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def _write(self, record: WorkerRecord) -> None:
        try:
            while (message := await record.outbox.get()) is not None:
                await record.connection.send(message)
        except ConnectionFailed:
            pass  # the reader sees it, too, and tells the machine
        except ProtocolError as error:  # a message of ours that cannot be sent would be sent again for ever
            self.crashed(error)
        finally:
            record.connection.close()

    def _receive(self, record: WorkerRecord, message: messages.Message) -> None:
        """One control message of a joined worker. Raises: RemoteProtocolError."""
        worker = record.worker
        if isinstance(message, messages.Heartbeat):
            if record.outbox.empty():  # else what waits there is answer enough
                record.send(messages.Heartbeat())
            self.handle(events.Heartbeat(worker))
            return
        if isinstance(message, messages.Draining):
            log.info("worker %s wants to leave and gets no more attempts", worker)
            self.handle(events.WorkerDraining(worker))
            return
        if not isinstance(message, _OF_ATTEMPTS):
            raise RemoteProtocolError(f"worker {worker} sent {type(message).__name__}, which a worker does not send")
        if message.job != self._job.job_id:
            return  # late, from an earlier job of this worker
        match message:
            case messages.MapDone():
                self._committer.map_done(worker, message)
            case messages.ReduceDone():
                self._committer.reduce_done(worker, message)
            case messages.AttemptFailed():
                attempt = AttemptId.parse(message.attempt)
                failure = read_failure(message, worker, self._job)
                if failure.kind is FailureKind.SYSTEM:  # somebody has to do something about that machine
                    log.warning("worker %s could not carry out %s: %s", worker, attempt, failure.message)
                self._supply.drop_result(worker, attempt)
                self.handle(events.AttemptFailed(worker, attempt, failure))
            case messages.BlocksUnreachable():
                attempt, reason = AttemptId.parse(message.attempt), said_in_line(message.reason)
                if message.damaged:  # a disk that does this once may do so again
                    log.warning("blocks for %s on worker %s are damaged: %s", attempt, worker, reason)
                self.handle(events.BlocksUnreachable(worker, attempt, tuple(message.maps), reason, message.damaged))


async def _refuse(connection: Connection, reason: str) -> None:
    log.warning("worker %s:%d was refused: %s", *connection.peer[:2], reason)
    await connection.send(messages.Refused(reason=reason))


def _care_of(start: instructions.StartAttempt) -> dict[str, Any]:
    """The fields of a message that make an attempt a careful one."""
    if not start.careful:
        return {}
    return {
        "careful": True,
        "skip_records": [mark.record for mark in start.skip],
        "skip_digests": [mark.digest for mark in start.skip],
        "skip_reasons": [mark.reason for mark in start.skip],
    }
