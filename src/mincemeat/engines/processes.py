"""The default engine: slots on this machine, driven from the calling thread.

Decides: which slot process carries out which attempt. The scheduler decides everything else; to it, this machine is one
worker with several slots, whose map outputs lie in one directory that every slot can read.
"""

from __future__ import annotations

import os
import selectors
import shutil
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincemeat import usercode
from mincemeat.engines.base import (
    OBSERVE_SECONDS,
    SCRATCH_PREFIX,
    Engine,
    Ledger,
    Observer,
    ResultDrain,
    job_error,
    raise_original,
)
from mincemeat.errors import UserCodeError
from mincemeat.model import AttemptId, Failure, FailureKind, Job, MapReport, Phase
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.machine import Machine
from mincemeat.shuffle.store import JobStore
from mincemeat.slots import Decoder, Header, SlotProcess, crash_failure, read_failure, timeout_failure

if TYPE_CHECKING:
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

_WORKER = "local"
_READ_BYTES = 256 * 1024


def available_cores() -> int:
    """How many processors this process may use, at least one."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


class ProcessesEngine(Engine):
    """Child processes of this one; a function that crashes its process costs one attempt.

    Args:
        workers: slots, at least 1; default: the cores this process may use.
        split: records per split of a dict-like datasource; default: adaptive.
    """

    name = "processes"

    def __init__(self, workers: int | None = None, split: int | None = None) -> None:
        self._slots = workers if workers is not None else available_cores()
        self._split = split

    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> None:
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        run = _LocalRun(job, Ledger(job, source, self._split), source, sink, scratch, self._slots)
        try:
            run.until_done(observe)
        except UserCodeError as error:  # the datasource, which runs in this process
            raise_original(error)
        finally:
            run.close()
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(eq=False)
class _Slot:
    process: SlotProcess
    decoder: Decoder = field(default_factory=Decoder)
    attempt: AttemptId | None = None
    deadline: float | None = None


class _LocalRun:
    """One job on local slots: turns messages of slots into events and instructions into messages."""

    def __init__(self, job: Job, ledger: Ledger, source: Source, sink: Sink, scratch: Path, slots: int) -> None:
        self._job = job
        self._ledger = ledger
        self._source = source
        self._slots_wanted = slots
        self._store = JobStore(scratch)
        self._scratch = scratch
        self._machine = Machine(
            partitions=job.partitions, max_attempts=job.max_attempts, reduce_task_bytes=job.reduce_task_bytes
        )
        self._drain = ResultDrain(sink)
        self._code: bytes | None = None
        self._slots: list[_Slot] = []
        self._selector = selectors.DefaultSelector()
        self._events: deque[events.Event] = deque()
        self._finished = False

    def until_done(self, observe: Observer | None) -> None:
        self._handle(events.WorkerJoined(_WORKER, self._slots_wanted))
        observe_at = time.monotonic()
        while not self._finished:
            now = time.monotonic()
            if observe is not None and now >= observe_at:
                observe(self._ledger.snapshot(self._machine.counts()))
                observe_at = now + OBSERVE_SECONDS
            for key, _ in self._selector.select(self._patience(now, observe_at if observe else None)):
                self._read(key.data)
            self._end_overdue(time.monotonic())
            self._drain.drain()
        self._drain.drain()
        if observe is not None:
            observe(self._ledger.snapshot(self._machine.counts()))

    def close(self) -> None:
        """End every slot, whatever it is doing."""
        for slot in self._slots:
            slot.process.kill()
        self._slots.clear()
        self._selector.close()

    # -- events in, instructions out ---------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        """Feed the machine; what an instruction causes at once is fed after it, not inside it."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            for instruction in self._machine.handle(self._events[0], time.monotonic()):
                self._carry_out(instruction)
            self._events.popleft()

    def _carry_out(self, instruction: instructions.Instruction) -> None:
        match instruction:
            case instructions.ProduceSplit():
                index = self._ledger.pull()
                self._handle(events.InputExhausted() if index is None else events.SplitProduced(index))
            case instructions.StartAttempt():
                self._start(instruction)
            case instructions.CancelAttempt():
                for slot in self._slots:
                    if slot.attempt == instruction.attempt:
                        self._end(slot)
                        break
            case instructions.DropOutput():
                self._store.drop(instruction.attempt)
            case instructions.FailJob():
                raise job_error(
                    instruction.failure,
                    instruction.task,
                    instruction.attempt,
                    instruction.attempts,
                    self._machine.counts(),
                )
            case instructions.FinishJob():
                self._finished = True
            case _:  # exclusion and expiry do not happen to the only worker
                pass

    def _start(self, instruction: instructions.StartAttempt) -> None:
        attempt = instruction.attempt
        slot = self._idle_slot()
        slot.attempt = attempt
        if self._job.task_timeout_seconds is not None:
            slot.deadline = time.monotonic() + self._job.task_timeout_seconds
        if attempt.task.phase is Phase.MAP:
            slot.process.send({"do": "map", "attempt": str(attempt)}, self._source.payload(attempt.task.index))
            return
        partitions = instruction.partitions
        assert partitions is not None
        spans = [span for _, output, _ in self._machine.map_outputs() for span in self._store.spans(output, partitions)]
        slot.process.send(
            {
                "do": "reduce",
                "attempt": str(attempt),
                "first": partitions.start,
                "last": partitions.stop,
                "spans": spans,
            }
        )

    # -- slots -------------------------------------------------------------------------------------------

    def _idle_slot(self) -> _Slot:
        for slot in self._slots:
            if slot.attempt is None:
                return slot
        process = SlotProcess()
        slot = _Slot(process)
        self._slots.append(slot)
        self._selector.register(process.channel, selectors.EVENT_READ, slot)
        if self._code is None:  # packed while the first slot boots
            self._code = usercode.pack(self._job.functions)
        process.send(
            {
                "do": "job",
                "store": str(self._scratch),
                "partitions": self._job.partitions,
                "memory_bytes": self._job.memory_bytes,
                # For what does not travel as source: compiled modules beside the script, names computed at run time.
                "path": sys.path,
            },
            self._code,
        )
        return slot

    def _end(self, slot: _Slot) -> None:
        self._selector.unregister(slot.process.channel)
        self._slots.remove(slot)
        slot.process.kill()

    def _read(self, slot: _Slot) -> None:
        if slot not in self._slots:
            return  # ended by a message read just before
        try:
            data = slot.process.channel.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            how = slot.process.describe_exit()
            attempt = slot.attempt
            self._end(slot)
            if attempt is not None:
                self._store.drop(attempt)
                self._handle(events.AttemptFailed(_WORKER, attempt, crash_failure(how)))
            return
        for header, body in slot.decoder.feed(data):
            self._receive(slot, header, body)

    def _receive(self, slot: _Slot, header: Header, body: bytes) -> None:
        attempt = AttemptId.parse(header["attempt"])
        slot.attempt = slot.deadline = None
        match header["did"]:
            case "done":
                self._handle(self._committed(attempt, header["report"]))
            case "failed":
                self._handle(events.AttemptFailed(_WORKER, attempt, read_failure(header, body)))
            case "unreadable":
                failure = Failure(kind=FailureKind.SYSTEM, message=header["message"])
                self._handle(events.AttemptFailed(_WORKER, attempt, failure))

    def _committed(self, attempt: AttemptId, report: dict[str, Any]) -> events.Event:
        if attempt.task.phase is Phase.REDUCE:
            self._drain.add(attempt.task.index, Path(self._store.path(attempt)))
            return events.AttemptDone(_WORKER, attempt)
        done = MapReport(**{**report, "partition_bytes": tuple(report["partition_bytes"])})
        self._ledger.map_done(attempt.task.index, done)
        return events.AttemptDone(_WORKER, attempt, done.partition_bytes)

    def _end_overdue(self, now: float) -> None:
        for slot in [slot for slot in self._slots if slot.deadline is not None and now >= slot.deadline]:
            attempt = slot.attempt
            assert attempt is not None
            assert self._job.task_timeout_seconds is not None
            self._end(slot)
            self._store.drop(attempt)
            self._handle(events.AttemptFailed(_WORKER, attempt, timeout_failure(self._job.task_timeout_seconds)))

    def _patience(self, now: float, observe_at: float | None) -> float | None:
        moments = [slot.deadline for slot in self._slots if slot.deadline is not None]
        if observe_at is not None:
            moments.append(observe_at)
        return max(0.0, min(moments) - now) if moments else None
