"""What formats of one record a line have in common.

Decides: how parts become one file, how lines are read, and how the line that begins with a key's text is found. Knows
nothing of what the lines say.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from mincemeat.errors import BlockCorrupt, InvalidEmission
from mincemeat.model import Key
from mincemeat.sinks.formats import Format, Joint, Stretch, check_size, cut
from mincemeat.sinks.parts import PartFacts
from mincemeat.sinks.plain import no_form

_BUFFER_BYTES: Final = 256 * 2**10
_COPY_BYTES: Final = 4 * 2**20
_INT: Final = re.compile(r"0|-?[1-9][0-9]*")
# Python refuses to read longer ones.
_DIGITS_MAX: Final = 4300
_SEND_BYTES: Final = 2**30
_NO_SENDFILE: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP)


class BytesJoint(Joint):
    """Parts end to end behind ``header``: copied in the kernel where that can be."""

    passes_over_facts = True

    def __init__(self, path: str, header: bytes) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by finish or close
        self._offset = len(header)
        self._parts: list[tuple[int, PartFacts]] = []
        self._file.write(header)

    def add(self, path: str, facts: PartFacts) -> None:
        with open(path, "rb", buffering=0) as part:
            copy_bytes(part.fileno(), self._file.fileno(), facts.bytes)
        self._parts.append((self._offset, facts))
        self._offset += facts.bytes

    def finish(self) -> list[tuple[int, PartFacts]]:
        self._file.close()
        return self._parts

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def copy_bytes(source: int, target: int, size: int) -> None:
    """Copy the first ``size`` bytes of an open file to where another one stands."""
    copied = 0
    try:
        while copied < size and (sent := os.sendfile(target, source, copied, min(size - copied, _SEND_BYTES))):
            copied += sent
    except (AttributeError, OSError) as error:
        # Windows has none, and some systems and file systems send to sockets only.
        if copied or (isinstance(error, OSError) and error.errno not in _NO_SENDFILE):
            raise
    if copied < size:
        os.lseek(source, copied, os.SEEK_SET)
        with io.FileIO(source, "r", closefd=False) as reader, io.FileIO(target, "w", closefd=False) as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)


class BytesFormat(Format):
    """A format of bytes that are appended to each other."""

    def joint(self, path: str) -> Joint:
        return BytesJoint(path, self.header)


class LineFormat(BytesFormat):
    """Each record ends at a line end. Keys come back as text, unless a subclass knows better."""

    def originals(self, key: Any, types: set[str]) -> list[Any] | None:
        if type(key) not in (str, int) or not types <= {"str", "int"}:
            return None
        text = str(key)
        found: list[Any] = [text] if "str" in types else []
        if "int" in types and len(text) < _DIGITS_MAX and _INT.fullmatch(text):
            found.append(int(text))
        return found

    def find_line(self, stretch: Stretch, beginnings: list[bytes]) -> bytes:
        """The first line that begins with one of ``beginnings``, without its line end. Raises: KeyError."""
        return next(self.find_lines(stretch, beginnings))

    def find_lines(self, stretch: Stretch, beginnings: list[bytes]) -> Iterator[bytes]:
        """The same and its neighbours that do so, too. ``beginnings`` may end with the line end."""
        check_size(stretch)
        with open(stretch.path, "rb") as file:
            if not stretch.length:
                raise KeyError
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                end = stretch.offset + stretch.length
                found = [place for each in beginnings if (place := _place_of(each, memory, stretch)) >= 0]
                if not found:
                    raise KeyError
                start = min(found)
                while start < end and any(memory[start : start + len(each)] == each for each in beginnings):
                    stop = memory.find(b"\n", start, end)
                    stop = end if stop < 0 else stop
                    yield memory[start:stop]
                    start = stop + 1


def _place_of(beginning: bytes, memory: mmap.mmap, stretch: Stretch) -> int:
    """Where the first line of ``stretch`` that begins so does; -1 if none does."""
    if memory[stretch.offset : stretch.offset + len(beginning)] == beginning:
        return stretch.offset
    place = memory.find(b"\n" + beginning, stretch.offset, stretch.offset + stretch.length)
    return place if place < 0 else place + 1


def lines_of(stretch: Stretch) -> Iterator[bytes]:
    """The lines of a stretch, line ends included."""
    left = stretch.length
    if not left:
        return
    with open(stretch.path, "rb", _BUFFER_BYTES) as file:
        file.seek(stretch.offset)
        for line in file:
            left -= len(line)
            yield line
            if left <= 0:
                break
    if left > 0:
        raise cut(stretch, left)


def unreadable(stretch: Stretch, line: bytes, error: Exception) -> BlockCorrupt:
    """What to raise over a line that no writer of ours wrote."""
    return BlockCorrupt(
        f"{stretch.path} has a line that is no result: {line[:60]!r} ({error})",
        path=stretch.path,
        offset=stretch.offset,
    )


def blaming(
    keys: Sequence[Key], results: Sequence[Any], forms: Callable[[Any], object], error: Exception
) -> InvalidEmission:
    """What to raise when columns could not be written: it names the first key whose key or result ``forms`` refuses."""
    for key, result in zip(keys, results, strict=True):
        try:
            forms(key)
            forms(result)
        except (TypeError, ValueError, RecursionError) as found:
            return no_form(key, found)
    return InvalidEmission(f"{len(keys)} results cannot be written: {error}")
