"""Decides how the values of one key are read when they are too many for memory: a read-only sequence over blocks.

It knows nothing of why they are on disk, nor of who reduces them. What a reducer does with a list without changing it
works here as well: ``len``, ``for`` (several times, also one loop inside another), ``[i]``, ``[a:b]``, ``in``,
``reversed``, ``==``, ``count``, ``index``. A slice is a list. So is what pickling or copying gives: a result that
contains the sequence contains its values.
"""

from __future__ import annotations

import itertools
import operator
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias, overload

from mincemeat.decoding.forms import list_of
from mincemeat.errors import MincemeatError
from mincemeat.model import Key, Span, Value, describe_key
from mincemeat.shuffle.block import decode_columns, iter_blocks

_SHOWN = 3

# What reducefn gets: a list, or the sequence when a list would exceed the memory budget.
Values: TypeAlias = "list[Value] | StoredValues"


class StoredValues(Sequence[Value]):
    """The values of ``key``, in input order, in blocks of the file ``path``. Made by ``append``, then only read.

    Memory: one block for each iterator and one for indexing; 24 bytes a block besides.
    Life: until ``close``, which is when reducefn has returned and its result is written. The file is the maker's.
    Raises (all reading): BlockCorrupt; MincemeatError after ``close``.
    """

    def __init__(self, key: Key, path: str) -> None:
        self.key = key
        self.path = path
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._ends = array("Q")  # how many values the blocks up to and including this one hold
        self._kept: tuple[int, list[Value]] | None = None
        self._is_closed = False

    def append(self, offset: int, length: int, values: int) -> None:
        """Take in the block at ``offset`` of the file, ``length`` bytes with its header, that holds ``values`` values
        of the key and nothing else."""
        self._offsets.append(offset)
        self._lengths.append(length)
        self._ends.append(len(self) + values)

    def close(self) -> None:
        """The values are gone from now on."""
        self._is_closed = True
        self._kept = None

    def blocks(self) -> Iterator[list[Value]]:
        """The values as they lie in the file, a block at a time."""
        return map(self._read, range(len(self._ends)))

    # -- what a list does --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Value]:
        for block in self.blocks():
            yield from block

    def __reversed__(self) -> Iterator[Value]:
        for block in reversed(range(len(self._ends))):
            yield from reversed(self._read(block))

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice[Any, Any, Any]) -> list[Value]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._slice(range(*index.indices(len(self))))
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(f"values are numbered by whole numbers or slices, not {type(index).__name__}") from None
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"there is no value {index}: the key {describe_key(self.key)} has {len(self)}")
        first, values = self._block_with(place)
        return values[place - first]

    def __contains__(self, wanted: object) -> bool:
        return any(wanted in block for block in self.blocks())

    def count(self, value: Value) -> int:
        return sum(block.count(value) for block in self.blocks())

    def index(self, value: Value, start: int = 0, stop: int | None = None) -> int:
        places = range(*slice(start, stop).indices(len(self)))
        for place, found in zip(places, itertools.islice(self, places.start, None), strict=False):
            if found is value or found == value:
                return place
        raise ValueError(f"{describe_key(value)} is not among the values of the key {describe_key(self.key)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | StoredValues):
            return NotImplemented
        return len(self) == len(other) and all(
            mine is theirs or mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    # It compares like a list, and a list has no hash either.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        about = f"{len(self):,} values of the key {describe_key(self.key)}"
        if self._is_closed:
            return f"<{about}, no longer there>"
        try:
            shown = ", ".join(describe_key(value) for value in self[:_SHOWN])
        except MincemeatError:
            return f"<{about}, on disk and damaged>"
        return f"<{about}, on disk: [{shown}{', ...' if len(self) > _SHOWN else ''}]>"

    def __reduce__(self) -> tuple[Callable[[], list[Value]], tuple[()], None, Iterator[Value]]:
        return list_of, (), None, iter(self)

    # -- blocks ------------------------------------------------------------------------------------------

    def _slice(self, places: range) -> list[Value]:
        found: list[Value] = []
        while places:
            first, values = self._block_with(places[0])
            beyond = first + len(values) if places.step > 0 else first - 1
            here = range(places[0], (min if places.step > 0 else max)(beyond, places.stop), places.step)
            found += [values[place - first] for place in here]
            places = places[len(here) :]
        return found

    def _block_with(self, place: int) -> tuple[int, list[Value]]:
        """The block that holds the value ``place``, and the place of its first one."""
        block = bisect_right(self._ends, place)
        kept = self._kept  # read once: another thread of the user's may replace it
        if kept is None or kept[0] != block:
            self._kept = kept = block, self._read(block)
        return self._ends[block - 1] if block else 0, kept[1]

    def _read(self, block: int) -> list[Value]:
        if self._is_closed:
            self._refuse()
        span = Span(self.path, self._offsets[block], self._lengths[block])
        (found,) = iter_blocks(span)
        _, (entry,) = decode_columns(found, stays_here=True)  # this process wrote it
        values: list[Value] = [entry] if found.single else entry
        return values

    def _refuse(self) -> NoReturn:
        raise MincemeatError(
            f"the values of the key {describe_key(self.key)} were read from disk and are gone since reducefn "
            "returned; let it keep what it needs of them, for example list(values)"
        )
