"""Which modules travel with the job as source: those that lie beside the script, and what they import.

Decides: what is the user's own and what is installed, and the whole set of sources that a job needs. Does not know why
a module is needed. A regular package travels whole; of a namespace package only the parts that are named. Modules are
found on ``sys.path`` without importing anything; names made up at run time (``importlib.import_module(name)``) and
files that are not Python are beyond it, and compiled modules are left to be imported by name.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Final

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.usercode.envelope import SourceModule

if TYPE_CHECKING:
    import types

_INSTALLED_DIRECTORIES: Final = frozenset({"site-packages", "dist-packages"})


class SourceCollector:
    """Gathers the user's own modules, each with everything it imports.

    ``inherited``: modules that came to this process with a job; a job that is started inside that job needs them, too.
    Raises: InvalidJob, from ``add``, when they are more than limits.py allows for a job.
    """

    def __init__(self, *, except_for: Iterable[str] = (), inherited: Iterable[SourceModule] = ()) -> None:
        self.modules: dict[str, SourceModule] = {module.name: module for module in inherited}
        self._not_ours = {"mincemeat", *except_for}
        self._looked_up: dict[str, ModuleSpec | None] = {}
        self._files = 0
        self._bytes = 0

    def add(self, names: Iterable[str]) -> None:
        """Gather the modules of these dotted names, as far as they are the user's own, and what they import."""
        waiting = sorted(set(names), reverse=True)
        seen = set(waiting)
        while waiting:
            for module in self._ship(waiting.pop()):
                new = set(_imports_of_source(module)) - seen
                seen |= new
                waiting.extend(sorted(new, reverse=True))

    def _ship(self, name: str) -> Iterator[SourceModule]:
        """Gather the smallest whole that has this module: a file, or the outermost regular package."""
        parts = name.split(".")
        if parts[0] in self._not_ours:
            return
        search_path: Iterable[str] | None = None
        for depth in range(1, len(parts) + 1):
            prefix = ".".join(parts[:depth])
            spec = self._find(prefix, search_path)
            if spec is None:
                return
            if spec.origin is not None and spec.has_location:
                if prefix not in self.modules and _is_source(spec.origin) and is_own(spec.origin):
                    yield from self._read(prefix, spec)
                return
            # No file but places to look in: a namespace package.
            search_path = spec.submodule_search_locations
            if search_path is None:
                return

    def _find(self, name: str, search_path: Iterable[str] | None) -> ModuleSpec | None:
        if name not in self._looked_up:
            self._looked_up[name] = _find_spec(name, search_path)
        return self._looked_up[name]

    def _read(self, name: str, spec: ModuleSpec) -> Iterator[SourceModule]:
        assert spec.origin is not None
        self._ensure_parents(name, spec.origin)
        if spec.submodule_search_locations is None:
            yield self._read_file(name, spec.origin, is_package=False, whole=name)
            return
        for directory in spec.submodule_search_locations:
            for module_name, path, is_package in _iter_package(name, directory):
                self._ensure_parents(module_name, path)
                if is_package or module_name not in self.modules:  # x/__init__.py wins over x.py, as for Python
                    yield self._read_file(module_name, path, is_package=is_package, whole=name)

    def _read_file(self, name: str, path: str, *, is_package: bool, whole: str) -> SourceModule:
        try:
            with open(path, "rb") as file:
                source = file.read(limits.USERCODE_SOURCE_BYTES_MAX + 1)
        except OSError as error:
            raise InvalidJob(f"the module {name!r} cannot be sent to the workers: {error}") from error
        self._files += 1
        self._bytes += len(source)
        if self._files > limits.USERCODE_SOURCE_FILES_MAX or self._bytes > limits.USERCODE_SOURCE_BYTES_MAX:
            raise InvalidJob(
                f"the local module {whole!r} ({os.path.dirname(path)}) cannot be sent to the workers: with it the "
                f"job's own modules exceed {limits.USERCODE_SOURCE_FILES_MAX:,} files or "
                f"{limits.USERCODE_SOURCE_BYTES_MAX // 2**20} MiB of source. Install it on the workers, or import "
                "less of it in the functions of the job."
            )
        module = self.modules[name] = SourceModule(name, path, is_package, source)
        return module

    def _ensure_parents(self, name: str, path: str) -> None:
        """A directory without ``__init__.py`` has no file of its own, and its modules still need it as a parent."""
        while "." in name:
            name, path = name.rpartition(".")[0], os.path.dirname(path)
            self.modules.setdefault(name, SourceModule(name, path, True, None))


def _find_spec(name: str, search_path: Iterable[str] | None) -> ModuleSpec | None:
    if search_path is None and name in sys.builtin_module_names:
        return None
    path = None if search_path is None else list(search_path)
    spec = PathFinder.find_spec(name, path)
    if spec is not None:
        return spec
    for finder in sys.meta_path:
        # An editable install often has a finder of its own: the workers import it by name, like all installed packages.
        if finder is not PathFinder and finder.find_spec(name, path) is not None:
            return None
    # Loaded by hand from a file that is not on sys.path: nobody else can import it anywhere.
    return getattr(sys.modules.get(name), "__spec__", None)


def _is_source(path: str) -> bool:
    """Whether this is a Python file that can be read here: not a compiled module, not one inside a zip archive."""
    return path.endswith(tuple(SOURCE_SUFFIXES)) and os.path.isfile(path)


def _iter_package(package: str, directory: str) -> Iterator[tuple[str, str, bool]]:
    """All Python files of a package as (module name, path, is it a package), in a fixed order."""
    for root, directories, files in os.walk(directory):
        directories[:] = sorted(name for name in directories if name.isidentifier() and name != "__pycache__")
        inside = os.path.relpath(root, directory)
        prefix = package if inside == "." else ".".join([package, *inside.split(os.sep)])
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            if suffix not in SOURCE_SUFFIXES or not stem.isidentifier():
                continue
            path = os.path.join(root, file)
            if stem == "__init__":
                yield prefix, path, True
            else:
                yield f"{prefix}.{stem}", path, False


def is_own(path: str) -> bool:
    """Whether a file is the user's own: neither of the standard library nor of an installed package."""
    path = os.path.normcase(os.path.abspath(path))
    if not _INSTALLED_DIRECTORIES.isdisjoint(path.split(os.sep)):
        return False
    return not any(path.startswith(directory) for directory in _iter_foreign_directories())


def _iter_foreign_directories() -> Iterator[str]:
    """The standard library's directory and those of editable installs, each closed by a separator."""
    yield _closed(os.path.dirname(os.__file__))
    beside_the_script = _closed(sys.path[0]) if sys.path else ""
    for directory in sys.path:
        if os.path.basename(directory) in _INSTALLED_DIRECTORIES:
            for linked in _editable_directories(directory):
                # Who runs a script beside the package that is being edited wants that package's present state.
                if linked != beside_the_script:
                    yield linked


def _editable_directories(site_directory: str) -> Iterator[str]:
    try:
        names = sorted(name for name in os.listdir(site_directory) if name.endswith(".pth"))
    except OSError:
        return
    for name in names:
        try:
            with open(os.path.join(site_directory, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                yield _closed(os.path.join(site_directory, line.strip()))


def _closed(directory: str) -> str:
    return os.path.join(os.path.normcase(os.path.abspath(directory)), "")


def imports_of_code(code: types.CodeType, package: str) -> Iterator[str]:
    """The names of all modules that this code and the functions inside it import.

    ``package`` is what relative imports start from. ``from a import b`` gives ``a`` and ``a.b``, which may be a module.
    """
    import dis

    # IMPORT_NAME finds the level and the names to import as the two constants pushed before it.
    level, names = None, None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield from _imported(instruction.argval, level, names, package)
        if instruction.opname != "EXTENDED_ARG":
            level, names = names, instruction.argval
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from imports_of_code(constant, package)


@functools.lru_cache(maxsize=limits.USERCODE_SOURCE_FILES_MAX)
def _imports_of_source(module: SourceModule) -> tuple[str, ...]:
    # Parsing is nearly all of the time that packing takes, and a Server packs again for each of its jobs.
    import ast

    if module.source is None:
        return ()
    try:
        tree = ast.parse(module.source)
    except (SyntaxError, ValueError, RecursionError):
        return ()  # a template, or of another Python: whoever imports it is told
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += _imported(node.module or "", node.level, [alias.name for alias in node.names], package)
    return tuple(names)


def _imported(module: str, level: object, names: object, package: str) -> Iterator[str]:
    if isinstance(level, int) and level > 0:
        ancestors = package.split(".")
        base = ".".join(ancestors[: max(0, len(ancestors) - level + 1)])
        if not base:
            return  # beyond the top: Python will say so
        module = f"{base}.{module}" if module else base
    yield module
    if isinstance(names, (tuple, list)):
        for name in names:
            if name != "*":
                yield f"{module}.{name}"
