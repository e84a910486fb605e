"""Messages: what is encoded comes back, and nothing else is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import LocalProtocolError, RemoteProtocolError
from mincemeat.wire import messages
from mincemeat.wire.codec import decode, encode
from mincemeat.wire.frames import Frame, FrameDecoder
from mincemeat.wire.messages import KINDS, Answer, Chunk, End, Heartbeat, JobStart, MapDone, Message, Welcome

# Text with lone surrogates: names of files and reprs may hold them.
texts = st.text(st.characters(exclude_categories=[]), max_size=30)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": texts,
    "int": integers,
    "float": floats,
    "float | None": st.none() | floats,
    "bool": st.booleans(),
    "list[int]": st.lists(integers, max_size=5),
    "list[str]": st.lists(texts, max_size=5),
}


def fields_of(cls: type[Message]) -> dict[str, str]:
    return {f.name: str(f.type) for f in dataclasses.fields(cls) if f.name != "body"}


def instances(cls: type[Message]) -> st.SearchStrategy[Message]:
    body = st.binary(max_size=50) if cls.carries_body else st.just(b"")
    return st.builds(cls, body=body, **{name: VALUES[text] for name, text in fields_of(cls).items()})


any_message = st.one_of([instances(cls) for cls in KINDS.values()])


def frame_of(message: Message) -> Frame:
    (frame,) = FrameDecoder().feed(encode(message))
    return frame


def frame_with(kind: int, value: object, body: bytes = b"") -> Frame:
    header = json.dumps(value).encode()
    return Frame(kind, struct.pack(">I", len(header)) + header + body)


@pytest.mark.slow
@given(any_message)
def test_what_is_encoded_comes_back(message: Message) -> None:
    assert decode(frame_of(message)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back(kind: int) -> None:
    samples: dict[str, Any] = {"str": "x", "int": 1, "float": 0.5, "float | None": None, "bool": True}
    samples |= {"list[int]": [1], "list[str]": ["a"]}
    message = KINDS[kind](**{name: samples[text] for name, text in fields_of(KINDS[kind]).items()})
    assert frame_of(message).kind == kind
    assert decode(frame_of(message)) == message


def test_every_message_has_a_kind() -> None:
    assert set(KINDS.values()) == set(Message.__subclasses__())
    assert len(set(KINDS.values())) == len(KINDS)


def test_the_bytes_of_a_message() -> None:
    header = b'{"ok":true,"message":"","size":3}'
    assert encode(Answer(True, "", 3)) == b"\0\0\0\x26\x42" + b"\0\0\0\x21" + header
    assert frame_of(Chunk(body=b"abc")) == Frame(67, b"abc")
    assert frame_of(End()) == Frame(68, b"\0\0\0\x02{}")


@given(st.integers(0, 255), st.binary(max_size=60))
def test_garbage_is_a_remote_protocol_error(kind: int, payload: bytes) -> None:
    try:
        decode(Frame(kind, payload))
    except RemoteProtocolError:
        return
    assert kind == 67


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_values_of_wrong_types_are_remote_protocol_errors(kind: int, data: st.DataObject) -> None:
    value = {name: data.draw(json_values | VALUES[text]) for name, text in fields_of(KINDS[kind]).items()}
    try:
        message = decode(frame_with(kind, value))
    except RemoteProtocolError:
        return
    assert kind == 67 or decode(frame_of(message)) == message


ANSWER = {"ok": True, "message": "", "size": 1}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"ok": True, "message": ""},
        ANSWER | {"more": 1},
        {"ok": True, "message": "", "other": 1},
        ANSWER | {"ok": 1},
        ANSWER | {"size": True},
        ANSWER | {"size": 1.0},
        ANSWER | {"size": 2**63},
        ANSWER | {"message": None},
        ANSWER | {"message": {}},
        [],
        None,
        1,
        [["ok", True], ["message", ""], ["size", 1]],
    ],
)
def test_fields_are_validated_strictly(value: object) -> None:
    with pytest.raises(RemoteProtocolError, match="Answer"):
        decode(frame_with(66, value))


@pytest.mark.parametrize(
    "header",
    [
        b'{"ok":true,"message":"","size":1,"size":1}',
        b'{"ok":true,"message":"","size":' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\0}\0",
        b'{"ok":true,"message":"\xff","size":1}',
        b"",
        b"{}{}",
    ],
    ids=["doubled", "huge integer", "deep", "deep objects", "utf-16", "not utf-8", "nothing", "two"],
)
def test_malformed_json_is_a_remote_protocol_error(header: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="Answer"):
        decode(Frame(66, struct.pack(">I", len(header)) + header))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"1"', "null"])
def test_a_float_is_a_finite_number(number: str) -> None:
    values = {"worker": "w", "heartbeat_seconds": 1.0, "lease_seconds": 2.0, "ticket_key": ""}
    header = json.dumps(values).replace("2.0", number).encode()
    with pytest.raises(RemoteProtocolError, match="Welcome"):
        decode(Frame(32, struct.pack(">I", len(header)) + header))


def test_a_whole_number_is_a_float_too() -> None:
    values = {"worker": "w", "heartbeat_seconds": 1, "lease_seconds": 2, "ticket_key": ""}
    message = decode(frame_with(32, values))
    assert isinstance(message, Welcome)
    assert type(message.lease_seconds) is float


def test_an_empty_object_is_no_list() -> None:
    with pytest.raises(RemoteProtocolError, match="attempts"):
        decode(frame_with(38, {"job": "j", "attempts": {}}))


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0\0\0\x03{}", b"\xff\xff\xff\xff{}"])
def test_a_payload_that_is_cut_short_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="cut short"):
        decode(Frame(68, payload))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="unknown kind 200"):
        decode(Frame(200, b"\0\0\0\x02{}"))


def test_a_body_where_none_belongs_is_refused_at_both_ends() -> None:
    with pytest.raises(LocalProtocolError, match="Heartbeat carries no body"):
        encode(Heartbeat(body=b"x"))
    with pytest.raises(RemoteProtocolError, match="Heartbeat with a body"):
        decode(frame_with(2, {}, b"x"))


@pytest.mark.parametrize("value", [None, "1", 1.5, True, 2**63])
def test_a_wrong_type_is_not_sent(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"Answer\.size"):
        encode(Answer(True, "", value))


@pytest.mark.parametrize("value", [math.nan, math.inf, "1"])
def test_a_float_that_is_no_number_is_not_sent(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"JobStart\.task_timeout_seconds"):
        encode(JobStart("j", 1, 1, value, 0.0, 0))


def test_a_message_beyond_the_frame_limit_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="at most"):
        encode(Chunk(body=bytes(2**20)))
    with pytest.raises(LocalProtocolError, match="at most"):
        encode(messages.Leaving("x" * 2**20))


def test_a_foreign_class_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="not a message"):
        encode(Message())


def test_errors_do_not_repeat_what_the_peer_sent() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frame_with(66, {"ok": True, "password-hunter2": "", "size": 1}))
    assert "hunter2" not in str(caught.value)


def test_secrets_and_bodies_are_not_shown() -> None:
    assert "abcdef" not in repr(Welcome("w", 1.0, 2.0, "abcdef"))
    assert "abcdef" not in repr(Chunk(body=b"abcdef"))


def test_twenty_thousand_messages_a_second() -> None:
    message = MapDone("job-1", "m-00017.0", 100, 200, 0.5, 0, list(range(16)))
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(200):
            decode(FrameDecoder().feed(encode(message))[0])
        best = min(best, time.process_time() - began)
    # 10 ms would be 20,000 a second; the bound leaves room for slow machines.
    assert best < 0.05
