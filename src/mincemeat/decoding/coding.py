"""How keys, values and results become bytes and are made again: as the job's own children do it, or as data.

Decides: that bytes of a worker are read twice, first to see what they would make. Does not know: blocks, files, tasks.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Iterable
from typing import Any, Final, NoReturn, Protocol

from mincemeat import limits
from mincemeat.decoding import forms, mentions
from mincemeat.decoding.allowed import ALLOWED
from mincemeat.decoding.jobclasses import JobClasses
from mincemeat.decoding.mentions import AS_VALUE, Mention
from mincemeat.errors import RefusedAsData

PROTOCOL: Final = 5
_STACK_GLOBAL: Final = b"\x93"
_SWITCH: Final = "trust_workers=True (--trust-workers) allows it"


class Coding(Protocol):
    """Two functions that belong together."""

    def dumps(self, value: Any, /) -> bytes:
        """Raises whatever pickling raises; RefusedAsData if ``loads`` would refuse it."""

    def loads(self, data: bytes, /) -> Any:
        """Raises whatever unpickling raises; RefusedAsData."""

    def is_data(self, data: bytes, /) -> bool:
        """Whether ``loads`` would not refuse it. Nothing is made of it."""


class PlainCoding:
    """Pickle as it is: for bytes of one's own processes, and of workers that are trusted. Its bytes can do anything."""

    def dumps(self, value: Any, /) -> bytes:
        return pickle.dumps(value, PROTOCOL)

    def loads(self, data: bytes, /) -> Any:
        return pickle.loads(data)

    def is_data(self, data: bytes, /) -> bool:
        return True


PLAIN: Final = PlainCoding()


class DataCoding:
    """Keys, values and results as data: what is not on the list is neither written nor read.

    ``modules``: the names of the job's own modules, whose classes are data as well. Plain pickle reads what this
    writes. Memory of ``loads``: a small multiple of the bytes, beside what comes of them.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._classes = JobClasses(modules)
        self._judged: set[Mention] = set()
        self._found: dict[tuple[str, str], Any] = {}
        self._has_forms = False

    def dumps(self, value: Any, /) -> bytes:
        # Most values have no class in them that needs a form, and pickle is fastest where it need not look for one. A
        # pickle of its own needs no check but for its names, and without this byte it has none.
        if not self._has_forms:
            data = pickle.dumps(value, PROTOCOL)
            if _STACK_GLOBAL not in data or self._is_data_of_ours(data):
                return data
        data = self._in_forms(value)
        if mentions.compiled or len(data) <= limits.CHECKED_PLAINLY_BYTES_MAX:
            self.check(data)
        self._has_forms = True
        return data

    def _is_data_of_ours(self, data: bytes) -> bool:
        """As ``is_data``; where that takes too long, whatever is not certain to be data is not."""
        return (mentions.compiled or len(data) <= limits.CHECKED_PLAINLY_BYTES_MAX) and self.is_data(data)

    def _in_forms(self, value: Any) -> bytes:
        file = io.BytesIO()
        pickler = pickle.Pickler(file, PROTOCOL)
        pickler.dispatch_table = {**copyreg.dispatch_table, **forms.reducers()}
        try:
            pickler.dump(value)
        except RefusedAsData as error:
            raise RefusedAsData(f"{error}; {_SWITCH}") from error
        return file.getvalue()

    def check(self, data: bytes) -> None:
        """Raises: RefusedAsData if ``data`` is no pickle of data. Nothing is made of it."""
        read = mentions.read(data)
        for mention in read.mentions:
            if mention not in self._judged:
                self._judge(mention)
        if read.problem:
            code = f"{data[read.offset]:#04x}" if read.offset < len(data) else "its end"
            raise RefusedAsData(f"it is no pickle of data: {code} at byte {read.offset} {read.problem}")

    def is_data(self, data: bytes, /) -> bool:
        """Plain pickle may read it then, too: it comes to the same names."""
        try:
            self.check(data)
        except RefusedAsData:
            return False
        return True

    def loads(self, data: bytes, /) -> Any:
        self.check(data)
        return _Unpickler(io.BytesIO(data), self._found).load()

    def _judge(self, mention: Mention) -> None:
        module, name, uses = mention
        if uses & AS_VALUE:
            raise RefusedAsData(f"{module}.{name} itself is among the values, and code is no data; {_SWITCH}")
        permitted = ALLOWED.get((module, name))
        try:
            if permitted is None:
                found: Any = self._classes.find(module, name, uses)
            elif uses & ~permitted:
                raise RefusedAsData(f"{module}.{name} is used as no data is")
            else:
                found = _import(module, name)
        except RefusedAsData as error:
            raise RefusedAsData(f"{error}; {_SWITCH}") from error
        self._found[module, name] = found
        self._judged.add(mention)


class _Unpickler(pickle.Unpickler):
    """Finds what was judged, and nothing else, whatever the bytes say."""

    def __init__(self, file: io.BytesIO, found: dict[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._found = found

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return self._found[module, name]
        except KeyError:
            raise RefusedAsData(f"{module}.{name} was not there when the names were looked at") from None

    def persistent_load(self, pid: Any, /) -> NoReturn:
        raise RefusedAsData("data has no persistent ids")


def _import(module: str, name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(module), name)
