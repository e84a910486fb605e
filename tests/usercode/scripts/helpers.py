"""A module beside the script, which imports another one."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import vocabulary  # type: ignore[import-not-found]


@dataclass(frozen=True)
class Tally:
    word: str
    count: int


def tally(word: str, count: int) -> Tally:
    return Tally(vocabulary.normal(word), count)


@functools.cache
def normal(word: str) -> str:
    return str(vocabulary.normal(word))


def fail() -> None:
    raise ValueError("helpers failed")  # the line a traceback shows


scaled = lambda number: number * vocabulary.SCALE  # noqa: E731 - a lambda has no name to be pickled by
