"""Where a careful attempt stands, in a file that outlives its process.

Decides: the form of that file. Does not know: what is done about a process that was lost.

A slot maps the file into its memory and writes there before each record. However it ends (killed, crashed, out of
memory), that stays in the kernel's pages, and its parent reads the file. No system call is made for a record, so it
costs a microsecond, and only in attempts that follow a failure.

    q record (-1: at none) | d since when (time.monotonic) | I length of key | I length of data | key | data
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import Final, NamedTuple

from mincemeat import limits

_HEAD: Final = struct.Struct("<qdII")
_RECORD: Final = struct.Struct("<q")
_NOWHERE: Final = -1
# A key's text has at most so many characters, of at most four bytes.
_KEY_BYTES_MAX: Final = 4 * limits.REPR_CHARS_MAX
_FILE_BYTES: Final = _HEAD.size + _KEY_BYTES_MAX + limits.RECORD_DATA_BYTES_MAX


class Position(NamedTuple):
    """What a process was at when it was lost: record, text of its key, for how long, and the record itself, pickled."""

    record: int
    key: str
    seconds: float
    data: bytes


class PositionFile:
    """The writer's side. ``data`` is at most ``limits.RECORD_DATA_BYTES_MAX`` bytes."""

    def __init__(self, path: str) -> None:
        """Raises: OSError, also where the disk is full: its blocks are there before it is mapped."""
        with open(path, "w+b") as file:
            file.write(_HEAD.pack(_NOWHERE, 0.0, 0, 0) + bytes(_FILE_BYTES - _HEAD.size))
            file.flush()
            self._memory = mmap.mmap(file.fileno(), _FILE_BYTES)
        self._record = _NOWHERE

    def enter(self, record: int, key: str, data: bytes) -> None:
        """The process is about to run ``record``."""
        memory, text = self._memory, key.encode("utf-8", "backslashreplace")[:_KEY_BYTES_MAX]
        end = _HEAD.size + len(text)
        self.pause()  # until all of it is there
        memory[_HEAD.size : end] = text
        memory[end : end + len(data)] = data
        _HEAD.pack_into(memory, 0, _NOWHERE, time.monotonic(), len(text), len(data))
        self._record = record
        self.resume()

    def leave(self) -> None:
        """It is at no record."""
        self._record = _NOWHERE
        self.pause()

    def pause(self) -> None:
        """It is busy with what is no record's fault."""
        _RECORD.pack_into(self._memory, 0, _NOWHERE)

    def resume(self) -> None:
        """It is at the same record again."""
        _RECORD.pack_into(self._memory, 0, self._record)

    def close(self) -> None:
        self._memory.close()


def read_position(path: str) -> Position | None:
    """Where the process stands that writes ``path``, or stood when it ended; None: at no record, or nobody knows."""
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_BYTES)
    except OSError:  # it ended before it made one
        return None
    if len(content) < _HEAD.size:
        return None
    record, since, key_bytes, data_bytes = _HEAD.unpack_from(content)
    end = _HEAD.size + key_bytes
    if record < 0 or end + data_bytes > len(content):
        return None
    key = content[_HEAD.size : end].decode("utf-8", "replace")
    return Position(record, key, max(0.0, time.monotonic() - since), content[end : end + data_bytes])
