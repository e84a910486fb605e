"""Functions to bytes, in the caller's process.

Decides: what goes into packed code, and under which names it will be found again. Does not know how it is loaded.

Functions and classes of ``__main__``, of a job file and of modules that the user has registered with cloudpickle travel
by value. In the slot a module of the same name is their home: functions keep its namespace as their globals, and
every class and function that has a name there gets it back. So a slot's ``pickle.dumps(Point(1, 2))`` says
``__main__.Point``, which other slots and the caller resolve to their own class of that name.
"""

from __future__ import annotations

import functools
import io
import sys
import types
from typing import Any, Final, TypeAlias

from mincemeat import limits
from mincemeat.model import UserFunctions
from mincemeat.usercode import loading, repairs
from mincemeat.usercode.envelope import Packed, encode
from mincemeat.usercode.jobfile import JOB_MODULE
from mincemeat.usercode.modules import SourceCollector, imports_of_code, is_own

# (module, qualified name, the class or function that is found there)
NamedObject: TypeAlias = tuple[str, str, Any]


def pack(functions: UserFunctions) -> bytes:
    """The functions of a job with everything of the user's own that they use, as bytes for ``load``.

    Shape: globals and closures that the functions use are copied as they are now. Local modules are copied as source,
    with the modules they import; installed packages are only named.
    Raises: InvalidJob, saying which function cannot be shipped and what in it is the obstacle, or that the local
    modules are too large (limits.py).
    """
    pickler, stream = _new_pickler()
    try:
        pickler.dump(functions)
        # By the same pickler, which remembers what it has written: this adds names, not copies.
        pickler.dump(pickler.notes.named_objects())
    except Exception as error:  # whatever a user's __reduce__ may raise
        from mincemeat.usercode import obstacle

        raise obstacle.explain(functions, error, _failure_of) from error
    notes = pickler.notes
    collector = SourceCollector(
        except_for=[*notes.namespaces, "__main__", JOB_MODULE], inherited=loading.modules_of_this_job()
    )
    collector.add(notes.modules)
    packed = Packed(
        pickles=stream.getvalue(),
        namespaces=notes.namespaces,
        modules=tuple(collector.modules.values()),
        texts=_read_texts(notes.files - {module.path for module in collector.modules.values()}),
    )
    return encode(packed)


def _failure_of(candidate: object) -> Exception | None:
    """Why this object alone cannot be pickled, ``None`` if it can."""
    try:
        _new_pickler()[0].dump(candidate)
    except Exception as error:  # noqa: BLE001 - whatever a user's __reduce__ may raise
        return error
    return None


def _read_texts(files: set[str]) -> dict[str, str]:
    """The source of scripts and notebook cells: the worker has no such file, and its tracebacks should show lines."""
    import linecache

    texts: dict[str, str] = {}
    room = limits.USERCODE_SOURCE_BYTES_MAX
    for name in sorted(files):
        if name.startswith("<") or is_own(name):
            linecache.checkcache(name)  # a notebook's process outlives many versions of a file
            text = "".join(linecache.getlines(name))
            if 0 < len(text) <= room:
                texts[name] = text
                room -= len(text)
    return texts


class _Notes:
    """What a pickler has met."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.files: set[str] = set()
        self.namespaces: dict[str, dict[str, str]] = {}
        self._by_value: list[Any] = []

    def refer(self, module_name: object) -> None:
        """Something was pickled by its name in this module."""
        if isinstance(module_name, str):
            self.modules.add(module_name)

    def copy(self, candidate: Any) -> None:
        """A class or a function was pickled by value."""
        self._by_value.append(candidate)

    def copy_function(self, function: types.FunctionType) -> None:
        self.copy(function)
        self.files.add(function.__code__.co_filename)
        package = function.__globals__.get("__package__")
        self.modules.update(imports_of_code(function.__code__, package if isinstance(package, str) else ""))

    def named_objects(self) -> list[NamedObject]:
        """Everything that travels by value and is found in this process under its own name.

        The others (local classes, lambdas, a class whose name was given to another one since) cannot be pickled by name
        in this process either.
        """
        named: list[NamedObject] = []
        for candidate in self._by_value:
            module_name, qualname = candidate.__module__, candidate.__qualname__
            if _lookup(module_name, qualname) is candidate:
                self.namespaces.setdefault(module_name, {})
                named.append((module_name, qualname, candidate))
        return named


def _lookup(module_name: str, qualname: str) -> object:
    found: object = sys.modules.get(module_name)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


class _Namespace(dict[str, str]):
    """Stands for the globals of a module that travels by value; its content is what they begin with."""

    def __init__(self, module_name: str, module: types.ModuleType) -> None:
        # What relative imports and the user's own look at __file__ need.
        wanted = {name: vars(module).get(name) for name in ("__package__", "__file__")}
        super().__init__({name: value for name, value in wanted.items() if isinstance(value, str)})
        self["__name__"] = module_name

    def __reduce__(self) -> tuple[Any, ...]:
        return loading.namespace, (self["__name__"],)


def _new_pickler() -> tuple[Any, io.BytesIO]:
    stream = io.BytesIO()
    return _pickler_class()(stream), stream


@functools.cache
def _pickler_class() -> Any:
    """The pickler, made on first use: importing cloudpickle takes 45 ms, which ``mincemeat --version`` need not pay."""
    import cloudpickle  # type: ignore[import-untyped]

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """cloudpickle's, taking notes."""

        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file, protocol=5)
            self.notes = _Notes()
            if JOB_MODULE in sys.modules:
                cloudpickle.register_pickle_by_value(sys.modules[JOB_MODULE])

        def reducer_override(self, candidate: Any) -> Any:
            kind = type(candidate)
            if issubclass(kind, types.ModuleType):
                self.notes.refer(candidate.__name__)
            elif issubclass(kind, type):
                return self._reduce_class(candidate)
            elif issubclass(kind, types.FunctionType):
                return self._reduce_function(candidate)
            elif issubclass(kind, types.CodeType):
                return repairs.with_file(candidate, self.dispatch_table[kind](candidate))
            elif repairs.is_cached_function(candidate):
                return self._reduce_cached_function(candidate)
            elif repairs.is_missing_sentinel(candidate):
                return "MISSING"
            else:
                # An instance. One that is pickled as the global name of a module never shows its class to this method.
                self.notes.refer(getattr(kind, "__module__", None))
                return repairs.reduce_instance(candidate) or NotImplemented
            return super().reducer_override(candidate)

        def _reduce_class(self, cls: type) -> Any:
            reduced = super().reducer_override(cls)
            if reduced is NotImplemented:
                self.notes.refer(cls.__module__)
            elif len(reduced) == 6:  # with a state, that is by value: type(None) and its like come without
                self.notes.copy(cls)
                return repairs.with_repairs(cls, reduced)
            return reduced

        def _reduce_function(self, function: types.FunctionType) -> Any:
            self._adopt_namespace(function)
            reduced = super().reducer_override(function)
            if reduced is NotImplemented:
                self.notes.refer(function.__module__)
            else:
                self.notes.copy_function(function)
            return reduced

        def _reduce_cached_function(self, cached: Any) -> Any:
            if not travels_by_value(cached):
                self.notes.refer(cached.__module__)
                return NotImplemented
            self.notes.copy(cached)
            return repairs.reduce_cached_function(cached)

        def _adopt_namespace(self, function: types.FunctionType) -> None:
            """Have functions of a module that travels by value share that module's namespace in the slot.

            cloudpickle keeps in ``globals_ref`` the dict that will be the globals of all functions that share theirs
            here, and fills it only if it is empty. Functions of another namespace that merely calls itself ``__main__``
            (exec, the profiler) keep cloudpickle's private dict.
            """
            name = function.__globals__.get("__name__")
            module = sys.modules.get(name) if isinstance(name, str) else None
            if (
                isinstance(name, str)
                and is_by_value(name)
                and module is not None
                and vars(module) is function.__globals__
            ):
                namespace = self.globals_ref.setdefault(id(function.__globals__), _Namespace(name, module))
                self.notes.namespaces[name] = dict(namespace)

    return Pickler


def is_by_value(module_name: object) -> bool:
    """Whether functions and classes of this module travel by value: the script's, a job file's, and what the user has
    registered with cloudpickle, with all that is below it.

    At every moment: nobody need have packed anything before.
    """
    import cloudpickle

    if not isinstance(module_name, str):
        return False
    if module_name == "__main__" or (module_name == JOB_MODULE and JOB_MODULE in sys.modules):
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module_name == name or module_name.startswith(f"{name}.") for name in registered)


# Source: CPython, Include/object.h, Py_TPFLAGS_HEAPTYPE. Other types are of C, whether or not they have a public name.
_HEAP_TYPE: Final = 1 << 9


def travels_by_value(candidate: Any) -> bool:
    """Whether a class or a function is copied to the slots: it is the job's own, or has no name there."""
    if isinstance(candidate, type) and not candidate.__flags__ & _HEAP_TYPE:
        return False
    name = candidate.__module__
    return is_by_value(name) or _lookup(name, candidate.__qualname__) is not candidate


def recipe_of(instance: Any) -> Any:
    """What is pickled of ``instance`` (no class, no function) at the first step, as ``__reduce_ex__`` gives it.

    Raises: whatever a user's ``__reduce__`` may raise.
    """
    if repairs.is_missing_sentinel(instance):
        return "MISSING"
    repaired = repairs.reduce_instance(instance)
    if repaired is not None:
        return repaired
    reduce = _pickler_class().dispatch_table.get(type(instance))
    # In a protocol that has no buffers outside.
    return instance.__reduce_ex__(2) if reduce is None else reduce(instance)
