"""Combining as pairs arrive gives what calling the plain functions over the lists gives, errors included."""

from __future__ import annotations

import functools
import io
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat import limits, reducers
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import Span, UserFunctions
from mincemeat.shuffle.batches import Pairs
from mincemeat.shuffle.block import BlockWriter, decode_columns, iter_blocks
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.recognise import reduce_side


def summed(key: Any, values: Any) -> Any:
    return sum(values)


def counted(key: Any, values: Any) -> Any:
    return len(values)


def least(key: Any, values: Any) -> Any:
    return min(values)


def largest(key: Any, values: Any) -> Any:
    return max(values)


VALUES = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from([1, 1, 1, 0.5, math.nan, math.inf, -0.0, 0.0, 1.0, 2**70, Fraction(1, 3)]),
    st.sampled_from(["a", "b", None, (1,), [2], frozenset({1}), frozenset({2})]),
)
NUMBERS = st.one_of(st.integers(-3, 3), st.booleans(), st.just(2**70), st.just(1))
EMITTED = st.lists(st.tuples(st.sampled_from("xyz"), VALUES), max_size=30)
NUMERIC = st.lists(st.tuples(st.sampled_from("xyz"), NUMBERS), max_size=30)
ORDERED = st.one_of(
    NUMERIC,
    st.lists(st.tuples(st.sampled_from("xyz"), st.one_of(st.floats(), st.integers(-3, 3))), max_size=30),
    st.lists(st.tuples(st.sampled_from("xyz"), st.text(max_size=2)), max_size=30),
    EMITTED,
)


def dealt(functions: UserFunctions, emissions: Iterable[Any], memory_bytes: int, path: Any) -> dict[Any, list[Any]]:
    """The values that the reduce side gets for each key."""
    file = io.BytesIO()
    writer = BlockWriter(file)
    buffer = GroupBuffer(functions._replace(mapfn=lambda _k, given: iter([given])), 1, memory_bytes, writer)
    buffer.drain(enumerate(emissions))
    buffer.finish()
    path.write_bytes(file.getvalue())
    groups: dict[Any, list[Any]] = {}
    for entry in writer.entries:
        for block in iter_blocks(Span(str(path), entry.offset, entry.length)):
            for key, value in zip(*decode_columns(block), strict=True):
                groups.setdefault(key, []).extend([value] if block.single else value)
    return groups


def outcome(functions: UserFunctions, emissions: Iterable[Any], memory_bytes: int, path: Any) -> Any:
    """Each key's result, or which exception was raised with what text."""
    try:
        groups = dealt(functions, emissions, memory_bytes, path)
        reducefn = reduce_side(functions) or (lambda _key, values: values)
        return {key: shown(reducefn(key, values)) for key, values in groups.items()}
    except UserCodeError as error:
        return type(error.__cause__), str(error.__cause__)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return type(error), str(error)


def shown(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def plainly(function: Callable[[Any], Any], pairs: Iterable[tuple[Any, Any]]) -> Any:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    try:
        return {key: shown(function(values)) for key, values in groups.items()}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return type(error), str(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("folds") / "f"


COMBINERS: list[tuple[Any, Callable[[Any], Any]]] = [
    (sum, sum),
    (summed, sum),
    (reducers.sum, sum),
    (min, min),
    (least, min),
    (reducers.min, min),
    (max, max),
    (largest, max),
    (reducers.max, max),
    (len, len),
    (counted, len),
    (reducers.count, len),
    (operator.add, functools.partial(functools.reduce, operator.add)),
    (reducers.first, operator.itemgetter(0)),
    (reducers.last, operator.itemgetter(-1)),
]


@pytest.mark.parametrize(("collectfn", "function"), COMBINERS)
@settings(max_examples=20)
@given(pairs=EMITTED)
def test_fold_as_collectfn_is_the_function_over_the_list(
    collectfn: Any, function: Callable[[Any], Any], pairs: list[Any], path: Any
) -> None:
    if function is sum and any(isinstance(value, float) for _, value in pairs):
        pairs = [pair for pair in pairs if not isinstance(pair[1], float)]  # sum() compensates since Python 3.12
    functions = UserFunctions(collectfn=collectfn, reducefn=lambda _key, values: values[0])
    expected = plainly(function, pairs)
    found = outcome(functions, pairs, 2**30, path)
    if isinstance(expected, tuple):  # which of several bad keys is met first may differ
        assert isinstance(found, tuple)
        assert found[0] is expected[0]
    else:
        assert found == expected


REDUCERS: list[tuple[Any, Callable[[Any], Any]]] = [
    *((function, plain) for function, plain in COMBINERS if function is not reducers.sum),
    (reducers.unique, lambda values: list(dict.fromkeys(values))),
    (reducers.collect, list),
    (reducers.top(2), lambda values: sorted(values, reverse=True)[:2]),
]


@pytest.mark.parametrize(("reducefn", "function"), REDUCERS)
@settings(max_examples=20)
@given(pairs=ORDERED, memory_bytes=st.sampled_from([1, 300, 2**30]))
def test_reducefn_alone_is_the_function_over_all_values_wherever_they_were_cut(
    reducefn: Any, function: Callable[[Any], Any], pairs: list[Any], memory_bytes: int, path: Any
) -> None:
    if isinstance(reducefn, reducers.Reducer) and any(value != value for _, value in pairs):
        return  # documented: give no NaN
    if reducefn in (reducers.min, reducers.max) and any(isinstance(value, frozenset) for _, value in pairs):
        return  # sets are ordered in part only
    expected = plainly(function, pairs)
    found = outcome(UserFunctions(reducefn=reducefn), pairs, memory_bytes, path)
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert found[0] is expected[0]
    else:
        assert found == expected


@pytest.mark.parametrize("collectfn", [sum, summed, reducers.sum])
@settings(max_examples=20)
@given(pairs=NUMERIC, memory_bytes=st.sampled_from([1, 300, 2**30]))
def test_sums_of_ints_are_exact_wherever_they_were_cut(
    collectfn: Any, pairs: list[Any], memory_bytes: int, path: Any
) -> None:
    functions = UserFunctions(collectfn=collectfn, reducefn=collectfn)
    assert outcome(functions, pairs, memory_bytes, path) == plainly(sum, pairs)


FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20)


@settings(max_examples=20)
@given(values=FLOATS, cuts=st.lists(st.integers(0, 20)))
def test_fsum_is_exact_in_any_order_and_grouping(values: list[float], cuts: list[int]) -> None:
    bounds = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    partials = [reducers.fsum.partial("k", values[a:b]) for a, b in pairwise(bounds)]
    exact = sum(map(Fraction, values))
    try:
        expected = float(exact)
    except OverflowError:
        with pytest.raises(OverflowError):
            reducers.fsum.result("k", partials)
        return
    assert reducers.fsum.result("k", partials) == expected
    assert reducers.fsum.result("k", partials[::-1]) == expected
    assert reducers.fsum("k", values) == expected


def test_fsum_of_what_is_not_finite_is_that_of_math() -> None:
    assert reducers.fsum("k", [1.0, math.inf]) == math.inf
    assert math.isnan(reducers.fsum("k", [1.0, math.nan]))
    with pytest.raises(ValueError, match=r"-inf \+ inf"):
        reducers.fsum.result("k", [reducers.fsum.partial("k", [value]) for value in (math.inf, -math.inf)])
    with pytest.raises(TypeError, match="must be real number, not str"):
        reducers.fsum("k", ["1"])


@settings(max_examples=20)
@given(
    pairs=st.lists(st.tuples(st.sampled_from("xy"), st.floats(-1e300, 1e300)), max_size=20), budget=st.integers(1, 3)
)
def test_mean_is_the_same_wherever_values_were_cut(pairs: list[Any], budget: int, path: Any) -> None:
    expected = plainly(lambda values: math.fsum(values) / len(values), pairs)
    assert outcome(UserFunctions(reducefn=reducers.mean), pairs, 100**budget, path) == expected
    both = UserFunctions(reducefn=reducers.mean, collectfn=reducers.mean)
    assert outcome(both, pairs, 100**budget, path) == expected


# -- batches ----------------------------------------------------------------------------------------------


class Arrow:
    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def to_pylist(self) -> list[Any]:
        return list(self._values)


BATCH: list[Callable[[list[Any]], Iterable[Any]]] = [
    lambda pairs: [Pairs([key for key, _ in pairs], [value for _, value in pairs])],
    lambda pairs: [Pairs(Arrow([key for key, _ in pairs]), tuple(value for _, value in pairs))],  # type: ignore[arg-type]
    lambda pairs: [{key: value} for key, value in pairs],
    lambda pairs: [part for pair in pairs for part in ({pair[0]: pair[1]}, pair)],
    lambda pairs: [*pairs, Pairs([], []), {}],
]


def flat(emissions: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for element in emissions:
        if isinstance(element, Pairs):
            yield from zip(element.keys, element.values, strict=True)
        elif isinstance(element, dict):
            yield from element.items()
        elif isinstance(element, tuple | list):
            yield element[0], element[1]


@pytest.mark.parametrize("batched", BATCH)
@pytest.mark.parametrize("collectfn", [None, sum, reducers.count, reducers.last, lambda _key, values: sum(values) + 0])
@settings(max_examples=20)
@given(pairs=NUMERIC, memory_bytes=st.sampled_from([1, 300, 2**30]))
def test_batches_are_their_pairs_one_after_the_other(
    batched: Callable[[list[Any]], Iterable[Any]], collectfn: Any, pairs: list[Any], memory_bytes: int, path: Any
) -> None:
    emissions = list(batched(pairs))
    functions = UserFunctions(collectfn=collectfn, reducefn=collectfn and (collectfn if collectfn is not len else sum))
    plain = outcome(functions, list(flat(emissions)), 2**30, path)
    assert outcome(functions, emissions, memory_bytes if collectfn is None else 2**30, path) == plain


def test_a_dict_of_two_is_a_batch_and_not_a_pair(path: Any) -> None:
    assert dealt(UserFunctions(), [("a", 1), {"b": 1, "c": 1}, ("a", 2)], 2**20, path) == {
        "a": [1, 2],
        "b": [1],
        "c": [1],
    }


@pytest.mark.parametrize(
    ("keys", "values", "sentence"),
    [
        ([1], [], "needs as many values as keys (got 1 keys and 0 values)"),
        ("ab", [1, 2], "needs a list or array of keys (got str)"),
        ([1], {1}, "needs a list or array of values (got set)"),
        ([1], 7, "needs a list or array of values (got int)"),
    ],
)
def test_columns_that_do_not_fit_are_told(keys: Any, values: Any, sentence: str) -> None:
    with pytest.raises(InvalidEmission) as caught:
        Pairs(keys, values)
    assert str(caught.value) == f"mincemeat.Pairs {sentence}"


@pytest.mark.parametrize("collectfn", [None, sum, len, min])
def test_unhashable_key_of_a_batch_is_told_with_its_record(collectfn: Any, path: Any) -> None:
    with pytest.raises(UserCodeError) as caught:
        dealt(UserFunctions(collectfn=collectfn), [("a", 1), Pairs(["b", [1]], [1, 1])], 2**20, path)
    assert str(caught.value.__cause__) == (
        "mapfn must give hashable keys; for the record with key 1 it gave the key [1] (list)"
    )


@pytest.mark.parametrize("collectfn", [None, sum, len, min, reducers.last])
@pytest.mark.parametrize("bad", [("a",), ("a", 1, 2), "ab", None, 5])
def test_what_is_no_pair_is_told_whatever_the_combiner(collectfn: Any, bad: Any, path: Any) -> None:
    with pytest.raises(UserCodeError) as caught:
        dealt(UserFunctions(collectfn=collectfn), [("a", 1)] * 9 + [bad], 2**20, path)
    assert isinstance(caught.value.__cause__, InvalidEmission)
    assert "for the record with key 9 it gave" in str(caught.value.__cause__)


# -- the error of a combiner ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("functions", "function"),
    [
        (UserFunctions(collectfn=summed), "collectfn"),
        (UserFunctions(collectfn=sum), "collectfn"),
        (UserFunctions(reducefn=reducers.sum), "reducefn"),
        (UserFunctions(reducefn=reducers.mean), "reducefn"),
    ],
)
def test_value_that_cannot_be_combined_names_function_and_key(
    functions: UserFunctions, function: str, path: Any
) -> None:
    with pytest.raises(UserCodeError) as caught:
        dealt(functions, [("k", 1), ("k", 2), ("l", 3), ("k", "x"), ("k", 4)], 2**20, path)
    assert (caught.value.function, caught.value.key) == (function, "'k'")
    assert isinstance(caught.value.__cause__, TypeError)


def test_values_of_numbers_folded_do_not_fill_the_buffer() -> None:
    buffer = GroupBuffer(
        UserFunctions(mapfn=lambda _k, _v: (("k", n) for n in range(10_000)), collectfn=sum),
        1,
        10_000,
        BlockWriter(io.BytesIO()),
    )
    buffer.drain([(1, None)])
    buffer.finish()
    assert (buffer.pairs, buffer.spills) == (10_000, 0)


# -- large batches: several portions, taken without making pairs of them -----------------------------------


MANY = 2 * limits.BATCH_COLUMNS_MAX + 100


@pytest.mark.parametrize("reducer", [sum, min, reducers.count, reducers.first, operator.add, None])
def test_a_large_batch_is_its_pairs_one_after_the_other(reducer: Any, path: Any) -> None:
    keys = [n * 7919 % 5000 for n in range(MANY)]
    values: list[Any] = [n % 11 for n in range(MANY)]
    values[MANY // 2] = 0.5  # which ends folding for min alone
    functions = UserFunctions(reducefn=reducer, collectfn=None if reducer in (min, reducers.count) else reducer)
    plain = outcome(functions, zip(keys, values, strict=True), 2**40, path)
    assert outcome(functions, [Pairs(keys, values)], 2**40, path) == plain


@pytest.mark.parametrize("place", [0, 1, limits.BATCH_COLUMNS_MAX - 1, limits.BATCH_COLUMNS_MAX, MANY - 1])
@pytest.mark.parametrize("collectfn", [None, sum, len, min, reducers.last])
def test_unhashable_key_is_found_wherever_in_a_large_batch_it_stands(collectfn: Any, place: int, path: Any) -> None:
    keys: list[Any] = list(range(MANY))
    keys[place] = ["unhashable", place]
    with pytest.raises(UserCodeError) as caught:
        dealt(UserFunctions(collectfn=collectfn), [("a", 1), Pairs(keys, [1] * MANY)], 2**40, path)
    assert str(caught.value.__cause__) == (
        f"mapfn must give hashable keys; for the record with key 1 it gave the key ['unhashable', {place}] (list)"
    )


@pytest.mark.parametrize("place", [1, limits.BATCH_COLUMNS_MAX - 1, limits.BATCH_COLUMNS_MAX, MANY - 1])
def test_value_of_a_large_batch_that_cannot_be_added_names_its_key_and_is_counted_once(place: int, path: Any) -> None:
    keys = [f"k{n % 5000}" for n in range(MANY)]
    values: list[Any] = [1] * MANY
    values[place] = Fraction(1, 2)  # can be added
    assert outcome(UserFunctions(collectfn=sum, reducefn=sum), [Pairs(keys, values)], 2**40, path) == plainly(
        sum, zip(keys, values, strict=True)
    )
    values[place] = "x"
    with pytest.raises(UserCodeError) as caught:
        dealt(UserFunctions(collectfn=sum), [Pairs(keys, values)], 2**40, path)
    assert (caught.value.function, caught.value.key) == ("collectfn", repr(keys[place]))


def test_budget_is_checked_within_a_large_batch() -> None:
    file = io.BytesIO()
    budget = 2**20
    batch: Any = {n: f"{n:0500}" for n in range(MANY)}
    functions = UserFunctions(mapfn=lambda _k, _v: [batch])
    buffer = GroupBuffer(functions, 1, budget, writer := BlockWriter(file))
    buffer.drain([(1, None)])
    buffer.finish()
    assert buffer.pairs == MANY
    assert buffer.spills >= MANY * 500 // budget
    assert sum(entry.pairs for entry in writer.entries) == MANY
    assert max(entry.pairs for entry in writer.entries) * 500 < budget * 1.125
