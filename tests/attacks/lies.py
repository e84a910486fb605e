"""What a peer that lies may put into a message: for each field, whatever its type lets through, and what it does not.

Made from the annotations of messages.py, so that a message which is added there is attacked from then on.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from mincemeat import limits
from mincemeat.model import Failure
from mincemeat.wire.frames import encode_frame
from mincemeat.wire.messages import KINDS, Chunk, Message

GIANT = limits.FRAME_BYTES_MAX - 4096

# Names that are paths, or would be by the time somebody has added an ending; names of what never was; names that make
# trouble where they are printed, compared or encoded.
NAMES = (
    "",
    "../../victim/m-00000.0",
    "m-00000.0/../../victim/m-00000.0",
    "/etc/passwd",
    "m-00000.0\0",
    "\ud800",
    "\x1b]0;owned\x07\n\r\x1b[2J",
    "m-99999.0",
    "m-00000.9999",
    "r-00000.0",
    "m--0001.0",
    "m-" + "9" * 36 + ".0",
    "m-٣.0",
    "x" * GIANT,
)
INTEGERS = (-1, 0, 2**63 - 1, -(2**63), 2**31)
FLOATS = (-1.0, 0.0, 1.7e308, -1.7e308, 5e-324)

# JSON that is none of the types, written out because no encoder would.
NOT_OF_ANY_TYPE = ("{}", "[[]]", "[null]", "NaN", "Infinity", "-Infinity", "1e999", str(2**64), '[1,"x"]', "9" * 5000)
OF_ANOTHER_TYPE = {
    "str": ("1", "null", "true", '["x"]'),
    "int": ('"1"', "1.0", "null", "true"),
    "float": ('"1"', "null", "true"),
    "float | None": ('"1"', "true"),
    "bool": ("0", "1", '"true"', "null"),
    "list[int]": ("1", "null", '["1"]', "[1.0]", "[true]", f"[{2**64}]"),
    "list[str]": ('"x"', "null", "[1]"),
}


class Canary:
    """Unpickled, it makes the file ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def hostile_texts(canary: str) -> tuple[str, ...]:
    """Pickles in everything that text can be taken for: base64, and a report of records that were set aside."""
    gadget = pickle.dumps(Canary(canary))
    text = base64.b64encode(gadget).decode("ascii")
    row = dict.fromkeys(Failure._fields, "") | {"kind": "user", "record": 0, "split": 0}
    reports: tuple[Any, ...] = (
        [row | {"exception": text, "data": text}],
        [row | {"record": "x"}],
        [row | {"kind": "x"}],
        [{}],
        {},
        7,
    )
    packed = [base64.b64encode(zlib.compress(json.dumps(report).encode())).decode("ascii") for report in reports]
    return text, gadget.decode("latin-1"), *packed


def hostile_bodies(canary: str) -> tuple[bytes, ...]:
    gadget = pickle.dumps(Canary(canary))
    return b"", b"x", gadget, b"MCMEAT" + gadget, b"[" * 100_000, bytes(GIANT), struct.pack(">IQ", 0, 2**64 - 1)


# Fields that hold more than a name.
PACKED = ("data", "set_aside", "digests")


def hostile_values(name: str, annotation: str, canary: str) -> tuple[Any, ...]:
    """Values of the right type for the field ``name``."""
    if annotation == "str":
        return NAMES + hostile_texts(canary)[: None if name in PACKED else 1]
    if annotation == "int":
        return INTEGERS
    if annotation == "float":
        return FLOATS
    if annotation == "float | None":
        return (None, *FLOATS)
    if annotation == "bool":
        return True, False
    if annotation == "list[int]":
        return [], [0], [-1, -1], [2**63 - 1] * 2, [-(2**63)] * 2, [0, 0, 0], [0] * (GIANT // 2)
    if annotation == "list[str]":
        return [], ["m-00000.0"] * 10_000, [""] * (GIANT // 3), *([name] for name in NAMES)
    raise AssertionError(f"a type that is not attacked yet: {annotation}")


def fields_of(cls: type[Message]) -> dict[str, str]:
    """Names and annotations of the fields of a message, its body apart."""
    return {field.name: str(field.type) for field in dataclasses.fields(cls) if field.name != "body"}


def plain(cls: type[Message], /, **known: Any) -> Message:
    """A message of ``cls`` with values that say nothing, but for those that are ``known``."""
    nothing: dict[str, Any] = {
        "str": "",
        "int": 0,
        "float": 0.0,
        "float | None": None,
        "bool": False,
        "list[int]": [],
        "list[str]": [],
    }
    values = {name: known.get(name, nothing[annotation]) for name, annotation in fields_of(cls).items()}
    return cls(**values, body=known.get("body", b"") if cls.carries_body else b"")


def lies_about(message: Message, canary: str) -> Iterator[tuple[str, Message]]:
    """``message`` with one thing in it changed to what its type allows, and what was changed."""
    for name, annotation in fields_of(type(message)).items():
        for value in hostile_values(name, annotation, canary):
            yield f"{name}={value!r:.60}", dataclasses.replace(message, **{name: value})
    if message.carries_body:
        for body in hostile_bodies(canary):
            yield f"body={body[:30]!r}", dataclasses.replace(message, body=body)


def frame_with(message: Message, /, **written: str | None) -> bytes:
    """The frame of ``message`` with fields as JSON that the caller writes; None: without this field."""
    cls = type(message)
    kind = next(number for number, known in KINDS.items() if known is cls)
    fields = {name: json.dumps(getattr(message, name)) for name in fields_of(cls)}
    texts = {**fields, **written}
    text = ",".join(f"{json.dumps(name)}:{value}" for name, value in texts.items() if value is not None)
    header = f"{{{text}}}".encode("ascii")
    return encode_frame(kind, struct.pack(">I", len(header)), header, message.body)


def frames_of_no_message(message: Message) -> Iterator[tuple[str, bytes]]:
    """Frames of the kind of ``message`` that nobody can have encoded, and what is wrong with them."""
    if isinstance(message, Chunk):
        return
    for name, annotation in fields_of(type(message)).items():
        for value in (*OF_ANOTHER_TYPE[annotation], *NOT_OF_ANY_TYPE):
            yield f"{name}={value[:30]}", frame_with(message, **{name: value})
        yield f"without {name}", frame_with(message, **{name: None})
    yield "one more field", frame_with(message, more="1")
