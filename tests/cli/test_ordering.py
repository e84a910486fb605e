from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.cli.ordering import CountingSink, TopSink
from mincemeat.errors import InvalidJob
from mincemeat.model import Pair
from mincemeat.sinks.base import Sink, sink_for_path
from mincemeat.sinks.parts import open_part


class ListSink(Sink):
    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.ended = ""

    def write(self, pairs: Iterable[Pair]) -> None:
        self.pairs.extend(pairs)

    def commit(self) -> None:
        self.ended += "committed"

    def abort(self) -> None:
        self.ended += "aborted"


def top(count: int, *portions: Iterable[Pair]) -> list[Pair]:
    inner = ListSink()
    sink = TopSink(inner, count)
    for portion in portions:
        sink.write(portion)
    assert inner.pairs == []
    sink.commit()
    assert inner.ended == "committed"
    return inner.pairs


def test_counting_passes_everything_on() -> None:
    inner = ListSink()
    sink = CountingSink(inner)
    sink.write(iter([(1, 2), (3, 4)]))
    sink.write([(5, 6)])
    sink.commit()
    assert (sink.results, inner.pairs, inner.ended) == (3, [(1, 2), (3, 4), (5, 6)], "committed")


def test_top_gives_the_largest_first_and_ties_by_key() -> None:
    pairs = [("b", 2), ("c", 2), ("z", 1), ("a", 2), ("y", 9)]
    assert top(3, pairs[:2], pairs[2:]) == [("y", 9), ("a", 2), ("b", 2)]


@given(st.lists(st.dictionaries(st.integers(), st.integers(0, 5), max_size=300), max_size=4), st.integers(1, 50))
def test_top_is_what_sorting_everything_would_give(portions: list[dict[int, int]], count: int) -> None:
    everything = [pair for portion in portions for pair in portion.items()]
    expected = sorted(everything, key=lambda pair: (-pair[1], pair[0]))[:count]
    assert top(count, *(portion.items() for portion in portions)) == expected


def test_top_keeps_few_pairs_in_memory() -> None:
    sink = TopSink(ListSink(), 5)
    for start in range(0, 20_000, 100):
        sink.write((number, number) for number in range(start, start + 100))
        assert len(sink._best) < 2_000


def test_top_breaks_ties_of_keys_that_cannot_be_compared_always_the_same() -> None:
    pairs: list[Pair] = [(None, 1), ("a", 1), (2, 1), ("b", 0), ("c", 3)]
    assert top(4, pairs) == top(4, reversed(pairs)) == [("c", 3), (None, 1), (2, 1), ("a", 1)]


def test_top_of_results_that_cannot_be_compared_is_told() -> None:
    with pytest.raises(InvalidJob, match=r"--top needs results that can be compared .* 'NoneType'"):
        top(1, [("a", 1), ("b", None)])


def test_top_may_be_in_order_of_keys() -> None:
    inner = ListSink()
    sink = TopSink(inner, 2, by_key=True)
    sink.write([("c", 9), ("a", 1), ("b", 5)])
    sink.commit()
    assert (inner.pairs, inner.ended) == ([("b", 5), ("c", 9)], "committed")


def test_order_of_keys_that_cannot_be_compared_is_told_and_nothing_is_written() -> None:
    inner = ListSink()
    sink = TopSink(inner, 2, by_key=True)
    sink.write([("b", 1), (2, 0)])
    with pytest.raises(InvalidJob, match=r"--sort needs keys that can be compared .* 'int' and 'str'"):
        sink.commit()
    assert (inner.pairs, inner.ended) == ([], "")


def test_what_stands_before_a_sink_aborts_it() -> None:
    inner = ListSink()
    sink = CountingSink(TopSink(inner, 3))
    sink.write([(1, 1)])
    sink.abort()
    assert (inner.pairs, inner.ended) == ([], "aborted")


def test_counting_counts_the_results_of_parts(tmp_path: Path) -> None:
    part = open_part("csv", str(tmp_path / "part"))
    part.write(["a", "b"], [1, 2])
    part.finish()
    with CountingSink(sink_for_path(tmp_path / "r.csv")) as sink:
        assert sink.form == "csv"
        assert sink.take_part(part.path) == 2
        sink.write([("c", 3)])
    assert sink.results == 3
    assert (tmp_path / "r.csv").read_text() == "key,value\na,1\nb,2\nc,3\n"


@pytest.mark.parametrize("kind", [CountingSink, lambda inner: TopSink(inner, 1)])
def test_ending_twice_is_ending_once(kind: Callable[[Sink], Sink]) -> None:
    inner = ListSink()
    sink = kind(inner)
    sink.write([("a", 1)])
    sink.commit()
    sink.commit()
    sink.abort()
    assert inner.pairs == [("a", 1)]
    assert inner.ended.startswith("committed")
