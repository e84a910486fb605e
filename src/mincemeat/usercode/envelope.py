"""The format of packed code: what is in it, and its bytes.

Decides: the layout. Does not know how its parts were made or what they do.

    magic 6s | version u8 | header length u32 | body length u32 | header: JSON | body: zlib of all parts, end to end

The header says which Python packed it and names the parts with their lengths, in the order of the body. The code
objects inside belong to one minor version of Python, which is checked before any of it is unpickled.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mincemeat.errors import ProtocolError

_PREFIX: Final = struct.Struct(">6sBII")
_MAGIC: Final = b"MMCODE"
_VERSION: Final = 1
# Code travels to every worker once. On Python's own sources level 1 takes a third of the default's time for a fifth
# more bytes.
_COMPRESSION_LEVEL: Final = 1

# Names this process and its forks, where everything that `pack` saw is at hand and nothing may be installed over it.
PROCESS: Final = os.urandom(8).hex()


class SourceModule(NamedTuple):
    """One module that travels as source; ``source`` is ``None`` for a namespace package, a mere directory.

    ``path`` is the caller's: the file, or for a namespace package the directory. It serves tracebacks and ``__file__``.
    """

    name: str
    path: str
    is_package: bool
    source: bytes | None


class Packed(NamedTuple):
    """The parts of packed code.

    ``pickles``: a stream of two pickles, first the functions, then the names to install. ``namespaces``: module name ->
    its first globals, for the modules that travel by value. ``texts``: file name -> source of functions that travel by
    value, for tracebacks.
    """

    pickles: bytes
    namespaces: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    modules: tuple[SourceModule, ...] = ()
    texts: Mapping[str, str] = MappingProxyType({})
    process: str = PROCESS


def encode(packed: Packed) -> bytes:
    """The bytes of ``packed``."""
    import json

    texts = {name: text.encode("utf-8", "surrogatepass") for name, text in packed.texts.items()}
    header = {
        "python": list(sys.version_info[:2]),
        "process": packed.process,
        "namespaces": dict(packed.namespaces),
        "pickles": len(packed.pickles),
        "modules": [
            [module.name, module.path, module.is_package, None if module.source is None else len(module.source)]
            for module in packed.modules
        ],
        "texts": [[name, len(text)] for name, text in texts.items()],
    }
    parts = [packed.pickles, *(module.source or b"" for module in packed.modules), *texts.values()]
    head = json.dumps(header).encode("ascii")  # as escapes: file names may hold lone surrogates
    body = zlib.compress(b"".join(parts), _COMPRESSION_LEVEL)
    return _PREFIX.pack(_MAGIC, _VERSION, len(head), len(body)) + head + body


def module_names(code: bytes) -> frozenset[str]:
    """The job's own modules: those whose functions and classes travel by value, and those that travel as source.

    Cost: reads the header alone. Raises: ProtocolError if it is not packed code.
    """
    header = _header(code)
    try:
        return frozenset([*header["namespaces"], *(str(name) for name, *_ in header["modules"])])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"the job's code is damaged: its header does not name its modules ({error})") from error


def decode(code: bytes) -> Packed:
    """What ``encode`` was given.

    Raises: ProtocolError, if these are other bytes, were cut, or come from another Python; nothing was unpickled.
    """
    header, body = _open(code)
    try:
        python = tuple(header["python"])
        if python != sys.version_info[:2]:
            raise ProtocolError(
                f"the job's code was packed by Python {'.'.join(map(str, python))} and this is Python "
                f"{sys.version_info[0]}.{sys.version_info[1]}; compiled functions need the same minor version"
            )
        return _take_apart(header, body)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"the job's code is damaged: its header does not describe its parts ({error})") from error


def _open(code: bytes) -> tuple[dict[str, Any], bytes]:
    header = _header(code)
    try:
        return header, zlib.decompress(code[_PREFIX.size + _PREFIX.unpack_from(code)[2] :])
    except zlib.error as error:
        raise ProtocolError(f"the job's code is damaged: {error}") from error


def _header(code: bytes) -> dict[str, Any]:
    import json

    if len(code) < _PREFIX.size or not code.startswith(_MAGIC):
        raise ProtocolError(f"these {len(code)} bytes are not the packed code of a mincemeat job")
    _, version, header_length, body_length = _PREFIX.unpack_from(code)
    if version != _VERSION:
        raise ProtocolError(
            f"the job's code has format {version}, this mincemeat reads format {_VERSION}; "
            "use the same version on the server and its workers"
        )
    expected = _PREFIX.size + header_length + body_length
    if len(code) != expected:
        raise ProtocolError(f"the job's code is damaged: {len(code)} bytes instead of {expected}")
    try:
        header = json.loads(code[_PREFIX.size : _PREFIX.size + header_length])
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the job's code is damaged: {error}") from error
    if not isinstance(header, dict):
        raise ProtocolError("the job's code is damaged: its header is no object")
    return header


def _take_apart(header: dict[str, Any], body: bytes) -> Packed:
    parts = _Parts(body)
    pickles = parts.take(header["pickles"])
    modules = tuple(_read_modules(header["modules"], parts))
    texts = {str(name): parts.take(length).decode("utf-8", "surrogatepass") for name, length in header["texts"]}
    parts.check_end()
    return Packed(pickles, dict(header["namespaces"]), modules, texts, header["process"])


def _read_modules(entries: list[Any], parts: _Parts) -> Iterator[SourceModule]:
    for name, path, is_package, length in entries:
        yield SourceModule(name, path, is_package, None if length is None else parts.take(length))


class _Parts:
    """The body, taken from front to back."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0

    def take(self, length: int) -> bytes:
        end = self._offset + length
        if not self._offset <= end <= len(self._body):
            raise ValueError(f"a part of {length} bytes at offset {self._offset} of {len(self._body)}")
        part = self._body[self._offset : end]
        self._offset = end
        return part

    def check_end(self) -> None:
        if self._offset != len(self._body):
            raise ValueError(f"{len(self._body) - self._offset} bytes belong to no part")
