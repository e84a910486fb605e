"""Folding on the reduce side gives what the user's function gives for the list of all values, its type included."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat import reducers
from mincemeat.model import AttemptId, Phase, Span, TaskId, UserFunctions
from mincemeat.reducers import Fold
from mincemeat.shuffle.folded import FoldedGroups
from mincemeat.shuffle.grouping import read_groups
from mincemeat.shuffle.recognise import reduce_fold, reduce_side
from mincemeat.shuffle.store import JobStore
from mincemeat.shuffle.texttable import TextTable
from tests.kit.ways import encoded, in_a_dict

MAP = AttemptId(TaskId(Phase.MAP, 0), 0)
REDUCE = AttemptId(TaskId(Phase.REDUCE, 0), 0)
Blocks = list[list[tuple[str, list[Any]]]]


def summed(key: Any, values: Any) -> Any:
    return sum(values)


REDUCERS: list[tuple[Any, Callable[[Any], Any]]] = [
    (sum, sum),
    (summed, sum),
    (reducers.sum, sum),
    (reducers.count, sum),  # of counts
    (len, sum),
    (min, min),
    (reducers.min, min),
    (max, max),
    (reducers.max, max),
    (operator.add, functools.partial(functools.reduce, operator.add)),
    (reducers.first, operator.itemgetter(0)),
    (reducers.last, operator.itemgetter(-1)),
]


WHOLE = st.one_of(st.integers(-3, 3), st.booleans(), st.just(2**70))
ANY = st.one_of(
    WHOLE,
    st.floats(),
    st.sampled_from([0.1, 0.2, 0.3, 1e100, -1e100, -0.0, 0.0, math.nan, "a", "b", b"c", None, (1,)]),
)


def blocks_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Blocks]:
    group = st.tuples(st.sampled_from("vwxyz"), st.lists(values, min_size=1, max_size=3))
    return st.lists(st.lists(group, min_size=1, max_size=5), max_size=6)


def write(store: JobStore, blocks: Blocks) -> list[Span]:
    """A key may stand several times in a block, as in one whose keys were never grouped."""
    with store.writing(MAP) as writer:
        for groups in blocks:
            keys, lists = [key for key, _ in groups], [values for _, values in groups]
            pairs = sum(map(len, lists))
            single = pairs == len(keys)
            columns: list[Any] = [value for (value,) in lists] if single else lists
            writer.append(0, encoded(keys, columns, single=single), keys=len(keys), pairs=pairs, single=single)
        entries = writer.entries
    store.commit(MAP)
    return [Span(store.path(MAP), entry.offset, entry.length) for entry in entries]


def is_folded(groups: Any) -> bool:
    return groups.folds if isinstance(groups, TextTable) else isinstance(groups, FoldedGroups) and groups.is_folded


def shown(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def reduced(functions: UserFunctions, spans: list[Span], store: JobStore, memory_bytes: int) -> Any:
    """Each key's result as type and repr, or what was raised."""
    reducefn = reduce_side(functions)
    assert reducefn is not None
    fold = reduce_fold(functions)
    found: dict[str, Any] = {}
    try:
        with store.regrouping(REDUCE) as files:
            for _, groups in read_groups(
                spans, range(1), files, memory_bytes=memory_bytes, fold=fold, sort=functions.sort
            ):
                is_done = is_folded(groups)
                for key, values in in_a_dict(groups).items():
                    assert key not in found
                    found[key] = shown(values if is_done else reducefn(key, values))
    except TypeError as error:
        return type(error)
    return found


def plainly(function: Callable[[Any], Any], blocks: Blocks) -> Any:
    groups: dict[str, list[Any]] = {}
    for block in blocks:
        for key, values in block:
            groups.setdefault(key, []).extend(values)
    try:
        return {key: shown(function(values)) for key, values in groups.items()}
    except TypeError as error:
        return type(error)


@pytest.mark.parametrize(("reducefn", "function"), REDUCERS)
@pytest.mark.parametrize("sort", [False, True])
@settings(max_examples=20)
@given(blocks=st.one_of(blocks_of(WHOLE), blocks_of(ANY)), memory_bytes=st.sampled_from([200, 2000, 2**30]))
def test_what_is_folded_is_what_the_function_gives(
    reducefn: Any,
    function: Callable[[Any], Any],
    sort: bool,
    blocks: Blocks,
    memory_bytes: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = JobStore(str(tmp_path_factory.mktemp("folded") / "blocks"))
    found = reduced(UserFunctions(reducefn=reducefn, sort=sort), write(store, blocks), store, memory_bytes)
    assert found == plainly(function, blocks)
    if sort and isinstance(found, dict):
        assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("reducefn", "values", "folds"),
    [
        (sum, [1, True, 2**70], True),
        (sum, [1, 0.5], False),
        (sum, ["a"], False),
        (min, [1, 0.5, True], True),
        (min, [1, math.nan], False),
        (max, ["a", "b"], True),
        (max, ["a", b"b"], False),
        (reducers.first, [None, "a"], True),
        (reducers.unique, [1, 2], False),
        (lambda _key, values: sum(values), [1, 2], True),
        (lambda _key, values: sum(values) + 0, [1, 2], False),
    ],
)
def test_only_what_certainly_suits_is_folded(reducefn: Any, values: list[Any], folds: bool, tmp_path: Path) -> None:
    store = JobStore(str(tmp_path / "blocks"))
    spans = write(store, [[("k", [value])] for value in values])
    with store.regrouping(REDUCE) as files:
        fold = reduce_fold(UserFunctions(reducefn=reducefn))
        ((_, groups),) = read_groups(spans, range(1), files, memory_bytes=2**20, fold=fold)
    assert is_folded(groups) is folds


def test_values_that_are_folded_do_not_fill_memory(tmp_path: Path) -> None:
    store = JobStore(str(tmp_path / "blocks"))
    spans = write(store, [[(key, [1]) for key in "abc"] for _ in range(1000)])
    with store.regrouping(REDUCE) as files:
        fold = reduce_fold(UserFunctions(reducefn=sum))
        ((_, groups),) = read_groups(spans, range(1), files, memory_bytes=2000, fold=fold)
    assert isinstance(groups, FoldedGroups | TextTable)
    assert (in_a_dict(groups), groups.taken) == ({"a": 1000, "b": 1000, "c": 1000}, 3000)


@pytest.mark.parametrize("fold", [Fold.SUM, Fold.ADD, Fold.MIN, Fold.MAX, Fold.FIRST, Fold.LAST])
def test_a_first_block_is_folded_like_any_other(fold: Fold) -> None:
    """It is taken as a whole if it can be: not with a key twice (pairs that were not grouped), nor to sum up bools."""
    for keys, values in (([1, 2], [True, False]), ([1, 1, 2], [5, 6, 7]), ([3, 4], [8, 9])):
        whole, apart = FoldedGroups(fold), FoldedGroups(fold)
        apart.take([0], [0], single=True)
        for groups in (whole, apart):
            if not groups.take(keys, values, single=True):
                groups.unfold()
        del apart[0]
        assert list(map(repr, whole.items())) == list(map(repr, apart.items()))


@pytest.mark.parametrize("function", [sum, operator.add])
def test_ints_behind_a_float_that_is_on_disk_are_added_one_by_one(function: Any, tmp_path: Path) -> None:
    """Ints of a later bufferful were summed among themselves, although the key's first values were floats: the last
    digits were others with another budget."""
    store = JobStore(str(tmp_path / "blocks"))
    later = [2**53 + 1] * 40
    values: list[Any] = [0.5, *later]
    spans = write(store, [[("k", [value]), *((f"filler {n}", [1]) for n in range(20))] for value in values])
    functions = UserFunctions(reducefn=function)
    expected = functools.reduce(operator.add, values) if function is operator.add else sum(values)
    for budget in (600, 3000, 2**20):
        assert reduced(functions, spans, store, budget)["k"] == shown(expected)
