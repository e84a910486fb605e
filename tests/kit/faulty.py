"""Job functions that do what no function should. They travel to slots as this file, so it imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit.jobs import total

__all__ = ["total"]


class Unlucky(Exception):
    """An exception of the user's own, with a constructor of its own."""

    def __init__(self, number: int, *, reason: str) -> None:
        super().__init__(f"unlucky number {number}: {reason}")
        self.number = number


def unlucky(key: Any, value: int) -> Iterator[tuple[str, int]]:
    if value == 13:
        raise Unlucky(13, reason="of course")
    yield "n", value


def unlucky_total(key: Any, values: list[int]) -> int:
    raise Unlucky(len(values), reason=f"as {key}")


def number(key: Any, value: int) -> list[tuple[str, int]]:
    return [("n", value)]


def gives_none(key: Any, value: Any) -> None:
    return None


def gives_a_number(key: Any, value: int) -> int:
    return value


def gives_single(key: Any, value: int) -> Iterator[Any]:
    yield value


def gives_triple(key: Any, value: int) -> Iterator[Any]:
    yield 1, 2, value


def gives_list_key(key: Any, value: int) -> Iterator[Any]:
    yield [1, 2], value


class Opaque:
    """Hashable by identity: no two machines would agree on its partition."""


def gives_opaque_key(key: Any, value: int) -> Iterator[Any]:
    yield Opaque(), value


def gives_lock(key: Any, value: int) -> Iterator[Any]:
    yield "s", threading.Lock()


def result_is_lock(key: Any, values: Any) -> Any:
    return threading.Lock()


def exits(key: Any, value: int) -> list[Any]:
    sys.exit("enough")


def once(directory: str, name: str) -> bool:
    """True for the first caller in the whole cluster."""
    try:
        os.close(os.open(Path(directory) / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def segfaults_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    yield "n", value


def killed_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "oom"):
        os.kill(os.getpid(), signal.SIGKILL)
    yield "n", value


def exits_hard_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "exit"):
        os._exit(7)
    yield "n", value


def leaves_a_child_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    """Dies, and what it forked lives on with all its open files."""
    if value == 3 and once(key.rpartition("/")[0], "fork"):
        if not os.fork():
            time.sleep(60)
        os._exit(7)
    yield "n", value


def sys_exits_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "sysexit"):
        sys.exit(3)
    yield "n", value


def loops_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "loop"):
        while True:
            pass
    yield "n", value


def raises_once(key: str, value: int) -> Iterator[tuple[str, int]]:
    if value == 3 and once(key.rpartition("/")[0], "raise"):
        raise OSError("a network share had a bad moment")
    yield "n", value


def always_segfaults(key: Any, value: int) -> Iterator[Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    yield


def sleeps(key: Any, value: float) -> Iterator[tuple[str, float]]:
    time.sleep(value)
    yield "slept", value


def marks_and_sleeps(key: str, value: float) -> Iterator[tuple[str, float]]:
    """Tells the test that an attempt is running, by a file with the slot's process id."""
    Path(f"{key}.pid").write_text(str(os.getpid()), "ascii")
    time.sleep(value)
    yield "slept", value


def once_in_a_while(key: Any, value: tuple[int, str]) -> Iterator[tuple[int, int]]:
    """Emits the number; the first time at 500 it raises, at 700 it kills its process: by files beside each other."""
    number, directory = value
    if number in (500, 700) and once(directory, str(number)):
        if number == 700:
            os._exit(9)
        raise Unlucky(number, reason="the first time")
    yield number % 3, number


def unlucky_at_500(key: Any, value: int) -> Iterator[tuple[int, int]]:
    if value == 500:
        raise Unlucky(value, reason="always")
    yield value % 3, value


def in_order(key: Any, values: list[int]) -> list[int]:
    return list(values)
