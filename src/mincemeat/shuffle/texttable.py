"""Decides how pairs are held of which every key is text and every value text or a whole number: by compiled code.

It knows nothing of budgets, records or blocks' headers. A word count makes a Python object of every word and every
count, and what it then waits for is memory: a dict touches index, entry, key and value of each. Where the compiled
module is there, such pairs go from the user's iterator into a table of bytes, are sorted and dealt out there, written
as text columns (docs/block-format.md), merged on the reduce side, and become lines of the output, without an object for
each on the way. measured: bench/drain.py, and bench/README.md with and without.

Three kinds of tables: values are folded as they come (whole numbers only); all values of a key are kept, in order, each
once for as often as it comes in a row; or nothing but keys, whose values are None, with no look-up, for sorts.

Without the module, or with ``MINCEMEAT_COMPILED=0`` in the environment, ``TextTable.for_fold`` gives None and everybody
goes the plain way, which takes any pair and gives the same results; text columns of others are read all the same. One
pair of another kind (a float, a key of two parts) sends what follows it the plain way, too.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, starmap
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mincemeat.model import Key
from mincemeat.reducers import Fold
from mincemeat.shuffle.order import stretches

if TYPE_CHECKING:
    from mincemeat.shuffle import _texttable

# -- the numbers of the format. FROZEN: see block.py. --------------------------------------------------------

HEADER: Final = struct.Struct("<BBHIQ")  # width of a length, width of a value (0: all are None), 0, keys, bytes of text
# Widths of a length, of a count and of an index, 0, keys, bytes of text, pairs, values, bytes of values
LISTS_HEADER: Final = struct.Struct("<BBBBIQQIQ")
_IS_NUMBER: Final = 2**32 - 1  # instead of the length of a value: eight bytes of a number
_NUMBER: Final = struct.Struct("<q")
_LENGTH_CODES: Final = {1: "B", 2: "H", 4: "I"}
_VALUE_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}

# -- end of the frozen part ------------------------------------------------------------------------------

_SOURCE_VERSION: Final = 5


def _find_compiled() -> ModuleType | None:
    if os.environ.get("MINCEMEAT_COMPILED") == "0":
        return None
    try:
        from mincemeat.shuffle import _texttable
    except ImportError:  # no compiler when the package was built, or a single file
        return None
    return _texttable if _texttable.SOURCE_VERSION == _SOURCE_VERSION else None  # a build tree that was not built anew


_LISTED_BYTES: Final = 40  # as in lists.h

compiled: Any = _find_compiled()

_FOLDS: Final = {Fold.SUM: "SUM", Fold.ADD: "SUM", Fold.COUNT: "COUNT", Fold.MIN: "MIN", Fold.MAX: "MAX"}


class TextColumns(NamedTuple):
    """A stretch of a table's records in its order. Life: until the table is changed or put in another order."""

    table: _texttable.Table
    start: int
    stop: int
    kind: int

    @property
    def folds(self) -> bool:
        return self.kind not in (compiled.NONE, compiled.LIST)

    @property
    def keeps_lists(self) -> bool:
        return bool(self.kind == compiled.LIST)

    @property
    def records(self) -> int:
        return self.stop - self.start

    def payload(self) -> tuple[bytes, int]:
        """As text columns, or text lists if it keeps lists; how many pairs that are."""
        if self.keeps_lists:
            return self.table.pack_lists(self.start, self.stop)
        return self.table.pack(self.start, self.stop), self.records

    def lines(self, separator: bytes) -> bytes:
        """A line for each record: key, ``separator``, value; where values are None the key alone."""
        return self.table.lines(self.start, self.stop, separator)

    def lists(self) -> tuple[list[Key], list[Any]]:
        """Keys and values, or lists of values."""
        return self.table.columns(self.start, self.stop)

    @property
    def is_utf8(self) -> bool:
        """Whether UTF-8 can say all keys of the table: no lone surrogates, as in names of files that are no text."""
        return not self.table.has_surrogates

    @property
    def first(self) -> str:
        return self.table[self.start]

    @property
    def last(self) -> str:
        return self.table[self.stop - 1]

    def distinct(self) -> int:
        """How many different keys there are, if equal ones are neighbours."""
        return self.records if self.kind != compiled.NONE else self.table.distinct(self.start, self.stop)

    def popped(self, bytes_max: float) -> Iterator[list[Any]]:
        """The values of the first key, in lists of about ``bytes_max``; none of them is in the table any more."""
        most = max(1, int(bytes_max / _LISTED_BYTES))
        while values := self.table.pop(self.start, most):
            yield values

    def portions(self, bytes_max: float) -> Iterator[TextColumns]:
        """The same in stretches of about ``bytes_max`` as objects, which do not end between equal keys."""
        start = self.start
        while start < self.stop:
            stop = min(self.table.fitting(start, int(bytes_max)), self.stop)
            while self.kind == compiled.NONE and stop < self.stop and self.table[stop] == self.table[stop - 1]:
                stop += 1
            yield self._replace(start=start, stop=stop)
            start = stop


class TextTable:
    """Text with what its values come to, with all of them, or with None, once for each time that it was taken.

    Shape: records in the order of first appearance (of nothing but keys, in that in which they were taken), until
    ``sort``. ``taken``: how many pairs there were.
    """

    def __init__(self, fold: int) -> None:
        self._table: _texttable.Table = compiled.Table(fold)
        self.kind = fold
        self.folds = fold not in (compiled.NONE, compiled.LIST)
        self.keeps_lists = fold == compiled.LIST
        self.taken = 0

    @staticmethod
    def for_fold(fold: Fold | None) -> TextTable | None:
        """One that folds values in this way, if there is such a table here."""
        return TextTable(getattr(compiled, _FOLDS[fold])) if compiled is not None and fold in _FOLDS else None

    @staticmethod
    def for_lists() -> TextTable | None:
        """One that keeps all values of a key, if there is such a table here."""
        return None if compiled is None else TextTable(compiled.LIST)

    @staticmethod
    def for_keys() -> TextTable | None:
        """One that folds nothing, for values that are None, if there is such a table here."""
        return None if compiled is None else TextTable(compiled.NONE)

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._table)

    @property
    def held_bytes(self) -> int:
        """How many bytes it holds, what sorting or dealing out needs included. At the most ``limits.TABLE_BYTES_MAX``
        and what comes in at once should ever be in it."""
        return self._table.held_bytes

    def drain(self, pairs: Iterator[Any], pairs_max: int, bytes_max: int) -> tuple[int, list[Any] | None, bool]:
        """Take pairs until so many were, or so many bytes are held, or one does not suit.

        Returns: how many were taken; None, or what has to be taken by another before the rest of ``pairs``; whether
        that is at its end. Raises: whatever ``pairs`` raises.
        """
        status, taken, rejected = self._table.drain(pairs, pairs_max, bytes_max)
        self.taken += taken
        return taken, rejected, status == compiled.EXHAUSTED

    def take(
        self, keys: list[Any], values: list[Any], start: int = 0, bytes_max: int = sys.maxsize
    ) -> tuple[int, bool]:
        """Take pairs of two columns from ``start`` on until so many bytes are held, or one does not suit.

        Returns: how many were taken; whether the next one, if there is one, may suit.
        """
        status, taken = self._table.take(keys, values, start, bytes_max)
        self.taken += taken
        return taken, status != compiled.REJECTED

    def merge(self, payload: bytes) -> int:
        """Take text columns.

        Returns: how many pairs were taken, from the first, before one did not suit.

        Raises: ValueError for what is no text columns; some may have been taken then.
        """
        taken = self._table.merge(payload)
        self.taken += taken
        return taken

    def merge_lists(self, payload: bytes) -> int:
        """The same for text lists."""
        taken = self._table.merge_lists(payload)
        self.taken += taken
        return taken

    def long_lists(self, bytes_min: float) -> list[Key]:
        """The keys whose lists are about so large, or larger, as Python's objects."""
        return [*self._table.long_lists(int(bytes_min))]

    def sort(self) -> None:
        """Put records in the order of their keys, equal ones as they stood."""
        self._table.sort()

    def everything(self) -> TextColumns:
        return TextColumns(self._table, 0, len(self._table), self.kind)

    def dealt(self, partitions: int) -> Iterator[tuple[int, TextColumns]]:
        """Partitions, ascending, by the hash of keys; in each records as they stood."""
        for partition, start, stop in self._table.deal(partitions):
            yield partition, TextColumns(self._table, start, stop, self.kind)

    def dealt_by_range(self, splitters: Sequence[Key]) -> Iterator[tuple[int, TextColumns]]:
        """Ranges, ascending, each with its records in the order of keys. Raises: UserCodeError, see ``stretches``."""
        self._table.sort()
        for number, start, stop in stretches(self._table, splitters):  # type: ignore[arg-type]  # enough of a sequence
            yield number, TextColumns(self._table, start, stop, self.kind)

    def clear(self) -> None:
        """Forget all records."""
        self._table.clear()
        self.taken = 0


def counts(payload: bytes) -> tuple[int, bool]:
    """How many records the text columns announce, and whether these have values other than None.

    Raises: ValueError for what is too short.
    """
    if len(payload) < HEADER.size:
        raise ValueError("text columns are cut")
    _, value_width, _, keys, _ = HEADER.unpack_from(payload)
    return keys, value_width != 0


def list_counts(payload: bytes) -> tuple[int, int]:
    """How many keys and pairs the text lists announce. Raises: ValueError for what is too short."""
    if len(payload) < LISTS_HEADER.size:
        raise ValueError("text lists are cut")
    _, _, _, _, keys, _, pairs, _, _ = LISTS_HEADER.unpack_from(payload)
    return keys, pairs


def unpack(payload: bytes) -> tuple[list[Key], list[Any]]:
    """Keys and values of text columns. Raises: ValueError for what is none."""
    if compiled is not None:
        return compiled.unpack(payload)  # type: ignore[no-any-return]
    return unpack_plainly(payload)


def unpack_plainly(payload: bytes) -> tuple[list[Key], list[Any]]:
    """The same without the compiled module."""
    counts(payload)
    length_width, value_width, zero, keys, text_bytes = HEADER.unpack_from(payload)
    if zero or length_width not in _LENGTH_CODES or (value_width and value_width not in _VALUE_CODES):
        raise ValueError("text columns of an unknown kind")
    lengths_end = HEADER.size + keys * length_width
    values_end = lengths_end + keys * value_width
    if len(payload) != values_end + text_bytes:
        raise ValueError("text columns do not have the sizes that they announce")
    lengths = _numbers(_LENGTH_CODES[length_width], payload[HEADER.size : lengths_end])
    if sum(lengths) != text_bytes:
        raise ValueError("text columns do not have the lengths that they announce")
    values: list[Any] = [None] * keys
    if value_width:
        values = _numbers(_VALUE_CODES[value_width], payload[lengths_end:values_end])
    text = payload[values_end:]
    places = starmap(slice, pairwise(accumulate(lengths, initial=0)))
    if text.isascii():
        return [*map(text.decode("ascii").__getitem__, places)], values
    return [str(text[place], "utf-8", "surrogatepass") for place in places], values


def _numbers(code: str, data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // struct.calcsize(f'<{code}')}{code}", data))


def unpack_lists(payload: bytes) -> tuple[list[Key], list[list[Any]]]:
    """Keys and lists of values of text lists. Raises: ValueError for what is none."""
    if compiled is not None:
        return compiled.unpack_lists(payload)  # type: ignore[no-any-return]
    return unpack_lists_plainly(payload)


def unpack_lists_plainly(payload: bytes) -> tuple[list[Key], list[list[Any]]]:
    """The same without the compiled module."""
    list_counts(payload)
    *widths, zero, keys, text_bytes, pairs, distinct, value_bytes = LISTS_HEADER.unpack_from(payload)
    if zero or not set(widths) <= _LENGTH_CODES.keys():
        raise ValueError("text lists of an unknown kind")
    sizes = (keys * widths[0], keys * widths[1], pairs * widths[2], 4 * distinct, text_bytes, value_bytes)
    ends = [*accumulate(sizes, initial=LISTS_HEADER.size)]
    if len(payload) != ends[-1]:
        raise ValueError("text lists do not have the sizes that they announce")
    parts = [payload[start:stop] for start, stop in pairwise(ends)]
    codes = [*(_LENGTH_CODES[width] for width in widths), "I"]
    lengths, counted, indices, tags = (_numbers(code, part) for code, part in zip(codes, parts, strict=False))
    value_lengths = [_NUMBER.size if tag == _IS_NUMBER else tag for tag in tags]
    is_whole = (sum(lengths), sum(counted), sum(value_lengths)) == (text_bytes, pairs, value_bytes)
    if not is_whole or 0 in counted or any(index >= distinct for index in indices):
        raise ValueError("text lists do not have the lengths that they announce")
    values = [
        _NUMBER.unpack(part)[0] if tag == _IS_NUMBER else str(part, "utf-8", "surrogatepass")
        for tag, part in zip(tags, _cut(parts[5], value_lengths), strict=True)
    ]
    found = [str(part, "utf-8", "surrogatepass") for part in _cut(parts[4], lengths)]
    each = [values[index] for index in indices]
    return found, [each[start:stop] for start, stop in pairwise(accumulate(counted, initial=0))]


def _cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    return (data[start:stop] for start, stop in pairwise(accumulate(lengths, initial=0)))
