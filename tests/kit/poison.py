"""Job functions that fail at some records, and those who count what is left. They travel to slots as this file."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.kit.faulty import Opaque, Unlucky


def expected(numbers: range, bad: set[int]) -> dict[int, list[int]]:
    """What is left for ``collected``: numbers by their last digit, without those of bad records."""
    found: dict[int, list[int]] = {}
    for number in numbers:
        if number not in bad:
            found.setdefault(number % 10, []).append(number)
    return found


def collected(key: Any, values: list[int]) -> list[int]:
    return list(values)


def raises_in_sevens(key: Any, number: int) -> Iterator[tuple[int, int]]:
    """Emits, and then at every hundredth number from 7 on raises: what it has emitted must not count."""
    yield number % 10, number
    if number % 100 == 7:
        raise Unlucky(number, reason="seven")


def raises_what_ends_programs(key: Any, number: int) -> Iterator[tuple[int, int]]:
    yield number % 10, number
    match number:
        case 3:
            raise GeneratorExit("ge")
        case 4:
            raise KeyboardInterrupt("ki")


def ends_programs_at_once(key: Any, number: int) -> list[tuple[int, int]]:
    return list(raises_what_ends_programs(key, number))


def collects_what_ends_programs(key: int, values: Any) -> Any:
    return [value for _, value in raises_what_ends_programs(key, key)] + list(values)


def emits_nonsense(key: Any, number: int) -> Iterator[Any]:
    """At some numbers, behind a pair that would do, something that cannot be shuffled."""
    yield number % 10, number
    match number:
        case 3:
            yield number
        case 13:
            yield 1, 2, 3
        case 23:
            yield [number], number
        case 33:
            yield Opaque(), number
        case 43:
            yield float("nan"), number
        case 53:
            yield number % 10, threading.Lock()
        case 63:
            raise SystemExit(3)


def kills_in_sevens(key: Any, number: int) -> Iterator[tuple[int, int]]:
    yield number % 10, number
    if number == 57:
        os._exit(57)
    if number == 157:
        os.kill(os.getpid(), signal.SIGSEGV)


def kills_and_raises(key: Any, number: int) -> Iterator[tuple[int, int]]:
    yield from raises_in_sevens(key, number)
    if number == 99:
        os._exit(3)


def hangs_at_seven(key: Any, number: int) -> Iterator[tuple[int, int]]:
    yield number % 10, number
    if number == 7:
        time.sleep(600)


def slow_all_over(key: Any, seconds: float) -> Iterator[tuple[str, int]]:
    time.sleep(seconds)
    yield "slept", 1


def by_last_digit(key: Any, number: int) -> Iterator[tuple[int, int]]:
    yield number % 10, number


def refuses_three(key: int, values: list[int]) -> list[int]:
    if key == 3:
        raise Unlucky(key, reason="three")
    return list(values)


def result_of_three_is_a_lock(key: int, values: list[int]) -> Any:
    return threading.Lock() if key == 3 else list(values)


def exits_at_three(key: int, values: list[int]) -> list[int]:
    if key == 3:
        os._exit(33)
    return list(values)


def refuses_everything(key: Any, value: Any) -> list[Any]:
    raise Unlucky(int(value), reason="all")


def refuses_to_combine(key: Any, values: list[int]) -> int:
    raise Unlucky(0, reason="combining")


def refuses_to_place(key: Any) -> int:
    raise Unlucky(0, reason="placing")


class Broken(dict[int, int]):
    def __getitem__(self, key: int) -> int:
        raise Unlucky(key, reason="reading")
