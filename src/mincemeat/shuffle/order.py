"""Decides what sort=True means: which keys have an order, where ranges of them end, and what is said of other keys.

It knows nothing of buffers, blocks or budgets. With splitters ``s0 < s1 < ...`` range 0 holds the keys below ``s0``,
range 1 those from ``s0`` up to below ``s1``, and so on. Which range a key is in must depend on that key alone, or two
halves of one group would be reduced apart; so keys whose order is none (NaN, sets) are refused before they are sorted,
because sorting them raises nothing. All loops over keys are in C.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeVar

from mincemeat import limits
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, describe_key

_T = TypeVar("_T")

_NO_ORDER: Final[Any] = object.__dict__["__lt__"]
# Exact types of one total order, which need no second look.
_ORDERED: Final[frozenset[type]] = frozenset({str, bytes, int, bool})


def in_order(keys: Collection[Key]) -> list[Key]:
    """``keys``, which are all different, ascending.

    Raises: UserCodeError from an InvalidEmission that names two keys which cannot be compared, or one that has no place
    in any order; from what a key's own ``__lt__`` raised.
    """
    return _compared(lambda: _sorted(keys), keys)


def columns_in_order(keys: list[Key], values: list[_T]) -> tuple[list[Key], list[_T]]:
    """``keys``, some of which may be equal, ascending, and ``values`` with them; those of equal keys as they stood.

    Raises: UserCodeError as ``in_order``.
    """

    def work() -> tuple[list[Key], list[_T]]:
        if len(set(map(id, values))) == 1:  # None, mostly, and then keys are all there is
            return _sorted(keys), values
        _check_order(keys)
        pairs = sorted(zip(keys, values, strict=True), key=itemgetter(0))
        return [key for key, _ in pairs], [value for _, value in pairs]

    return _compared(work, keys)


def have_one_order(keys: Collection[Key]) -> bool:
    """Whether equal ones of ``keys`` are certainly neighbours when sorted: a class may order its objects by less."""
    kinds: set[Any] = set(map(type, keys))
    if kinds == {tuple}:
        kinds = set(map(type, chain.from_iterable(keys)))
    return kinds <= _ORDERED | {float}


def stretches(keys: Sequence[Key], splitters: Sequence[Key]) -> Iterator[tuple[int, int, int]]:
    """Which of ``keys``, which are in order, belong to which range: ``(range, start, stop)``, no empty ones.

    A range that is far larger than its share, because there was no sample or a bad one, comes in several stretches: a
    block of each, so that whoever reads them does not have to hold the whole at once.
    Raises: UserCodeError as ``in_order``, for keys that cannot be compared with the splitters.
    """
    ends = _compared(lambda: [bisect_left(keys, splitter) for splitter in splitters], chain(splitters, keys))
    longest = max(limits.STRETCH_KEYS_LEAST, len(keys) // limits.STRETCHES)
    start = 0
    for number, end in enumerate([*ends, len(keys)]):
        while start < end:
            stop = min(start + longest, end)
            yield number, start, stop
            start = stop


def dealt_by_range(held: dict[Key, _T], splitters: Sequence[Key]) -> Iterator[tuple[int, list[Key], list[_T]]]:
    """Ranges, ascending, each with its keys in order and what ``held`` has for them; it is empty at the end.

    Raises: UserCodeError as ``in_order``.
    """
    ordered = in_order(held)
    for number, start, stop in stretches(ordered, splitters):
        keys = ordered[start:stop]
        yield number, keys, list(map(held.__getitem__, keys))
    held.clear()


def splitters_of(sample: Sequence[Key], ranges: int) -> tuple[Key, ...]:
    """At most ``ranges - 1`` keys of ``sample`` that cut it into about equal parts.

    Shape: ``sample`` is in order and may hold a key several times, which then counts as often. The splitters ascend,
    all different, and none is the least key: there is a key of the sample in each range.
    """
    chosen: list[Key] = []
    for number in range(1, ranges):
        candidate = sample[len(sample) * number // ranges] if sample else None
        if sample and candidate != (chosen[-1] if chosen else sample[0]):
            chosen.append(candidate)
    return tuple(chosen)


def _sorted(keys: Collection[Key]) -> list[Key]:
    _check_order(keys)
    return sorted(keys)


# -- keys without an order --------------------------------------------------------------------------------


def _check_order(keys: Collection[Key]) -> None:
    """Raises: UserCodeError for a key, or a part of a tuple, that has no place in any order, although sorting works."""
    kinds: set[Any] = set(map(type, keys))
    for kind in kinds - _ORDERED:
        of_kind: Collection[Any] = keys if len(kinds) == 1 else [key for key in keys if type(key) is kind]
        if issubclass(kind, tuple):
            _check_order(list(chain.from_iterable(of_kind)))
        elif issubclass(kind, set | frozenset):
            raise _refused(next(iter(of_kind)), "of two sets neither need be the smaller one")
        elif any(map(operator.ne, of_kind, of_kind)):  # NaN, NaT
            raise _refused(next(key for key in of_kind if key != key), "it is not even equal to itself")
        elif kind.__eq__ is object.__eq__ and kind.__lt__ is not _NO_ORDER and not hasattr(kind, "__members__"):
            raise _refused(
                next(iter(of_kind)), f"{kind.__qualname__} has no __eq__, so no two of them are the same key"
            )
        elif hasattr(kind, "__dataclass_fields__"):
            fields = [name for name, field in kind.__dataclass_fields__.items() if field.compare]
            _check_order([getattr(key, name) for key in of_kind for name in fields])


def _refused(key: Key, reason: str) -> UserCodeError:
    text = f"sort=True has no place for the key {describe_key(key)}: {reason}; emit another key, such as a tuple or str"
    return _told(text, key, None)


def _told(text: str, key: Key, cause: BaseException | None) -> UserCodeError:
    refusal = InvalidEmission(text)
    refusal.__cause__ = cause
    carrier = UserCodeError(text, function="mapfn", key=describe_key(key))
    carrier.__cause__ = refusal
    return carrier


# -- keys that cannot be compared -------------------------------------------------------------------------


def _compared(work: Callable[[], _T], keys: Iterable[Key]) -> _T:
    """What ``work`` gives, which compares ``keys``. Raises: UserCodeError for whatever comparing them raises."""
    try:
        return work()
    except passing(MemoryError):
        raise
    except UserCodeError as told:
        raise told from told.__cause__
    except BaseException as error:  # noqa: BLE001 - goes on in what is raised
        blamed = _blamed(error, keys)
        raise blamed from blamed.__cause__


class _Witness:
    """A key that notes what it is compared with."""

    __slots__ = ("key", "seen")

    def __init__(self, key: Key, seen: list[Key]) -> None:
        self.key = key
        self.seen = seen

    def __lt__(self, other: _Witness) -> bool:
        self.seen[:] = (self.key, other.key)
        return bool(self.key < other.key)


def _blamed(error: BaseException, keys: Iterable[Key]) -> UserCodeError:
    """What names the keys whose comparison raised ``error``: they are compared once more, under observation."""
    seen: list[Key] = []
    witnesses = [_Witness(key, seen) for key in keys]
    try:
        witnesses.sort()
    except Exception as found:  # noqa: BLE001 - the same as `error`, unless the user's __lt__ plays dice
        error = found
    if type(error) is not TypeError:
        carrier = UserCodeError(f"a key raised {type(error).__name__} as it was compared", function="mapfn")
        carrier.key = describe_key(seen[0]) if seen else ""
        carrier.__cause__ = error
        return carrier
    pair = f" (mapfn gave the keys {describe_key(seen[0])} and {describe_key(seen[1])})" if seen else ""
    text = f"sort=True needs keys that can be compared with each other: {error}{pair}"
    return _told(text, seen[1] if seen else "", error)
