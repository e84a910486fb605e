"""A job's own module, with what may be in one: classes of data, and what must not be had through their names."""

from __future__ import annotations

import enum
import functools
import subprocess
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import Popen
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

__all__ = ["Popen", "subprocess"]


@dataclass
class Point:
    x: int
    y: int = 0

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)

    @dataclass(frozen=True)
    class Label:
        text: str


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    tags: tuple[str, ...] = ()


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Perm(enum.Flag):
    R = enum.auto()
    W = enum.auto()


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: Any
    right: Any


Old = namedtuple("Old", ["a", "b"])


@dataclass
class Box(Generic[T]):
    content: T
    labels: dict[str, T] = field(default_factory=dict)


class Bag(list[Any]):
    """A list with an attribute."""


class Names(dict[str, Any]):
    pass


class Refusal(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Stateful:
    """Keeps what it is given, and counts how often that was."""

    def __init__(self) -> None:
        self.value: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


class Called:
    """Not to be called by a pickle."""

    def __call__(self, path: str) -> None:
        with open(path, "w", encoding="ascii"):
            pass


class Registry:
    """Not to be changed by a pickle."""

    known: list[Any] = []  # noqa: RUF012 - shared, which is the point

    @classmethod
    def append(cls, path: str) -> None:
        with open(path, "w", encoding="ascii"):
            pass

    @classmethod
    def extend(cls, paths: list[str]) -> None:
        for path in paths:
            cls.append(path)


class Runs(Popen):  # type: ignore[type-arg]
    """Making one starts a process."""


class Mapped(map):  # type: ignore[type-arg]
    """Calls what it is given, when it is iterated over."""


class Meta(type):
    pass


def helper(path: str) -> None:
    with open(path, "w", encoding="ascii"):
        pass


opener: Callable[..., Any] = functools.partial(open, mode="w")
instance = Point(1)
