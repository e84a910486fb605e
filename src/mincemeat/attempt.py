"""Carries out one map or reduce attempt in this process.

Decides: what an attempt does from its first record to its committed file. Every engine runs attempts through here, so
results cannot depend on the engine. Knows nothing of scheduling, processes or sockets, nor of what becomes of an
exception that it raises (describing.py).
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.errors import BlockCorrupt, UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import (
    AttemptId,
    Key,
    MapReport,
    ReduceFunction,
    ReduceReport,
    Span,
    UserFunctions,
)
from mincemeat.result_file import ResultWriter, writing_results
from mincemeat.shuffle.blame import user_code_error
from mincemeat.shuffle.block import (
    Loads,
)
from mincemeat.shuffle.folded import FoldedGroups
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.grouping import read_columns, read_groups
from mincemeat.shuffle.order import columns_in_order, have_one_order
from mincemeat.shuffle.recognise import reduce_fold, reduce_side
from mincemeat.shuffle.store import JobStore, RegroupFiles
from mincemeat.shuffle.texttable import TextTable
from mincemeat.shuffle.ungrouped import grouped
from mincemeat.shuffle.values import StoredValues, Values
from mincemeat.sources.base import open_split

if TYPE_CHECKING:  # most attempts need no care
    from mincemeat.careful import Care, Overseer


def run_map(
    functions: UserFunctions,
    records: Iterable[tuple[Any, Any]],
    store: JobStore,
    attempt: AttemptId,
    *,
    partitions: int,
    memory_bytes: int,
    coding: Coding = PLAIN,
    is_near: bool = False,
    care: Care | None = None,
    with_digest: bool = False,
) -> MapReport:
    """Map ``records``, group and combine what they emit, and commit it as the attempt's file in ``store``.

    Shape: ``records`` is read once and lazily: none is asked for before ``mapfn`` was called for the one before. Those
    of several splits are ``SplitRecords``; ``care`` makes the attempt a careful one, of one split.
    ``coding``: how keys and values are pickled. ``is_near``: whoever reads the file is most likely on this machine, so
    that deflating it does not pay.
    ``with_digest``: the report has the digests of the output, see ``shuffle/digest.py``.
    Memory: about ``memory_bytes`` for the groups; see ``GroupBuffer``.
    Raises: UserCodeError for whatever is the job's own fault; TooManySkipped; SpillSpaceExhausted; whatever iterating
    ``records`` raises, as it is. No file of the attempt is left behind then, nor when KeyboardInterrupt passes through.
    """
    started = time.perf_counter()
    partition_bytes = [0] * partitions
    with store.writing(attempt) as writer, _overseeing(care, "mapfn", attempt.task.index) as overseer:
        buffer = GroupBuffer(
            functions, partitions, memory_bytes, writer, coding=coding, is_near=is_near, with_digest=with_digest
        )
        if isinstance(records, SplitRecords):
            records.count_by(lambda: buffer.records)
        try:
            if overseer is None:
                buffer.drain(records)
            else:
                _drain_carefully(buffer, functions, partitions, records, overseer)
            buffer.finish()
        except UserCodeError as error:
            if error.record >= 0:
                begins = records.begins if isinstance(records, SplitRecords) else [0]
                splits_before = bisect_right(begins, error.record) - 1
                error.split = attempt.task.index + splits_before
                error.record -= begins[splits_before]
            raise
        for entry in writer.entries:
            partition_bytes[entry.partition] += entry.length
    store.commit(attempt)
    return MapReport(
        records=buffer.records,
        pairs=buffer.pairs,
        seconds=time.perf_counter() - started,
        spills=buffer.spills,
        partition_bytes=tuple(partition_bytes),
        digests=buffer.digests,
        skipped=overseer.report.count if overseer else 0,
        set_aside=overseer.report.encode() if overseer else "",
    )


def _drain_carefully(
    buffer: GroupBuffer,
    functions: UserFunctions,
    partitions: int,
    records: Iterable[tuple[Any, Any]],
    overseer: Overseer,
) -> None:
    buffer.oversee(overseer)
    if not overseer.skips:
        buffer.drain(overseer.overseen(records))
        return
    from mincemeat.shuffle.checked import drain_checked

    drain_checked(buffer, functions, partitions, records, overseer)


class SplitRecords:
    """The records of several splits one after the other, each in a stream; ``begins`` has the number of each first one.

    Chained in C: no frame of Python between the records and the user. Where a split begins is known by what who reads
    the records has counted until then.
    """

    def __init__(self, streams: Iterable[BinaryIO]) -> None:
        self.begins: list[int] = []
        self._streams = streams
        self._count: Callable[[], int] = int

    def count_by(self, count: Callable[[], int]) -> None:
        """``count`` tells how many records have been read, whenever it is asked."""
        self._count = count

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return chain.from_iterable(self._opened())

    def _opened(self) -> Iterator[Iterator[tuple[Any, Any]]]:
        for stream in self._streams:
            # Of splits that begin at the same record all but the last are empty, and bisect finds the last.
            self.begins.append(self._count())
            yield open_split(stream)


@contextlib.contextmanager
def _overseeing(care: Care | None, function: str, split: int) -> Iterator[Overseer | None]:
    if care is None:
        yield None
        return
    from mincemeat.careful import Overseer

    with contextlib.closing(Overseer(care, function, split)) as overseer:
        yield overseer


def run_reduce(
    functions: UserFunctions,
    spans: Sequence[Span],
    partitions: range,
    store: JobStore,
    attempt: AttemptId,
    *,
    memory_bytes: int,
    coding: Coding = PLAIN,
    is_near: bool = False,
    care: Care | None = None,
) -> ReduceReport:
    """Group the blocks of ``spans``, reduce each key, and commit the results as the attempt's file in ``store``.

    Shape: ``spans`` in the order of the map tasks, each holding blocks of ``partitions`` (consecutive) only. Results
    stand by ascending partition, then in the order of ``read_groups``: in blocks, or as a part in the form
    ``functions.output`` with its facts behind it.
    Memory: about ``memory_bytes`` for the groups, and a block of results; see ``read_groups``.
    Raises: UserCodeError, also for results that cannot be written; BlockCorrupt; InvalidEmission for values that cannot
    be unpickled; SpillSpaceExhausted. No file of the attempt is left behind then.

    ``coding`` reads keys and values, and writes the results; who has spans from machines that are not trusted hands in
    one that makes only data.
    ``is_near``, ``care``: as for ``run_map``.
    """
    started = time.perf_counter()
    reading = _Reading(spans, partitions, memory_bytes, coding.loads)
    with (
        _overseeing(care, "reducefn", -1) as overseer,
        writing_results(functions, partitions, store, attempt, memory_bytes, coding, is_near) as results,
        store.regrouping(attempt) as files,
    ):
        # A careful attempt goes key by key.
        counts = _order_only(functions, reading, results) if overseer is None else None
        counts = counts or _reduce(functions, reading, files, results, overseer)
    store.commit(attempt)
    return ReduceReport(
        *counts,
        seconds=time.perf_counter() - started,
        output_bytes=store.size(attempt),
        skipped=overseer.report.count if overseer else 0,
        set_aside=overseer.report.encode() if overseer else "",
    )


class _Reading(NamedTuple):
    """What a reduce attempt reads."""

    spans: Sequence[Span]
    partitions: range
    memory_bytes: int
    loads: Loads


def _order_only(functions: UserFunctions, reading: _Reading, results: ResultWriter) -> tuple[int, int] | None:
    """A sort without a ``reducefn`` needs no dict if everything fits: how many keys and values. None: not so."""
    if functions.reducefn is not None or not functions.sort or functions.sort_values is not False:
        return None
    columns = read_columns(
        reading.spans,
        reading.partitions,
        memory_bytes=reading.memory_bytes,
        loads=reading.loads,
        stays_here=functions.stays_here,
    )
    if columns is None:
        return None
    if not all(isinstance(pairs, TextTable) or have_one_order(pairs.keys) for _, pairs in columns):
        return None
    keys = values = 0
    for partition, pairs in columns:
        values += len(pairs)
        if isinstance(pairs, TextTable):
            pairs.sort()
            keys += results.write_text(partition, pairs.everything())
            pairs.clear()
            continue
        once, lists = grouped(*columns_in_order(pairs.keys, pairs.values))
        pairs.clear()
        keys += len(once)
        results.write_columns(partition, once, lists)
    return keys, values


def _reduce(
    functions: UserFunctions, reading: _Reading, files: RegroupFiles, results: ResultWriter, overseer: Overseer | None
) -> tuple[int, int]:
    """Group, reduce and write. Returns: how many keys and values."""
    reducefn = reduce_side(functions)
    keys = values = 0
    for partition, groups in read_groups(
        reading.spans,
        reading.partitions,
        files,
        memory_bytes=reading.memory_bytes,
        loads=reading.loads,
        stays_here=functions.stays_here,
        fold=reduce_fold(functions),
        sort=functions.sort,
        sort_values=functions.sort_values,
    ):
        if isinstance(groups, TextTable):
            values += groups.taken
            if groups.folds:
                keys += results.write_text(partition, groups.everything())
                continue
            keys += len(groups)
            for columns in groups.everything().portions(reading.memory_bytes * limits.TABLE_UNFOLDED_SHARE):
                _reduce_groups(reducefn, partition, zip(*columns.lists(), strict=True), results, overseer)
            continue
        keys += len(groups)
        if isinstance(groups, FoldedGroups) and groups.is_folded:
            values += groups.taken
            results.write_columns(partition, list(groups), list(groups.values()))
        else:
            values += sum(map(len, groups.values()))
            _reduce_groups(reducefn, partition, groups.items(), results, overseer)
    return keys, values


def _reduce_groups(
    reducefn: ReduceFunction | None,
    partition: int,
    groups: Iterable[tuple[Key, Values]],
    written: ResultWriter,
    overseer: Overseer | None,
) -> None:
    """Reduce each key. All results are written at the end: they may refer to values that are on disk until then."""
    keys, results = written.keys, written.results
    if overseer is not None:
        _reduce_carefully(reducefn, partition, groups, written, overseer)
        return
    for key, values in groups:
        result: Any = values
        if reducefn is not None:
            try:
                result = reducefn(key, values)
            except passing(BlockCorrupt):  # the last from values that are read from disk
                raise
            except BaseException as error:  # sys.exit() is a failure of the attempt like any other
                raise _failed_key(key, values, written.written + len(keys), error) from error
        if type(result) is StoredValues:  # as a result it is a list, which has to fit; isinstance asks an ABC, slowly
            result = list(result)
        keys.append(key)
        results.append(result)
        if len(keys) >= written.room:
            written.write(partition)
    written.write(partition)


def _reduce_carefully(
    reducefn: ReduceFunction | None,
    partition: int,
    groups: Iterable[tuple[Key, Values]],
    written: ResultWriter,
    overseer: Overseer,
) -> None:
    """As ``_reduce_groups``, telling where it is; keys that fail may be set aside."""
    for key, values in groups:
        number = written.written + len(written.keys) + overseer.report.count
        entered = overseer.enter(number, key, values)
        if entered is None:
            continue
        try:
            result = _result_of(reducefn, key, values, number)
            if overseer.skips:
                written.check(key, result)
        except UserCodeError as error:
            if not overseer.skips:
                raise
            overseer.leave()
            overseer.set_aside(error, entered)
            continue
        overseer.leave()
        written.keys.append(key)
        written.results.append(result)
        if len(written.keys) >= written.room:
            written.write(partition)
    written.write(partition)


def _result_of(reducefn: ReduceFunction | None, key: Key, values: Values, number: int) -> Any:
    """Raises: UserCodeError."""
    try:
        result: Any = values if reducefn is None else reducefn(key, values)
    except passing(BlockCorrupt):
        raise
    except BaseException as error:
        raise _failed_key(key, values, number, error) from error
    return list(result) if type(result) is StoredValues else result


def _failed_key(key: Key, values: Values, number: int, error: BaseException) -> UserCodeError:
    from mincemeat.careful import pickled_record

    carrier = user_code_error("reducefn", key, error, number)
    carrier.data = pickled_record(key, values)
    return carrier
