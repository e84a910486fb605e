"""The ready-made reducers, each by itself."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from mincemeat import reducers

ALL = [getattr(reducers, name) for name in reducers.__all__ if name not in ("Reducer", "top")]


@pytest.mark.parametrize("reducer", [*ALL, reducers.top(3)], ids=repr)
def test_travels_by_name(reducer: reducers.Reducer) -> None:
    back = pickle.loads(pickle.dumps(reducer))
    assert back == reducer
    assert hash(back) == hash(reducer)
    assert copy.deepcopy(reducer)("k", [1, 2]) == reducer("k", [1, 2])


@pytest.mark.parametrize("reducer", [*ALL, reducers.top(3)], ids=repr)
def test_whole_or_in_parts_is_the_same(reducer: reducers.Reducer) -> None:
    values = [3, 1, 2, 3, 5, 1]
    whole = reducer("k", values)
    assert reducer.result("k", [reducer.partial("k", values)] if reducer.combines else values) == whole
    if reducer.combines:
        assert reducer.result("k", [reducer.partial("k", values[:2]), reducer.partial("k", values[2:])]) == whole


@pytest.mark.parametrize(
    ("reducer", "result"),
    [
        (reducers.sum, 9),
        (reducers.count, 4),
        (reducers.min, 1),
        (reducers.max, 4),
        (reducers.first, 3),
        (reducers.last, 1),
        (reducers.mean, 2.25),
        (reducers.fsum, 9.0),
        (reducers.unique, [3, 1, 4]),
        (reducers.collect, [3, 1, 4, 1]),
        (reducers.top(2), [4, 3]),
    ],
)
def test_result(reducer: Any, result: Any) -> None:
    assert reducer("k", [3, 1, 4, 1]) == result


def test_top_keeps_the_first_of_equals() -> None:
    assert [type(value) for value in reducers.top(2)("k", [1, 1.0, True])] == [int, float]


def test_top_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an int of at least 1"):
        reducers.top(0)


def test_repr_is_what_the_user_wrote() -> None:
    assert repr(reducers.top(3)) == "mincemeat.reducers.top(3)"
    assert repr(reducers.sum) == "mincemeat.reducers.sum"


def test_top_of_what_has_no_order_is_refused_however_it_was_cut() -> None:
    """Two Nones from two spills were given as the two largest; from one they raise."""
    top = reducers.top(2)
    for partials in ([[None, None]], [[None], [None]], [[None], [None], [None]]):
        with pytest.raises(TypeError):
            top.result("k", [top.partial("k", values) for values in partials])
