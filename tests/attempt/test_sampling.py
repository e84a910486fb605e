"""What a sample says of the ranges of a sorted job, and what it is not put out by."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.model import UserFunctions
from mincemeat.sampling import answer_sample, run_sample
from mincemeat.sources.base import as_source


def payloads(elements: Any, places: int = 32) -> list[bytes]:
    return as_source(elements).sample(places)


def by_value(_key: Any, value: Any) -> Iterator[tuple[Any, int]]:
    yield value, 1


def as_dict(_key: Any, value: Any) -> dict[Any, int]:
    return {value: 1}


def as_columns(_key: Any, value: Any) -> Any:
    return mincemeat.Pairs([value], [None])


def counted(_key: Any, value: Any) -> Iterator[Counter[Any]]:
    yield Counter([value, value])


@pytest.mark.parametrize("mapfn", [by_value, as_dict, as_columns, counted])
def test_splitters_cut_what_is_emitted_evenly(mapfn: Any) -> None:
    splitters = run_sample(UserFunctions(mapfn, sort=True), payloads([n * 37 % 1000 for n in range(1000)]), 4)
    assert splitters == pytest.approx((250, 500, 750), abs=30)


def test_records_themselves_are_keys_without_mapfn() -> None:
    splitters = run_sample(UserFunctions(sort=True), payloads({f"k{n:03}": n for n in range(200)}), 3)
    assert splitters == ("k066", "k133")


def test_key_that_is_emitted_often_counts_often_unless_pairs_are_combined() -> None:
    elements = [5] * 200 + list(range(50))
    assert run_sample(UserFunctions(by_value, sort=True), payloads(elements), 3) == (5,)
    count: Any = len
    for combined in (UserFunctions(by_value, sort=True, collectfn=max), UserFunctions(by_value, count, sort=True)):
        splitters = run_sample(combined, payloads(elements), 3)
        assert [round(splitter, -1) for splitter in splitters] == [20, 30]


def test_record_that_emits_without_end_is_left() -> None:
    def endless(_key: Any, value: int) -> Iterator[tuple[int, None]]:
        return ((value * 10**9 + n, None) for n in itertools.count())

    splitters = run_sample(UserFunctions(endless, sort=True), payloads([0, 1]), 2)
    assert splitters == (10**9,)


def test_large_batches_are_looked_at_all_over() -> None:
    def batch(_key: Any, _value: Any) -> Any:
        return mincemeat.Pairs(range(1_000_000), range(1_000_000))

    (middle,) = run_sample(UserFunctions(batch, sort=True), payloads([None]), 2)
    assert 490_000 < middle < 510_000


def test_no_record_is_begun_when_time_is_up_and_those_before_are_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    all_over = payloads(range(32))
    ticks = itertools.count(step=limits.SAMPLE_SECONDS / 60)
    monkeypatch.setattr("mincemeat.sampling.time.monotonic", lambda: next(ticks))
    called: list[int] = []

    def noting(key: int, value: int) -> Iterator[tuple[int, None]]:
        called.append(value)
        yield value, None

    (middle,) = run_sample(UserFunctions(noting, sort=True), all_over, 2)
    assert 10 < len(called) < 30
    assert 12 <= middle <= 20


def unlucky(_key: Any, value: int) -> Iterator[tuple[int, None]]:
    yield value, None
    if value % 3 == 0:
        raise SystemExit(value)


def no_pairs(_key: Any, value: int) -> list[Any]:
    return [(value, 1), value, "ab"] if value % 2 else None  # type: ignore[return-value]


@pytest.mark.parametrize("mapfn", [unlucky, no_pairs])
def test_what_mapfn_raises_and_emits_beside_pairs_is_passed_over(mapfn: Any) -> None:
    (middle,) = run_sample(UserFunctions(mapfn, sort=True), payloads(range(100)), 2)
    assert 40 <= middle <= 60


@pytest.mark.parametrize(
    "elements", [[], [1, "a"], [1.0, float("nan")], [[1]], [7]], ids=["none", "mixed", "nan", "unhashable", "one"]
)
def test_keys_of_which_nothing_can_be_said_give_no_splitters(elements: list[Any]) -> None:
    assert run_sample(UserFunctions(by_value, sort=True), payloads(elements), 4) == ()


def test_damaged_payload_is_passed_over() -> None:
    good = payloads(range(10))
    assert run_sample(UserFunctions(by_value, sort=True), [b"R\0\0\0\1", b"?", *good], 2) == (5,)


def test_answer_is_empty_where_there_is_none() -> None:
    def missing() -> UserFunctions:
        raise ModuleNotFoundError("not installed here")

    asked = pickle.dumps(payloads(range(10)))
    assert pickle.loads(answer_sample(lambda: UserFunctions(by_value, sort=True), asked, 2)) == (5,)
    assert answer_sample(missing, asked, 2) == b""
    assert answer_sample(lambda: UserFunctions(lambda _key, value: [(lambda: value, 1)], sort=True), asked, 2) == b""
