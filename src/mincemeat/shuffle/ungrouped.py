"""Decides how pairs are held whose keys hardly repeat: as two columns, as they were emitted, without a dict.

It knows nothing of budgets or blocks. A dict of lists costs several times as much a pair as two columns do when nearly
every pair has a key of its own, as in a sort or a join, and its lists more memory than the keys. What a dict would have
done is done where it is needed anyway: keys are found equal when they are sorted, or on the reduce side.
measured: bench/ungrouped.py.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final, overload

from mincemeat.interrupts import passing
from mincemeat.model import Key, Pair, Value
from mincemeat.shuffle.batches import Columns
from mincemeat.shuffle.folds import StoppedAt, first_invalid
from mincemeat.shuffle.order import columns_in_order, stretches
from mincemeat.shuffle.partition import dealt_by_place

_first: Final = itemgetter(0)
_second: Final = itemgetter(1)
_HASHABLE: Final = frozenset({str, bytes, int, float, bool, type(None)})


class Ungrouped:
    """Pairs as they were emitted. Shape: ``keys`` and ``values`` are of one length; a key may stand several times."""

    def __init__(self, keys: list[Key], values: list[Value]) -> None:
        self.keys = keys
        self.values = values

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, pairs: list[Pair] | Columns) -> None:
        """Add ``pairs``, in a list which are tuples or lists.

        Raises: StoppedAt at one that has not two parts, or whose key cannot be hashed; none is added then.
        """
        try:
            if isinstance(pairs, Columns):
                keys, values = pairs.keys, iter(pairs.values)
            else:
                if {*map(len, pairs)} != {2}:
                    raise ValueError("a pair has two parts")
                keys, values = [*map(_first, pairs)], map(_second, pairs)
            if not {*map(type, keys)} <= _HASHABLE:
                deque(map(hash, keys), maxlen=0)
        except passing(MemoryError):
            raise
        except BaseException as error:
            place = first_invalid(pairs)
            if place is None:  # its hash was raised once and then not again
                raise
            raise StoppedAt(place, error) from error
        self.keys += keys
        self.values.extend(values)

    def clear(self) -> None:
        self.keys, self.values = [], []

    def dealt_by_range(self, splitters: Sequence[Key]) -> Iterator[tuple[int, list[Key], list[Value]]]:
        """Ranges, ascending, each with its keys in order and their values; nothing is held any more then.

        Raises: UserCodeError for keys that cannot be compared.
        """
        keys, values = columns_in_order(self.keys, self.values)
        self.clear()
        for number, start, stop in stretches(keys, splitters):
            yield number, keys[start:stop], values[start:stop]

    def dealt_by_index(
        self, indices: Callable[[Collection[Key]], list[int]]
    ) -> Iterator[tuple[int, list[Key], list[Value]]]:
        """Partitions, ascending, each with its keys and values as emitted; nothing is held any more then.

        Raises: UserCodeError for a key that has no partition.
        """
        dealt = dealt_by_place(self.keys, self.values, indices(self.keys))
        self.clear()
        yield from dealt


def ungroup(groups: dict[Key, list[Value]]) -> Ungrouped:
    """The pairs of ``groups``, key by key; values of a key as they stood."""
    keys = [key for key, values in groups.items() for _ in values]
    return Ungrouped(keys, [*chain.from_iterable(groups.values())])


class ListEach(Sequence[list[Value]]):
    """A list of its own around each of ``values``, made when a slice of them is asked for.

    All at once would be slow to make, because they no longer fit into the processor's cache.
    """

    def __init__(self, values: list[Value]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, place: int) -> list[Value]: ...
    @overload
    def __getitem__(self, place: slice[Any, Any, Any]) -> list[list[Value]]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [[value] for value in self._values[place]]
        return [self._values[place]]


def grouped(keys: list[Key], values: list[Value]) -> tuple[list[Key], Sequence[list[Value]]]:
    """Each key once, with the list of its values. ``keys`` are in order, so that equal ones are neighbours."""
    if not any(map(operator.eq, keys, islice(keys, 1, None))):
        return keys, ListEach(values)
    once: list[Key] = []
    lists: list[list[Value]] = []
    for key, value in zip(keys, values, strict=True):
        if once and key == once[-1]:
            lists[-1].append(value)
        else:
            once.append(key)
            lists.append([value])
    return once, lists
