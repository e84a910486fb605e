"""One job on slots of this machine.

Decides: which slot process carries out which attempt, and when another one is started. When an attempt counts,
committing.py decides, and the scheduler the rest: to it, this machine is one worker with several slots, whose map
outputs lie in one directory that every slot reads.
"""

from __future__ import annotations

import os
import selectors
import shutil
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from mincemeat import limits, usercode
from mincemeat.engines.base import OBSERVE_SECONDS, Observer
from mincemeat.engines.blame import job_error, raise_original
from mincemeat.engines.bookkeeping import Ledger, ResultDrain
from mincemeat.engines.committing import LocalCommitter
from mincemeat.engines.preflight import Preflight
from mincemeat.engines.sampling import with_splitters
from mincemeat.errors import BlockCorrupt, UserCodeError
from mincemeat.model import AttemptId, Failure, FailureKind, Job, Span
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.policy import attempt_timeout
from mincemeat.scratch import ScratchDirectory, sweep_soon
from mincemeat.set_aside import RecordFailure, SetAside
from mincemeat.shuffle.damage import is_damage
from mincemeat.shuffle.store import JobStore, make_directory, writing_file
from mincemeat.slot_channel import (
    Decoder,
    Header,
    care_header,
    crash_failure,
    limits_header,
    map_message,
    read_failure,
    timeout_failure,
)
from mincemeat.slots import SlotProcess
from mincemeat.sources.base import SplitUnreadable

if TYPE_CHECKING:
    from mincemeat.engines.resuming import Resumable
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

_WORKER = "local"
_READ_BYTES = 256 * 1024
# An attempt that has waited this long while all slots were busy is worth another interpreter's start.
_STARVED_SECONDS = 0.02


def carry_out(
    job: Job,
    source: Source,
    sink: Sink,
    observe: Observer | None,
    *,
    slots: int,
    first: SlotProcess,
    split: int | None,
    resumable: Resumable | None = None,
) -> tuple[RecordFailure, ...]:
    """Carry out ``job`` on at most ``slots`` slots, of which ``first`` was started by the caller. As ``Engine.run``.

    ``resumable``: its journal is kept, and what that knows already is not done again.
    """
    with ExitStack() as cleanup:  # every step of it is taken, also when Ctrl-C comes in the middle
        scratch = cleanup.enter_context(ScratchDirectory())
        sweep_soon()
        try:
            processes = []
            # Much input needs a second slot, which may as well boot while a sample is taken.
            if slots > 1 and (source.input_bytes_total or 0) >= limits.MUCH_INPUT_BYTES:
                processes.append(SlotProcess())
                cleanup.callback(processes[0].kill)
            if resumable is None or resumable.is_new:
                job, first = with_splitters(job, source, first)
                if resumable is not None:
                    resumable.begin(job)
            else:
                job = resumable.job
            cleanup.callback(first.kill)
            run = _LocalRun(job, Ledger(job, source, split), source, sink, scratch, slots, resumable)
            cleanup.callback(run.close)
            if resumable is None or resumable.is_new:
                run.preflight = Preflight(job, is_everywhere=True)
                cleanup.callback(run.preflight.close)
            for process in (first, *processes):
                run.add_slot(process)
            run.until_done(observe)
            return run.set_aside.failures()
        except UserCodeError as error:  # the datasource, which runs in this process
            raise_original(error)


class _Waiting(NamedTuple):
    """An attempt that waits for a slot. ``outputs``: what a reduce attempt reads, as it was when it was to start."""

    instruction: instructions.StartAttempt
    outputs: list[AttemptId]


class _Slot:
    def __init__(self, process: SlotProcess) -> None:
        self.process = process
        self.decoder = Decoder()
        self.is_ready = False
        self.has_job = False
        self.attempt: AttemptId | None = None
        self.deadline: float | None = None
        # Whose output each of the spans is that a reduce attempt reads: indices of map tasks.
        self.owners: list[int] = []
        # Where a careful attempt says where it is, and what makes it one.
        self.positions = ""
        self.care: Header = {}
        # Where the attempt's splits lie with their data inside, if the slot had to be given that.
        self.data: str | None = None


class _LocalRun:
    """One job on local slots: turns messages of slots into events and instructions into messages."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        source: Source,
        sink: Sink,
        scratch: str,
        slots: int,
        resumable: Resumable | None = None,
    ) -> None:
        self._job = job
        self._ledger = ledger
        self._source = source
        self._slots_max = slots
        self._scratch = scratch
        self._resumable = resumable
        journal = None if resumable is None else resumable.journal
        self._store = JobStore(os.path.join(scratch, "blocks") if resumable is None else resumable.blocks_directory())
        self._machine = Machine(
            partitions=job.partitions,
            max_attempts=job.max_attempts,
            reduce_task_bytes=job.reduce_task_bytes,
            skips=job.skips,
            max_skipped=job.max_skipped,
            on_nondeterminism=job.on_nondeterminism or "ignore",
            life=0 if journal is None else journal.life,
        )
        self._drain = ResultDrain(
            sink, stays_here=True, keep=journal is not None, hold=job.on_nondeterminism == "restart"
        )
        self._code: bytes | None = None
        self._slots: list[_Slot] = []
        self._waiting: deque[_Waiting] = deque()
        # The map outputs, as of a generation of them.
        self._outputs: tuple[int, list[AttemptId]] = (-1, [])
        self._starved_since: float | None = None
        self._selector = selectors.DefaultSelector()
        self._events: deque[events.Event] = deque()
        self._finished = False
        self.set_aside = SetAside()
        self.preflight: Preflight | None = None
        self._committer = LocalCommitter(
            job,
            _WORKER,
            ledger,
            machine=self._machine,
            store=self._store,
            drain=self._drain,
            set_aside=self.set_aside,
            journal=journal,
            is_planned=resumable is not None and resumable.is_planned,
        )

    def until_done(self, observe: Observer | None) -> None:
        self._handle(events.WorkerJoined(_WORKER, self._slots_max, self._go_on()))
        observe_at = time.monotonic()
        while not self._finished:
            now = time.monotonic()
            self._dispatch(now)
            if observe is not None and now >= observe_at:
                observe(self._ledger.snapshot(self._machine.counts()))
                observe_at = now + OBSERVE_SECONDS
            for key, _ in self._selector.select(self._patience(now, observe_at if observe else None)):
                self._read(key.data)
            self._end_overdue(time.monotonic())
            if self.preflight is not None:
                self.preflight.check()
            self._drain.drain()
        self._drain.release()
        self._drain.drain()
        if observe is not None:
            observe(self._ledger.snapshot(self._machine.counts()))

    def _go_on(self) -> tuple[AttemptId, ...]:
        """Tell the machine how far an earlier life had come, if there was one; the map outputs that are there."""
        resumable = self._resumable
        if resumable is None or resumable.is_new:
            return ()
        with resumable.collector_off():
            return self._restore(resumable)

    def _restore(self, resumable: Resumable) -> tuple[AttemptId, ...]:
        resumable.cut_again(self._ledger)
        there = [commit for commit in resumable.map_commits() if self._store.is_whole(commit.attempt)]
        reduced = [attempt for attempt, _ in resumable.results]
        self._store.keep_only([*(commit.attempt for commit in there), *reduced])
        resumable.tell_set_aside(self.set_aside, named=False)
        self._handle(resumable.restored(there))
        for attempt, path in resumable.results:
            self._drain.add(attempt.task.index, path)
        return tuple(commit.attempt for commit in there)

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
                splits = self._ledger.pull(self._slots_max)
                if splits is not None and self.preflight is not None:
                    self.preflight.see(splits, self._source)
                self._committer.splits_cut(splits)
                self._handle(
                    events.InputExhausted() if splits is None else events.SplitsProduced(splits.start, len(splits))
                )
            case instructions.StartAttempt():
                self._waiting.append(_Waiting(instruction, self._outputs_for(instruction)))
            case instructions.CancelAttempt():
                self._cancel(instruction.attempt)
            case instructions.DropOutput():
                self._store.drop(instruction.attempt)
            case instructions.DropResult(attempt=attempt):
                self._committer.take_back(attempt)
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

    # -- slots -------------------------------------------------------------------------------------------

    def add_slot(self, process: SlotProcess) -> None:
        """Take over a slot process; from here on ``close`` ends it."""
        slot = _Slot(process)
        self._slots.append(slot)
        self._selector.register(process.channel, selectors.EVENT_READ, slot)

    def _dispatch(self, now: float) -> None:
        """Hand waiting attempts to idle slots; start further slots, twice as many each time, while some still wait."""
        for slot in list(self._slots):
            while self._waiting and slot.attempt is None:  # once more where an attempt could not be started
                self._start(slot, self._waiting.popleft())
        is_growing = len(self._slots) < self._slots_max and all(slot.is_ready for slot in self._slots)
        if not self._waiting or not is_growing:
            self._starved_since = None
        elif not self._slots:
            self.add_slot(SlotProcess())
            self._dispatch(now)
        elif self._starved_since is None:
            self._starved_since = now
        elif now - self._starved_since >= _STARVED_SECONDS:
            self._starved_since = None
            for _ in range(min(len(self._waiting), len(self._slots), self._slots_max - len(self._slots))):
                self.add_slot(SlotProcess())
            self._dispatch(now)

    def _outputs_for(self, instruction: instructions.StartAttempt) -> list[AttemptId]:
        """What is there to be read now: an output that is lost while the attempt waits must not be left out of it."""
        if instruction.partitions is None:
            return []
        generation, outputs = self._outputs
        if generation != self._machine.generation:
            outputs = [output for _, output, _ in self._machine.map_outputs()]
            self._outputs = self._machine.generation, outputs
        return outputs

    def _start(self, slot: _Slot, waiting: _Waiting) -> None:
        instruction = waiting.instruction
        self._set_care(slot, instruction)
        if instruction.partitions is not None:
            self._start_reduce(slot, instruction.attempt, instruction.partitions, waiting.outputs)
            return
        attempt = slot.attempt = instruction.attempt
        self._give_job(slot)
        self._set_deadline(slot, instruction.splits)
        splits = range(attempt.task.index, attempt.task.index + instruction.splits)
        header, body = map_message(attempt, [self._source.payload(index) for index in splits])
        slot.process.send(header | slot.care, body)

    def _start_reduce(self, slot: _Slot, attempt: AttemptId, partitions: range, outputs: list[AttemptId]) -> None:
        spans: list[Span] = []
        owners: list[int] = []
        damaged: list[int] = []
        reason = ""
        for output in outputs:
            try:
                found = self._store.spans(output, partitions)
            except (OSError, BlockCorrupt) as error:
                if not is_damage(error):
                    raise
                damaged.append(output.task.index)
                reason = str(error)
            else:
                spans += found
                owners += [output.task.index] * len(found)
        if damaged:
            self._handle(events.BlocksUnreachable(_WORKER, attempt, tuple(damaged), reason, damaged=True))
            return
        slot.attempt = attempt
        slot.owners = owners
        self._give_job(slot)
        self._set_deadline(slot, 1)
        slot.process.send(
            {
                "do": "reduce",
                "attempt": str(attempt),
                "first": partitions.start,
                "last": partitions.stop,
                "spans": spans,
                **slot.care,
            }
        )

    def _set_care(self, slot: _Slot, instruction: instructions.StartAttempt) -> None:
        slot.positions, slot.care = "", {}
        if instruction.careful:
            slot.positions = os.path.join(self._scratch, f"{instruction.attempt}.positions")
            slot.care = care_header(
                slot.positions, skips=self._job.skips, max_skipped=self._job.max_skipped, skip=instruction.skip
            )

    def _set_deadline(self, slot: _Slot, splits: int) -> None:
        if self._job.task_timeout_seconds is not None:
            slot.deadline = time.monotonic() + attempt_timeout(self._job.task_timeout_seconds, splits)

    def _start_with_data(self, slot: _Slot, attempt: AttemptId) -> None:
        """Give the slot the splits that it cannot read: only this process sees such files (fsspec's memory://, say).

        Raises: SplitUnreadable if this process cannot read them either; SpillSpaceExhausted.
        """
        splits = self._machine.splits_of(attempt)
        slot.attempt = attempt
        slot.data = os.path.join(self._scratch, f"{attempt}.splits")
        make_directory(slot.data)
        paths = [os.path.join(slot.data, str(index)) for index in splits]
        for index, path in zip(splits, paths, strict=True):
            with writing_file(path) as file:
                for chunk in self._source.data_chunks(index):
                    file.write(chunk)
        self._set_deadline(slot, len(splits))
        slot.process.send({"do": "map", "attempt": str(attempt), "data": paths, **slot.care})

    def _give_job(self, slot: _Slot) -> None:
        if slot.has_job:
            return
        if self._code is None:
            self._code = usercode.pack(self._job.functions._replace(stays_here=True))
        slot.has_job = True
        slot.process.send(
            {
                "do": "job",
                "store": self._store.directory,
                "partitions": self._job.partitions,
                "memory_bytes": self._job.memory_bytes,
                **limits_header(self._job.slot_limits),
                "digests": self._machine.rules.on_nondeterminism != "ignore",
                # For what does not travel as source: compiled modules beside the script, names computed at run time.
                "path": sys.path,
            },
            self._code,
        )

    def _cancel(self, attempt: AttemptId) -> None:
        for waiting in self._waiting:
            if waiting.instruction.attempt == attempt:
                self._waiting.remove(waiting)
                return
        for slot in self._slots:
            if slot.attempt == attempt:
                self._end(slot)
                self._store.drop(attempt)
                return

    def _end(self, slot: _Slot) -> None:
        self._selector.unregister(slot.process.channel)
        self._slots.remove(slot)
        slot.process.kill()
        _drop_data(slot)

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
                code, kept = slot.process.exit_code, self._job.slot_limits
                failure = crash_failure(how, attempt, slot.positions, code=code, limits_kept=kept)
                _drop_positions(slot)
                self._handle(events.AttemptFailed(_WORKER, attempt, failure))
            return
        for header, body in slot.decoder.feed(data):
            self._receive(slot, header, body)

    def _receive(self, slot: _Slot, header: Header, body: bytes) -> None:
        if header["did"] == "ready":
            slot.is_ready = True
            return
        attempt = AttemptId.parse(header["attempt"])
        slot.attempt = slot.deadline = None
        had_data = slot.data is not None
        _drop_positions(slot)
        _drop_data(slot)
        match header["did"]:
            case "done":
                self._handle(self._committer.committed(attempt, header["report"]))
            case "failed":
                self._handle(events.AttemptFailed(_WORKER, attempt, read_failure(header, body)))
            case "damaged":
                maps = tuple(sorted({slot.owners[place] for place in header["spans"]}))
                self._handle(events.BlocksUnreachable(_WORKER, attempt, maps, header["message"], damaged=True))
            case "unreadable" if not had_data:
                try:
                    self._start_with_data(slot, attempt)
                except SplitUnreadable as error:  # no other attempt will fare better
                    failure = Failure(FailureKind.SYSTEM, str(error), function="datasource")
                    self._handle(events.SourceFailed(failure))
            case "unreadable":
                failure = Failure(kind=FailureKind.SYSTEM, message=header["message"])
                self._handle(events.AttemptFailed(_WORKER, attempt, failure))

    def _end_overdue(self, now: float) -> None:
        for slot in [slot for slot in self._slots if slot.deadline is not None and now >= slot.deadline]:
            attempt = slot.attempt
            assert attempt is not None
            assert self._job.task_timeout_seconds is not None
            self._end(slot)
            self._store.drop(attempt)
            failure = timeout_failure(self._job.task_timeout_seconds, attempt, slot.positions)
            _drop_positions(slot)
            self._handle(events.AttemptFailed(_WORKER, attempt, failure))

    def _patience(self, now: float, observe_at: float | None) -> float | None:
        moments = [slot.deadline for slot in self._slots if slot.deadline is not None]
        if observe_at is not None:
            moments.append(observe_at)
        if self._starved_since is not None:
            moments.append(self._starved_since + _STARVED_SECONDS)
        if self.preflight is not None and (due := self.preflight.wake_at) is not None:
            moments.append(due)
        # At most an hour, because select() cannot count the milliseconds of a month.
        return max(0.0, min(min(moments) - now, 3600.0)) if moments else None


def _drop_positions(slot: _Slot) -> None:
    if slot.positions:
        with suppress(FileNotFoundError):
            os.unlink(slot.positions)


def _drop_data(slot: _Slot) -> None:
    if slot.data is not None:
        shutil.rmtree(slot.data, ignore_errors=True)
        slot.data = None
