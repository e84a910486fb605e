"""The values of a datasource count where they are at hand, in every process equally."""

from __future__ import annotations

import datetime
import itertools
import os
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from mincemeat.sources.base import as_source
from mincemeat.sources.values_at_hand import digest_of_values


def fingerprint(datasource: Any) -> int:
    source = as_source(datasource)
    assert source.next_split(1000) is not None
    return source.fingerprint(0)


class Opaque:
    pass


DIFFERENT: list[Any] = [
    0, 1, -1, True, False, 0.0, 1.0, None, "", "0", b"", b"0", 1j, 10**30, ..., [], (), {}, set(), frozenset(),
    [0], (0,), {0}, {0: 0}, [[]], [()], [[0]], [None], ["a", "b"], ["b", "a"], {"a": 1, "b": 2}, {"a": 2, "b": 1},
    {"a": {"b": [1]}}, {"a": {"b": [2]}}, {"x", "y", "z"}, {"x", "y"}, "\ud800", datetime.date(2026, 1, 1),
    datetime.date(2026, 1, 2), Decimal("1.0"), Decimal("1.00"), Opaque(), Counter("a"), OrderedDict(a=1),
]  # fmt: skip


def test_plain_values_that_differ_have_other_digests() -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert digest_of_values([one]) != digest_of_values([other]), (one, other)
        assert digest_of_values([one, other]) != digest_of_values([other, one]), (one, other)


def test_objects_of_other_classes_count_as_being_there() -> None:
    one, other = Opaque(), Opaque()
    vars(one).update(name=1)
    assert digest_of_values([one, [one]]) == digest_of_values([other, [other]])


def test_how_often_an_object_is_referred_to_does_not_count() -> None:
    one, other = "".join(["te", "xt"]), "".join(["te", "xt"])
    assert one is not other
    assert digest_of_values([[one, one], sys.intern(one)]) == digest_of_values([[one, other], other])


def test_equal_dicts_are_equal_whatever_their_order() -> None:
    assert digest_of_values([{"a": 1, "b": 2}]) == digest_of_values([{"b": 2, "a": 1}])
    assert digest_of_values([{"a": 1, "b": 2}]) != digest_of_values([{"b": 1, "a": 2}])


def test_a_repr_that_raises_is_no_fault() -> None:
    class Zone(datetime.tzinfo):
        def __repr__(self) -> str:
            raise RuntimeError

        def utcoffset(self, moment: datetime.datetime | None) -> None: ...
        def dst(self, moment: datetime.datetime | None) -> None: ...
        def tzname(self, moment: datetime.datetime | None) -> None: ...

    digest_of_values([datetime.datetime(2026, 1, 1, tzinfo=Zone())])


def test_what_has_itself_inside_has_a_digest() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert digest_of_values([circle]) == digest_of_values([circle])


def test_it_is_the_same_in_every_process() -> None:
    program = (
        "from mincemeat.sources.values_at_hand import digest_of_values\n"
        "print(digest_of_values([{'x', 'y', 'z', ('a', 1)}, {'k': frozenset('abc')}, 1.5, 'text']))"
    )
    said = {
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in "123"
    }
    assert len(said) == 1


@pytest.mark.parametrize("kind", [dict, OrderedDict, Counter, lambda data: defaultdict(int, data)])
def test_values_of_a_dict_count(kind: Any) -> None:
    assert fingerprint(kind({"a": 1, "b": 2})) == fingerprint(kind({"a": 1, "b": 2}))
    assert fingerprint(kind({"a": 1, "b": 2})) != fingerprint(kind({"a": 1, "b": 3}))


@pytest.mark.parametrize("kind", [list, tuple, deque])
def test_values_of_a_list_count(kind: Any) -> None:
    """Any list of the same length was the same input."""
    assert fingerprint(kind([1] * 200)) == fingerprint(kind([1] * 200))
    assert fingerprint(kind([1] * 200)) != fingerprint(kind([100] * 200))
    assert fingerprint(kind([1, 2])) != fingerprint(kind([2, 1]))


def test_values_of_a_range_count() -> None:
    assert fingerprint(range(10)) != fingerprint(range(0, 20, 2))


def test_values_of_other_dict_like_objects_are_not_asked_for() -> None:
    asked: list[int] = []

    class Slow:
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

        def __getitem__(self, key: int) -> int:
            asked.append(key)
            return key

    source = as_source(Slow())
    source.cut_again(3)
    source.fingerprint(0)
    assert asked == []

    class Mine(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            asked.append(0)
            return super().__getitem__(key)

    source = as_source(Mine(a=1))
    source.cut_again(1)
    source.fingerprint(0)
    assert asked == []
