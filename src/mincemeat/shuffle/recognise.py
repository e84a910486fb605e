"""Decides what of a job's functions is understood, and so what each side of the shuffle does in their place.

It knows nothing of buffers. Understood are ``mincemeat.reducers``, the built-in ``sum``, ``len``, ``min``, ``max`` and
``operator.add`` (which as functions of a job mean "of the values"), and functions that say nothing but
``return sum(values)``, or the same with ``len``, ``min`` or ``max``. Anything else is called as it is.

    collectfn understood                      pairs are combined as they arrive
    no collectfn, reducefn of mincemeat's     so too, by the combiner that it brings
    no collectfn, reducefn counts             counted early, the counts are added up
    no collectfn, reducefn is min or max      early while all values are of one total order, which changes nothing
    no collectfn, reducefn is sum             not early: a sum of floats depends on where it is cut
    sort_values                               nothing early but by a collectfn of the user's own: what is combined in
                                              input order can no longer be sorted

Both sides decide by the same functions, so nothing about it has to be sent.
"""

from __future__ import annotations

import builtins
import functools
import operator
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple

from mincemeat import reducers
from mincemeat.errors import InvalidJob
from mincemeat.model import Key, ReduceFunction, UserFunctions
from mincemeat.reducers import Fold, Reducer


class MapSide(NamedTuple):
    """What a group buffer does: ``fold`` pairs as they arrive if it can, and call ``collectfn`` on lists otherwise.

    ``cautious`` allows the fold only while it provably changes nothing, there being no combiner. ``function`` is what
    the user calls the function that stands behind ``collectfn``.
    """

    collectfn: ReduceFunction | None
    fold: Fold | None = None
    cautious: bool = False
    function: str = "collectfn"


class _OfValues:
    """A function of values alone, as a function of a job."""

    def __init__(self, function: Callable[[Sequence[Any]], Any]) -> None:
        self._function = function

    def __call__(self, key: Key, values: Sequence[Any]) -> Any:
        return self._function(values)


_BUILTIN: Final[list[tuple[Any, Fold, ReduceFunction]]] = [
    (builtins.sum, Fold.SUM, _OfValues(builtins.sum)),
    (builtins.len, Fold.COUNT, _OfValues(builtins.len)),
    (builtins.min, Fold.MIN, _OfValues(builtins.min)),
    (builtins.max, Fold.MAX, _OfValues(builtins.max)),
    (operator.add, Fold.ADD, _OfValues(functools.partial(functools.reduce, operator.add))),
]


def _template_sum(key: Any, values: Any) -> Any:
    return sum(values)


def _template_len(key: Any, values: Any) -> Any:
    return len(values)


def _template_min(key: Any, values: Any) -> Any:
    return min(values)


def _template_max(key: Any, values: Any) -> Any:
    return max(values)


_TEMPLATES: Final = [
    (_template_sum, Fold.SUM),
    (_template_len, Fold.COUNT),
    (_template_min, Fold.MIN),
    (_template_max, Fold.MAX),
]
_SHAPE_FLAGS: Final = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200  # *args, **kwargs, generators and coroutines


def map_side(functions: UserFunctions) -> MapSide:
    """What stands in for the combiner of ``functions``. Raises: InvalidJob for a collectfn that cannot be one."""
    collectfn, reducefn = functions.collectfn, functions.reducefn
    if _sees_every_value(functions):
        return MapSide(None)
    if isinstance(reducefn, Reducer) and (collectfn is None or collectfn == reducefn):
        return MapSide(reducefn.partial, reducefn.fold, function="reducefn") if reducefn.combines else MapSide(None)
    if isinstance(collectfn, Reducer):
        if not collectfn.partial_is_result:
            raise InvalidJob(
                f"collectfn={collectfn!r} needs the same as reducefn: its results cannot be combined further by "
                f"another function; give reducefn={collectfn!r}, which combines by itself"
            )
        return MapSide(collectfn, collectfn.fold)
    if collectfn is not None:
        return MapSide(_callable(collectfn), _meaning(collectfn))
    meaning = None if reducefn is None else _meaning(reducefn)
    if meaning is Fold.COUNT:
        return MapSide(_OfValues(builtins.len), meaning, function="reducefn")
    if meaning in (Fold.MIN, Fold.MAX):
        return MapSide(None, meaning, cautious=True)
    return MapSide(None)


def reduce_side(functions: UserFunctions) -> ReduceFunction | None:
    """What reduces the values that ``map_side`` of the same functions leaves."""
    collectfn, reducefn = functions.collectfn, functions.reducefn
    if reducefn is None:
        return None
    if _sees_every_value(functions):
        return _callable(reducefn)
    if isinstance(reducefn, Reducer):
        return reducefn.result if collectfn is None or collectfn == reducefn else reducefn
    if collectfn is None and _meaning(reducefn) is Fold.COUNT:
        return _OfValues(builtins.sum)
    return _callable(reducefn)


# Of these one partial of many is found by the function that makes partials, counts apart, which are added up.
_MERGED: Final = [
    (reducers.sum, Fold.SUM),
    (reducers.count, Fold.SUM),
    (reducers.min, Fold.MIN),
    (reducers.max, Fold.MAX),
    (reducers.first, Fold.FIRST),
    (reducers.last, Fold.LAST),
]


def reduce_fold(functions: UserFunctions) -> Fold | None:
    """How the values that ``map_side`` leaves may be folded into what ``reduce_side`` gives for the list of them."""
    collectfn, reducefn = functions.collectfn, functions.reducefn
    if reducefn is None or functions.sort_values is not False:
        return None
    if isinstance(reducefn, Reducer):
        fold = next((fold for reducer, fold in _MERGED if reducefn is reducer), None)
        counts_anew = reducefn is reducers.count and collectfn is not None and collectfn != reducefn
    else:
        fold = _meaning(reducefn)
        counts_anew = fold is Fold.COUNT and collectfn is not None
        fold = Fold.SUM if fold is Fold.COUNT else fold
    return None if counts_anew else fold


def _sees_every_value(functions: UserFunctions) -> bool:
    """Whether values are to be sorted that no combiner of the user's own has combined before."""
    collectfn, reducefn = functions.collectfn, functions.reducefn
    is_none = collectfn is None or (isinstance(reducefn, Reducer) and collectfn == reducefn)
    return functions.sort_values is not False and is_none


def _callable(function: ReduceFunction) -> ReduceFunction:
    return next((of_values for builtin, _, of_values in _BUILTIN if function is builtin), function)


def _meaning(function: ReduceFunction) -> Fold | None:
    for builtin, fold, _ in _BUILTIN:
        if function is builtin:
            return fold
    if type(function) is FunctionType:
        for template, fold in _TEMPLATES:
            if _says_the_same(function, template):
                return fold
    return None


def _says_the_same(function: FunctionType, template: Any) -> bool:
    """Whether ``function`` does what ``template`` does: the same instructions on the same built-in function.

    Names of arguments, annotations and a docstring make no difference to it; anything else is another function.
    """
    code, wanted = function.__code__, template.__code__
    surroundings: Any = function  # typeshed does not know of __builtins__
    name = wanted.co_names[0]
    return (
        code.co_code == wanted.co_code
        and code.co_names == wanted.co_names
        and (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_nlocals) == (2, 0, 0, 2)
        and not (code.co_flags & _SHAPE_FLAGS or code.co_freevars or code.co_cellvars)
        and not (function.__defaults__ or function.__kwdefaults__ or function.__closure__)
        and name not in function.__globals__
        and surroundings.__builtins__.get(name) is getattr(builtins, name)
    )
