"""Which classes of the job's own modules bytes of a worker may mention.

Decides: that a name means a class only where the class itself says that it is called so, and what it may derive from.
Does not know: which modules the job has (usercode), or what else may be mentioned (allowed.py).

Such a class is the job's author's own code, and so is what runs when an instance is made: ``__new__``, ``__init__`` or
``__setstate__``, and ``append``, ``extend``, ``add`` and ``__setitem__`` of what derives from a container. All of it
gets whatever arguments a lying worker likes; docs/threats.md says so to authors.
"""

from __future__ import annotations

import enum
import importlib
import sys
import types
from collections.abc import Iterable
from typing import Any, Final

from mincemeat.decoding.mentions import CALLED
from mincemeat.errors import RefusedAsData

# Modules of the standard library that a class of data may derive from. What derives from anything else there
# (subprocess.Popen, socket.socket, tempfile.TemporaryDirectory) is no data, for making it does something.
_BASES: Final = frozenset(
    {
        "abc", "collections", "collections.abc", "dataclasses", "datetime", "decimal", "enum", "fractions", "numbers",
        "typing", "uuid",
    }
)  # fmt: skip
# Of the built-in ones these and exceptions; not those that call what they are given (map, filter, property).
_BUILT_IN: Final = frozenset(
    {object, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset}
)  # fmt: skip


class JobClasses:
    """Finds classes in ``modules``, by their exact names: no module inside of one is meant with it."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = frozenset(modules)

    def find(self, module: str, name: str, uses: int) -> type:
        """The class, which may be used like that. Raises: RefusedAsData."""
        if module not in self.modules:
            raise RefusedAsData(f"{module}.{name} is neither plain data nor a class of the job's own modules")
        found = self._walk(module, name)
        _check_bases(found)
        if issubclass(found, enum.Enum) and uses & ~CALLED:
            raise RefusedAsData(f"{module}.{name} is an enum, and its members are not to be changed")
        return found

    def _walk(self, module: str, name: str) -> type:
        home: Any = self._module(module)
        path = ""
        # Only what stands in the namespaces themselves, so that no __getattr__ and no descriptor is asked; and only
        # through classes, so that there is no way on to functions, their globals and other modules.
        for part in name.split("."):
            path = f"{path}.{part}" if path else part
            home = vars(home).get(part)
            is_stand_in = type(home) is types.SimpleNamespace and path != name  # see usercode/loading.py
            if not is_stand_in and not _is_class_called(home, module, path):
                what = "does not exist" if home is None else "is not a class of that module"
                raise RefusedAsData(f"{module}.{name} {what}")
        found: type = home
        return found

    def _module(self, name: str) -> Any:
        found = sys.modules.get(name)
        if found is not None:
            return found
        # A function of the job may import it when it is called. Not what is meant to be run rather than imported.
        if name.rpartition(".")[2] == "__main__":
            raise RefusedAsData(f"the module {name} is not imported here")
        try:
            return importlib.import_module(name)
        except Exception as error:
            raise RefusedAsData(f"the module {name} cannot be imported here: {error}") from error


def _is_class_called(found: Any, module: str, path: str) -> bool:
    """Not what the module has only imported, nor what makes classes."""
    return (
        isinstance(found, type)
        and not issubclass(found, type)
        and found.__module__ == module
        and found.__qualname__ == path
    )


def _check_bases(cls: type) -> None:
    for base in cls.__mro__:
        home = base.__module__
        is_built_in = base in _BUILT_IN or issubclass(base, BaseException)
        if home.partition(".")[0] in sys.stdlib_module_names and home not in _BASES and not is_built_in:
            raise RefusedAsData(
                f"{cls.__module__}.{cls.__qualname__} derives from {home}.{base.__qualname__}, which is no data"
            )
