"""What a pair is, and who is to blame where a function of the job gave something else, or nothing that can be stored.

Decides: what is taken apart into key and value, which record and key an error names, and in which words. Does not
know: when anything is looked at. While all goes well nobody asks here but for pairs that are no tuple or list: an error
is noticed after a loop in C has stopped, and the culprit is looked for then, however long that takes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mincemeat.decoding.coding import PLAIN
from mincemeat.errors import InvalidEmission, RefusedAsData, UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, Pair, describe_key
from mincemeat.shuffle.block import Dumps, Payload, encode_columns

# What can be taken apart into two, but is no pair: "ab" would quietly become 'a' and 'b', a set loses the order.
_NEVER_PAIRS = (str, bytes, bytearray, set, frozenset)
# Of what is no pair, the types of so many members are told.
_KINDS_SHOWN: Final = 4


class Record(NamedTuple):
    """A record that may be to blame: its key, and its number among those that the buffer has drained."""

    key: Any
    number: int


def user_code_error(function: str, key: object, cause: BaseException, record: int = -1) -> UserCodeError:
    """What carries ``cause``, raised by the job's ``function`` at ``key``, up to whoever makes a Failure of it."""
    text = f"{function} raised {type(cause).__name__} at the key {describe_key(key)}"
    carrier = UserCodeError(text, function=function, key=describe_key(key), record=record)
    carrier.__cause__ = cause
    return carrier


def as_pair(element: Any) -> Pair | None:
    """``element`` as it is grouped, None if it is none. A tuple or list of another length is found as it is grouped."""
    if isinstance(element, tuple | list):
        return element  # type: ignore[return-value]
    try:
        if not isinstance(element, _NEVER_PAIRS):
            key, value = element
            return key, value
    except passing(MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - what it is instead of a pair says more than how it refuses
        pass
    return None


def blamed_pair(record: Record, pair: Any, error: BaseException) -> UserCodeError:
    """What names the record whose emission ``pair`` could not be grouped because of ``error``."""
    if len(pair) != 2:
        return refused_pair(record, pair)
    if _is_unhashable(pair[0]):
        return _refused(
            record.key,
            f"mapfn must give hashable keys; for the record with key {describe_key(record.key)} it gave the key "
            f"{_shown(pair[0])}",
            record=record.number,
        )
    return user_code_error("mapfn", record.key, error, record.number)  # the key's own __hash__ or __eq__ raised


def refused_pair(record: Record, element: object) -> UserCodeError:
    """What names the record that emitted ``element``, which is no pair."""
    shown = describe_key(record.key)
    return _refused(
        record.key,
        f"mapfn must give (key, value) pairs; for the record with key {shown} it gave {_shape_of(element)}",
        record=record.number,
    )


def refused_answer(record: Record, answer: object) -> UserCodeError:
    """What names the record for which ``mapfn`` gave ``answer``, which cannot be iterated over."""
    shown = describe_key(record.key)
    return _refused(
        record.key,
        f"mapfn must return or yield (key, value) pairs; for the record with key {shown} it gave {_shape_of(answer)}",
        record=record.number,
    )


def _refused(
    key: object, text: str, *, function: str = "mapfn", cause: BaseException | None = None, record: int = -1
) -> UserCodeError:
    """What carries the InvalidEmission with ``text`` that ``function`` caused at ``key``."""
    refusal = InvalidEmission(text)
    refusal.__cause__ = cause
    carrier = UserCodeError(text, function=function, key=describe_key(key), record=record)
    carrier.__cause__ = refusal
    return carrier


def _shown(key: object) -> str:
    return f"{describe_key(key)} ({type(key).__name__})"


def _shape_of(element: object) -> str:
    """What somebody sees who looks for the slip: no content, which may be a record's and nobody else's business."""
    if element is None:
        return "None"
    name = type(element).__name__
    if isinstance(element, tuple | list):
        kinds = [type(each).__name__ for each in element[:_KINDS_SHOWN]]
        return f"a {name} of {len(element)} ({', '.join(kinds)}{', ...' * (len(element) > _KINDS_SHOWN)})"
    if isinstance(element, str | bytes | set | frozenset | dict):
        return f"a {name} of {len(element)}"
    return f"something of the type {name}"


def _is_unhashable(key: object) -> bool:
    """Whether ``key`` is, or as a tuple or frozen value holds, something without a hash."""
    try:
        hash(key)
    except TypeError as error:
        return "unhashable" in str(error)
    except Exception:  # noqa: BLE001 - the user's own __hash__ failed, which is another fault
        return False
    return False


def encode_or_blame(
    keys: list[Key],
    values: list[Any],
    dumps: Dumps = PLAIN.dumps,
    *,
    single: bool,
    function: str,
    stays_here: bool,
) -> Payload:
    """As ``encode_columns``, with the culprit named.

    Raises: UserCodeError naming the first key whose key or value cannot be pickled, or is refused as data, and
    ``function`` as its origin.
    """
    try:
        return encode_columns(keys, values, dumps, single=single, stays_here=stays_here)
    except passing(MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - goes on in what is raised
        noun = "result" if function == "reducefn" else "value"
        for key, entry in zip(keys, values, strict=True):
            _check_picklable(dumps, "mapfn", key, key, f"mapfn gave the key {describe_key(key)} of type")
            for value in [entry] if single else entry:
                found = f"{function} gave for key {describe_key(key)} a {noun} of type"
                _check_picklable(dumps, function, key, value, found)
        # Each alone can be pickled, all together cannot.
        text = f"{function} gave {len(keys)} keys with {noun}s that cannot be pickled together: {error}"
        raise UserCodeError(text, function=function) from InvalidEmission(text)


def _check_picklable(dumps: Dumps, function: str, key: Key, part: object, found: str) -> None:
    try:
        dumps(part)
    except passing(MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - goes on in what is raised
        why = "is not sent as data" if isinstance(error, RefusedAsData) else "cannot be pickled"
        text = f"{found} {type(part).__name__!r} that {why}: {error}"
        refused = _refused(key, text, function=function, cause=error)
        raise refused from refused.__cause__
