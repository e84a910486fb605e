"""What has an order is sorted and dealt out by range; what has none is refused by name."""

from __future__ import annotations

import datetime
import enum
import fractions
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import key_text
from mincemeat.shuffle.order import dealt_by_range, in_order, splitters_of, stretches

NAN = float("nan")


def range_of(key: Any, splitters: Iterable[Any]) -> int:
    """The definition: so many splitters are not above the key."""
    return sum(not key < splitter for splitter in splitters)


@given(keys=st.sets(st.integers(-50, 50)), splitters=st.sets(st.integers(-50, 50)))
def test_range_depends_on_the_key_and_the_splitters_alone(keys: set[int], splitters: set[int]) -> None:
    held = {key: str(key) for key in keys}
    ends = sorted(splitters)
    dealt = list(dealt_by_range(held, ends))
    assert held == {}
    assert [key for _, several, _ in dealt for key in several] == sorted(keys)
    assert all(several for _, several, _ in dealt)
    assert [number for number, _, _ in dealt] == sorted({range_of(key, ends) for key in keys})
    for number, several, values in dealt:
        assert {range_of(key, ends) for key in several} == {number}
        assert values == [str(key) for key in several]


def test_range_far_beyond_its_share_comes_in_several_stretches() -> None:
    numbers = range(100_000)
    for splitters in ((), (10,), (10, 99_990)):
        found = list(stretches(numbers, splitters))
        assert max(stop - start for _, start, stop in found) <= 100_000 // 32
        assert len(found) <= 32 + 2 * len(splitters) + 1
        assert [number for number, _, _ in found] == sorted(number for number, _, _ in found)
        assert [key for _, start, stop in found for key in numbers[start:stop]] == list(numbers)
        assert all(len({range_of(key, splitters) for key in (start, stop - 1)}) == 1 for _, start, stop in found)


@given(sample=st.lists(st.text(max_size=3)), ranges=st.integers(1, 9))
def test_splitters_are_keys_with_others_on_either_side(sample: list[str], ranges: int) -> None:
    sample.sort()
    splitters = splitters_of(sample, ranges)
    assert list(splitters) == sorted(set(splitters))
    assert len(splitters) < ranges
    assert set(splitters) <= set(sample[1:])
    assert all(splitter > sample[0] for splitter in splitters)


def test_splitters_cut_evenly() -> None:
    assert splitters_of(range(100), 4) == (25, 50, 75)
    # What is emitted often weighs as much, so the ranges of the others are wider.
    assert splitters_of([0, 1, 2, 3, *[5] * 12], 4) == (5,)


class Colour(enum.IntEnum):
    RED = 2
    BLUE = 1


class Suit(enum.Enum):
    SPADES = 1


@dataclass(frozen=True, order=True)
class Version:
    number: float
    name: str = ""


@pytest.mark.parametrize(
    "keys",
    [
        [3, True, 2.5, fractions.Fraction(1, 3), Decimal("0.25")],
        [(1, "b"), (1, "a"), (0, "c")],
        [("b", None, 2), ("b", None, 1)],
        [(2, (1.5, "x")), (2, (0.5, "y"))],
        [b"b", b"a"],
        [datetime.date(2024, 2, 1), datetime.date(2023, 2, 1)],
        [Colour.RED, Colour.BLUE],
        [Version(2.0), Version(1.0, "b"), Version(1.0, "a")],
        [None],
        [Suit.SPADES],
        [float("inf"), 0, -float("inf")],
    ],
    ids=key_text,
)
def test_what_can_be_compared_is_in_order(keys: list[Any]) -> None:
    assert in_order(keys) == sorted(keys)


class Task:
    """Has an order and no equality."""

    def __init__(self, priority: int) -> None:
        self.priority = priority

    def __lt__(self, other: Task) -> bool:
        return self.priority < other.priority


@pytest.mark.parametrize(
    ("keys", "named", "reason"),
    [
        ([1.0, NAN, 2.0], "nan", "not even equal to itself"),
        ([(1, NAN), (2, 3.0)], "nan", "not even equal to itself"),
        ([Version(1.0), Version(NAN)], "nan", "not even equal to itself"),
        ([1, Decimal("nan")], r"Decimal\('NaN'\)", "not even equal to itself"),
        ([frozenset("ab"), frozenset("c")], "frozenset", "of two sets neither need be the smaller one"),
        ([("a", frozenset("ab"))], "frozenset", "of two sets neither need be the smaller one"),
        ([Task(1)], "Task", "Task has no __eq__"),
    ],
)
def test_what_can_be_sorted_and_has_no_order_is_refused(keys: list[Any], named: str, reason: str) -> None:
    with pytest.raises(UserCodeError, match=f"has no place for the key .*{named}.*: .*{reason}") as raised:
        in_order(keys)
    assert isinstance(raised.value.__cause__, InvalidEmission)
    assert raised.value.function == "mapfn"


@pytest.mark.parametrize(
    ("keys", "pair"),
    [
        ([1, 2, "a", 3], r"the keys 'a' and 2"),
        ([None, 1], r"the keys 1 and None"),
        ([(1, "a"), (2, None), (1, 5)], r"the keys \(1, 5\) and \(1, 'a'\)"),
        ([1j, 2j], r"the keys 2j and 1j"),
    ],
)
def test_keys_that_cannot_be_compared_are_named(keys: list[Any], pair: str) -> None:
    with pytest.raises(UserCodeError, match="sort=True needs keys that can be compared with each other: '<' not") as it:
        in_order(keys)
    assert it.match(f"mapfn gave {pair}")
    assert isinstance(it.value.__cause__, InvalidEmission)
    assert isinstance(it.value.__cause__.__cause__, TypeError)


def test_key_that_cannot_be_compared_with_a_splitter_is_named_with_it() -> None:
    with pytest.raises(UserCodeError, match=r"'<' not supported .*mapfn gave the keys 'a' and 5"):
        list(dealt_by_range({"a": 1, "b": 2}, [5]))


class Moody:
    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moody) and self.number == other.number

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"Moody({self.number})"

    def __lt__(self, other: Moody) -> bool:
        raise ValueError("not today")


def test_what_a_key_raises_as_it_is_compared_is_the_users_own_exception() -> None:
    with pytest.raises(UserCodeError) as raised:
        in_order([Moody(1), Moody(2)])
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.key == "Moody(2)"
