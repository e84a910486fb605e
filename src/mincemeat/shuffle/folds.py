"""Decides what a group buffer holds for each key: a list of values, or what they come to so far.

It knows nothing of records, budgets or partitions. Two forms:

    folded   {key: partial}   the combiner is understood: each pair is taken into its key's partial as it arrives
    lists    {key: [value]}   anything else

The first turns into the second at the first pair that does not suit it (a str to be added to an int), and nothing of it
shows: a partial is then the first value of its list, so the user's own function raises what it would have raised. No
loop over pairs contains a call of ours.

Tried and left out, as they gained nothing (bench/drain_parts.py; nanoseconds a pair above draining, CPython 3.11 and
3.13, 46,000 words): ``held[key] = get(key, 0) + value`` takes 117 and 146, ``try: held[key] += value`` 132 and 149,
``if key in held`` 145 and 160, a defaultdict 127 and 148, the sums of a batch all in C 185 and 229, counting values
that are all 1 in C 114 and 150, and going through the generator itself rather than through batches 122 and 143, where
the same loop by hand takes 104 and 112. What takes the time is finding the key. Nor did a small dict for each batch
that is folded into the large one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter, length_hint
from typing import Any, Final

from mincemeat.interrupts import passing
from mincemeat.model import Key, Pair, Value
from mincemeat.reducers import Fold
from mincemeat.shuffle.batches import Columns
from mincemeat.shuffle.recognise import MapSide

_first: Final = itemgetter(0)
_Step = Callable[[Any, Sequence[Pair], Iterator[Pair]], bool]

# Exact types among whose values there is one order, NaN apart.
_ORDERED: Final[list[frozenset[type]]] = [frozenset({int, bool, float}), frozenset({str}), frozenset({bytes})]


class StoppedAt(Exception):
    """The pair at ``place`` of a batch could not be taken, for ``reason``."""

    def __init__(self, place: int, reason: BaseException) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason


class Holding:
    """What the pairs taken since the last ``clear`` come to: ``held``, with partials in it if ``folded``, else lists.

    Shape: keys in order of first appearance; lists in the order in which the pairs were taken.
    """

    def __init__(self, side: MapSide) -> None:
        self._fold = side.fold
        self.folded = side.fold is not None
        self.held: Any = {} if self.folded else defaultdict(list)
        self._step = _append if side.fold is None else (_CAUTIOUS if side.cautious else _STEPS)[side.fold]

    def take(self, pairs: list[Pair] | Columns) -> None:
        """Take ``pairs``, in a list which are tuples or lists.

        Raises: StoppedAt at one that has not two parts, or whose key cannot be hashed or compared. Those before it
        may have been taken or not.
        """
        start = 0
        while True:
            rest = pairs[start:] if start else pairs
            pending = places = iter(rest)
            if isinstance(rest, Columns):
                places = iter(rest.keys)
                pending = zip(places, rest.values, strict=True)
            try:
                if self._step(self.held, rest, pending):
                    return
            except passing(MemoryError):
                raise
            except BaseException as error:  # what is wrong with the pair, or with adding up its value
                invalid = first_invalid(rest)
                stopped = len(rest) - length_hint(places) - 1
                place = stopped if invalid is None else invalid
                if invalid is not None or not self.folded or self._fold is Fold.COUNT:
                    raise StoppedAt(start + place, error) from error
                start += place
            self._unfold()

    def _unfold(self) -> None:
        lists: defaultdict[Key, list[Any]] = defaultdict(list)
        lists.update((key, [partial]) for key, partial in self.held.items())
        self.held, self.folded, self._step = lists, False, _append

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self.held)

    def clear(self) -> None:
        """Forget all keys."""
        self.held.clear()


def holding_of(side: MapSide, keys: list[Key], values: list[Any]) -> Holding:
    """What holds these: partials, which another has folded in the same way, or without a fold lists of values."""
    holding = Holding(side)
    holding.held.update(zip(keys, values, strict=True))
    return holding


def first_invalid(pairs: Sequence[Pair]) -> int | None:
    for place, pair in enumerate(pairs):
        try:
            key, _value = pair
            hash(key)
        except Exception:  # noqa: BLE001 - which exception is known already; the question is where
            return place
    return None


# -- steps ------------------------------------------------------------------------------------------------
#
# Each takes all of ``pairs`` into ``held`` by way of ``pending``, an iterator over them whose length hint then tells
# where an exception came from, or takes none and answers False. A pair that raises is left out whole.


def _append(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        held[key].append(value)
    return True


def _count(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    if [None for _, _ in pairs if False]:  # unpacks each, so that one without two parts raises
        return False
    # Over keys this is one loop in C on whatever dict it is given. A Counter of its own would do, but is slow to store
    # into for its __delitem__ in Python.
    Counter.update(held, map(_first, pending))
    return True


def _sum(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    get = held.get
    for key, value in pending:
        held[key] = get(key, 0) + value
    return True


def _add(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        held[key] = held[key] + value if key in held else value
    return True


def _min(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        if key not in held or value < held[key]:
            held[key] = value
    return True


def _max(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        if key not in held or value > held[key]:
            held[key] = value
    return True


def _keep_first(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        if key not in held:
            held[key] = value
    return True


def _keep_last(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    for key, value in pending:
        held[key] = value
    return True


def order_of(values: list[Value]) -> frozenset[type] | None:
    """The exact types of which these values are, if among all values of these there is one total order."""
    kinds = {*map(type, values)}
    ordered = next((ordered for ordered in _ORDERED if kinds <= ordered), None)
    return None if float in kinds and [None for value in values if value != value] else ordered  # NaN


def _are_ordered(pairs: Sequence[Pair]) -> bool:
    """Whether putting the least or the largest of these values in their place cannot change a least or largest."""
    return order_of([value for _, value in pairs]) is not None


def _min_of_ordered(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    return _are_ordered(pairs) and _min(held, pairs, pending)


def _max_of_ordered(held: Any, pairs: Sequence[Pair], pending: Iterator[Pair]) -> bool:
    return _are_ordered(pairs) and _max(held, pairs, pending)


_STEPS: Final[dict[Fold, _Step]] = {
    Fold.SUM: _sum,
    Fold.ADD: _add,
    Fold.COUNT: _count,
    Fold.MIN: _min,
    Fold.MAX: _max,
    Fold.FIRST: _keep_first,
    Fold.LAST: _keep_last,
}
_CAUTIOUS: Final[dict[Fold, _Step]] = {Fold.MIN: _min_of_ordered, Fold.MAX: _max_of_ordered}
