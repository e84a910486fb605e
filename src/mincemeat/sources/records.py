"""A split that carries its records: a count, then one pickle per record.

Decides: how a record of a dict-like datasource is written and read. Knows nothing of keys, splits or who cuts them.
One pickle per record, because then the size of a split is known while it grows, a slot holds one record at a time, and
only the records that need cloudpickle (lambdas, classes made in a function) pay for it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import describe_key
from mincemeat.sources.base import RECORDS_TAG, SplitUnreadable, read_exactly

_PICKLE_PROTOCOL: Final = 5
_COUNT: Final = struct.Struct(">I")


def split_head(records: int) -> bytes:
    """What stands before the pickles of ``records`` records; its length is always the same."""
    return RECORDS_TAG + _COUNT.pack(records)


def encode_record(key: Any, value: Any) -> bytes:
    """One record as bytes. Raises: UserCodeError from InvalidEmission if nothing can pickle it."""
    try:
        return pickle.dumps((key, value), _PICKLE_PROTOCOL)
    except Exception:  # noqa: BLE001 - pickling runs the user's __reduce__, which may raise anything
        return _encode_by_value(key, value)


def _encode_by_value(key: Any, value: Any) -> bytes:
    """As ``encode_record``, for what pickle cannot name: lambdas, local classes."""
    import cloudpickle  # type: ignore[import-untyped]

    name = describe_key(key)
    subject = f"the key {name} of"
    try:
        cloudpickle.dumps(key, _PICKLE_PROTOCOL)
        subject = f"the value of key {name} in"
        return bytes(cloudpickle.dumps((key, value), _PICKLE_PROTOCOL))
    except Exception as error:  # noqa: BLE001 - as above
        emission = InvalidEmission(f"{subject} the datasource cannot be pickled: {describe_key(error)}")
        emission.__cause__ = error
        raise UserCodeError(str(emission), function="datasource", key=name) from emission


def read_records(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records behind the tag. Raises: SplitUnreadable, UserCodeError as ``open_split`` says."""
    (count,) = _COUNT.unpack(read_exactly(stream, _COUNT.size))
    load = pickle.load
    for number in range(count):
        try:
            # A fresh unpickler each time: one that is used again numbers its memo on and resolves wrongly.
            record = load(stream)
        except (EOFError, pickle.UnpicklingError) as error:
            raise SplitUnreadable(f"the split is damaged at record {number} of {count}: {error}") from error
        except Exception as error:
            name = f"record {number} of the split"
            message = f"{name} cannot be unpickled here: {describe_key(error)}"
            raise UserCodeError(message, function="datasource", key=name) from error
        yield record
