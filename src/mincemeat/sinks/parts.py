"""Parts: what a reduce attempt writes when its results go to a file, in the very bytes that the file will have.

Decides: the forms there are, and what is known of a part. A *form* is what a job's functions carry to the slots
(``UserFunctions.output``): the name of a format, and a slash behind it if parts stay files of their own:

    tsv      a piece of one file: no header, not synced, because it will be copied
    tsv/     a file in a directory of results: with header and index, and on the disk before the attempt commits

A part leaves its attempt with its facts behind it, so that whoever takes it need not read it:

    part file := the part's bytes, facts as JSON, trailer (length of the JSON, its CRC-32, magic)

They are cut off (``take_facts``) before anybody else sees the file. Knows nothing of attempts, directories or readers.
"""

from __future__ import annotations

import abc
import io
import json
import os
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple
from zlib import crc32

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Key

if TYPE_CHECKING:
    from mincemeat.shuffle.texttable import TextColumns
    from mincemeat.sinks.formats import Format

_TRAILER: Final = struct.Struct("<II8s")
_MAGIC: Final = b"MCMPART2"
_BUFFER_BYTES: Final = 256 * 2**10
_CRC_BYTES: Final = 2**20

# What comes back as the same key from formats with types, and can be told from its text in the others.
_NAMES: Final = {kind: kind.__name__ for kind in (str, int, float, bool, bytes, type(None))}
PLAIN_KEYS: Final = frozenset(_NAMES.values())
OTHER: Final = "other"

# Where the keys of a part may be looked for: by their hash, by their order, or only everywhere.
BY_HASH: Final = "hash"
BY_ORDER: Final = "range"
ANYWHERE: Final = "any"

# Format -> the module of that name; endings are the user's, forms are ours.
FORMATS: Final = {
    "jsonl": "jsonl",
    "csv": "csv",
    "tsv": "csv",
    "txt": "txt",
    "sqlite": "sqlite",
    "parquet": "parquet",
    "pickle": "pickled",
}


class PartFacts(NamedTuple):
    """What is known of a part without reading it.

    ``bytes`` and ``crc32`` are of the whole part, header included. ``partitions``: the first and the one after the
    last that it holds, and ``dealt`` how keys got there (``BY_HASH``, ``BY_ORDER``, ``ANYWHERE``). ``first`` and
    ``last`` key where all are str or all are int, else None. ``key_types``: names of the types of keys, "other" for
    all that may not come back as they were. ``notes``: what the format wants to remember.
    """

    bytes: int
    crc32: int
    results: int
    partitions: tuple[int, int] = (0, 0)
    dealt: str = ANYWHERE
    key_types: tuple[str, ...] = ()
    first: Any = None
    last: Any = None
    notes: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PartFacts:
        """What ``_asdict`` gave, after a journey as JSON. Raises: TypeError, ValueError or KeyError if it is not."""
        facts = cls(**{name: fields[name] for name in cls._fields})
        first, stop = facts.partitions
        numbers = (facts.bytes, facts.crc32, facts.results, first, stop)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("sizes that cannot be")
        return facts._replace(partitions=(first, stop), key_types=tuple(facts.key_types), notes=dict(facts.notes))


class PartWriter(abc.ABC):
    """Writes one part at ``path``, a new file or an empty one.

    Raises (all methods): OSError, ENOSPC where the disk is full. Life: ended by ``finish`` or ``close``; a writer that
    has raised can only be closed, and its file is worth nothing.
    """

    def __init__(self, path: str, *, alone: bool) -> None:
        self.path = path
        self._alone = alone
        self._results = 0
        self._key_types: set[str] = set()
        self._first: Any = None
        self._last: Any = None

    def write(self, keys: Sequence[Key], results: Sequence[Any]) -> int:
        """Append columns of equal length; about how many bytes they take.

        Raises: InvalidEmission, its ``key`` naming the culprit's, for what the format has no form for.
        """
        if not keys:
            return 0
        size = self._append(keys, results)
        if not self._results:
            self._first = keys[0]
        self._last = keys[-1]
        self._results += len(keys)
        self._key_types |= _types_of(keys)
        return size

    def write_text(self, columns: TextColumns, results: int) -> bool:
        """As ``write``, for a table's columns with so many different keys. False: nothing was written, ``write`` can.

        Results are what values come to, or where the table does not fold, for each key the list of them.
        """
        if not columns.is_utf8 or not self._append_text(columns):
            return False
        if not self._results:
            self._first = columns.first
        self._last = columns.last
        self._results += results
        self._key_types.add(_NAMES[str])
        return True

    def finish(self, partitions: range = range(0), dealt: str = ANYWHERE) -> PartFacts:
        """Complete the part and append its facts; of one that stays, everything is on the disk then."""
        size, checksum = self._finish()
        comparable = self._key_types in ({"str"}, {"int"})
        facts = PartFacts(
            bytes=size,
            crc32=checksum,
            results=self._results,
            partitions=(partitions.start, partitions.stop),
            dealt=dealt,
            key_types=tuple(sorted(self._key_types)),
            first=self._first if comparable else None,
            last=self._last if comparable else None,
            notes=self._notes(),
        )
        text = json.dumps(facts._asdict()).encode("ascii")
        with open(self.path, "ab") as file:
            file.write(text + _TRAILER.pack(len(text), crc32(text), _MAGIC))
            file.flush()
            if self._alone:
                os.fsync(file.fileno())
        return facts

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the file, wherever it stands. Raises nothing, and may be called again."""

    @abc.abstractmethod
    def _append(self, keys: Sequence[Key], results: Sequence[Any]) -> int: ...

    def _append_text(self, columns: TextColumns) -> bool:
        return False

    @abc.abstractmethod
    def _finish(self) -> tuple[int, int]:
        """Complete the file and close it; its size in bytes and its CRC-32."""

    def _notes(self) -> dict[str, Any]:
        return {}


class BytesWriter(PartWriter):
    """A part of bytes that only grows. Its subclass says what the bytes of some columns are."""

    def __init__(self, path: str, *, alone: bool, header: bytes = b"") -> None:
        super().__init__(path, alone=alone)
        self._file = io.BufferedWriter(io.FileIO(path, "w"), _BUFFER_BYTES)
        self._size = self._crc = 0
        if alone and header:
            self._put(header)

    def _append(self, keys: Sequence[Key], results: Sequence[Any]) -> int:
        data = self._bytes_of(keys, results)
        self._put(data)
        return len(data)

    def _append_text(self, columns: TextColumns) -> bool:
        data = self._bytes_of_text(columns)
        if data is None:
            return False
        self._put(data)
        return True

    @abc.abstractmethod
    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes: ...

    def _bytes_of_text(self, columns: TextColumns) -> bytes | None:
        """The same for a table's columns whose keys are all UTF-8, None if there is no short way to them."""
        return None

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._crc = crc32(data, self._crc)
        self._size += len(data)

    def _finish(self) -> tuple[int, int]:
        self._file.close()
        return self._size, self._crc

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:  # closing flushes, and so meets the full disk once more
            self._file.raw.close()


def open_part(form: str, path: str) -> PartWriter:
    """A writer of a part in ``form`` at ``path``. Raises: InvalidJob if its package is not installed; OSError."""
    return format_called(form.rstrip("/")).writer(path, alone=form.endswith("/"))


def format_called(name: str) -> Format:
    """The format called ``name``, a key of FORMATS. Raises: KeyError for another."""
    found: Format = import_module(f"mincemeat.sinks.{FORMATS[name]}").FORMATS[name]
    return found


def take_facts(path: str) -> PartFacts:
    """The facts behind the part at ``path``, which are cut off. Raises: BlockCorrupt if they are not there; OSError."""
    with open(path, "r+b") as file:
        facts = _read_facts(file, path)
        file.truncate(facts.bytes)
    return facts


def read_facts(path: str) -> PartFacts:
    """As ``take_facts``, and the file stays as it is."""
    with open(path, "rb") as file:
        return _read_facts(file, path)


def check_part(path: str) -> None:
    """Read the whole part at ``path``, its facts behind it. Raises: BlockCorrupt if it is not as it was; OSError."""
    with open(path, "rb") as file:
        facts = _read_facts(file, path)
    _, found = checksum(path, length=facts.bytes)
    if found != facts.crc32:
        raise _corrupt(path, 0, f"checksum mismatch (expected {facts.crc32:08x}, found {found:08x})")


def _read_facts(file: BinaryIO, path: str) -> PartFacts:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TRAILER.size))
    trailer = file.read()
    length, crc, magic = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (0, 0, b"")
    end = size - _TRAILER.size - length
    if magic != _MAGIC or end < 0:
        raise _corrupt(path, size, "its facts are missing or cut")
    file.seek(end)
    text = file.read(length)
    if crc32(text) != crc:
        raise _corrupt(path, end, f"its facts are damaged (expected {crc:08x}, found {crc32(text):08x})")
    try:
        facts = PartFacts.from_json(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, end, f"its facts cannot be read ({error})") from error
    if facts.bytes != end:
        raise _corrupt(path, end, f"it should have {facts.bytes} bytes")
    return facts


def checksum(path: str, offset: int = 0, length: int | None = None) -> tuple[int, int]:
    """How many bytes of ``path`` there are from ``offset``, at most ``length`` (None: all), and their CRC-32."""
    crc = size = 0
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while data := file.read(_CRC_BYTES if length is None else min(_CRC_BYTES, length - size)):
            crc = crc32(data, crc)
            size += len(data)
    return size, crc


def is_utf8(texts: Sequence[str]) -> bool:
    """Whether UTF-8 can say all of them: no lone surrogates, as in names of files that are no text."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _types_of(keys: Sequence[Key]) -> set[str]:
    kinds = set(map(type, keys))
    names = {_NAMES.get(kind, OTHER) for kind in kinds}
    if str in kinds and not is_utf8([key for key in keys if type(key) is str] if len(kinds) > 1 else keys):
        names.add(OTHER)  # it is written in another way
    return names


def _corrupt(path: str, offset: int, damage: str) -> BlockCorrupt:
    return BlockCorrupt(f"part {path} at byte {offset}: {damage}", path=path, offset=offset)
