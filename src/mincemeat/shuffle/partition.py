"""Decides which partition a key belongs to: the same on every machine, Python version and day.

It knows nothing of buffers, blocks or tasks.

Never the built-in ``hash()`` of a str, bytes or None: the first two are salted per process, the last is an address
before Python 3.12. The law that every function here obeys: two keys that one dict would treat as the same key hash
equal. A type for which that cannot be promised is refused by name, because the alternative, two halves of one group in
two partitions, is a wrong result without any sign of it.

Types are found by name along the class hierarchy rather than by ``isinstance``, so that ``decimal``, ``uuid`` and numpy
are not imported for jobs that do not use them: a key of such a type proves that its module is there.
"""

from __future__ import annotations

import operator
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeVar
from zlib import crc32

from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, PartitionFunction, describe_key

HASH_BITS: Final = 32
_HASH_MASK: Final = (1 << HASH_BITS) - 1

# The numeric hash of Python's documentation ("Hashing of numeric types") with the constants of 64-bit builds.
NUMBER_MODULUS: Final = (1 << 61) - 1
_NUMBER_INFINITY: Final = 314159
_NUMBER_IMAGINARY: Final = 1000003
_BUILTIN_HASH_AGREES: Final = (sys.hash_info.modulus, sys.hash_info.inf) == (NUMBER_MODULUS, _NUMBER_INFINITY)

_pack_number: Final = struct.Struct("<q").pack
_pack_hash: Final = struct.Struct("<I").pack

_V = TypeVar("_V")
_Handler = Callable[[Any], int]


def partition_hash(key: Key) -> int:
    """A 32-bit hash of ``key``, stable across machines, processes, Python versions and days.

    Raises: InvalidEmission for a NaN, and for a type whose equality is not known here.
    """
    handler = _EXACT.get(type(key))
    if handler is None:
        handler = _handler_of_type(type(key))  # type: ignore[arg-type]  # mypy takes type[Any] for unhashable
    return handler(key)


def partition_hashes(keys: Collection[Key]) -> list[int]:
    """``partition_hash`` of each key, in the order of ``keys``. Raises: as that does, for the first such key."""
    hashes = _hashes_in_bulk(keys)
    return [partition_hash(key) for key in keys] if hashes is None else list(hashes)


class Partitioner:
    """Key -> partition index by ``partition_hash``. ``function`` is who an unusable key is blamed on."""

    function = "mapfn"

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def __call__(self, key: Key) -> int:
        return partition_hash(key) % self.partitions

    def indices(self, keys: Collection[Key]) -> list[int]:
        """The partition of each key, in the order of ``keys``.

        Cost: about a third of calling for each key when all are str, bytes or int, because the loop is then in C.
        Raises: UserCodeError naming the key, from what the call for that key raises.
        """
        partitions = self.partitions
        hashes = _hashes_in_bulk(keys)
        if hashes is not None:
            return [value % partitions for value in hashes]
        return self._indices_one_by_one(keys)

    def _indices_one_by_one(self, keys: Collection[Key]) -> list[int]:
        found = []
        for key in keys:
            try:
                found.append(self(key))
            except InvalidEmission as error:
                raise UserCodeError(str(error), function=self.function, key=describe_key(key)) from error
        return found


class UserPartitioner(Partitioner):
    """Key -> partition index by the job's own ``partitionfn``, taken modulo P."""

    function = "partitionfn"

    def __init__(self, partitions: int, partitionfn: PartitionFunction) -> None:
        super().__init__(partitions)
        self._partitionfn = partitionfn

    def __call__(self, key: Key) -> int:
        try:
            answer = self._partitionfn(key)
        except passing():
            raise
        except BaseException as error:
            text = f"partitionfn raised {type(error).__name__} for the key {describe_key(key)}"
            raise UserCodeError(text, function="partitionfn", key=describe_key(key)) from error
        try:
            return operator.index(answer) % self.partitions
        except TypeError:
            raise InvalidEmission(
                f"partitionfn must give an int; for the key {describe_key(key)} it gave "
                f"{describe_key(answer)} ({type(answer).__name__})"
            ) from None

    def indices(self, keys: Collection[Key]) -> list[int]:
        return self._indices_one_by_one(keys)


def dealt_by_place(
    keys: Iterable[Key], values: Iterable[_V], places: Iterable[int]
) -> Iterator[tuple[int, list[Key], list[_V]]]:
    """Columns dealt out: places, ascending, each with its keys and values as they stood.

    All three are of one length, and read to their end now: who holds them may let go of them before the first step.
    """
    keys_of: defaultdict[int, list[Key]] = defaultdict(list)
    values_of: defaultdict[int, list[_V]] = defaultdict(list)
    for key, value, place in zip(keys, values, places, strict=True):
        keys_of[place].append(key)
        values_of[place].append(value)
    return ((place, keys_of.pop(place), values_of.pop(place)) for place in sorted(keys_of))


def make_partitioner(partitions: int, partitionfn: PartitionFunction | None = None) -> Partitioner:
    """The partitioner of a job with ``partitions`` partitions: a callable, key -> index below ``partitions``.

    Raises (the callable): InvalidEmission for a key that cannot be hashed or an answer that is not an int;
    UserCodeError from an exception of ``partitionfn``.
    """
    if partitionfn is None:
        return Partitioner(partitions)
    return UserPartitioner(partitions, partitionfn)


def _hashes_in_bulk(keys: Collection[Key]) -> Iterable[int] | None:
    """The hashes of keys that all have one of the common types, or None. measured: bench/drain.py."""
    kinds = set(map(type, keys))
    if kinds == {str}:
        try:
            return list(map(crc32, map(str.encode, keys)))
        except UnicodeEncodeError:  # lone surrogates need the slower error handler
            return list(map(_hash_str, keys))
    if kinds == {bytes}:
        return map(crc32, keys)
    if kinds == {int} and _BUILTIN_HASH_AGREES:
        return map(crc32, map(_pack_number, map(hash, keys)))
    return None


# -- plain data ------------------------------------------------------------------------------------------


def _hash_none(_key: None) -> int:
    return _HASH_OF_NONE


def _hash_str(key: str) -> int:
    # surrogatepass: names of files that are not UTF-8 come as lone surrogates, and they are keys like any other.
    return crc32(str.encode(key, "utf-8", "surrogatepass"))


def _hash_bytes(key: bytes) -> int:
    return crc32(key)


def _tagged(tag: bytes, data: bytes) -> int:
    return crc32(data, crc32(tag))


_HASH_OF_NONE: Final = crc32(b"None")


# -- numbers ---------------------------------------------------------------------------------------------
# 1 == 1.0 == True == Decimal(1) == Fraction(1) == complex(1, 0), so all numbers share one hash of their value. CRC-32
# of the eight bytes spreads it: the numeric hash of n is n, and keys that are multiples of P would share a partition.


def ratio_hash(numerator: int, denominator: int) -> int:
    """The documented numeric hash of numerator/denominator as 64-bit builds compute it.

    Source: Python's library reference, "Hashing of numeric types", ``hash_fraction``.
    """
    while numerator % NUMBER_MODULUS == denominator % NUMBER_MODULUS == 0:
        numerator //= NUMBER_MODULUS
        denominator //= NUMBER_MODULUS
    if denominator % NUMBER_MODULUS == 0:
        value = _NUMBER_INFINITY
    else:
        value = abs(numerator) % NUMBER_MODULUS * pow(denominator, -1, NUMBER_MODULUS) % NUMBER_MODULUS
    return _signed(value, numerator < 0)


def _signed(value: int, negative: bool) -> int:
    if negative:
        value = -value
    return -2 if value == -1 else value  # CPython keeps -1 for errors, and the documentation says so


def _float_hash(value: float) -> int:
    if value != value:
        raise InvalidEmission(
            "nan cannot be a key: it is not equal to itself, so its values could never be grouped; "
            "give another key, such as None or 'nan', in its place"
        )
    if value in (float("inf"), float("-inf")):
        return _signed(_NUMBER_INFINITY, value < 0)
    return hash(value) if _BUILTIN_HASH_AGREES else ratio_hash(*value.as_integer_ratio())


def _hash_int(key: int) -> int:
    # int() first: a subclass may bring its own __hash__ while it keeps the equality of int.
    return crc32(_pack_number(hash(int(key)) if _BUILTIN_HASH_AGREES else ratio_hash(int(key), 1)))


def _hash_float(key: float) -> int:
    return crc32(_pack_number(_float_hash(float(key))))


def _hash_complex(key: complex) -> int:
    value = complex(key)
    combined = _float_hash(value.real) + _NUMBER_IMAGINARY * _float_hash(value.imag)
    wrapped = (combined + (1 << 63)) % (1 << 64) - (1 << 63)
    return crc32(_pack_number(_signed(wrapped, False)))


def _hash_fraction(key: Any) -> int:
    return crc32(_pack_number(ratio_hash(key.numerator, key.denominator)))


def _hash_decimal(key: Any) -> int:
    sign, digits, exponent = key.as_tuple()
    if not isinstance(exponent, int):  # 'F', 'n' or 'N' for infinity, NaN and signalling NaN
        return _hash_float(float("nan") if exponent != "F" else float("-inf") if sign else float("inf"))
    value = 0
    for digit in digits:  # as_integer_ratio() of Decimal("1E+999999") has a million digits; this never leaves 61 bits
        value = (value * 10 + digit) % NUMBER_MODULUS
    return crc32(_pack_number(_signed(value * pow(10, exponent, NUMBER_MODULUS) % NUMBER_MODULUS, bool(sign))))


def _hash_numpy(key: Any) -> int:
    if key.dtype.kind in "biufcSU":
        plain = key.item()
        if type(plain) in _EXACT:
            return partition_hash(plain)
        if key.dtype.kind == "f" and key == key and abs(key) != float("inf"):  # longdouble has no plain twin
            return crc32(_pack_number(ratio_hash(*key.as_integer_ratio())))
        if key.dtype.kind == "f":
            return _hash_float(float(key))
    raise _unknown_type(type(key))


# -- combinations ----------------------------------------------------------------------------------------


def _hash_tuple(key: tuple[Any, ...]) -> int:
    return _tagged(b"tuple", b"".join([_pack_hash(partition_hash(part)) for part in key]))


def _hash_frozenset(key: frozenset[Any]) -> int:
    # A sum does not depend on the order, and unlike exclusive or it does not cancel equal hashes of different members.
    total = sum(partition_hash(part) for part in key) & _HASH_MASK
    return _tagged(b"frozenset", _pack_hash(total) + _pack_hash(len(key) & _HASH_MASK))


def _hash_enum(key: Any) -> int:
    # Without the module: a script's classes live in __main__ here and under another name on a worker.
    return _tagged(b"enum", f"{type(key).__qualname__}.{key.name}".encode("utf-8", "surrogatepass"))


def _hash_flag(key: Any) -> int:
    # By value: unnamed combinations have no name, and Python versions differ in the names of the others.
    return _tagged(b"flag", type(key).__qualname__.encode() + _pack_hash(partition_hash(key.value)))


def _hash_dataclass(key: Any) -> int:
    import dataclasses

    hashed = tuple(getattr(key, f.name) for f in dataclasses.fields(key) if (f.compare if f.hash is None else f.hash))
    if hash(key) != hash(hashed):
        raise _unknown_type(type(key))  # its own __hash__ speaks of an equality of its own
    return _tagged(b"dataclass", type(key).__qualname__.encode() + _pack_hash(_hash_tuple(hashed)))


# -- dates and identities --------------------------------------------------------------------------------


def _hash_date(key: Any) -> int:
    return _tagged(b"date", _pack_number(key.toordinal()))


def _microseconds(delta: Any) -> int:
    return int((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def _hash_datetime(key: Any) -> int:
    # Aware datetimes are equal when they are the same instant, and naive ones when they read the same. Within one zone
    # equality ignores fold and between zones a time with two readings equals nothing, so fold=0 serves both.
    offset = key.replace(fold=0).utcoffset()
    day_time = (key.hour * 3600 + key.minute * 60 + key.second) * 1_000_000 + key.microsecond
    instant = key.toordinal() * 86_400_000_000 + day_time
    return _tagged(b"datetime", _pack_number(instant if offset is None else instant - _microseconds(offset)))


def _hash_time(key: Any) -> int:
    offset = key.replace(fold=0).utcoffset()
    day_time = (key.hour * 3600 + key.minute * 60 + key.second) * 1_000_000 + key.microsecond
    return _tagged(b"time", _pack_number(day_time if offset is None else day_time - _microseconds(offset)))


def _hash_timedelta(key: Any) -> int:
    total = _microseconds(key)  # the longest has 67 bits
    return _tagged(b"timedelta", total.to_bytes(12, "little", signed=True))


def _hash_uuid(key: Any) -> int:
    return _tagged(b"uuid", key.bytes)


# -- dispatch --------------------------------------------------------------------------------------------

_EXACT: Final[dict[type, _Handler]] = {
    str: _hash_str,
    int: _hash_int,
    bytes: _hash_bytes,
    tuple: _hash_tuple,
    type(None): _hash_none,
    float: _hash_float,
    bool: _hash_int,
    complex: _hash_complex,
    frozenset: _hash_frozenset,
}

_BY_NAME: Final[dict[tuple[str, str], _Handler]] = {
    **{("builtins", kind.__name__): handler for kind, handler in _EXACT.items()},
    ("enum", "Flag"): _hash_flag,
    ("enum", "Enum"): _hash_enum,
    ("fractions", "Fraction"): _hash_fraction,
    ("decimal", "Decimal"): _hash_decimal,
    ("datetime", "datetime"): _hash_datetime,
    ("datetime", "date"): _hash_date,
    ("datetime", "time"): _hash_time,
    ("datetime", "timedelta"): _hash_timedelta,
    ("uuid", "UUID"): _hash_uuid,
}


# 256 types are more than one job has; without a bound a worker would keep every class of every job alive.
@lru_cache(maxsize=256)
def _handler_of_type(kind: type) -> _Handler:
    ancestors = [((base.__module__, base.__qualname__), base) for base in kind.__mro__]
    if any(name == ("numpy", "generic") for name, _base in ancestors):
        return _hash_numpy
    for name, base in ancestors:
        handler = _BY_NAME.get(name)
        if handler is not None:
            if kind.__eq__ is not base.__eq__:
                break  # a subclass with an equality of its own: keys it calls equal could hash apart
            return handler
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is not None and parameters.frozen and parameters.eq:
        return _hash_dataclass
    raise _unknown_type(kind)


def _unknown_type(kind: type) -> InvalidEmission:
    return InvalidEmission(
        f"a key of type {kind.__qualname__!r} cannot be partitioned: it is not known to hash the same on every machine "
        f"(None, numbers, str, bytes, dates, UUIDs, enums are, and tuples, frozensets and frozen dataclasses of them); "
        f"give the job partitionfn=, a function from key to int, or emit another key"
    )
