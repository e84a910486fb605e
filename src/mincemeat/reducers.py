"""Ready-made reducers: what most jobs do with the values of a key. Public as ``mincemeat.reducers``.

Each is a ``reducefn`` that brings its own combiner: ``reducefn=reducers.mean`` alone combines (exact sum, count) pairs
on the workers and divides at the end. Decides: what such a reducer computes, what travels in between (its partial), and
whether it may be a ``collectfn`` on its own. It knows nothing of buffers or blocks; ``fold`` names a way in which a
group buffer may combine pairs as they arrive, with the same outcome as ``combine`` over the list of them.
"""

from __future__ import annotations

import builtins
import enum
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from mincemeat.model import Key


class Fold(enum.Enum):
    """How a key's partial takes in one more value, for those where that is a single step."""

    SUM = "sum"  # from 0 on
    ADD = "add"  # from the first value on
    COUNT = "count"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"


class Reducer:
    """A reducefn in three steps: values -> partial -> one partial of many -> result.

    ``combine`` is None where combining would bring nothing. ``partial_is_result`` says that a partial means the same
    as a result, so that the reducer may also be the ``collectfn`` of a job with another ``reducefn``.
    Raises (when called): what the plain function raises over the same values.
    """

    def __init__(
        self,
        name: str,
        combine: Callable[[Sequence[Any]], Any] | None,
        merge: Callable[[Sequence[Any]], Any],
        *,
        finish: Callable[[Any], Any] | None = None,
        fold: Fold | None = None,
        arguments: tuple[Any, ...] | None = None,
    ) -> None:
        self.name = name
        self.fold = fold
        self.partial_is_result = finish is None
        self._combine = combine
        self._merge = merge
        self._finish = finish
        self._arguments = arguments

    def __call__(self, key: Key, values: Sequence[Any]) -> Any:
        """The result for all ``values`` of a key at once, nothing having been combined before."""
        partial = self._merge(values) if self._combine is None else self._combine(values)
        return partial if self._finish is None else self._finish(partial)

    @property
    def combines(self) -> bool:
        """Whether there is anything to combine early."""
        return self._combine is not None

    def partial(self, key: Key, values: Sequence[Any]) -> Any:
        """Some of a key's values as one partial: the combiner that this reducer brings."""
        return values if self._combine is None else self._combine(values)

    def result(self, key: Key, partials: Sequence[Any]) -> Any:
        """What the key's partials, in input order, come to."""
        merged = self._merge(partials)
        return merged if self._finish is None else self._finish(merged)

    def __repr__(self) -> str:
        arguments = "" if self._arguments is None else f"({', '.join(map(repr, self._arguments))})"
        return f"mincemeat.reducers.{self.name}{arguments}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reducer) and (self.name, self._arguments) == (other.name, other._arguments)

    def __hash__(self) -> int:
        return hash((self.name, self._arguments))

    def __reduce__(self) -> Any:
        """By name, so that the copy in a slot is the slot's own."""
        return self.name if self._arguments is None else (globals()[self.name], self._arguments)


# -- exact sums of floats ---------------------------------------------------------------------------------
#
# The exact sum of floats is kept as a few floats that do not overlap (Shewchuk 1997, "Adaptive Precision Floating-Point
# Arithmetic", section 2), found by letting math.fsum round what the parts found so far leave over. Parts of parts are
# exact again, so the order and the grouping of the values cannot matter. What is infinite or no number stands beside
# them, once each. A sum beyond the range of floats on the way is kept as an int of the smallest float's units instead,
# which is slow and rare.

_UNIT_BITS: Final = 1074  # 2**-1074 is the smallest positive float, and every finite float is a multiple of it


def _exact_parts(values: Iterable[Any]) -> tuple[float | int, ...]:
    # An array takes what math.fsum takes and refuses what it refuses, "1" for example, which float() would read.
    return _joined_parts([tuple(array("d", values))])


def _joined_parts(partials: Iterable[tuple[float | int, ...]]) -> tuple[float | int, ...]:
    terms = list(chain.from_iterable(partials))
    finite = [term for term in terms if type(term) is int or math.isfinite(term)]
    specials = {repr(term): term for term in terms if type(term) is float and not math.isfinite(term)}
    return *_expansion(finite), *specials.values()


def _expansion(terms: list[float | int]) -> list[float | int]:
    parts: list[float] = []
    if not any(type(term) is int for term in terms):
        try:
            while rest := math.fsum(chain(terms, [-part for part in parts])):
                parts.append(rest)
        except OverflowError:
            pass
        else:
            return [*parts]
    units = builtins.sum(term if type(term) is int else _units(term) for term in terms)
    return [units]


def _units(term: float) -> int:
    numerator, denominator = term.as_integer_ratio()
    return (numerator << _UNIT_BITS) // denominator


def _rounded(parts: tuple[float | int, ...]) -> float:
    """The float nearest to what ``parts`` come to. Raises: OverflowError; ValueError for infinities of both signs."""
    return math.fsum(part if type(part) is float else part / (1 << _UNIT_BITS) for part in parts)


# -- means, distinct values, the largest ------------------------------------------------------------------


def _mean_partial(values: Sequence[Any]) -> tuple[Any, int]:
    return _exact_parts(values), len(values)


def _merged_means(partials: Sequence[tuple[Any, int]]) -> tuple[Any, int]:
    return _joined_parts(map(itemgetter(0), partials)), builtins.sum(map(itemgetter(1), partials))


def _mean_of(partial: tuple[Any, int]) -> float:
    return _rounded(partial[0]) / partial[1]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


# -- the public names -------------------------------------------------------------------------------------
# They mean "of the values of a key", and shadow the built-in functions of the same names in this file only.

_first = itemgetter(0)
_last = itemgetter(-1)

#: Their sum, from 0 on. Ints are exact; the last digits of a sum of floats depend on where splits end: see ``fsum``.
sum = Reducer("sum", builtins.sum, builtins.sum, fold=Fold.SUM)
#: How many there are.
count = Reducer("count", len, builtins.sum, fold=Fold.COUNT)
#: The smallest; the first of equals. NaN compares as in ``min``, so give none.
min = Reducer("min", builtins.min, builtins.min, fold=Fold.MIN)
#: The largest; the first of equals. NaN compares as in ``max``, so give none.
max = Reducer("max", builtins.max, builtins.max, fold=Fold.MAX)
#: The one that comes first in input order.
first = Reducer("first", _first, _first, fold=Fold.FIRST)
#: The one that comes last in input order.
last = Reducer("last", _last, _last, fold=Fold.LAST)
#: Their sum as floats, rounded once: exact whatever the order. Raises as ``math.fsum``, but for sums on the way.
fsum = Reducer("fsum", _exact_parts, _joined_parts, finish=_rounded)
#: Their arithmetic mean as a float, exact but for rounding of the sum and of the quotient (``statistics.fmean``).
mean = Reducer("mean", _mean_partial, _merged_means, finish=_mean_of)
#: A list of the different ones (hashable), in order of first appearance.
unique = Reducer("unique", _distinct, lambda partials: _distinct(chain.from_iterable(partials)), finish=list)
#: A list of all of them in input order.
collect = Reducer("collect", None, list)


def top(n: int) -> Reducer:
    """The ``n`` largest, as a list from the largest on; of equals the first come first.

    Errors: ValueError if ``n`` is less than 1.
    """
    if n < 1:
        raise ValueError(f"top({n!r}): there is no list of fewer than one value (expected an int of at least 1)")

    def largest(values: Iterable[Any]) -> list[Any]:
        from heapq import nlargest

        return nlargest(n, values)

    def merged(lists: Iterable[list[Any]]) -> list[Any]:
        # A list, because of an iterator nlargest takes the first n without comparing them where they are equal (None).
        return largest([*chain.from_iterable(lists)])

    return Reducer("top", largest, merged, finish=list, arguments=(n,))


__all__ = ["Reducer", "collect", "count", "first", "fsum", "last", "max", "mean", "min", "sum", "top", "unique"]
