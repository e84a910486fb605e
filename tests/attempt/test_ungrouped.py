"""Keys that hardly repeat are not grouped on the map side, and nothing of that shows in the results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mincemeat
from mincemeat import limits
from mincemeat.attempt import run_map, run_reduce
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import AttemptId, Phase, TaskId, UserFunctions
from mincemeat.result_file import iter_results
from mincemeat.shuffle.block import iter_blocks
from mincemeat.shuffle.store import JobStore
from mincemeat.shuffle.ungrouped import Ungrouped, grouped

PARTITIONS = 4
REDUCE = AttemptId(TaskId(Phase.REDUCE, 0), 0)
Record = tuple[int, list[tuple[Any, Any]]]


def emit(_key: int, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return pairs


def emit_columns(_key: int, pairs: list[tuple[Any, Any]]) -> mincemeat.Pairs:
    return mincemeat.Pairs([key for key, _ in pairs], [value for _, value in pairs])


def carried_out(functions: UserFunctions, maps: list[list[Record]], directory: Path, **memory: int) -> dict[Any, Any]:
    """The results of map attempts over ``maps``, one after the other, and one reduce attempt."""
    store = JobStore(directory)
    spans = []
    for index, records in enumerate(maps):
        attempt = AttemptId(TaskId(Phase.MAP, index), 0)
        run_map(functions, records, store, attempt, partitions=PARTITIONS, memory_bytes=memory["map_bytes"])
        spans += store.spans(attempt, range(PARTITIONS))
    run_reduce(functions, spans, range(PARTITIONS), store, REDUCE, memory_bytes=memory["reduce_bytes"])
    results = list(iter_results(store.path(REDUCE), stays_here=functions.stays_here))
    store.clear()
    assert len(results) == len(dict(results))
    return dict(results)


def plain(maps: list[list[Record]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for records in maps:
        for _, pairs in records:
            for key, value in pairs:
                groups.setdefault(key, []).append(value)
    return groups


keys = st.one_of(st.integers(0, 10_000), st.integers(0, 5))
records = st.tuples(st.integers(), st.lists(st.tuples(keys, st.one_of(st.none(), st.integers(0, 9))), max_size=60))
maps_of = st.lists(st.lists(records, max_size=4), max_size=4)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    maps=maps_of,
    sort=st.booleans(),
    splitters=st.sets(st.integers(0, 10_000), max_size=PARTITIONS - 1),
    mapfn=st.sampled_from([emit, emit_columns]),
    reducefn=st.sampled_from([None, lambda key, values: list(values)]),
    map_bytes=st.sampled_from([300, 5_000, 2**22]),
    reduce_bytes=st.sampled_from([300, 5_000, 2**22]),
    looked_at=st.sampled_from([1, 10, 8192]),
    stays_here=st.booleans(),
)
def test_results_are_those_of_a_dict(
    maps: list[list[Record]],
    sort: bool,
    splitters: set[int],
    mapfn: Any,
    reducefn: Any,
    map_bytes: int,
    reduce_bytes: int,
    looked_at: int,
    stays_here: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    functions = UserFunctions(
        mapfn, reducefn, sort=sort, splitters=tuple(sorted(splitters)) if sort else (), stays_here=stays_here
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "UNREPEATED_AMONG_PAIRS", looked_at)
        results = carried_out(
            functions, maps, tmp_path_factory.mktemp("job"), map_bytes=map_bytes, reduce_bytes=reduce_bytes
        )
    expected = plain(maps)
    assert results == expected
    if sort:
        assert list(results) == sorted(expected)


def pairs_in_blocks(functions: UserFunctions, pairs: list[tuple[Any, Any]], directory: Path) -> list[tuple[int, int]]:
    """How many keys and pairs each block of a map attempt over ``pairs`` has."""
    store = JobStore(directory)
    attempt = AttemptId(TaskId(Phase.MAP, 0), 0)
    run_map(functions, [(0, pairs)], store, attempt, partitions=1, memory_bytes=2**26)
    return [(block.keys, block.pairs) for span in store.spans(attempt, range(1)) for block in iter_blocks(span)]


def test_keys_that_hardly_repeat_are_told_by_the_first_of_a_bufferful(tmp_path: Path) -> None:
    once = [(number, 0) for number in range(limits.UNREPEATED_AMONG_PAIRS)]
    assert pairs_in_blocks(UserFunctions(emit), [*once, *once], tmp_path) == [(2 * len(once), 2 * len(once))]


def test_keys_that_repeat_are_grouped(tmp_path: Path) -> None:
    thrice = [(number % (limits.UNREPEATED_AMONG_PAIRS // 3), 0) for number in range(3 * limits.UNREPEATED_AMONG_PAIRS)]
    [(keys_there, pairs)] = pairs_in_blocks(UserFunctions(emit), thrice, tmp_path)
    assert (keys_there, pairs) == (limits.UNREPEATED_AMONG_PAIRS // 3, len(thrice))


def test_a_combiner_is_never_left_out(tmp_path: Path) -> None:
    once = [(number, 1) for number in range(limits.UNREPEATED_AMONG_PAIRS)]
    functions = UserFunctions(emit, mincemeat.reducers.sum)
    [(keys_there, _)] = pairs_in_blocks(functions, [*once, *once], tmp_path)
    assert keys_there == len(once)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [((1, 2, 3), r"it gave a tuple of 3 \(int, int, int\)"), (([], 1), r"hashable keys; .* it gave the key \[\]")],
    ids=["a triple", "an unhashable key"],
)
def test_what_is_no_pair_is_refused_as_in_a_dict(wrong: Any, said: str, tmp_path: Path) -> None:
    pairs = [*((number, 0) for number in range(2 * limits.UNREPEATED_AMONG_PAIRS)), wrong]
    with pytest.raises(UserCodeError) as caught:
        pairs_in_blocks(UserFunctions(emit), pairs, tmp_path)
    assert isinstance(caught.value.__cause__, InvalidEmission)
    assert caught.value.key == "0"
    with pytest.raises(InvalidEmission, match=said):
        raise caught.value.__cause__


def test_keys_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    pairs = [*((number, 0) for number in range(2 * limits.UNREPEATED_AMONG_PAIRS)), ("x", 0)]
    with pytest.raises(UserCodeError, match=r"sort=True needs keys that can be compared.*'x'"):
        pairs_in_blocks(UserFunctions(emit, sort=True), pairs, tmp_path)


def numbered(count: int) -> Iterator[tuple[int, int]]:
    return ((number, number) for number in range(count))


def test_what_was_taken_before_is_forgotten_by_clear() -> None:
    holding = Ungrouped([], [])
    holding.take(list(numbered(5)))
    holding.clear()
    holding.take(list(numbered(2)))
    assert (holding.keys, holding.values, len(holding)) == ([0, 1], [0, 1], 2)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers())))
def test_neighbours_that_are_equal_become_one_key(pairs: list[tuple[int, int]]) -> None:
    pairs.sort(key=lambda pair: pair[0])
    once, lists = grouped([key for key, _ in pairs], [value for _, value in pairs])
    assert dict(zip(once, lists, strict=True)) == plain([[(0, pairs)]])
    assert once == sorted(set(once))


class Urgency:
    """Ordered by its number alone, and equal by name, too: equal ones need not be neighbours when sorted."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Urgency) and (self.number, self.name) == (other.number, other.name)

    def __hash__(self) -> int:
        return hash((self.number, self.name))

    def __lt__(self, other: Urgency) -> bool:
        return self.number < other.number


def test_keys_that_order_less_than_they_tell_apart_are_grouped(tmp_path: Path) -> None:
    count = 2 * limits.UNREPEATED_AMONG_PAIRS
    pairs = [(Urgency(number % 5, str(number)), turn) for turn in range(2) for number in range(count)]
    functions = UserFunctions(emit, sort=True, stays_here=True)
    results = carried_out(functions, [[(0, pairs)]], tmp_path, map_bytes=2**27, reduce_bytes=2**27)
    assert len(results) == count
    assert set(map(tuple, results.values())) == {(0, 1)}
    assert [key.number for key in results] == sorted(key.number for key in results)
