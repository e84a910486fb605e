"""Combining early, ready-made reducers and batches of pairs give the plain answer on every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidJob, reducers
from tests.kit.clusters import LOOPBACK

pytestmark = pytest.mark.slow

ENGINES: dict[str, dict[str, Any]] = {
    "inline": {},
    "processes": {"workers": 2},
    "cluster": {"workers": 2, "password": "changeme", "host": LOOPBACK, "port": 0},
}
DATA = [f"text {number % 3} of {number % 5} words" for number in range(20)]


def words(key: int, line: str) -> Iterator[tuple[str, int]]:
    for place, word in enumerate(line.split()):
        yield word, place


def counters(key: int, line: str) -> Counter[str]:
    return Counter(line.split())


def columns(key: int, line: str) -> Iterator[mincemeat.Pairs]:
    yield mincemeat.Pairs(line.split(), range(len(line.split())))


def values_of() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in DATA:
        for place, word in enumerate(line.split()):
            found.setdefault(word, []).append(place)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_and_reducers_give_the_plain_answer(engine: str) -> None:
    def run(mapfn: Any, reducefn: Any, collectfn: Any = None) -> dict[Any, Any]:
        return mincemeat.run(
            DATA, mapfn, reducefn, collectfn=collectfn, engine=engine, split=3, progress=False, **ENGINES[engine]
        )

    values = values_of()
    counts = {word: len(places) for word, places in values.items()}
    assert run(columns, reducers.mean) == {word: sum(places) / len(places) for word, places in values.items()}
    assert run(counters, sum, sum) == counts
    assert run(words, len) == counts
    assert run(words, reducers.top(2)) == {word: sorted(places)[:-3:-1] for word, places in values.items()}


def test_a_collectfn_that_cannot_be_one_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidJob, match="needs the same as reducefn"):
        mincemeat.run(DATA, words, reducers.sum, collectfn=reducers.mean, engine="inline")
