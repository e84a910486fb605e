"""Only what is certainly understood is recognised."""

from __future__ import annotations

import operator
from typing import Any

import pytest

from mincemeat import reducers
from mincemeat.errors import InvalidJob
from mincemeat.model import UserFunctions
from mincemeat.reducers import Fold
from mincemeat.shuffle.recognise import map_side, reduce_fold, reduce_side


def written(source: str, **surroundings: Any) -> Any:
    """The function ``f`` of ``source``, in a namespace of its own."""
    namespace: dict[str, Any] = {"__name__": "somebody", **surroundings}
    exec(source, namespace)  # noqa: S102 - our own text
    return namespace["f"]


@pytest.mark.parametrize(
    ("source", "fold"),
    [
        ("def f(k, vs): return sum(vs)", Fold.SUM),
        ("def f(word, counts):\n    'Add them up.'\n    return sum(counts)", Fold.SUM),
        ("def f(word: str, counts: list) -> int: return len(counts)", Fold.COUNT),
        ("from __future__ import annotations\ndef f(a, b): return min(b)", Fold.MIN),
        ("f = lambda key, values: max(values)", Fold.MAX),
    ],
)
def test_function_that_says_nothing_else_is_recognised(source: str, fold: Fold) -> None:
    assert map_side(UserFunctions(collectfn=written(source))).fold is fold


@pytest.mark.parametrize(
    "source",
    [
        "def f(k, vs): return sum(k)",
        "def f(k, vs): return sum(vs, 0)",
        "def f(k, vs): return sum(vs) + 1",
        "def f(k, vs, n=1): return sum(vs)",
        "def f(k, vs=()): return sum(vs)",
        "def f(k, *vs): return sum(vs)",
        "def f(k, *, vs): return sum(vs)",
        "def f(k, vs):\n    yield sum(vs)",
        "async def f(k, vs): return sum(vs)",
        "def f(k, vs):\n    x = 1\n    return sum(vs)",
        "def f(k, vs): return sorted(vs)",
        "def sum(vs): return 7\ndef f(k, vs): return sum(vs)",
        "def g(sum):\n    def f(k, vs): return sum(vs)\n    return f\nf = g(len)",
        "class C:\n    def f(self, vs): return sum(vs)\nf = C().f",
        "import functools\nf = functools.partial(lambda a, k, vs: sum(vs), 1)",
    ],
)
def test_anything_more_is_not(source: str) -> None:
    function = written(source)
    side = map_side(UserFunctions(collectfn=function))
    assert side.fold is None
    assert side.collectfn is function
    assert reduce_side(UserFunctions(reducefn=function)) is function


def test_builtins_of_its_own_are_not_the_built_in_functions() -> None:
    replaced = written("def f(k, vs): return sum(vs)", __builtins__={"sum": max})
    assert map_side(UserFunctions(collectfn=replaced)).fold is None


def test_sum_alone_is_not_combined_early_as_floats_would_show_it() -> None:
    assert map_side(UserFunctions(reducefn=sum)) == map_side(UserFunctions())
    assert map_side(UserFunctions(reducefn=operator.add)) == map_side(UserFunctions())


def test_min_alone_is_combined_early_with_caution() -> None:
    side = map_side(UserFunctions(reducefn=min))
    assert (side.collectfn, side.fold, side.cautious) == (None, Fold.MIN, True)


def test_what_a_combiner_leaves_is_what_reducefn_sees() -> None:
    """len as a reducefn counts what collectfn gave, not what mapfn did."""
    length: Any = len
    functions = UserFunctions(reducefn=length, collectfn=lambda _key, values: values)
    reducefn = reduce_side(functions)
    assert reducefn is not None
    assert reducefn("k", [[1, 2], [3]]) == 2


@pytest.mark.parametrize("reducer", [reducers.mean, reducers.fsum, reducers.unique, reducers.top(3)])
def test_partial_that_is_no_result_needs_its_own_reducefn(reducer: Any) -> None:
    with pytest.raises(InvalidJob, match=r"collectfn=mincemeat\.reducers\.\w+.* needs the same as reducefn"):
        map_side(UserFunctions(collectfn=reducer, reducefn=sum))
    assert map_side(UserFunctions(collectfn=reducer, reducefn=reducer)).collectfn is not None


@pytest.mark.parametrize("reducer", [reducers.first, reducers.unique, reducers.mean, len, min, sum])
def test_values_that_are_to_be_sorted_are_not_combined_before(reducer: Any) -> None:
    """The first of the sorted values is not the first of those that came first."""
    functions = UserFunctions(reducefn=reducer, sort_values=True)
    assert (map_side(functions).collectfn, map_side(functions).fold) == (None, None)
    reducefn = reduce_side(functions)
    assert reducefn is not None
    expected: Any = {"first": 1, "unique": [1, 2], "mean": 1.5, "len": 4, "min": 1, "sum": 6}
    name = reducer.name if isinstance(reducer, reducers.Reducer) else reducer.__name__
    assert reducefn("k", [1, 1, 2, 2]) == expected[name]


def test_collectfn_of_the_users_own_combines_values_that_are_to_be_sorted() -> None:
    functions = UserFunctions(reducefn=reducers.first, collectfn=max, sort_values=True)
    assert map_side(functions).fold is Fold.MAX


OF_VALUES: Any = len  # no function of a key and values to mypy


@pytest.mark.parametrize(
    ("functions", "fold"),
    [
        (UserFunctions(), None),
        (UserFunctions(reducefn=sum), Fold.SUM),
        (UserFunctions(reducefn=written("def f(k, vs): return max(vs)")), Fold.MAX),
        (UserFunctions(reducefn=written("def f(k, vs): return max(vs) + 1")), None),
        (UserFunctions(reducefn=min, collectfn=lambda _key, values: values[0]), Fold.MIN),
        (UserFunctions(reducefn=operator.add), Fold.ADD),
        (UserFunctions(reducefn=OF_VALUES), Fold.SUM),  # of the counts that the map side made
        (UserFunctions(reducefn=OF_VALUES, collectfn=sum), None),
        (UserFunctions(reducefn=reducers.count), Fold.SUM),
        (UserFunctions(reducefn=reducers.count, collectfn=reducers.count), Fold.SUM),
        (UserFunctions(reducefn=reducers.count, collectfn=reducers.sum), None),
        (UserFunctions(reducefn=reducers.sum, collectfn=reducers.count), Fold.SUM),
        (UserFunctions(reducefn=reducers.last), Fold.LAST),
        (UserFunctions(reducefn=reducers.mean), None),
        (UserFunctions(reducefn=reducers.Reducer("own", sum, max, fold=Fold.SUM)), None),
        (UserFunctions(reducefn=reducers.first, sort_values=True), None),
        (UserFunctions(reducefn=sum, sort_values=abs), None),
    ],
)
def test_what_the_reduce_side_folds(functions: Any, fold: Fold | None) -> None:
    assert reduce_fold(functions) is fold
