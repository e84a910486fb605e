"""Messages as frames and back.

Decides: the bytes of a message, and that nothing is accepted but what its dataclass declares. Does not know: what any
message means; a body is bytes that are handed on unread.

A payload is u32 json length | JSON object with exactly the message's fields | body. A Chunk is its body and nothing
else. Integers fit 64 bits with sign, floats are finite. Strings may hold lone surrogates (a file name, a repr): they
travel as JSON escapes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from mincemeat.errors import LocalProtocolError, RemoteProtocolError
from mincemeat.wire.frames import Frame, encode_frame
from mincemeat.wire.messages import KINDS, Chunk, Message

_JSON_LENGTH = struct.Struct(">I")
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1

# `type(x) is` and not isinstance: a bool is no int here, and what JSON gives has no subclasses.


def _is_str(value: object) -> bool:
    return type(value) is str


def _is_int(value: object) -> bool:
    return type(value) is int and _INTEGER_MIN <= value <= _INTEGER_MAX


def _is_float(value: object) -> bool:
    # JSON has one kind of number: another implementation may write 2.0 as 2.
    return math.isfinite(value) if type(value) is float else _is_int(value)


def _is_float_or_none(value: object) -> bool:
    return value is None or _is_float(value)


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _is_int_list(value: object) -> bool:
    # A report has one number per partition, up to 65,536 of them: no Python code per element.
    if type(value) is not list or not set(map(type, value)) <= {int}:
        return False
    return not value or (min(value) >= _INTEGER_MIN and max(value) <= _INTEGER_MAX)


def _is_str_list(value: object) -> bool:
    return type(value) is list and set(map(type, value)) <= {str}


_CHECKS: dict[str, Callable[[object], bool]] = {
    "str": _is_str,
    "int": _is_int,
    "float": _is_float,
    "float | None": _is_float_or_none,
    "bool": _is_bool,
    "list[int]": _is_int_list,
    "list[str]": _is_str_list,
}


class _Field(NamedTuple):
    name: str
    annotation: str
    is_valid: Callable[[object], bool]


class _Layout(NamedTuple):
    kind: int
    fields: tuple[_Field, ...]


def _layout(kind: int, cls: type[Message]) -> _Layout:
    # Annotations are strings in messages.py; one without a check fails at import, so none can be forgotten.
    annotations = {f.name: str(f.type) for f in dataclasses.fields(cls) if f.name != "body"}
    return _Layout(kind, tuple(_Field(name, text, _CHECKS[text]) for name, text in annotations.items()))


_LAYOUTS: dict[type[Message], _Layout] = {cls: _layout(kind, cls) for kind, cls in KINDS.items()}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of this protocol")


# ASCII escapes let lone surrogates through both ways. Objects become tuples of pairs, so that a doubled field shows and
# a nested object is no list.
_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode_json = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_refuse_constant).decode


def encode(message: Message) -> bytes:
    """The message as one frame.

    Raises: LocalProtocolError for a field of the wrong type, a body where none belongs, and a frame beyond
    `limits.FRAME_BYTES_MAX`.
    """
    cls = type(message)
    layout = _LAYOUTS.get(cls)
    if layout is None:
        raise LocalProtocolError(f"{cls.__name__} is not a message of the protocol")
    if cls is Chunk:
        return encode_frame(layout.kind, message.body)
    values: dict[str, Any] = {}
    for name, annotation, is_valid in layout.fields:
        value = getattr(message, name)
        if not is_valid(value):
            raise LocalProtocolError(
                f"{cls.__name__}.{name} must be {annotation} within bounds, not {type(value).__name__}"
            )
        values[name] = value
    if message.body and not cls.carries_body:
        raise LocalProtocolError(f"{cls.__name__} carries no body")
    header = _encode_json(values).encode("ascii")
    return encode_frame(layout.kind, _JSON_LENGTH.pack(len(header)), header, message.body)


def decode(frame: Frame) -> Message:
    """The message of a frame.

    Raises: RemoteProtocolError for anything that `encode` of some conforming peer cannot have made. Its text names
    kinds and fields, never their contents.
    """
    cls = KINDS.get(frame.kind)
    if cls is None:
        raise RemoteProtocolError(f"the peer sent a message of the unknown kind {frame.kind}")
    if cls is Chunk:
        return Chunk(body=frame.payload)
    values, body = _split_payload(cls, frame.payload)
    layout = _LAYOUTS[cls]
    if len(values) != len(layout.fields):
        _refuse_fields(cls, set(values))
    for name, annotation, is_valid in layout.fields:
        if name not in values:
            _refuse_fields(cls, set(values))
        value = values[name]
        if not is_valid(value):
            raise RemoteProtocolError(
                f"the peer sent {cls.__name__} with {name} that is not {annotation} within bounds"
            )
        if annotation.startswith("float") and type(value) is int:
            values[name] = float(value)
    return cls(**values, body=body)


def _split_payload(cls: type[Message], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON object's fields and the body behind it."""
    start = _JSON_LENGTH.size
    stop = start + _JSON_LENGTH.unpack_from(payload)[0] if len(payload) >= start else len(payload) + 1
    if stop > len(payload):
        raise RemoteProtocolError(f"the peer sent {cls.__name__} cut short, in a frame of {len(payload)} bytes")
    if stop < len(payload) and not cls.carries_body:
        raise RemoteProtocolError(f"the peer sent {cls.__name__} with a body, which it does not carry")
    try:
        pairs = _decode_json(payload[start:stop].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else type(error).__name__
        raise RemoteProtocolError(f"the peer sent {cls.__name__} whose fields are not JSON ({reason})") from None
    values = dict(pairs) if type(pairs) is tuple else None
    if values is None or len(values) != len(pairs):
        raise RemoteProtocolError(
            f"the peer sent {cls.__name__} whose fields are not one JSON object with each name once"
        )
    return values, payload[stop:]


def _refuse_fields(cls: type[Message], names: set[str]) -> NoReturn:
    expected = {f.name for f in _LAYOUTS[cls].fields}
    missing = ", ".join(sorted(expected - names)) or "none"
    # Names that we do not know are the peer's own text: counted, not repeated.
    raise RemoteProtocolError(
        f"the peer sent {cls.__name__} with wrong fields (missing: {missing}; unknown: {len(names - expected)})"
    )
