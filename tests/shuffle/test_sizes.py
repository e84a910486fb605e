"""Estimated sizes: near the truth where it can be known, and never an exception."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mincemeat.shuffle.sizes import deep_size


@pytest.mark.parametrize("value", [None, True, False, 0, -5, 256])
def test_objects_that_exist_once_cost_nothing(value: Any) -> None:
    assert deep_size(value) == 0


@pytest.mark.parametrize("value", ["word", b"bytes", 1.5, 10**20, bytearray(1000)])
def test_flat_values_cost_what_python_says(value: Any) -> None:
    assert deep_size(value) == sys.getsizeof(value)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_members_of_a_long_container_are_extrapolated(kind: Any) -> None:
    members = [f"{n:06}" for n in range(10_000)]
    value = kind(members)
    truth = sys.getsizeof(value) + sum(map(sys.getsizeof, members))
    assert deep_size(value) == pytest.approx(truth, rel=0.01)


def test_keys_and_values_of_a_dict_count() -> None:
    value = {f"{n:06}": "x" * 100 for n in range(1000)}
    truth = sys.getsizeof(value) + sum(sys.getsizeof(k) + sys.getsizeof(v) for k, v in value.items())
    assert deep_size(value) == pytest.approx(truth, rel=0.01)


class Plain:
    def __init__(self) -> None:
        self.text = "x" * 5000


class Slotted:
    __slots__ = ("text", "unset")

    def __init__(self) -> None:
        self.text = "x" * 5000


@pytest.mark.parametrize("value", [Plain(), Slotted(), [Plain()], ((["x" * 5000],),)])
def test_contents_of_objects_and_nested_containers_count(value: Any) -> None:
    assert deep_size(value) > 5000


def test_cycles_end() -> None:
    value: list[Any] = []
    value.append(value)
    assert deep_size(value) < 1000


class Hostile:
    def __sizeof__(self) -> int:
        raise RuntimeError

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_hostile_objects_have_a_size_too() -> None:
    assert deep_size(Hostile()) > 0
