"""The careful way into a group buffer: record by record, and only what can certainly be grouped, dealt out and written.

Decides: that a record which fails counts for nothing. Does not know: what becomes of it then (its overseer does).

What some records emit is kept until all of it is there, and then checked at once; only where something is wrong it is
gone through record by record. Two things show too late to be a record's own: that a key raises as it is compared with
another one, and that keys of a sorted job cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from mincemeat.errors import UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, UserFunctions
from mincemeat.shuffle.batches import Columns, columns_of, is_batch
from mincemeat.shuffle.blame import Record, as_pair, blamed_pair, encode_or_blame, refused_pair
from mincemeat.shuffle.block import Dumps
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.order import in_order
from mincemeat.shuffle.partition import make_partitioner
from mincemeat.shuffle.recognise import map_side

# Each of them may be kept as a pickle of ``limits.RECORD_DATA_BYTES_MAX`` until it is known whether it fails.
_RECORDS_MAX: Final = 512
_PLAIN: Final = {str, bytes, int, float, bool, type(None)}
E = TypeVar("E")


class Overseer(Protocol[E]):
    """Who is told of each record, as careful.py does it."""

    def enter(self, record: int, key: Any, value: Any) -> E | None: ...
    def leave(self) -> None: ...
    def set_aside(self, error: UserCodeError, entered: E) -> None: ...


class _Emission(NamedTuple, Generic[E]):
    record: Record
    elements: list[Any]
    entered: E


def drain_checked(
    buffer: GroupBuffer,
    functions: UserFunctions,
    partitions: int,
    records: Iterable[tuple[Any, Any]],
    overseer: Overseer[E],
) -> None:
    """As ``GroupBuffer.drain``; ``overseer`` hears of each record, and sets aside those that fail.

    Memory: a batch of the buffer's, and at least all that one record emits.
    Raises: as ``drain``, and what ``overseer`` raises.
    """
    check = _Check(functions, partitions, buffer.coding.dumps)
    waiting: list[_Emission[E]] = []
    pairs = 0

    def take() -> None:
        if not waiting:
            return
        try:
            columns = check.columns_of(waiting)
        except UserCodeError:
            for emission in waiting:
                try:
                    columns = check.columns_of([emission])
                except UserCodeError as error:
                    overseer.set_aside(error, emission.entered)
                else:
                    buffer.take(columns, emission.record)
        else:
            buffer.take(columns, waiting[-1].record)
        waiting.clear()

    for key, value in records:
        record = Record(key, buffer.records)
        buffer.records += 1
        entered = overseer.enter(record.number, key, value)
        if entered is None:
            continue
        try:
            elements = buffer.emitted(key, value)
        except UserCodeError as error:
            overseer.leave()
            overseer.set_aside(error, entered)
            continue
        overseer.leave()
        if elements:
            waiting.append(_Emission(record, elements, entered))
            pairs += len(elements)
        if pairs >= buffer.room or len(waiting) >= _RECORDS_MAX:
            take()
            pairs = 0
    take()


class _Check:
    """What can be wrong with pairs of one job."""

    def __init__(self, functions: UserFunctions, partitions: int, dumps: Dumps) -> None:
        self._dumps = dumps
        side = map_side(functions)
        # What a combiner takes need not travel.
        self._values_travel = side.collectfn is None and side.fold is None
        self._is_sorted = functions.sort
        # What a partitionfn does is no record's fault, and where a range is a key needs no place of its own.
        has_places = functions.partitionfn is None and not functions.sort
        self._partitioner = make_partitioner(partitions) if has_places else None

    def columns_of(self, emissions: list[_Emission[Any]]) -> Columns:
        """The pairs of all. Raises: UserCodeError, its key and number a record's if there is one emission."""
        columns = Columns([], [])
        for emission in emissions:
            _append(columns, emission)
        record = emissions[0].record
        _check_hashes(columns.keys, record)
        if self._partitioner is not None:
            self._partitioner.indices(columns.keys)
        if self._is_sorted:
            for key in columns.keys:
                in_order([key])
        _check_picklable(columns.keys, columns.keys, self._dumps)
        if self._values_travel:
            _check_picklable(columns.keys, columns.values, self._dumps)
        return columns


def _append(columns: Columns, emission: _Emission[Any]) -> None:
    for element in emission.elements:
        if type(element) is tuple and len(element) == 2:
            columns.keys.append(element[0])
            columns.values.append(element[1])
        elif is_batch(element):
            more = columns_of(element)
            columns.keys += more.keys
            columns.values += more.values
        else:
            pair = as_pair(element)
            if pair is None or len(pair) != 2:
                raise refused_pair(emission.record, element)
            columns.keys.append(pair[0])
            columns.values.append(pair[1])


def _check_hashes(keys: list[Key], record: Record) -> None:
    for key in keys:
        try:
            hash(key)
        except passing():
            raise
        except BaseException as error:  # noqa: BLE001 - goes on in what is raised
            blamed = blamed_pair(record, (key, None), error)
            raise blamed from blamed.__cause__


def _check_picklable(keys: list[Key], column: list[Any], dumps: Dumps) -> None:
    if not {*map(type, column)} <= _PLAIN:
        encode_or_blame(keys, column, dumps, single=True, function="mapfn", stays_here=False)
