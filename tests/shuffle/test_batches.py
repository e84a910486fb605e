"""Columns of NumPy, pandas and Arrow are the lists they stand for, and float sums do not depend on who brought them."""

from __future__ import annotations

import array
import datetime
import functools
import math
import operator
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mincemeat
from mincemeat import reducers
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import UserFunctions
from mincemeat.shuffle.batches import Pairs
from tests.shuffle.test_folds import dealt, outcome, shown

MUCH = 2**30

Column = Callable[[list[Any]], Any]


def by_numpy(values: list[Any]) -> Any:
    return pytest.importorskip("numpy").array(values)


def by_pandas(values: list[Any]) -> Any:
    return pytest.importorskip("pandas").Series(values)


def by_pandas_index(values: list[Any]) -> Any:
    return pytest.importorskip("pandas").Index(values)


def by_arrow(values: list[Any]) -> Any:
    return pytest.importorskip("pyarrow").array(values)


def by_arrow_chunks(values: list[Any]) -> Any:
    half = len(values) // 2
    return pytest.importorskip("pyarrow").chunked_array([values[:half], values[half:]])


def by_polars(values: list[Any]) -> Any:
    return pytest.importorskip("polars").Series(values)


COLUMNS: list[Column] = [by_numpy, by_pandas, by_pandas_index, by_arrow, by_arrow_chunks, by_polars]
ALIKE = [
    ["a", "b", "a", "ü", ""],
    [1, 2, 1, -(2**63), 2**63 - 1],
    [0.5, -0.0, 1e300, math.inf, 0.1],
    [True, False, True, True, False],
]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("values", ALIKE, ids=["str", "int", "float", "bool"])
def test_a_column_is_the_list_of_pythons_own_objects(column: Column, values: list[Any]) -> None:
    pairs = Pairs(column(values), column(values))
    assert [shown(key) for key in pairs.keys] == [shown(value) for value in values]
    assert [shown(value) for value in pairs.values] == [shown(value) for value in values]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("collectfn", [None, sum, len, min, reducers.mean])
def test_a_job_over_columns_is_the_job_over_their_pairs(column: Column, collectfn: Any, tmp_path: Path) -> None:
    keys, values = ["a", "b", "a", "c", "b"] * 40, list(range(200))
    functions = UserFunctions(collectfn=collectfn, reducefn=collectfn)
    expected = outcome(functions, list(zip(keys, values, strict=True)), MUCH, tmp_path / "pairs")
    assert outcome(functions, [Pairs(column(keys), column(values))], MUCH, tmp_path / "columns") == expected
    assert isinstance(expected, dict)


@pytest.mark.parametrize("column", [by_numpy, by_pandas, by_arrow])
@pytest.mark.slow
def test_columns_are_emitted_in_slots(column: Column) -> None:
    column([1])  # or skip

    def mapfn(key: int, size: int) -> Any:
        yield Pairs(column([number % 7 for number in range(size)]), column([float(key)] * size))

    results = mincemeat.run({1: 70, 2: 700}, mapfn, sum, collectfn=sum, workers=2, progress=False)
    assert results == dict.fromkeys(range(7), 10 * 1.0 + 100 * 2.0)
    assert {type(key) for key in results} == {int}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("float32", [0.5]), ("int8", [-1]), ("uint64", [2**64 - 1]), ("U3", ["abc"]), ("S3", [b"abc"]), ("?", [True])],
)
def test_every_width_of_numpy_becomes_pythons_own(dtype: str, values: list[Any]) -> None:
    numpy = pytest.importorskip("numpy")
    [element] = Pairs(numpy.array(values, dtype=dtype), [0]).keys
    assert shown(element) == shown(values[0])


def test_rows_of_a_table_of_numbers_are_lists_and_so_no_keys(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    table = numpy.arange(6).reshape(3, 2)
    groups = dealt(UserFunctions(), [Pairs(["a", "b", "c"], table)], MUCH, tmp_path / "f")
    assert groups == {"a": [[0, 1]], "b": [[2, 3]], "c": [[4, 5]]}
    with pytest.raises(UserCodeError, match=r"hashable keys; .* it gave the key \[0, 1\] \(list\)"):
        dealt(UserFunctions(), [Pairs(table, [1, 2, 3])], MUCH, tmp_path / "f")


def test_what_is_missing_in_arrow_is_none_and_in_numpy_nan(tmp_path: Path) -> None:
    assert Pairs(by_arrow([1, None]), by_arrow([None, "x"])).keys == [1, None]
    assert dealt(UserFunctions(), [Pairs(by_arrow([None, "x"]), [1, 2])], MUCH, tmp_path / "f") == {None: [1], "x": [2]}
    assert math.isnan(Pairs([1], by_numpy([math.nan])).values[0])


def test_dates_and_decimals_of_arrow_are_pythons_own() -> None:
    day, price = datetime.date(2024, 2, 29), Decimal("1.10")
    pairs = Pairs(by_arrow([day]), by_arrow([price]))
    assert (pairs.keys, pairs.values) == ([day], [price])


def test_an_array_of_the_standard_library_is_a_column() -> None:
    assert Pairs(array.array("d", [0.5]), array.array("q", [7])).keys == [0.5]


@pytest.mark.parametrize("column", [by_numpy, by_pandas, by_arrow])
def test_columns_of_different_lengths_are_refused(column: Column) -> None:
    with pytest.raises(InvalidEmission, match="got 2 keys and 3 values"):
        Pairs(column([1, 2]), column([1, 2, 3]))


def test_a_number_of_numpys_is_no_column() -> None:
    numpy = pytest.importorskip("numpy")
    for number in (numpy.array(7), numpy.float64(7)):
        with pytest.raises(InvalidEmission, match="needs a list or array of keys"):
            Pairs(number, [1])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_is_no_column(library: str) -> None:
    """It would be taken for the list of its columns' names."""
    table = pytest.importorskip(library).DataFrame({"a": [1, 2], "b": [3, 4]})
    with pytest.raises(InvalidEmission, match="needs a list or array of values .got DataFrame"):
        Pairs([1, 2], table)


# -- sums of floats --------------------------------------------------------------------------------------------

FLOATS = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=40)


@pytest.mark.parametrize("collectfn", [sum, reducers.sum])
@settings(max_examples=20)
@given(values=FLOATS)
def test_a_sum_of_floats_adds_them_in_the_order_in_which_they_were_emitted(
    collectfn: Any, values: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "f"
    functions = UserFunctions(collectfn=collectfn, reducefn=lambda _key, partials: partials)
    expected = {"x": [functools.reduce(operator.add, values, 0)]}
    assert repr(dealt(functions, [("x", value) for value in values], MUCH, path)) == repr(expected)
    assert repr(dealt(functions, [Pairs(["x"] * len(values), values)], MUCH, path)) == repr(expected)


@pytest.mark.parametrize("column", [by_numpy, by_pandas, by_arrow])
@settings(max_examples=20)
@given(values=FLOATS)
def test_sums_of_columns_have_every_bit_of_the_sums_of_lists(
    column: Column, values: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "f"
    keys = [number % 3 for number in range(len(values))]
    functions = UserFunctions(collectfn=sum, reducefn=sum)
    of_lists = outcome(functions, [Pairs(keys, values)], MUCH, path)
    assert outcome(functions, [Pairs(column(keys), column(values))], MUCH, path) == of_lists


@settings(max_examples=20)
@given(values=FLOATS, memory_bytes=st.sampled_from([1, 300, MUCH]))
def test_exact_sums_and_means_of_columns_do_not_depend_on_where_they_were_cut(
    values: list[float], memory_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "f"
    emissions = [Pairs(["x"] * len(values[start : start + 7]), by_numpy(values[start : start + 7]))
                 for start in range(0, len(values), 7)]  # fmt: skip
    try:
        exact = shown(math.fsum(values))
    except OverflowError:
        return
    assert outcome(UserFunctions(reducefn=reducers.fsum), emissions, memory_bytes, path) == {"x": exact}


def test_infinities_and_signs_of_zero_are_those_of_the_built_in_sum(tmp_path: Path) -> None:
    functions = UserFunctions(collectfn=sum, reducefn=sum)
    for values in ([-0.0], [-0.0, -0.0], [math.inf, 1.0], [math.inf, -math.inf], [True, 0.5], [2**60, 0.5]):
        found = outcome(functions, [Pairs(["x"] * len(values), values)], MUCH, tmp_path / "f")
        assert found == {"x": shown(sum(values))}
