"""Bytes to functions, in a slot; and what is said when that fails.

Decides: how the slot's modules are arranged so that the functions, and the values they make, feel at home. Does not
know how the bytes were made (envelope.py has their format), nor who runs the functions.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any

from mincemeat.errors import MincemeatError, ProtocolError
from mincemeat.model import UserFunctions
from mincemeat.usercode import repairs
from mincemeat.usercode.envelope import PROCESS, Packed, SourceModule, decode


def load(code: bytes) -> UserFunctions:
    """The functions that ``pack`` was given, with everything they use.

    The process becomes a home for them: ``__main__`` is replaced by a new module that holds what the script's functions
    use, and the local modules of the job are importable, before any of the same name that this machine may have. A
    second call replaces the first job by the second. In the process that packed (or a fork of it) all of that is there
    already, and nothing is touched.
    Raises: ProtocolError if these bytes are not packed code or come from another Python; ImportError if a package that
    the functions use is missing here; and whatever the user's own modules raise while they are imported.
    ``describe_load_error`` puts all of them into words.
    """
    packed = decode(code)
    if packed.process == PROCESS:
        return _unpickle(_HomeUnpickler(packed))[0]
    _move_in(packed)
    functions, named_objects = _unpickle(pickle.Unpickler(io.BytesIO(packed.pickles)))
    for module_name, qualname, named in named_objects:
        _give_name(module_name, qualname, named)
    return functions


def _unpickle(unpickler: pickle.Unpickler) -> tuple[UserFunctions, list[tuple[str, str, Any]]]:
    functions = unpickler.load()
    if not isinstance(functions, UserFunctions):
        raise ProtocolError(f"the job's code is damaged: it holds a {type(functions).__name__} instead of functions")
    return functions, unpickler.load()


def namespace(module_name: str) -> dict[str, Any]:
    """Called by the unpickler for the globals of functions of a module that travelled by value."""
    return vars(sys.modules[module_name])


class _HomeUnpickler(pickle.Unpickler):
    """Makes copies of functions in the process they come from, where the originals must not change.

    Their globals are a dict apart, and a class is the very class that was packed, as cloudpickle's tracker knows it.
    """

    def __init__(self, packed: Packed) -> None:
        super().__init__(io.BytesIO(packed.pickles))
        self._namespaces: dict[str, dict[str, Any]] = {
            name: {**first, "__name__": name} for name, first in packed.namespaces.items()
        }

    def find_class(self, module_name: str, name: str) -> Any:
        found = super().find_class(module_name, name)
        if found is namespace:
            return self._namespaces.__getitem__
        if found is repairs.complete_class:
            return _leave_as_it_is
        return found


def _leave_as_it_is(cls: type, completed: object) -> None:
    """In place of ``complete_class``: here the class is the original, not a bare copy of it."""


def _move_in(packed: Packed) -> None:
    _move_out_former_job()
    for name, first_globals in packed.namespaces.items():
        if name == "__main__" or name not in sys.modules:
            # The slot's own __main__ keeps its globals: a user's function called main must not replace the slot's.
            module = sys.modules[name] = types.ModuleType(name)
            vars(module).update(first_globals)
    # First of all finders: this machine may have another helpers.py, or an older one.
    sys.meta_path.insert(0, _JobFinder(packed.modules))
    for name, text in packed.texts.items():
        _show_source(name, text)


def _move_out_former_job() -> None:
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _JobFinder)]:
        sys.meta_path.remove(finder)
        for name in finder.modules:
            sys.modules.pop(name, None)


def modules_of_this_job() -> list[SourceModule]:
    """The modules that came to this process with the job it works on; none in the caller's own process."""
    return [module for finder in sys.meta_path if isinstance(finder, _JobFinder) for module in finder.modules.values()]


def _give_name(module_name: str, qualname: str, named: object) -> None:
    *outer_names, name = qualname.split(".")
    home: object = sys.modules[module_name]
    for outer_name in outer_names:
        # An outer class that nothing uses did not travel; a stand-in makes Outer.Inner a name that pickle can follow.
        if not hasattr(home, outer_name):
            setattr(home, outer_name, types.SimpleNamespace())
        home = getattr(home, outer_name)
    # The inner class of a real outer class came with it, and some classes (enums) refuse to be told twice.
    if getattr(home, name, None) is not named:
        setattr(home, name, named)


def _show_source(file_name: str, text: str) -> None:
    """Let tracebacks show the caller's lines, whatever file of that name this machine has."""
    import linecache

    # A time of None means that no file needs to be looked at.
    linecache.cache[file_name] = (len(text), None, text.splitlines(keepends=True), file_name)


class _JobFinder:
    """Finds the modules that came with the job. Sits in ``sys.meta_path``."""

    def __init__(self, modules: Sequence[SourceModule]) -> None:
        self.modules = {module.name: module for module in modules}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        module = self.modules.get(name)
        if module is None:
            return None
        if module.source is None:
            return self._find_namespace_package(name, path)
        from importlib.util import spec_from_file_location

        spec = spec_from_file_location(name, module.path, loader=_JobLoader(module))
        assert spec is not None  # a loader was given
        # Set afterwards, because an empty list given above would be filled with the caller's directory.
        spec.submodule_search_locations = _search_path_here(name, path) if module.is_package else None
        return spec

    def _find_namespace_package(self, name: str, path: Sequence[str] | None) -> ModuleSpec:
        """Such a package may have other parts that are installed here; they stay importable."""
        installed = PathFinder.find_spec(name, path)
        if installed is not None and installed.origin is None:
            return installed
        return ModuleSpec(name, None, is_package=True)


def _search_path_here(name: str, path: Sequence[str] | None) -> list[str]:
    """Where compiled modules of a shipped package may lie: in the package of that name that is importable here anyway.

    Never the caller's directory as such. On this machine it may belong to somebody else, who would get his modules
    imported by naming them like an optional part of the package.
    """
    spec = PathFinder.find_spec(name, path)
    return list(spec.submodule_search_locations or ()) if spec is not None else []


class _JobLoader(SourceFileLoader):
    """Executes a shipped source under the caller's file name, without a look at the disk."""

    def __init__(self, module: SourceModule) -> None:
        assert module.source is not None
        super().__init__(module.name, module.path)
        self._source = module.source

    def get_source(self, fullname: str) -> str:
        from importlib.util import decode_source

        return decode_source(self._source)

    def get_code(self, fullname: str) -> types.CodeType:
        code: types.CodeType = compile(self._source, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        _show_source(str(self.path), self.get_source(module.__name__))
        super().exec_module(module)


def describe_load_error(error: BaseException) -> str:
    """One sentence about why ``load`` failed on this worker, for its report."""
    if isinstance(error, MincemeatError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package == error.name or package not in sys.modules:
            return f"the package {package!r} is not installed on this worker ({error})"
        return f"the package {package!r} on this worker has no module {error.name!r} ({error})"
    return f"the job's code cannot be loaded on this worker: {type(error).__name__}: {error}"


def explain_name_error(error: NameError) -> None:
    """Complete the message if the missing name is a module of the standard library.

    The original mincemeat ran functions with its own imports (os, sys, random, ...) as globals, so scripts written for
    it may lack theirs.
    """
    if error.name in sys.stdlib_module_names:
        error.args = (f"name {error.name!r} is not defined; add 'import {error.name}' at the top of your script",)
