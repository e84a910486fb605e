"""Decides how many bytes a key or value is taken to hold: an estimate to keep a memory budget by.

It knows nothing of the budget. Exact sizes are out of reach (shared objects, allocator rounding), and looking into a
large container whole would cost more than it tells: members beyond a few are taken to be like those looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final

# Deep enough for a record of lists of tuples of strings.
DEPTH_MAX: Final = 3
_MEMBERS_MEASURED: Final = 8

_FLAT: Final = frozenset({str, bytes, int, float, complex, bytearray, bool, type(None)})
_SMALL_INTS: Final = range(-5, 257)  # one object each for the whole process (CPython), so a reference costs no more


def deep_size(value: object, depth: int = DEPTH_MAX) -> int:
    """About how many bytes ``value`` keeps alive, its members down to ``depth`` included. Never raises.

    Zero for objects that exist once in the process whatever refers to them: None, booleans, small ints.
    """
    kind = type(value)
    if kind in _FLAT:
        if value is None or kind is bool or (kind is int and value in _SMALL_INTS):
            return 0
        return sys.getsizeof(value)
    try:
        return sys.getsizeof(value) + (_size_of_members(value, depth - 1) if depth > 0 else 0)
    except Exception:  # noqa: BLE001 - __sizeof__ and attributes are the user's; an estimate is not worth a failure
        return object.__sizeof__(value)


def _size_of_members(value: Any, depth: int) -> int:
    if isinstance(value, dict):
        shown = list(chain.from_iterable(islice(value.items(), _MEMBERS_MEASURED)))
        return _extrapolated(shown, 2 * len(value), depth)
    if isinstance(value, list | tuple):
        step = len(value) // _MEMBERS_MEASURED + 1
        return _extrapolated(value[::step], len(value), depth)
    if isinstance(value, set | frozenset):
        return _extrapolated(list(islice(value, _MEMBERS_MEASURED)), len(value), depth)
    attributes = getattr(value, "__dict__", None)
    slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ()) if name != "__dict__"]
    return sum(deep_size(part, depth) for part in (attributes, *slots))


def _extrapolated(shown: Iterable[object], members: int, depth: int) -> int:
    sizes = [deep_size(member, depth) for member in shown]
    return sum(sizes) * members // len(sizes) if sizes else 0


def sampled_size(objects: Sequence[object], sample: int) -> float:
    """About how many bytes ``objects`` keep alive together, by ``sample`` of them, evenly spread. Never raises.

    An object met twice in the sample counts once, as it is there once.
    """
    shown = objects[:: -(-len(objects) // sample) or 1]
    distinct = {id(shared): shared for shared in shown}
    return sum(map(deep_size, distinct.values())) * len(objects) / len(shown) if shown else 0.0
