"""Jobs whose keys have an order, for sort=True, and some that spoil the sample. They travel to slots as this file."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit.faulty import Unlucky


@functools.total_ordering
class Version:
    """A key of a class of its own, in an order of its own: the latest first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and other.number == self.number

    def __lt__(self, other: Version) -> bool:
        return other.number < self.number

    def __hash__(self) -> int:
        return hash(self.number)


def random_keys(number: int, _value: Any) -> Iterator[tuple[Any, tuple[int, int]]]:
    chance = random.Random(number)
    for place in range(30):
        yield (chance.randrange(50), f"{chance.randrange(4)}"), (chance.randrange(7), place)


def versions(number: int, _value: Any) -> Iterator[tuple[Version, int]]:
    yield Version(number * 37 % 101), number


def as_list(_key: Any, values: Any) -> list[Any]:
    return list(values)


def first_part(value: tuple[int, int]) -> int:
    return value[0]


def mixed_keys(number: int, _value: Any) -> Iterator[tuple[Any, int]]:
    yield number if number % 2 else str(number), 1


def without_parity(number: int) -> float:
    return 1 / (number % 2)


def crash_once(number: int, directory: str) -> Iterator[tuple[int, int]]:
    """The first call ends the process."""
    if _is_first(directory):
        os._exit(3)
    yield -number, number


def hang_once(number: int, directory: str) -> Iterator[tuple[int, int]]:
    if _is_first(directory):
        while True:
            time.sleep(60)
    yield -number, number


def raise_once(number: int, directory: str) -> Iterator[tuple[int, int]]:
    if _is_first(directory):
        raise Unlucky(number, reason="the first time")
    yield -number, number


def note_calls(number: int, directory: str) -> Iterator[tuple[int, int]]:
    with Path(directory, f"{number}.calls").open("a") as file:
        file.write("called\n")
    yield -number, number


def _is_first(directory: str) -> bool:
    try:
        Path(directory, "called").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
