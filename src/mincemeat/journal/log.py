"""Records in a file that is only ever appended to, one JSON object a line.

Decides: the form of a line, and what a damaged file means. Does not know: what the records are about.

    line := CRC-32 of the rest (8 hex digits), space, synced (hex), space, JSON object, newline

``synced`` is how many bytes of the file had been synced when the line was written. It tells two kinds of damage apart,
which a checksum alone cannot: a power cut may leave any mixture of whole and torn lines behind the last sync, which are
dropped, because nobody was told of them; but where a line says that it was written after a sync, all that lies before
that has been on the disk once, and is damaged if it cannot be read now.

Why not SQLite, as first planned: it drops a torn tail without a word and does not notice a flipped bit in a row; and
a journal is written from one end and read once, so that there is nothing to query. (The distinction between a cut tail
and a wrong checksum is LevelDB's, db/log_reader.cc.)
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from zlib import crc32

from mincemeat.errors import MincemeatError

Record: TypeAlias = dict[str, Any]

_CRC_DIGITS: Final = 8


class LogFile(Protocol):
    """A file as the log needs it; tests have one on a simulated disk."""

    def lines(self) -> Iterable[bytes]:
        """What is there, line by line, newlines included but for a last one that has none."""

    def append(self, data: bytes) -> None: ...
    def sync(self) -> None:
        """Return when everything that was appended survives a power cut. May be called in another thread."""

    def truncate(self, size: int) -> None: ...
    def close(self) -> None: ...


class DiskFile:
    """A ``LogFile`` on a real disk, made if it is not there; for its owner alone, because it names the job's inputs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)

    def lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            yield from file

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        getattr(os, "fdatasync", os.fsync)(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LogDamaged(MincemeatError):
    """A record that had been synced cannot be read. Attributes: ``offset`` (bytes), ``records`` before it."""

    offset: int = 0
    records: int = 0


class Contents(NamedTuple):
    """What is in a log: ``size`` bytes of whole records, and ``torn`` bytes behind them that nobody was told of."""

    records: list[Record]
    size: int
    torn: int


def read_log(lines: Iterable[bytes]) -> Contents:
    """Read everything. Cost: some microseconds a record. Raises: LogDamaged."""
    records: list[Record] = []
    size = end = 0
    is_whole = True
    for line in lines:
        start, end = end, end + len(line)
        decoded = _decode(line)
        if decoded is None:
            is_whole = False
            continue
        synced, record = decoded
        if is_whole:
            records.append(record)
            size = end
        elif synced > size:
            raise LogDamaged(
                f"record {len(records) + 1}, at byte {size}, does not have its checksum, although it was on the disk "
                f"before what follows at byte {start}",
                offset=size,
                records=len(records),
            )
    return Contents(records, size, end - size)


class Log:
    """Appends to a ``LogFile`` behind ``size`` bytes of whole records, all of them synced."""

    def __init__(self, file: LogFile, size: int) -> None:
        self._file = file
        self._written = size
        self._synced = size
        self._failure: OSError | None = None

    @property
    def is_synced(self) -> bool:
        return self._synced == self._written

    def append(self, record: Record) -> None:
        """Write ``record``. It survives the death of this process at once, and a power cut from the next sync on.

        Raises: OSError; from then on always. What came behind half a record, once there is room again, would make the
        whole log a damaged one; and nobody knows what a sync that failed has left out.
        """
        self._check_whole()
        line = _encode(record, self._synced)
        try:
            self._file.append(line)
        except OSError as error:
            self._failure = error
            with contextlib.suppress(OSError):  # else it is a torn tail
                self._file.truncate(self._written)
            raise
        self._written += len(line)

    def sync(self) -> None:
        """Wait until all that was appended before this call is on the disk. May be called in another thread.

        Raises: as ``append``.
        """
        self._check_whole()
        written = self._written
        try:
            self._file.sync()
        except OSError as error:
            self._failure = error
            raise
        self._synced = max(self._synced, written)

    def _check_whole(self) -> None:
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._file.close()


def _encode(record: Record, synced: int) -> bytes:
    rest = b"%x %s" % (synced, json.dumps(record, separators=(",", ":")).encode("ascii"))
    return b"%08x %s\n" % (crc32(rest), rest)


def _decode(line: bytes) -> tuple[int, Record] | None:
    """What a line says; None for one that was torn or damaged."""
    rest = line[_CRC_DIGITS + 1 : -1]
    if not line.endswith(b"\n") or line[: _CRC_DIGITS + 1] != b"%08x " % crc32(rest):
        return None
    synced, _, text = rest.partition(b" ")
    try:
        record = json.loads(text)
        return (int(synced, 16), record) if isinstance(record, dict) else None
    except (ValueError, RecursionError):  # its checksum is right, so somebody wrote it by hand
        return None
