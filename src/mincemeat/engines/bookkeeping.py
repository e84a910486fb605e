"""What the caller's side of a running job remembers, whatever the engine: splits, totals, results on their way.

Decides: how many records a split has, and the order in which results reach the sink. Does not know: processes, sockets,
the scheduler's inside.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mincemeat.model import Job, MapReport, Snapshot
from mincemeat.scheduler.policy import next_split_records

if TYPE_CHECKING:
    from mincemeat.scheduler.state import Counts
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source


class SplitCutter:
    """How many records the next split should have: adaptively, or as the user said (``fixed``)."""

    def __init__(self, fixed: int | None = None) -> None:
        self.fixed = fixed
        self._records = 0
        self._seconds = 0.0
        self._previous = 0

    def learn(self, records: int, seconds: float) -> None:
        """A map attempt over ``records`` records took ``seconds``."""
        self._records += records
        self._seconds += seconds

    def next_records(self) -> int:
        if self.fixed is not None:
            return self.fixed
        self._previous = next_split_records(self._records, self._seconds, self._previous)
        return self._previous


class Ledger:
    """What the caller's side of a running job remembers: splits, sizes and totals. One per job.

    ``pull`` runs the user's datasource and therefore belongs to the calling thread.
    """

    def __init__(self, job: Job, source: Source, fixed_split: int | None) -> None:
        self.job = job
        self._source = source
        self._cutter = SplitCutter(fixed_split)
        self._split_bytes: dict[int, int] = {}
        self._started = time.monotonic()
        self._records = self._pairs = self._input_bytes = 0

    def pull(self) -> int | None:
        """Cut the next split; its index, or None at the end of the input."""
        info = self._source.next_split(self._cutter.next_records())
        if info is None:
            return None
        self._split_bytes[info.index] = info.bytes or 0
        return info.index

    def map_done(self, index: int, report: MapReport) -> None:
        """Map task ``index`` was committed for the first time or again; only the first time counts."""
        size = self._split_bytes.pop(index, None)
        if size is None:
            return
        self._source.release(index)
        self._cutter.learn(report.records, report.seconds)
        self._records += report.records
        self._pairs += report.pairs
        self._input_bytes += size

    def snapshot(self, counts: Counts) -> Snapshot:
        return Snapshot(
            job_id=self.job.job_id,
            seconds=time.monotonic() - self._started,
            workers=counts.workers,
            slots=counts.slots,
            running=counts.running,
            map_committed=counts.map_committed,
            map_total=counts.map_total,
            input_exhausted=counts.input_exhausted,
            reduce_committed=counts.reduce_committed,
            reduce_total=counts.reduce_total,
            failed_attempts=counts.failed_attempts,
            records=self._records,
            pairs=self._pairs,
            input_bytes=self._input_bytes,
            input_bytes_total=self._source.input_bytes_total,
        )


class ResultDrain:
    """Hands result files to the sink in task order, as soon as every earlier one is there."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._ready: dict[int, str] = {}
        self._next = 0

    def add(self, index: int, path: str) -> None:
        """Reduce task ``index`` is committed and its output lies at ``path`` (removed once it is in the sink)."""
        self._ready[index] = path

    def drain(self) -> None:
        from mincemeat.attempt import iter_results

        while (path := self._ready.pop(self._next, None)) is not None:
            self._sink.write(iter_results(path))
            os.unlink(path)
            self._next += 1
