"""Decides how the reduce side folds values as their blocks are read: no list for a key, and no call for each.

It knows nothing of budgets. What comes of it is what the user's own function would give for the list of all values,
with its type: only values of exact types are folded for which that is certain, ints for sums (``sum`` compensates for
what floats lose from Python 3.12 on, so adding them one by one has other digits), values of one total order for ``min``
and ``max``. At the first block that does not suit, each partial becomes the first value of a list, and the user's
function is called after all: it raises what it would have raised.

Tried and left out, as they gained nothing over the plain loops (bench/merging.py): adding a block up all in C, by
``held.update(zip(keys, map(add, map(held.get, keys, repeat(0)), values)))``, and adding up only the keys that two dicts
have in common. What a large dict costs is waiting for memory.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from mincemeat.model import Key, Value
from mincemeat.reducers import Fold
from mincemeat.shuffle.folds import order_of

_WHOLE: Final = frozenset({int, bool})


class FoldedGroups(defaultdict[Key, Any]):
    """What the values of each key come to so far, as long as ``is_folded``; afterwards lists of values.

    Shape: keys in order of first appearance. ``taken``: how many values were folded.
    """

    def __init__(self, fold: Fold) -> None:
        super().__init__(list)
        self._fold = fold
        self._order: frozenset[type] | None = None
        self.is_folded = True
        self.taken = 0

    def take(self, keys: list[Key], values: list[Any], *, single: bool) -> bool:
        """Fold a block's values, one for each key if ``single``, else a list for each. False: they do not suit."""
        if not self._suits(values if single else list(chain.from_iterable(values))):
            return False
        self.taken += len(values) if single else sum(map(len, values))
        # A single True sums up to 1.
        if single and not self and (self._fold is not Fold.SUM or {*map(type, values)} == {int}):
            self.update(zip(keys, values, strict=True))  # in C, and right unless a key stands there twice
            if len(self) == len(keys):
                return True
            self.clear()
        _STEPS[self._fold](self, keys, values if single else map(_OF_LIST[self._fold], values))
        return True

    def _suits(self, values: list[Value]) -> bool:
        if self._fold in (Fold.FIRST, Fold.LAST):
            return True
        if self._fold in (Fold.SUM, Fold.ADD):
            return {*map(type, values)} <= _WHOLE
        order = order_of(values)
        if self._order is None:
            self._order = order
        return order is not None and order is self._order

    def unfold(self) -> None:
        """Make a list of each partial, with nothing but it."""
        if self.is_folded:
            self.is_folded = False
            for key, partial in self.items():
                self[key] = [partial]  # replaces a value only, which a running iteration allows

    def in_order(self, keys: list[Key]) -> FoldedGroups:
        """The same with its keys in the order of ``keys``, which are all of them; this one is empty afterwards."""
        ordered = FoldedGroups(self._fold)
        ordered.update(zip(keys, map(self.__getitem__, keys), strict=True))
        self.clear()
        ordered.is_folded, ordered.taken = self.is_folded, self.taken
        return ordered


# -- steps ------------------------------------------------------------------------------------------------

_Step = Callable[[FoldedGroups, list[Key], Iterable[Value]], None]


def _sum(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    get = held.get
    for key, value in _zipped(keys, values):
        held[key] = get(key, 0) + value


def _add(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    for key, value in _zipped(keys, values):
        held[key] = held[key] + value if key in held else value


def _min(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    for key, value in _zipped(keys, values):
        if key not in held or value < held[key]:
            held[key] = value


def _max(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    for key, value in _zipped(keys, values):
        if key not in held or value > held[key]:
            held[key] = value


def _keep_first(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    deque(map(held.setdefault, keys, values), maxlen=0)


def _keep_last(held: FoldedGroups, keys: list[Key], values: Iterable[Value]) -> None:
    held.update(_zipped(keys, values))


def _zipped(keys: list[Key], values: Iterable[Value]) -> Iterator[tuple[Key, Value]]:
    return zip(keys, values, strict=True)


_STEPS: Final[dict[Fold, _Step]] = {
    Fold.SUM: _sum,
    Fold.ADD: _add,
    Fold.MIN: _min,
    Fold.MAX: _max,
    Fold.FIRST: _keep_first,
    Fold.LAST: _keep_last,
}
_OF_LIST: Final[dict[Fold, Callable[[list[Value]], Value]]] = {
    Fold.SUM: sum,
    Fold.ADD: functools.partial(functools.reduce, operator.add),
    Fold.MIN: min,
    Fold.MAX: max,
    Fold.FIRST: operator.itemgetter(0),
    Fold.LAST: operator.itemgetter(-1),
}
