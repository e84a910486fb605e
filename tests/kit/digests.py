"""Digests of pairs in plain Python: what the compiled ones, which the program uses, are compared with."""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from operator import mul
from typing import Any, Final
from zlib import crc32

from mincemeat.errors import InvalidEmission
from mincemeat.model import Key
from mincemeat.shuffle.partition import partition_hash

_MASK: Final = 2**64 - 1
# As in native/digest.h.
_PAIR: Final = 0x9E3779B97F4A7C15
_NUMBER: Final = 0x165667B19E3779F9
_DATA: Final = 0xC2B2AE3D27D4EB4F
_LOW: Final = 0x27D4EB2F165667C5
_HIGH: Final = 0x85EBCA77C2B2AE63
_PLAIN: Final = {str, bytes, int, float, bool, type(None)}


def digest_of_pairs(keys: Sequence[Key], values: Sequence[Any], *, single: bool, is_sum: bool = False) -> int:
    """``values`` holds one value for each key if ``single``, else a list of values for each."""
    weights = [_weight(key) for key in keys]
    if is_sum:
        return _weighed(weights, values) & _MASK
    if not single:
        weights = list(chain.from_iterable(map(repeat, weights, map(len, values))))
        values = list(chain.from_iterable(values))
    return (_PAIR * sum(weights) + _weighed(weights, map(_term, values))) & _MASK


def _weighed(weights: Iterable[int], numbers: Iterable[int]) -> int:
    return sum(map(mul, weights, numbers))


def _weight(key: Key) -> int:
    try:
        return partition_hash(key) + 1
    except InvalidEmission:
        return 1


def _term(value: Any) -> int:
    kind = type(value)
    if kind is int or kind is bool:
        return _NUMBER * int(value)
    if kind is float:
        low, high = struct.unpack("<II", struct.pack("<d", value))
        return int(_LOW * low + _HIGH * high)
    if kind is str:
        return _DATA * crc32(value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return _DATA * crc32(value)
    if kind in (tuple, list) and set(map(type, value)) <= _PLAIN:
        return _DATA * crc32(marshal.dumps(value, 2))
    return 0
