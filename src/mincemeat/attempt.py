"""Carries out one map or reduce attempt in this process, and says as data why one failed.

Decides: what an attempt does from its first record to its committed file, and whom a failure is blamed on. Every engine
runs attempts through here, so results cannot depend on the engine. Knows nothing of scheduling, processes or sockets.
"""

from __future__ import annotations

import abc
import contextlib
import copyreg
import io
import os
import pickle
import time
import traceback
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from mincemeat import limits
from mincemeat.errors import BlockCorrupt, InvalidEmission, TooManySkipped, UserCodeError
from mincemeat.model import (
    AttemptId,
    Failure,
    FailureKind,
    Key,
    MapReport,
    ReduceFunction,
    ReduceReport,
    Span,
    UserFunctions,
    shorten,
)
from mincemeat.shuffle.blame import encode_or_blame, user_code_error
from mincemeat.shuffle.block import (
    FILE_HEADER,
    PICKLE_PROTOCOL,
    BlockWriter,
    Loads,
    decode_columns,
    encode_text,
    iter_blocks,
    read_index,
)
from mincemeat.shuffle.damage import is_damage
from mincemeat.shuffle.deflate import Deflating
from mincemeat.shuffle.folded import FoldedGroups
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.grouping import read_columns, read_groups
from mincemeat.shuffle.order import columns_in_order, have_one_order
from mincemeat.shuffle.recognise import reduce_fold, reduce_side
from mincemeat.shuffle.store import JobStore, RegroupFiles
from mincemeat.shuffle.texttable import TextColumns, TextTable
from mincemeat.shuffle.ungrouped import grouped
from mincemeat.shuffle.values import StoredValues, Values
from mincemeat.sources.base import open_split

if TYPE_CHECKING:  # most attempts need no care
    from mincemeat.careful import Care, Overseer
    from mincemeat.sinks.parts import PartWriter

_PACKAGE = __name__.partition(".")[0]


def run_map(
    functions: UserFunctions,
    records: Iterable[tuple[Any, Any]],
    store: JobStore,
    attempt: AttemptId,
    *,
    partitions: int,
    memory_bytes: int,
    is_near: bool = False,
    care: Care | None = None,
    with_digest: bool = False,
) -> MapReport:
    """Map ``records``, group and combine what they emit, and commit it as the attempt's file in ``store``.

    Shape: ``records`` is read once and lazily: none is asked for before ``mapfn`` was called for the one before. Those
    of several splits are ``SplitRecords``; ``care`` makes the attempt a careful one, of one split.
    ``is_near``: whoever reads the file is most likely on this machine, so that deflating it does not pay.
    ``with_digest``: the report has the digests of the output, see ``shuffle/digest.py``.
    Memory: about ``memory_bytes`` for the groups; see ``GroupBuffer``.
    Raises: UserCodeError for whatever is the job's own fault; TooManySkipped; SpillSpaceExhausted; whatever iterating
    ``records`` raises, as it is. No file of the attempt is left behind then, nor when KeyboardInterrupt passes through.
    """
    started = time.perf_counter()
    partition_bytes = [0] * partitions
    with store.writing(attempt) as writer, _overseeing(care, "mapfn", attempt.task.index) as overseer:
        buffer = GroupBuffer(functions, partitions, memory_bytes, writer, is_near=is_near, with_digest=with_digest)
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

    with contextlib.closing(Overseer(care, function, split, describe_failure)) as overseer:
        yield overseer


def run_reduce(
    functions: UserFunctions,
    spans: Sequence[Span],
    partitions: range,
    store: JobStore,
    attempt: AttemptId,
    *,
    memory_bytes: int,
    loads: Loads = pickle.loads,
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

    ``loads`` decodes payloads; who has spans from machines that are not trusted hands in a restricted one.
    ``is_near``, ``care``: as for ``run_map``.
    """
    started = time.perf_counter()
    reading = _Reading(spans, partitions, memory_bytes, loads)
    with (
        _overseeing(care, "reducefn", -1) as overseer,
        _writing_results(functions, partitions, store, attempt, memory_bytes, is_near) as results,
        store.regrouping(attempt) as files,
    ):
        results.overseer = overseer
        counts = _order_only(functions, reading, results) or _reduce(functions, reading, files, results)
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


def _order_only(functions: UserFunctions, reading: _Reading, results: _Results) -> tuple[int, int] | None:
    """A sort without a ``reducefn`` needs no dict if everything fits: how many keys and values. None: not so."""
    if functions.reducefn is not None or not functions.sort or functions.sort_values is not False:
        return None
    if results.overseer is not None:
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


def _reduce(functions: UserFunctions, reading: _Reading, files: RegroupFiles, results: _Results) -> tuple[int, int]:
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
                _reduce_groups(reducefn, partition, zip(*columns.lists(), strict=True), results)
            continue
        keys += len(groups)
        if isinstance(groups, FoldedGroups) and groups.is_folded:
            values += groups.taken
            results.write_columns(partition, list(groups), list(groups.values()))
        else:
            values += sum(map(len, groups.values()))
            _reduce_groups(reducefn, partition, groups.items(), results)
    return keys, values


@contextlib.contextmanager
def _writing_results(
    functions: UserFunctions, partitions: range, store: JobStore, attempt: AttemptId, memory_bytes: int, is_near: bool
) -> Iterator[_Results]:
    """The attempt's file, in the form that the job wants: whole when the block ends, and gone if it raises."""
    if not functions.output:
        with store.writing(attempt) as writer:
            yield _BlockResults(writer, memory_bytes, functions.stays_here, is_near)
        return
    from mincemeat.sinks import parts

    with store.writing_file(attempt) as path, contextlib.closing(parts.open_part(functions.output, path)) as part:
        trial_path = f"{path}.trial"

        def open_trial() -> PartWriter:
            return parts.open_part(functions.output, trial_path)

        results = _PartResults(part, memory_bytes, open_trial)
        try:
            yield results
        finally:
            results.close_trial()
            with contextlib.suppress(OSError):
                os.unlink(trial_path)
        dealt = parts.BY_ORDER if functions.sort else parts.BY_HASH
        part.finish(partitions, parts.ANYWHERE if functions.partitionfn is not None else dealt)


class _Results(abc.ABC):
    """Results on their way to disk by portions, sized by the one before: a result may be larger than what it is of."""

    def __init__(self, memory_bytes: int) -> None:
        self.keys: list[Key] = []
        self.results: list[Any] = []
        self.overseer: Overseer | None = None
        self.written = 0
        self.room = limits.RESULTS_PER_FIRST_BLOCK
        self._portion_bytes = min(limits.RESULT_BLOCK_BYTES, memory_bytes * limits.BATCH_BUDGET_SHARE)

    def write_columns(self, partition: int, keys: list[Key], results: Sequence[Any]) -> None:
        """Append all of these, which are of ``partition``, after which nothing is left to be written."""
        start = 0
        while start < len(keys):
            stop = start + self.room
            self.keys += keys[start:stop]
            self.results += results[start:stop]
            start = stop
            self.write(partition)

    def write_text(self, partition: int, columns: TextColumns) -> int:
        """As ``write_columns``, for a table's columns in which equal keys are neighbours. Returns: how many keys."""
        keys = 0
        for portion in columns.portions(self._portion_bytes):
            distinct = portion.distinct()
            if not self._append_text(partition, portion, distinct):
                self.write_columns(partition, *_lists_of(portion))
            keys += distinct
        return keys

    def write(self, partition: int) -> None:
        """Append what there is, all of it of ``partition``."""
        count = len(self.keys)
        if not count:
            return
        affordable = int(self._portion_bytes * count / max(1, self._append(partition)))
        self.written += count
        self.keys.clear()
        self.results.clear()
        self.room = max(1, min(affordable, 2 * self.room, limits.RESULTS_PER_BLOCK))

    @abc.abstractmethod
    def check(self, key: Key, result: Any) -> None:
        """Raises: UserCodeError if this result could not be written. Nothing is."""

    @abc.abstractmethod
    def _append(self, partition: int) -> int:
        """Append ``keys`` and ``results``; how many bytes they take. Raises: UserCodeError, SpillSpaceExhausted."""

    @abc.abstractmethod
    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        """Append columns with so many different keys as they are. False: it has to be done by keys and results."""


class _BlockResults(_Results):
    """As blocks, for the caller."""

    def __init__(self, writer: BlockWriter, memory_bytes: int, stays_here: bool, is_near: bool) -> None:
        super().__init__(memory_bytes)
        self._writer = writer
        self._stays_here = stays_here
        self._deflating = Deflating(stays_here=stays_here or is_near)

    def check(self, key: Key, result: Any) -> None:
        encode_or_blame([key], [result], single=True, function="reducefn", stays_here=self._stays_here)

    def _append(self, partition: int) -> int:
        count = len(self.keys)
        payload = encode_or_blame(
            self.keys, self.results, single=True, function="reducefn", stays_here=self._stays_here
        )
        self._writer.append(partition, self._deflating.packed(payload), keys=count, pairs=count, single=True)
        return len(payload.data)

    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        if not columns.folds:
            return False
        payload, _ = encode_text(columns)
        self._writer.append(partition, self._deflating.packed(payload), keys=keys, pairs=keys, single=True)
        return True


class _PartResults(_Results):
    """In the bytes of the output."""

    def __init__(self, part: PartWriter, memory_bytes: int, open_trial: Callable[[], PartWriter]) -> None:
        super().__init__(memory_bytes)
        self._part = part
        self._open_trial = open_trial
        self._trial: PartWriter | None = None

    def check(self, key: Key, result: Any) -> None:
        """Writes it to a part beside it: what a format has no form for, none of them can tell without writing it."""
        if self._trial is None:
            self._trial = self._open_trial()
        try:
            _write_part(self._trial, [key], [result])
        except UserCodeError:
            self.close_trial()
            raise

    def close_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def write(self, partition: int) -> None:
        self.close_trial()  # so that it takes no more of the disk than a portion
        super().write(partition)

    def _append(self, partition: int) -> int:
        return _write_part(self._part, self.keys, self.results)

    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        return self._part.write_text(columns, keys)


def _write_part(part: PartWriter, keys: list[Key], results: list[Any]) -> int:
    try:
        return part.write(keys, results)
    except InvalidEmission as error:
        raise UserCodeError(str(error), function="reducefn", key=getattr(error, "key", "")) from error


def _lists_of(columns: TextColumns) -> tuple[list[Key], Sequence[Any]]:
    """Keys and results of a table: what values come to, or where nothing was folded the list of them."""
    keys, values = columns.lists()
    return (keys, values) if columns.folds else grouped(keys, values)


def _reduce_groups(
    reducefn: ReduceFunction | None, partition: int, groups: Iterable[tuple[Key, Values]], written: _Results
) -> None:
    """Reduce each key. All results are written at the end: they may refer to values that are on disk until then."""
    keys, results = written.keys, written.results
    if written.overseer is not None:
        _reduce_carefully(reducefn, partition, groups, written, written.overseer)
        return
    for key, values in groups:
        result: Any = values
        if reducefn is not None:
            try:
                result = reducefn(key, values)
            except (KeyboardInterrupt, GeneratorExit, BlockCorrupt):  # the last from values that are read from disk
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
    written: _Results,
    overseer: Overseer,
) -> None:
    """As ``_reduce_groups``, telling where it is; keys that fail may be set aside."""
    for key, values in groups:
        number = written.written + len(written.keys) + overseer.report.count
        entered = overseer.enter(number, key, values)
        if entered is None:
            continue
        try:
            result = _checked_result(reducefn, key, values, number, written)
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


def _checked_result(reducefn: ReduceFunction | None, key: Key, values: Values, number: int, written: _Results) -> Any:
    """The result for ``key``, which can be written. Raises: UserCodeError."""
    try:
        result: Any = values if reducefn is None else reducefn(key, values)
    except (KeyboardInterrupt, GeneratorExit, BlockCorrupt):
        raise
    except BaseException as error:
        raise _failed_key(key, values, number, error) from error
    if type(result) is StoredValues:
        result = list(result)
    if written.overseer is not None and written.overseer.skips:
        written.check(key, result)
    return result


def _failed_key(key: Key, values: Values, number: int, error: BaseException) -> UserCodeError:
    from mincemeat.careful import pickled_record

    carrier = user_code_error("reducefn", key, error, number)
    carrier.data = pickled_record(key, values)
    return carrier


def iter_results(path: str, *, loads: Loads = pickle.loads, stays_here: bool = False) -> Iterator[tuple[Key, Any]]:
    """The results in a committed file of ``run_reduce``, in its order: each key once.

    ``stays_here``: this build of Python on this machine wrote the file; see ``decode_columns``.
    Memory: one block at a time. The file is opened at the first ``next`` and closed at the end.
    Raises: BlockCorrupt, results before the damage having been yielded; InvalidEmission for results that cannot be
    unpickled; OSError if there is no such file.
    """
    for block in iter_blocks(_all_blocks(path)):
        keys, results = decode_columns(block, loads, stays_here=stays_here)
        yield from zip(keys, results, strict=True)


def damage_of_results(path: str, form: str) -> str:
    """What is wrong with a committed file of ``run_reduce`` in the form of ``UserFunctions.output``, "" for nothing.

    Every checksum in it is compared, and nothing decoded. Memory: one block at a time. Raises: OSError, unless it says
    that the file is gone or cannot be read.
    """
    try:
        if form:
            from mincemeat.sinks.parts import check_part

            check_part(path)
        else:
            for _ in iter_blocks(_all_blocks(path)):
                pass
    except (BlockCorrupt, OSError) as error:
        if not is_damage(error):
            raise
        return f"its results were damaged on their way: {error}"
    return ""


def _all_blocks(path: str) -> Span:
    """Raises: BlockCorrupt; OSError."""
    return Span(path, FILE_HEADER.size, sum(entry.length for entry in read_index(path)))


# -- failure is data -------------------------------------------------------------------------------------


def describe_failure(exc: BaseException, worker: str = "") -> Failure:
    """What made an attempt fail, as data that can travel. Never raises; may change the message of a NameError.

    Kinds: USER for what the job's functions raised or emitted, and for memory that ran out; SYSTEM for everything else
    that passed through ``run_map`` and ``run_reduce``: a full disk, a damaged block, a source that could not be read.
    """
    if isinstance(exc, TooManySkipped):
        failure: Failure = exc.failure
        return failure._replace(worker=worker)
    carrier = exc if isinstance(exc, UserCodeError) else UserCodeError()
    error = exc.__cause__ if carrier is exc and exc.__cause__ is not None else exc
    if isinstance(error, NameError):
        from mincemeat.usercode import explain_name_error

        explain_name_error(error)
    user = carrier is exc or isinstance(error, InvalidEmission | MemoryError | SystemExit)
    return Failure(
        kind=FailureKind.USER if user else FailureKind.SYSTEM,
        message=_message_of(error),
        function=carrier.function,
        key=carrier.key,
        exception_type=type(error).__name__,
        traceback=_traceback_in_user_terms(error),
        worker=worker,
        exception=_pickled_exception(error),
        record=carrier.record,
        split=carrier.split,
        data=carrier.data,
    )


def _message_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) was called; a function of a job may only return or raise"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__, and the failure matters more than its text
        text = f"<{type(error).__name__} whose str() raises>"
    if isinstance(error, MemoryError):
        hint = "memory ran out: run fewer slots at a time, or emit smaller values"
        text = f"{text}; {hint}" if text else hint
    return text


def _traceback_in_user_terms(error: BaseException) -> str:
    """The formatted traceback with source lines, without the frames of this package above the user's own."""
    try:
        described = traceback.TracebackException.from_exception(error)
        _drop_own_frames(described, error)
        text = "".join(described.format())
    except Exception:  # noqa: BLE001 - __str__ and source lookups are the user's; the type is always there
        text = f"{type(error).__name__}\n"
    return shorten(text, limits.TRACEBACK_CHARS_MAX)


def _drop_own_frames(described: traceback.TracebackException, error: BaseException) -> None:
    own = 0
    link = error.__traceback__
    while link is not None and link.tb_frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        own += 1
        link = link.tb_next
    described.stack = traceback.StackSummary.from_list(list(described.stack)[own:])
    for text, source in ((described.__cause__, error.__cause__), (described.__context__, error.__context__)):
        if text is not None and source is not None:
            _drop_own_frames(text, source)


class _WithoutInit(pickle.Pickler):
    """Pickles one exception so that it is made again from its ``args`` without its ``__init__``.

    By default an exception is made again by ``type(*args)``, which fails, or formats its message a second time, for
    every class whose ``__init__`` takes something else than it hands to ``Exception``; and such classes are common.
    """

    def __init__(self, file: io.BytesIO, error: BaseException) -> None:
        super().__init__(file, protocol=PICKLE_PROTOCOL)
        self._error = error

    def reducer_override(self, obj: Any) -> Any:
        if obj is self._error:
            make: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # what pickle itself names in a reduce value
            return make, (type(obj), *obj.args), obj.__dict__ or None
        return NotImplemented


def _pickled_exception(error: BaseException) -> bytes:
    """``error`` pickled (its notes with it, its traceback and cause not), or b"" if it would not come back the same.

    What is no Exception stays here: a SystemExit raised again in the caller's process would end the caller's program.
    """
    if not isinstance(error, Exception):
        return b""
    for dump in (_dump_as_usual, _dump_without_init):
        try:
            data = dump(error)
            back = pickle.loads(data)
            if type(back) is type(error) and str(back) == str(error):
                return data
        except Exception:  # noqa: BLE001 - the user's own __reduce__ and __init__ may raise anything
            continue
    return b""


def _dump_as_usual(error: Exception) -> bytes:
    return pickle.dumps(error, protocol=PICKLE_PROTOCOL)


def _dump_without_init(error: Exception) -> bytes:
    file = io.BytesIO()
    _WithoutInit(file, error).dump(error)
    return file.getvalue()
