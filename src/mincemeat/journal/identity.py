"""What makes a job this job and no other, as short texts that can be compared.

Decides: which changes to a script make its journal another job's. Does not know: what is done then.

A function counts with its instructions, its constants, its defaults, and what it refers to of the user's own: other
functions and classes of the script, plain values, and objects with what pickle would keep of them. Line numbers,
comments and file names do not count, nor more than the type of what cannot be pickled. Modules beside the script count
with their source.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import types
from typing import Any, Final

from mincemeat import usercode
from mincemeat.model import Job
from mincemeat.sources.base import Source
from mincemeat.usercode.envelope import decode

_PLAIN: Final = (type(None), type(...), bool, int, float, complex, str, bytes)
# Deeper than any data that functions carry along; what is below does not count.
_DEPTH_MAX: Final = 50


def describe_job(job: Job, source: Source, split: int | None) -> dict[str, str]:
    """The identity of ``job`` over ``source``: from the words for a part, as a sentence has them, to its digest."""
    functions = job.functions
    by_value = usercode.by_value_modules()
    modules = decode(usercode.pack(functions._replace(splitters=()))).modules
    texts = hashlib.sha256()
    for module in modules:
        texts.update(f"{module.name}\0{len(module.source or b'')}\0".encode())
        texts.update(module.source or b"")
    return {
        **{
            name: _fingerprint(getattr(functions, name), by_value)
            for name in ("mapfn", "collectfn", "reducefn", "partitionfn", "sort_values")
        },
        "a module beside the script": texts.hexdigest()[:16],
        "partitions": str(job.partitions),
        "sort": str(functions.sort),
        "split": str(split),
        "the form of the output": functions.output,
        "the kind of datasource": type(source).__name__,
    }


def _fingerprint(value: Any, by_value: set[str], depth: int = 0) -> str:
    walk = _Walk(by_value)
    walk.add(value, depth)
    return walk.hash.hexdigest()[:16]


class _Walk:
    """Feeds what a function is made of to a hash, everything once."""

    def __init__(self, by_value: set[str]) -> None:
        self.hash = hashlib.sha256()
        self._by_value = by_value
        # By identity, with the object: another one must not take its place in memory meanwhile.
        self._seen: dict[int, tuple[int, Any]] = {}

    def _say(self, *words: str) -> None:
        for word in words:
            data = word.encode("utf-8", "surrogatepass")
            self.hash.update(b"%d:" % len(data) + data)

    def add(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self._say(kind.__name__, repr(value))
            return
        if id(value) in self._seen or depth > _DEPTH_MAX:
            self._say("again", str(self._seen.get(id(value), (-1,))[0]))
            return
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, types.CodeType):
            self._add_code(value, depth + 1)
        elif isinstance(value, types.FunctionType):
            self._add_function(value, depth + 1)
        elif isinstance(value, types.MethodType):
            self._say("method")
            self.add(value.__func__, depth + 1)
            self.add(value.__self__, depth + 1)
        elif isinstance(value, functools.partial):
            self._say("partial")
            for part in (value.func, value.args, value.keywords):
                self.add(part, depth + 1)
        elif isinstance(value, type):
            self._add_class(value, depth + 1)
        elif kind in (tuple, list):
            self._say(kind.__name__, str(len(value)))
            for element in value:
                self.add(element, depth + 1)
        elif kind is dict:
            self._say("dict", str(len(value)))
            for key, element in value.items():
                self.add(key, depth + 1)
                self.add(element, depth + 1)
        elif kind in (set, frozenset):
            # Each by itself, for a set has no order that two processes agree on.
            self._say(kind.__name__, *sorted(self._in_a_word(element, depth + 1) for element in value))
        else:
            self._add_instance(value, depth + 1)

    def _in_a_word(self, element: Any, depth: int) -> str:
        if type(element) in _PLAIN:
            return repr(element)
        return _fingerprint(element, self._by_value, depth)

    def _add_code(self, code: types.CodeType, depth: int) -> None:
        self._say("code", code.co_name, code.co_code.hex(), str(code.co_flags), str(code.co_argcount))
        self._say(*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
        for constant in code.co_consts:
            self.add(constant, depth)

    def _add_function(self, function: types.FunctionType, depth: int) -> None:
        self._say("function", function.__module__ or "", function.__qualname__)
        if function.__module__ not in self._by_value:
            return
        self.add(function.__code__, depth)
        self.add(function.__defaults__, depth)
        self.add(function.__kwdefaults__, depth)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents, depth)
            except ValueError:  # not filled yet
                self._say("empty")
        for name in sorted(_names_in(function.__code__)):
            if name in function.__globals__:
                self._say("global", name)
                self.add(function.__globals__[name], depth)

    def _add_class(self, cls: type, depth: int) -> None:
        self._say("class", cls.__module__, cls.__qualname__)
        if cls.__module__ not in self._by_value:
            return
        for base in cls.__bases__:
            self.add(base, depth)
        for name, attribute in sorted(vars(cls).items()):
            if name not in ("__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"):
                self._say("attribute", name)
                self.add(getattr(attribute, "__func__", attribute), depth)

    def _add_instance(self, value: Any, depth: int) -> None:
        if isinstance(value, types.ModuleType):
            self._say("module", value.__name__)
            return
        kind = type(value)
        self._say("instance", kind.__module__, kind.__qualname__)
        if isinstance(value, types.BuiltinFunctionType):
            self._say(str(getattr(value, "__module__", "")), value.__qualname__)
        elif callable(getattr(value, "__wrapped__", None)):  # functools.cache and its like
            self.add(value.__wrapped__, depth)
        else:
            if kind.__module__ in self._by_value:
                self.add(kind, depth)
            self.add(_kept_of(value), depth)


def _kept_of(value: Any) -> Any:
    """What pickle keeps of ``value``, as plain values; None if that cannot be told."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
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
