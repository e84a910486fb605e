"""What the caller's side of a running job remembers, whatever the engine: splits, totals, results on their way.

Decides: how many records a split has, and the order in which results reach the sink. Does not know: processes, sockets,
the scheduler's inside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.model import Job, MapReport, Snapshot
from mincemeat.scheduler.policy import attempt_bytes, next_split_records

if TYPE_CHECKING:
    from mincemeat.journal.history import SplitGroup
    from mincemeat.scheduler.state import Counts
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source, SplitInfo


class SplitCutter:
    """How large the next split should be, and how many of them an attempt takes.

    Of a dict-like datasource an attempt takes one split of as many records as make about 0.2 s of work, or, where the
    user said how many records a split has (``fixed``), as many such splits. Of files, whose splits are planned, it
    takes as many as ``policy.attempt_bytes`` says.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._splits = self._records = self._bytes = 0
        self._seconds = 0.0
        self._previous = 0
        self._wanted = 0.0

    def learn(self, splits: int, records: int, size: int, seconds: float) -> None:
        """A map attempt over ``splits`` splits of ``records`` records in ``size`` bytes took ``seconds``."""
        self._splits += splits
        self._records += records
        self._bytes += size
        self._seconds += seconds

    def begin(self, bytes_left: int | None, slots: int) -> int:
        """An attempt's splits are to be cut now; how many records each should have if the source can choose."""
        self._wanted = attempt_bytes(self._bytes, self._seconds, bytes_left, slots)
        done = self._records if self._fixed is None else self._splits
        self._previous = next_split_records(done, self._seconds, self._previous)
        return self._fixed if self._fixed is not None else self._previous

    def wants_another(self, splits: int, size: int, last: SplitInfo) -> bool:
        """Whether the attempt should take one more than ``splits`` splits of ``size`` bytes, ``last`` among them."""
        if splits >= limits.SPLITS_PER_ATTEMPT_MAX:
            return False
        if last.records is None:
            return size + (last.bytes or 0) <= self._wanted
        return self._fixed is not None and splits < self._previous and size < limits.SPLIT_BYTES_MAX


class Ledger:
    """What the caller's side of a running job remembers: splits, sizes and totals. One per job.

    ``pull`` runs the user's datasource and therefore belongs to the calling thread.
    """

    def __init__(
        self, job: Job, source: Source, fixed_split: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.job = job
        self._clock = clock
        self._source = source
        self._cutter = SplitCutter(fixed_split)
        # Of the splits that are not committed.
        self._split_bytes: dict[int, int] = {}
        self._split_records: dict[int, int | None] = {}
        self._bytes_cut = 0
        self.splits_cut = 0
        self._started = clock()
        self._records = self._pairs = self._input_bytes = 0

    def pull(self, slots: int) -> range | None:
        """Cut the next splits, for one attempt on one of ``slots`` slots; None at the end of the input."""
        total = self._source.input_bytes_total
        records = self._cutter.begin(None if total is None else total - self._bytes_cut, slots)
        deadline = self._clock() + limits.CUTTING_SECONDS
        first: int | None = None
        count = size = 0
        while (info := self._source.next_split(records)) is not None:
            first = info.index if first is None else first
            count += 1
            size += self._cut(info)
            if not self._cutter.wants_another(count, size, info) or self._clock() >= deadline:
                break
        return None if first is None else range(first, first + count)

    def group_of(self, splits: range) -> SplitGroup:
        """What a journal should know of ``splits``, which were just cut together."""
        from mincemeat.journal.history import SplitGroup

        return SplitGroup(
            splits.start,
            tuple(self._split_records[index] for index in splits),
            tuple(self._split_bytes[index] for index in splits),
            tuple(map(self._source.fingerprint, splits)),
        )

    def cut_again(self, index: int, records: int | None) -> int | None:
        """Cut split ``index`` as it was cut in an earlier life of the job; its fingerprint, None if it is not there."""
        info = self._source.cut_again(records)
        if info is None or info.index != index or info.records != records:
            return None
        self._cut(info)
        return self._source.fingerprint(index)

    def is_input_exhausted(self) -> bool:
        """Whether the source, all of whose splits were cut again, has no further one. Asked before the job goes on."""
        return self._source.cut_again(1) is None

    def _cut(self, info: SplitInfo) -> int:
        """Remember a split that was just cut; its size in bytes, as far as that is known."""
        size = info.bytes or 0
        self._split_bytes[info.index] = size
        self._split_records[info.index] = info.records
        self._bytes_cut += size
        self.splits_cut = info.index + 1
        return size

    def map_done(self, splits: range, report: MapReport) -> None:
        """An attempt at ``splits`` was committed; what of them was committed before counts no more."""
        sizes = [size for index in splits if (size := self._split_bytes.pop(index, None)) is not None]
        for index in splits:
            self._split_records.pop(index, None)
        if len(sizes) < len(splits):
            return  # again, because the output was lost: all of them were counted then
        for index in splits:
            self._source.release(index)
        size = sum(sizes)
        self._cutter.learn(len(splits), report.records, size, report.seconds)
        self._records += report.records
        self._pairs += report.pairs
        self._input_bytes += size

    def snapshot(self, counts: Counts) -> Snapshot:
        return Snapshot(
            job_id=self.job.job_id,
            seconds=self._clock() - self._started,
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
    """Hands result files to the sink in task order, as soon as every earlier one is there.

    ``hold``: not before ``release``, because some may have to be taken back.
    A sink with a form takes the file itself, which is a part in that form; any other gets the results in it.
    ``stays_here``: slots of this machine write them, as in ``UserFunctions``. ``coding``: how they are read.
    ``takes_parts``: False where results come in blocks even though the sink has a form.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        stays_here: bool = False,
        keep: bool = False,
        hold: bool = False,
        coding: Coding = PLAIN,
        takes_parts: bool = True,
    ) -> None:
        self._sink = sink
        self._coding = coding
        self._takes_parts = takes_parts and bool(sink.form)
        self._keep = keep
        self._hold = hold
        self._stays_here = stays_here
        self._ready: dict[int, str] = {}
        self._next = 0

    def add(self, index: int, path: str) -> None:
        """Reduce task ``index`` is committed and its output lies at ``path``.

        It is removed once it is in the sink, unless it is kept for somebody who has to go on with the job.
        """
        self._ready[index] = path

    def take_back(self, index: int) -> None:
        """The results of reduce task ``index`` do not count; others will come. Only as long as they are held back."""
        if not self._hold:
            raise RuntimeError(f"the results of reduce task {index} have gone to the sink")
        os.unlink(self._ready.pop(index))

    def release(self) -> None:
        """Every result that is there counts: hand them on from now on."""
        self._hold = False

    def drain(self) -> None:
        if self._hold:
            return
        while (path := self._ready.pop(self._next, None)) is not None:
            if self._takes_parts:
                self._sink.take_part(path, keep=self._keep)
            else:
                from mincemeat.result_file import iter_results

                self._sink.write(iter_results(path, coding=self._coding, stays_here=self._stays_here))
                if not self._keep:
                    os.unlink(path)
            self._next += 1
