"""Imports mincemeat out of one file; this text, without these lines, is the head of ``mincemeat.py``.

Decides: how the modules whose sources follow in the file come to life. Does not know: what is in them (building.py
writes them there). It is Python of 3.7, so that an older one than the rest needs says a sentence.
"""

from __future__ import annotations

import sys
from importlib import import_module, util
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 - a worker's machine may have any
    _sentence = f"mincemeat needs Python 3.11 or later, and this is Python {sys.version_info[0]}.{sys.version_info[1]}"
    raise SystemExit(_sentence) if __name__ == "__main__" else ImportError(_sentence)


class OneFile:
    """This file: finder and loader of the modules that stand in it.

    Their code says that it is from this file, and from the lines where it stands: so what a traceback names is there to
    be read. They are compiled when they are imported. In ``sys.meta_path`` it comes first: a package of the same
    name beside the file or in site-packages is another mincemeat, and another cloudpickle may read other pickles.

    Attributes: ``path``; ``code``, all of the file as it runs, which another interpreter can be given instead of the
    path (interpreters.py); ``compiled``, what has been imported so far.
    """

    def __init__(self, path: str, code: CodeType, compiled: dict[str, CodeType] | None = None) -> None:
        self.path = path
        self.code = code
        self.compiled = {} if compiled is None else compiled
        self._sources: dict[str, tuple[int, bool, str]] = {}

    def module(self, name: str, source: str) -> None:
        """``source`` begins in the line after that of the call."""
        self._sources[name] = sys._getframe(1).f_lineno, False, source[1:]

    def package(self, name: str, source: str) -> None:
        self._sources[name] = sys._getframe(1).f_lineno, True, source[1:]

    # -- a finder ----------------------------------------------------------------------------------------

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._sources:
            return None
        return util.spec_from_loader(name, self, origin=self.path)  # type: ignore[arg-type] # that has all it is asked

    # -- a loader ----------------------------------------------------------------------------------------

    def is_package(self, name: str) -> bool:
        return self._sources[name][1]

    def create_module(self, spec: ModuleSpec) -> None:
        """As always."""

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self.path
        if module.__name__ == "mincemeat":
            module.__dict__["__onefile__"] = self
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - this very program

    def get_code(self, name: str) -> CodeType:
        if name not in self.compiled:
            line, _, source = self._sources[name]
            self.compiled[name] = _moved(compile(source, self.path, "exec", 0, True), line)
        return self.compiled[name]

    def get_source(self, name: str) -> str:
        """For tracebacks, once the file is gone: lines have the numbers that they have in the file."""
        line, _, source = self._sources[name]
        return "\n" * line + source


def _moved(code: CodeType, lines: int) -> CodeType:
    """``code`` as if it stood so many lines further down."""
    constants: list[Any] = [_moved(it, lines) if isinstance(it, CodeType) else it for it in code.co_consts]
    return code.replace(co_firstlineno=code.co_firstlineno + lines, co_consts=tuple(constants))


def start(file: OneFile, name: str) -> None:
    """At the end of the file, which Python knows as the module ``name``: be the program, or the package."""
    sys.meta_path.insert(0, file)
    if name == "__main__":
        raise SystemExit(import_module("mincemeat.cli").main())
    sys.modules.pop("mincemeat", None)  # what Python made of this file: the package is made of its __init__
    sys.modules[name] = import_module("mincemeat")
