"""Reading a pickle without making anything: by compiled code and by Python, which must always agree."""

from __future__ import annotations

import pickle
import random
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.decoding import mentions
from mincemeat.decoding.mentions import AS_VALUE, CALLED, CHANGED, INSTANTIATED, Mention, read, read_plainly
from tests.decoding.values import plain_data
from tests.kit.classes import Bag, Color, Names, Point
from tests.kit.gadgets import gadgets

JOB = "tests.kit.classes"
GADGETS = [gadget.as_value() for gadget in gadgets("/nowhere")]

only_compiled = pytest.mark.skipif(mentions.compiled is None, reason="the compiled module is not there")


def found(value: Any, protocol: int = 5) -> list[Mention]:
    reading = read(pickle.dumps(value, protocol))
    assert not reading.problem
    return reading.mentions


@pytest.mark.parametrize(
    ("value", "name", "uses"),
    [
        (Point(1), "Point", INSTANTIATED | CHANGED),
        (Color.RED, "Color", CALLED),
        (Bag([1]), "Bag", INSTANTIATED | CHANGED),
        (Names(a=1), "Names", INSTANTIATED | CHANGED),
        (Point, "Point", AS_VALUE),
        ([Point], "Point", AS_VALUE),
        ((Point, 1), "Point", AS_VALUE),
        ({"a": Point}, "Point", AS_VALUE),
    ],
)
def test_what_is_done_with_a_name_is_told(value: Any, name: str, uses: int) -> None:
    assert found(value) == [Mention(JOB, name, uses)]


def test_a_name_that_is_used_twice_is_mentioned_once() -> None:
    assert found([Point(1), Point(2), (Point(3),)]) == [Mention(JOB, "Point", INSTANTIATED | CHANGED)]


@given(plain_data)
def test_plain_data_mentions_nothing(value: Any) -> None:
    assert found(value) == []


def test_what_holds_itself_is_read() -> None:
    loop: list[Any] = []
    loop.append(loop)
    inner: list[Any] = []
    tuples = (inner, 1)
    inner.append(tuples)
    assert found([loop, tuples, (inner, inner, inner, inner)]) == []


def test_depth_is_bounded_where_it_is_and_not_where_it_is_not() -> None:
    deep: Any = ()
    for _ in range(400):
        deep = (deep, [deep])
    assert found(deep) == []
    most = limits.DECODED_DEPTH_MAX
    for opcodes, problem in ((b")" + b"\x85" * most, ""), (b")" + b"\x85" * (most + 1), "is nested too deep")):
        assert read(b"\x80\x05" + opcodes + b".").problem == problem


def frame(data: bytes, length: int | None = None) -> bytes:
    return b"\x95" + (len(data) if length is None else length).to_bytes(8, "little") + data


FLOAT = b"G" + bytes(8)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (frame(b"](" + FLOAT + b"e."), ""),
        (frame(b"](") + FLOAT + frame(b"e."), ""),
        (frame(b"](" + FLOAT[:5], 7) + FLOAT[5:] + b"e.", "reaches over the end of its frame"),
        (frame(b"](K", 3) + b"\x01e.", "reaches over the end of its frame"),
        (frame(b"](\x8c", 3) + b"\x01ae.", "reaches over the end of its frame"),
        (frame(b"](" + frame(FLOAT) + b"e."), "begins a frame in a frame"),
        (frame(b"](" + FLOAT + b"e.", 14), "is cut"),
        (frame(b"](" + FLOAT + b"e.", 2**63), "is cut"),
    ],
)
def test_frames_end_where_an_opcode_does(body: bytes, problem: str) -> None:
    """CPython's unpickler drops what is left of a frame when it wants more, and would see other opcodes than we do."""
    data = b"\x80\x05" + body
    assert (read(data).problem, read_plainly(data).problem) == (problem, problem)


def test_names_are_bounded() -> None:
    name = b"\x8c\x01a\x8c\x01b\x93"
    most = limits.DECODED_NAMES_MAX
    for count, problem in ((most, ""), (most + 1, "mentions too many names")):
        reading = read(b"\x80\x05](" + name * count + b"e.")
        assert reading.problem == problem
        assert len(reading.mentions) == most


@only_compiled
@example(b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\xff.")
@given(st.binary(max_size=60).map(lambda data: b"\x80\x05" + data))
def test_both_ways_agree_on_anything(data: bytes) -> None:
    assert read(data) == read_plainly(data)


@only_compiled
@settings(max_examples=300)
@given(st.data())
def test_both_ways_agree_on_pickles_that_were_changed(data: st.DataObject) -> None:
    whole = bytearray(
        data.draw(st.sampled_from(GADGETS).filter(lambda bytes_: len(bytes_) < 1000) | plain_data.map(dumps))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 1))] = data.draw(st.sampled_from(OPCODES))
        if not whole:
            break
    assert read(bytes(whole)) == read_plainly(bytes(whole))


OPCODES = [
    bytes([code])
    for code in b"(NtRb\x94\x93\x85\x86\x87\x81\x92\x90\x91]}){eaus.01hjKMJGXCB\x8c\x8d\x8e\x8a\x8b\x96\x95"
]


def dumps(value: Any) -> bytes:
    return pickle.dumps(value, 5)


@only_compiled
@pytest.mark.parametrize("gadget", gadgets("/nowhere"), ids=lambda gadget: gadget.name)
def test_both_ways_agree_on_what_is_hostile(gadget: Any) -> None:
    for data in (gadget.as_value(), gadget.as_columns(), *(gadget.as_value()[:end] for end in range(2, 40))):
        assert read(data) == read_plainly(data)


@given(st.binary(max_size=40), st.sampled_from([read_plainly, *([read] if mentions.compiled else [])]))
def test_what_is_let_pass_without_a_name_is_harmless_to_unpickle(data: bytes, reader: Any) -> None:
    """It may still be no pickle: text that is no UTF-8, a set of lists."""
    data = b"\x80\x05" + data
    reading = reader(data)
    if not reading.problem and not reading.mentions:
        try:
            pickle.loads(data)
        except (ValueError, TypeError, EOFError, pickle.UnpicklingError):
            pass


@pytest.mark.slow
@only_compiled
def test_both_ways_agree_on_long_pickles_that_were_changed() -> None:
    """Of several frames, and mostly of what the compiled way hurries through."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    words = [f"{chance.getrandbits(40):x}" for _ in range(3000)]
    whole = pickle.dumps((words, [[chance.random(), n, n * 1000, [words[n - 1]], "x"] for n in range(3000)]), 5)
    assert read(whole) == read_plainly(whole) == ([], "", len(whole))
    ends = [match.start() for match in re.finditer(rb"\x95.{6}\0\0", whole, re.DOTALL)]
    for _ in range(40):
        changed = bytearray(whole)
        around = chance.choice(ends) if chance.random() < 0.7 else chance.randrange(len(whole))
        for place in chance.sample(range(max(2, around - 20), min(len(whole), around + 20)), 2):
            changed[place] = chance.choice(b"\x8c\x94KGMJ.e(h\x95") if chance.random() < 0.7 else chance.randrange(256)
        assert read(bytes(changed)) == read_plainly(bytes(changed))
