"""Decides how the sum over pairs that is a digest is made in plain Python; native/digest.h gives the same numbers.

Knows nothing of outputs and partitions: ``digest.py`` has what a digest is, and asks here where there is no compiled
module. Columns of one common type are summed by loops in C.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import mul
from typing import Any, Final
from zlib import crc32

from mincemeat.errors import InvalidEmission
from mincemeat.model import Key
from mincemeat.shuffle.partition import partition_hash, partition_hashes

_MASK: Final = 2**64 - 1
# As in native/digest.h.
_PAIR: Final = 0x9E3779B97F4A7C15
_NUMBER: Final = 0x165667B19E3779F9
_DATA: Final = 0xC2B2AE3D27D4EB4F
_LOW: Final = 0x27D4EB2F165667C5
_HIGH: Final = 0x85EBCA77C2B2AE63
_MARSHAL_VERSION: Final = 2
_PLAIN: Final = {str, bytes, int, float, bool, type(None)}


def hash_of_key(key: Key) -> int:
    """What deals ``key`` to a partition; 0 for one that only its order or a ``partitionfn`` can place."""
    try:
        return partition_hash(key)
    except InvalidEmission:
        return 0


def sum_of_columns(keys: Sequence[Key], values: Sequence[Any], *, single: bool, is_sum: bool = False) -> int:
    """The digest of pairs: a value for each key if ``single``, else a list of values for each.

    ``is_sum``: every value is an int, and only what they come to counts.
    """
    weights = _weights(keys)
    if is_sum:
        return _weighed(weights, values) & _MASK
    if not single:
        weights = list(chain.from_iterable(map(repeat, weights, map(len, values))))
        values = list(chain.from_iterable(values))
    return (_PAIR * sum(weights) + _weighed_terms(weights, values)) & _MASK


def _weights(keys: Sequence[Key]) -> list[int]:
    try:
        hashes = partition_hashes(keys)
    except InvalidEmission:
        hashes = list(map(hash_of_key, keys))
    return [value + 1 for value in hashes]


def _weighed(weights: Iterable[int], numbers: Iterable[int]) -> int:
    return sum(map(mul, weights, numbers))


def _weighed_terms(weights: Sequence[int], values: Sequence[Any]) -> int:
    kinds = set(map(type, values))
    if len(kinds) == 1 and (in_bulk := _IN_BULK.get(kinds.pop())) is not None:
        return in_bulk(weights, values)
    return _weighed(weights, map(_term, values))


def _weighed_floats(weights: Sequence[int], values: Sequence[float]) -> int:
    halves = struct.unpack(f"<{2 * len(values)}I", struct.pack(f"<{len(values)}d", *values))
    return _LOW * _weighed(weights, halves[::2]) + _HIGH * _weighed(weights, halves[1::2])


def _weighed_texts(weights: Sequence[int], values: Sequence[str]) -> int:
    return _DATA * _weighed(weights, map(crc32, map(str.encode, values, repeat("utf-8"), repeat("surrogatepass"))))


_IN_BULK: Final[dict[type, Callable[[Sequence[int], Sequence[Any]], int]]] = {
    int: lambda weights, values: _NUMBER * _weighed(weights, values),
    float: _weighed_floats,
    str: _weighed_texts,
    bytes: lambda weights, values: _DATA * _weighed(weights, map(crc32, values)),
    type(None): lambda weights, values: 0,
}


def _term(value: Any) -> int:
    """What ``value`` adds to its pair; 0 if it is not plain."""
    kind = type(value)
    if kind is int or kind is bool:
        return _NUMBER * int(value)
    if kind is float:
        return _weighed_floats((1,), (value,))
    if kind is str:
        return _weighed_texts((1,), (value,))
    if kind is bytes:
        return _DATA * crc32(value)
    if kind in (tuple, list) and set(map(type, value)) <= _PLAIN:
        return _DATA * crc32(marshal.dumps(value, _MARSHAL_VERSION))
    return 0
