"""From a worker's word that an attempt is done to the machine's knowing it: the output checked, recorded, handed over.

Decides: in which order. What a worker reports is believed when it can be and somebody waits for it; results must be
here, and whole; then the journal has it, as far as there is one, so that no commit is known that would not survive a
power cut; then the caller's thread; the machine last. Does not know: connections, or which attempt should run, which it
asks the machine before it has anything recorded and again afterwards, because that takes a moment.

::

    MapDone    ----------------------------------------> recorded -> caller, machine
    ReduceDone -> renamed -> checked (damaged: lost) --> recorded -> caller, machine
                             nobody waits any more: -------> void in the journal, and removed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mincemeat import limits
from mincemeat.cluster.recording import Recorder
from mincemeat.cluster.reports import Skipped, read_map_report, read_skipped
from mincemeat.cluster.supply import Supply
from mincemeat.errors import RemoteProtocolError
from mincemeat.journal.history import MapCommit
from mincemeat.model import AttemptId, Job, MapReport, Phase
from mincemeat.result_file import damage_of_results
from mincemeat.scheduler import events
from mincemeat.scheduler.digests import Digests
from mincemeat.scheduler.machine import Machine
from mincemeat.wire import messages

log = logging.getLogger("mincemeat")


class Beneficiary(Protocol):
    """Who takes what is committed. None of these calls waits."""

    def map_done(self, splits: range, report: MapReport) -> None: ...
    def reduce_done(self, index: int, path: Path) -> None: ...
    def set_aside(self, attempt: AttemptId, report: str, worker: str) -> None: ...


class _Result(NamedTuple):
    """What a reduce attempt has reported, whose results lie at ``path``."""

    worker: str
    attempt: AttemptId
    path: Path
    skipped: Skipped
    set_aside: str


class Committer:
    """Commits the attempts of one job; used in the event loop.

    ``handle`` feeds the machine and carries out what it says; ``spawn`` has something done beside the loop's other
    work, until the coordinator stops; ``crashed`` is told when our own disk is at fault, or this program.
    """

    def __init__(
        self,
        job: Job,
        caller: Beneficiary,
        *,
        machine: Machine,
        supply: Supply,
        recorder: Recorder,
        handle: Callable[[events.Event], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._job = job
        self._caller = caller
        self._machine = machine
        self._supply = supply
        self._recorder = recorder
        self._handle = handle
        self._spawn = spawn
        self._crashed = crashed
        # Attempts whose output is there, and whose record is not on the disk yet.
        self._committing: set[AttemptId] = set()
        # Results that wait until no map output is being recorded any more.
        self._held_back: list[_Result] = []

    # -- map attempts ------------------------------------------------------------------------------------

    def map_done(self, worker: str, message: messages.MapDone) -> None:
        """``worker`` has carried out a map attempt, whose output lies there. Raises: RemoteProtocolError."""
        attempt = AttemptId.parse(message.attempt)
        report, digests = read_map_report(worker, attempt, message, self._job.partitions)
        skipped = read_skipped(worker, message, self._job.skips)
        if attempt in self._committing:
            return  # told twice
        if not self._machine.is_running(worker, attempt):
            self._handle(events.AttemptDone(worker, attempt, report.partition_bytes))
            return
        commit = MapCommit(attempt, len(self._machine.splits_of(attempt)), worker, report)
        self._committing.add(attempt)
        self._recorder.commit(
            lambda journal: journal.map_committed(commit),
            lambda: self._commit_map(worker, attempt, report, skipped, digests),
        )

    def _commit_map(
        self, worker: str, attempt: AttemptId, report: MapReport, skipped: Skipped, digests: Digests | None
    ) -> None:
        """The output is there and recorded; a moment has passed since it was reported."""
        self._committing.discard(attempt)
        if self._machine.is_running(worker, attempt):
            splits = self._machine.splits_of(attempt)
            for index in splits:
                self._supply.payloads.pop(index, None)
            self._caller.map_done(splits, report)
            self._caller.set_aside(attempt, report.set_aside, worker)
        else:
            self._recorder.note(lambda journal: journal.void(attempt))
        self._handle(events.AttemptDone(worker, attempt, report.partition_bytes, *skipped, digests=digests))
        self._release()

    # -- reduce attempts ---------------------------------------------------------------------------------

    def reduce_done(self, worker: str, message: messages.ReduceDone) -> None:
        """``worker`` has carried out a reduce attempt, and sent its results, in the message or before it.

        Raises: RemoteProtocolError; OSError when our own disk is at fault.
        """
        attempt = AttemptId.parse(message.attempt)
        if attempt.task.phase is not Phase.REDUCE:
            raise RemoteProtocolError(f"{attempt} is not a reduce attempt")
        skipped = read_skipped(worker, message, self._job.skips)
        if attempt in self._committing:
            return  # told twice
        if not self._machine.is_running(worker, attempt):
            self._supply.drop_result(worker, attempt)
            self._handle(events.AttemptDone(worker, attempt))
            return
        path = self._supply.commit_result(worker, attempt, message)
        result = _Result(worker, attempt, path, skipped, message.set_aside)
        self._committing.add(attempt)
        if message.output_bytes <= limits.INLINE_BODY_BYTES:
            self._take_result(result, damage_of_results(str(path), self._job.functions.output))
        else:
            self._spawn(self._check_result(result))

    async def _check_result(self, result: _Result) -> None:
        """In another thread: reading a large result must not hold up heartbeats."""
        loop = asyncio.get_running_loop()
        form = self._job.functions.output
        try:
            damage = await loop.run_in_executor(None, damage_of_results, str(result.path), form)
            self._take_result(result, damage)
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: the caller's thread raises it
            self._crashed(error)

    def _take_result(self, result: _Result, damage: str) -> None:
        if damage:
            log.warning("the results of %s from worker %s are made again: %s", result.attempt, result.worker, damage)
            self._committing.discard(result.attempt)
            result.path.unlink(missing_ok=True)
            self._handle(events.AttemptLost(result.worker, result.attempt, damage))
            return
        if any(committing.task.phase is Phase.MAP for committing in self._committing):
            # Made again in the reduce phase, that output may differ from what this result is made of, which is found
            # when it is recorded. Recorded behind it, the result would pass for one that was made of the new output.
            self._held_back.append(result)
            return
        self._record(result)

    def _release(self) -> None:
        """Map outputs are recorded: results that waited for it are wanted still, or not any more."""
        held_back, self._held_back = self._held_back, []
        for result in held_back:
            if self._machine.is_running(result.worker, result.attempt):
                self._take_result(result, "")
                continue
            self._committing.discard(result.attempt)
            result.path.unlink(missing_ok=True)
            self._handle(events.AttemptDone(result.worker, result.attempt))

    def _record(self, result: _Result) -> None:
        worker, attempt, path, skipped, set_aside = result
        self._recorder.commit(
            lambda journal: journal.reduce_committed(attempt, str(path), skipped.records, set_aside, worker=worker),
            lambda: self._commit_reduce(result),
        )

    def _commit_reduce(self, result: _Result) -> None:
        """The results are whole, here and recorded; a moment has passed since they were reported."""
        worker, attempt, path, skipped, set_aside = result
        self._committing.discard(attempt)
        if self._machine.is_running(worker, attempt):  # still
            self._caller.reduce_done(attempt.task.index, path)
            self._caller.set_aside(attempt, set_aside, worker)
        else:
            self._recorder.note(lambda journal: journal.void(attempt))
            path.unlink(missing_ok=True)
        self._handle(events.AttemptDone(worker, attempt, (), *skipped))
