"""What a function is made of, as one short text that is the same in every process.

Decides: what of a function counts. Does not know: jobs and journals.

What travels to the slots by value counts with all that is in it: instructions, constants, defaults, attributes,
closures, and the globals that are used, which may be functions and classes again; of a class its bases and attributes,
of any other object its class and what pickle keeps of it. What travels by its name counts with the name. Line numbers,
comments and file names do not count, nor more than the class of what cannot be pickled.

Everything is described once and in the order in which it is met, the nearest first, without recursion: nothing is too
deep to count, and objects may refer to each other in circles.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mincemeat import usercode

_PLAIN: Final = (type(None), type(...), bool, int, float, complex, str, bytes)
# Where a class stands in its file, what says nothing to a program, and what is made when it is asked for.
_NO_ATTRIBUTES: Final = frozenset(
    ("__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__", "__annotations_cache__")
)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits. Cost: some microseconds an object. Runs what pickle runs of the user's own classes."""
    return _Walk(frozenset()).digest(value)


class _Walk:
    """Feeds what a value is made of to a hash, everything once.

    ``outside``: by identity, the sets that this is an element of.
    """

    def __init__(self, outside: frozenset[int]) -> None:
        self._hash = hashlib.sha256()
        self._outside = outside
        # By identity, with the object: another one must not take its place in memory meanwhile.
        self._seen: dict[int, tuple[int, Any]] = {}
        self._waiting: deque[Any] = deque()

    def digest(self, value: Any) -> str:
        self._refer(value)
        while self._waiting:
            self._describe(self._waiting.popleft())
        return self._hash.hexdigest()[:16]

    def _say(self, *words: str) -> None:
        for word in words:
            data = word.encode("utf-8", "surrogatepass")
            self._hash.update(b"%d:" % len(data) + data)

    def _refer(self, value: Any) -> None:
        """Say ``value`` where it is plain; else that it comes later, or which one it is of those that came before."""
        if type(value) in _PLAIN:
            self._say(type(value).__name__, _word(value))
        elif id(value) in self._seen:
            self._say("again", str(self._seen[id(value)][0]))
        elif id(value) in self._outside:
            self._say("outside")
        else:
            self._say("later")
            self._seen[id(value)] = len(self._seen), value
            self._waiting.append(value)

    def _refer_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self._refer(value)

    def _describe(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, types.CodeType):
            self._describe_code(value)
        elif isinstance(value, types.FunctionType):
            self._describe_function(value)
        elif isinstance(value, type):
            self._describe_class(value)
        elif kind in (tuple, list):
            self._say(kind.__name__, str(len(value)))
            self._refer_all(value)
        elif kind in (dict, types.MappingProxyType):
            self._say(kind.__name__, str(len(value)))
            for key, element in value.items():
                self._refer(key)
                self._refer(element)
        elif kind in (set, frozenset):
            # Each by itself, for a set has no order that two processes agree on.
            outside = self._outside | {id(value)}
            self._say(kind.__name__, *sorted(_in_a_word(element, outside) for element in value))
        elif isinstance(value, types.ModuleType):
            self._say("module", value.__name__)
        else:
            self._describe_instance(value)

    # -- functions ---------------------------------------------------------------------------------------

    def _describe_code(self, code: types.CodeType) -> None:
        self._say("code", code.co_name, code.co_code.hex(), code.co_exceptiontable.hex(), str(code.co_flags))
        self._say(str(code.co_argcount), str(code.co_posonlyargcount), str(code.co_kwonlyargcount))
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self._say(str(len(names)), *names)
        self._say_constants(code.co_consts)

    def _say_constants(self, constants: tuple[Any, ...]) -> None:
        """Which of them are one object depends on whether the code was compiled or loaded, so that does not count."""
        self._say("constants", str(len(constants)))
        for constant in constants:
            if type(constant) is tuple:
                self._say_constants(constant)
            elif type(constant) is frozenset:
                self._say("frozenset", *sorted(_in_a_word(element, self._outside) for element in constant))
            else:
                self._refer(constant)

    def _describe_function(self, function: types.FunctionType) -> None:
        self._say("function", function.__module__ or "", function.__qualname__)
        if not usercode.travels_by_value(function):
            return
        if _is_dispatcher(function):
            # What it keeps beside is weak references and a cache.
            self._say("singledispatch")
            self._refer_all(sorted(function.registry.items(), key=lambda item: _name(item[0])))  # type: ignore[attr-defined]
            return
        self._refer_all((function.__code__, function.__defaults__, function.__kwdefaults__))
        self._refer_all(vars(function).items())
        for cell in function.__closure__ or ():
            try:
                self._refer(cell.cell_contents)
            except ValueError:  # not filled yet
                self._say("empty")
        self._refer_to_names(_names_in(function.__code__), function.__globals__, set())

    def _refer_to_names(self, names: set[str], namespace: Mapping[str, Any], modules: set[str]) -> None:
        for name in sorted(names & namespace.keys()):
            value = namespace[name]
            self._say("name", name)
            self._refer(value)
            if (
                isinstance(value, types.ModuleType)
                and value.__name__ not in modules
                and usercode.is_by_value(value.__name__)
            ):
                # All that could be asked of it.
                modules.add(value.__name__)
                self._refer_to_names(names, vars(value), modules)

    # -- classes and their instances ---------------------------------------------------------------------

    def _describe_class(self, cls: type) -> None:
        self._say("class", _name(cls))
        if not usercode.travels_by_value(cls):
            return
        self._refer(type(cls))
        self._refer_all(cls.__bases__)
        for name, attribute in sorted(vars(cls).items()):
            if name not in _NO_ATTRIBUTES:
                self._say("attribute", name)
                self._refer(attribute)

    def _describe_instance(self, value: Any) -> None:
        kind = type(value)
        self._say("instance", _name(kind))
        if isinstance(value, types.BuiltinFunctionType):
            self._say(str(value.__module__), value.__qualname__)
            if not isinstance(value.__self__, types.ModuleType):  # a method, such as the ``findall`` of a pattern
                self._refer(value.__self__)
        elif isinstance(value, types.MethodType):
            self._refer_all((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._refer_all((value.func, value.args, value.keywords, vars(value)))
        elif isinstance(value, (classmethod, staticmethod)):
            self._refer(value.__func__)
        elif isinstance(value, property):
            self._refer_all((value.fget, value.fset, value.fdel))
        elif kind is _CACHED_FUNCTION:
            if usercode.travels_by_value(value):
                self._refer(value.__wrapped__)
            else:
                self._say(value.__module__, value.__qualname__)
        else:
            self._refer(_kept_of(value))
        self._refer(kind)


_CACHED_FUNCTION: Final = type(functools.lru_cache(lambda: None))


def _name(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _word(plain: Any) -> str:
    # In hexadecimal, for Python refuses to write large ones as decimals.
    return hex(plain) if type(plain) is int else repr(plain)


def _in_a_word(element: Any, outside: frozenset[int]) -> str:
    if type(element) in _PLAIN:
        return f"{type(element).__name__} {_word(element)}"
    return _Walk(outside).digest(element)


def _is_dispatcher(function: types.FunctionType) -> bool:
    """Whether ``functools.singledispatch`` made this."""
    registry = getattr(function, "registry", None)
    return function.__globals__ is vars(functools) and isinstance(registry, types.MappingProxyType)


def _kept_of(value: Any) -> Any:
    """What pickle keeps of ``value``, as values that it is made of; None if that cannot be told."""
    try:
        reduced = usercode.recipe_of(value)
        if isinstance(reduced, str):
            return reduced
        # The function that makes it anew, its arguments, its state; elements of lists and dicts that come in iterators.
        return [*reduced[:3], *(list(rest) for rest in reduced[3:5] if rest is not None)]
    except Exception:  # noqa: BLE001 - whatever a user's __reduce__ may raise
        return None


def _names_in(code: types.CodeType) -> set[str]:
    """All names that ``code`` and the functions inside it look up outside themselves."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names
