"""Why a function cannot be shipped, in the words of the user's own script.

Decides: which captured object is to blame, and the sentence. Does not know how objects are pickled: it is given a
function that tells whether one can be.

The search goes from the function to what it holds, following the first thing that fails alone, until nothing inside
the failing object fails: that one is the obstacle.
"""

from __future__ import annotations

import dis
import functools
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from mincemeat.errors import InvalidJob
from mincemeat.model import UserFunctions, describe_key, shorten

FailureOf: TypeAlias = Callable[[object], Exception | None]
# How an object holds another, to be read after the holder: ("uses the global 'lock'", the lock)
Held: TypeAlias = tuple[str, object]

# Each is pickled on its own during the search: enough to find the odd one in a table, and over within a second.
_HELD_MAX: Final = 1_000
_DEPTH_MAX: Final = 20


def explain(functions: UserFunctions, error: Exception, failure_of: FailureOf) -> InvalidJob:
    """The error to raise instead of ``error``, which pickling all ``functions`` together ended with."""
    for name, function in functions._asdict().items():
        failure = failure_of(function)
        if failure is not None:
            return InvalidJob(f"{name} cannot be sent to the workers: {_describe(function, failure, failure_of)}")
    return InvalidJob(f"the functions of the job cannot be sent to the workers: {_reason(error)}")


def _describe(function: object, failure: Exception, failure_of: FailureOf) -> str:
    steps: list[str] = []
    blamed = function
    seen = {id(function)}
    while len(steps) < _DEPTH_MAX:
        for step, held in itertools.islice(_iter_held(blamed), _HELD_MAX):
            if id(held) in seen:
                continue
            held_failure = failure_of(held)
            if held_failure is not None:
                steps.append(step)
                seen.add(id(held))
                blamed, failure = held, held_failure
                break
        else:
            break
    kind = _type_name(blamed)
    reason = "" if kind in str(failure) else f" ({_reason(failure)})"
    if not steps:
        return f"it is {_with_article(kind)}, which cannot be pickled{reason}."
    chain = ", which ".join(steps)
    return f"it {chain}, {_with_article(kind)}, which cannot be pickled{reason}. Create it inside the function instead."


def _reason(error: Exception) -> str:
    return shorten(f"{type(error).__name__}: {error}")


def _type_name(candidate: object) -> str:
    kind = type(candidate)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _iter_held(holder: object) -> Iterator[Held]:
    """What an object takes along when it is pickled, nearest first."""
    if isinstance(holder, types.FunctionType):
        yield from _iter_held_by_function(holder)
    elif isinstance(holder, types.MethodType):
        yield f"is a method of {_with_article(_type_name(holder.__self__))}", holder.__self__
        yield "is the method", holder.__func__
    elif isinstance(holder, functools.partial):
        yield "wraps the function", holder.func
        for index, argument in enumerate(holder.args):
            yield f"holds the argument {index}", argument
        for name, argument in holder.keywords.items():
            yield f"holds the argument {name!r}", argument
    elif isinstance(holder, (staticmethod, classmethod)):
        yield "wraps the function", holder.__func__
    elif isinstance(holder, property):
        for accessor in (holder.fget, holder.fset, holder.fdel):
            yield "wraps the function", accessor
    elif isinstance(holder, dict):
        for key, value in holder.items():
            yield f"holds the key {describe_key(key)}", key
            yield f"holds the entry {describe_key(key)}", value
    elif isinstance(holder, (list, tuple, set, frozenset)):
        for index, element in enumerate(holder):
            yield f"holds the element {index}", element
    elif not isinstance(holder, types.ModuleType):
        yield from _iter_attributes(holder)


def _iter_held_by_function(function: types.FunctionType) -> Iterator[Held]:
    for name in _iter_global_names(function.__code__):
        if name in function.__globals__:
            yield f"uses the global {name!r}", function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            captured = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        yield f"uses the captured variable {name!r}", captured
    for default in (function.__defaults__ or (), function.__kwdefaults__ or {}):
        yield "has the default values", default
    yield from _iter_attributes(function)
    yield "has the annotations", function.__annotations__


def _iter_global_names(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _iter_global_names(constant)


def _iter_attributes(holder: object) -> Iterator[Held]:
    if not isinstance(holder, (type, types.FunctionType)):
        # Its class first: if that cannot travel, nor can what is in the object.
        yield f"is an object of the class {type(holder).__qualname__!r}", type(holder)
    attributes: dict[str, Any] = dict(getattr(holder, "__dict__", {}))
    for base in type(holder).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(holder, name):
                attributes[name] = getattr(holder, name)
    for name, value in attributes.items():
        # Of a class, these are made anew with it and never pickled.
        if not (isinstance(holder, type) and name in ("__dict__", "__weakref__")):
            yield f"has the attribute {name!r}", value
