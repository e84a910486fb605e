"""The engine for debugging: everything in the calling process, one attempt after the other.

``pdb`` works, an exception of a user's function keeps its own traceback, and there are no attempts to retry with. The
attempts themselves run through attempt.py as everywhere, so the results are the same.
"""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

from mincemeat import attempt as attempts
from mincemeat import limits
from mincemeat.engines.base import Engine, Observer
from mincemeat.engines.blame import raise_original
from mincemeat.engines.bookkeeping import Ledger, ResultDrain
from mincemeat.errors import JobFailed, UserCodeError
from mincemeat.model import AttemptId, Job, Phase, TaskId
from mincemeat.scheduler.policy import coalesce
from mincemeat.scheduler.state import Counts
from mincemeat.scratch import ScratchDirectory, sweep
from mincemeat.shuffle.store import JobStore
from mincemeat.sources.base import SplitUnreadable, open_split

if TYPE_CHECKING:
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source


class InlineEngine(Engine):
    """In this process and thread. ``split``: records per split; default: as many as one split may hold."""

    name = "inline"

    def __init__(self, split: int | None = None) -> None:
        self._split = split if split is not None else limits.SPLIT_RECORDS_MAX

    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> None:
        with ScratchDirectory() as scratch:
            store = JobStore(os.path.join(scratch, "blocks"))
            try:
                _InlineRun(job, Ledger(job, source, self._split), source, sink, store, observe).carry_out()
            except UserCodeError as error:
                raise_original(error)
            except SplitUnreadable as error:
                raise JobFailed(f"{error}. The job stops.", function="datasource") from error
        sweep()  # not beside the job: its functions may fork, for which there had better be no other thread


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
            attempts.run_reduce(
                self._job.functions, spans, partitions, self._store, attempt, memory_bytes=self._job.memory_bytes
            )
            self._drain.add(index, self._store.path(attempt))
            self._drain.drain()
            self._report(reduce_committed=index + 1)
        self._report(running=0)

    def _map_phase(self) -> tuple[list[int], list[AttemptId]]:
        totals = [0] * self._job.partitions
        maps: list[AttemptId] = []
        splits_read = 0
        while (splits := self._ledger.pull(slots=1)) is not None:
            attempt = AttemptId(TaskId(Phase.MAP, splits.start), 0)
            with ExitStack() as streams:
                payloads = [streams.enter_context(io.BytesIO(self._source.payload(index))) for index in splits]
                report = attempts.run_map(
                    self._job.functions,
                    chain.from_iterable(map(open_split, payloads)),
                    self._store,
                    attempt,
                    partitions=self._job.partitions,
                    memory_bytes=self._job.memory_bytes,
                )
            self._ledger.map_done(splits, report)
            splits_read += len(splits)
            totals = [total + more for total, more in zip(totals, report.partition_bytes, strict=True)]
            maps.append(attempt)
            self._report(map_committed=splits_read, map_total=splits_read)
        return totals, maps

    def _report(self, **changes: Any) -> None:
        self._counts = self._counts._replace(**changes)
        if self._observe is not None:
            self._observe(self._ledger.snapshot(self._counts))
