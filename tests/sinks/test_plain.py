from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import uuid
from collections import Counter, OrderedDict, deque, namedtuple
from typing import Any

import pytest

from mincemeat.sinks.plain import json_text, plain


@dataclasses.dataclass
class Point:
    x: int
    near: set[int]


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


Pair = namedtuple("Pair", "left right")


class TwiceAsNumpy:
    """Stands in for numpy, which the tests do not need installed."""

    def __init__(self, listed: Any) -> None:
        self._listed = listed

    def tolist(self) -> Any:
        return self if self._listed is None else self._listed

    def __str__(self) -> str:
        return "1.5"


TwiceAsNumpy.__module__ = "numpy.core"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        (True, True),
        (2**100, 2**100),
        (1.5, 1.5),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Word("w"), "w"),
        (Level.HIGH, 3),
        (Color.RED, "red"),
        ((1, (2, [3])), [1, [2, [3]]]),
        (Pair(1, 2), [1, 2]),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({10, 9, 1}, [1, 9, 10]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({(2, "x"), (1, "y")}, [[1, "y"], [2, "x"]]),
        ({1, "1", None}, ["1", 1, None]),
        (OrderedDict(b=1, a={2}), {"b": 1, "a": [2]}),
        (Counter({("a", 1): 2, 3: 4, None: 5}), {'["a", 1]': 2, "3": 4, "null": 5}),
        (b"\xff", {"base64": "/w=="}),
        (bytearray(b"\xff"), {"base64": "/w=="}),
        (decimal.Decimal("1.10"), "1.10"),
        (fractions.Fraction(1, 3), "1/3"),
        (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (Point(1, {2}), {"x": 1, "near": [2]}),
        (TwiceAsNumpy([1, 2]), [1, 2]),
        (TwiceAsNumpy(None), "1.5"),
    ],
)
def test_form_of_a_value(value: Any, form: Any) -> None:
    assert plain(value) == form
    assert type(plain(value)) is type(form)
    assert json.loads(json_text(value)) == form


@pytest.mark.parametrize("value", [object(), (number for number in "ab"), Point, len, [[object()]], {"x": object()}])
def test_value_without_a_form_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match="a (object|generator|type|builtin_function_or_method)"):
        plain(value)


def test_dict_whose_keys_would_collide_is_refused() -> None:
    with pytest.raises(TypeError, match="the same text"):
        plain({1: "a", "1": "b"})


def test_text_is_one_line_of_readable_characters() -> None:
    assert json_text({"ä": "\n"}) == '{"ä": "\\n"}'
