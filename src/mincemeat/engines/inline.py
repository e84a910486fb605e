"""The engine for debugging: everything in the calling process, one attempt after the other.

``pdb`` works, an exception of a user's function keeps its own traceback, and there are no attempts to retry with. The
attempts themselves run through attempt.py as everywhere, so the results are the same.
"""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mincemeat import attempt as attempts
from mincemeat import limits
from mincemeat.careful import Care
from mincemeat.engines.base import Engine, Observer
from mincemeat.engines.blame import job_error, raise_original
from mincemeat.engines.bookkeeping import Ledger, ResultDrain
from mincemeat.errors import JobFailed, TooManySkipped, UserCodeError
from mincemeat.model import AttemptId, Failure, Job, MapReport, Phase, ReduceReport, TaskId
from mincemeat.scheduler.policy import coalesce, excess_failure, is_excess
from mincemeat.scheduler.state import Counts
from mincemeat.scratch import ScratchDirectory, sweep
from mincemeat.set_aside import SetAside, decode_report
from mincemeat.shuffle.store import JobStore
from mincemeat.sources.base import SplitUnreadable

if TYPE_CHECKING:
    from mincemeat.set_aside import RecordFailure
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source


class InlineEngine(Engine):
    """In this process and thread. ``split``: records per split; default: as many as one split may hold."""

    name = "inline"

    def __init__(self, split: int | None = None) -> None:
        self._split = split if split is not None else limits.SPLIT_RECORDS_MAX

    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> tuple[RecordFailure, ...]:
        with ScratchDirectory() as scratch:
            store = JobStore(os.path.join(scratch, "blocks"))
            try:
                run = _InlineRun(job, Ledger(job, source, self._split), source, sink, store, observe)
                run.carry_out()
            except UserCodeError as error:
                raise_original(error)
            except TooManySkipped as error:
                told = job_error(error.failure)
                raise told from told.__cause__
            except SplitUnreadable as error:
                raise JobFailed(f"{error}. The job stops.", function="datasource") from error
        failures = run.set_aside.failures()
        sweep()  # not beside the job: its functions may fork, for which there had better be no other thread
        return failures


class _InlineRun:
    def __init__(
        self, job: Job, ledger: Ledger, source: Source, sink: Sink, store: JobStore, observe: Observer | None
    ) -> None:
        self._job = job._replace(functions=job.functions._replace(stays_here=True))
        self._ledger = ledger
        self._source = source
        self._store = store
        self._drain = ResultDrain(sink, stays_here=True)
        self._observe = observe
        # There is no second attempt in which to look closer, so the first one does.
        self._care = Care(skips=True, max_skipped=job.max_skipped) if job.skips else None
        self.set_aside = SetAside()
        self._skipped = 0
        self._first: Failure | None = None
        self._counts = Counts(
            workers=1,
            slots=1,
            running=1,
            map_committed=0,
            map_total=0,
            input_exhausted=False,
            reduce_committed=0,
            reduce_total=0,
            failed_attempts=0,
        )

    def carry_out(self) -> None:
        totals, maps = self._map_phase()
        self._report(input_exhausted=True)
        plan = coalesce(totals, self._job.reduce_task_bytes, 1)
        self._report(reduce_total=len(plan))
        for index, partitions in enumerate(plan):
            attempt = AttemptId(TaskId(Phase.REDUCE, index), 0)
            spans = [span for output in maps for span in self._store.spans(output, partitions)]
            report = attempts.run_reduce(
                self._job.functions,
                spans,
                partitions,
                self._store,
                attempt,
                memory_bytes=self._job.memory_bytes,
                care=self._care,
            )
            self._note_skipped(attempt, report)
            self._drain.add(index, self._store.path(attempt))
            self._drain.drain()
            self._report(reduce_committed=index + 1)
        self._report(running=0)

    def _map_phase(self) -> tuple[list[int], list[AttemptId]]:
        totals = [0] * self._job.partitions
        maps: list[AttemptId] = []
        splits_read = 0
        # Of a careful attempt each split is one's own, so that a record is known by its place in it.
        while (splits := self._ledger.pull(slots=1)) is not None:
            for alone in [range(index, index + 1) for index in splits] if self._care else [splits]:
                self._map(alone, totals, maps)
                splits_read += len(alone)
                self._report(map_committed=splits_read, map_total=splits_read)
        return totals, maps

    def _map(self, splits: range, totals: list[int], maps: list[AttemptId]) -> None:
        attempt = AttemptId(TaskId(Phase.MAP, splits.start), 0)
        with ExitStack() as streams:
            payloads = [streams.enter_context(io.BytesIO(self._source.payload(index))) for index in splits]
            report = attempts.run_map(
                self._job.functions,
                attempts.SplitRecords(payloads),
                self._store,
                attempt,
                partitions=self._job.partitions,
                memory_bytes=self._job.memory_bytes,
                care=self._care,
            )
        self._ledger.map_done(splits, report)
        totals[:] = [total + more for total, more in zip(totals, report.partition_bytes, strict=True)]
        maps.append(attempt)
        self._note_skipped(attempt, report)

    def _note_skipped(self, attempt: AttemptId, report: MapReport | ReduceReport) -> None:
        self.set_aside.committed(attempt, report.set_aside)
        if report.skipped:
            self._skipped += report.skipped
            self._first = self._first or next(iter(decode_report(report.set_aside)), None)
        if is_excess(self._skipped, self._job.max_skipped):
            told = excess_failure(self._skipped, self._job.max_skipped, self._first)
            raise TooManySkipped(told.message, failure=told)

    def _report(self, **changes: Any) -> None:
        self._counts = self._counts._replace(**changes)
        if self._observe is not None:
            self._observe(self._ledger.snapshot(self._counts))
