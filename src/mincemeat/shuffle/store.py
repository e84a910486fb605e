"""Decides where attempt files lie, how they are named, and how one becomes visible.

It knows nothing of what is in a block. A file is written under a private name and renamed when it is whole:

    m-00017.2.blocks.part      being written, worth nothing, removed with its attempt
    m-00017.2.blocks           committed

It is not synced before the rename: an attempt that a power cut takes away is attempted again, and a torn file is found
by its checksums. Files that outlive their job (those of a sink) are another room's and are synced.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from typing import Any, Final

from mincemeat.errors import ProtocolError, SpillSpaceExhausted
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle.block import BlockWriter, read_index

_COMMITTED: Final = ".blocks"
_PRIVATE: Final = ".blocks.part"

_DISK_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class JobStore:
    """The attempt files of one job in one directory, which is made when the first of them is.

    One process writes an attempt at a time; any number may read what is committed.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)

    def path(self, attempt: AttemptId) -> str:
        """The name of the attempt's committed file, whether or not it is there."""
        return os.path.join(self.directory, f"{attempt}{_COMMITTED}")

    def _private_path(self, attempt: AttemptId) -> str:
        return os.path.join(self.directory, f"{attempt}{_PRIVATE}")

    @contextlib.contextmanager
    def writing(self, attempt: AttemptId) -> Iterator[BlockWriter]:
        """A writer on the attempt's private file, which has its footer when the block ends, and still its private name.

        Raises: SpillSpaceExhausted when the disk is full. However the block is left by an exception, nothing of the
        attempt remains on disk.
        """
        path = self._private_path(attempt)
        # 0700: blocks hold the job's data, and temporary directories are everybody's.
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        file = _SpillFile(io.FileIO(path, "w"))
        try:
            writer = BlockWriter(file)
            yield writer
            writer.finish()
            file.close()
        except BaseException:
            with contextlib.suppress(OSError):  # closing flushes, and so meets the full disk once more
                file.close()
            self.drop(attempt)
            raise

    def commit(self, attempt: AttemptId) -> None:
        """Make the attempt's finished file visible under its own name, at once and whole.

        Raises: OSError if it cannot be renamed; nothing of the attempt then remains on disk.
        """
        try:
            os.replace(self._private_path(attempt), self.path(attempt))
        except OSError:
            self.drop(attempt)
            raise

    def spans(self, attempt: AttemptId, partitions: range) -> list[Span]:
        """Where the blocks of ``partitions`` (consecutive) lie in a committed file, neighbours merged.

        Shape: in the order of the file, which is the order of emission; one span per spill at most.
        Raises: BlockCorrupt if the footer is damaged; OSError if the file is not there.
        """
        path = self.path(attempt)
        spans: list[Span] = []
        for entry in read_index(path):
            if entry.partition not in partitions:
                continue
            if spans and spans[-1].offset + spans[-1].length == entry.offset:
                spans[-1] = spans[-1]._replace(length=spans[-1].length + entry.length)
            else:
                spans.append(Span(path, entry.offset, entry.length))
        return spans

    def size(self, attempt: AttemptId) -> int:
        """Bytes of the attempt's committed file. Raises: OSError if it is not there."""
        return os.path.getsize(self.path(attempt))

    def drop(self, attempt: AttemptId) -> None:
        """Remove what there is of the attempt, committed or not; nothing is no error."""
        for path in (self._private_path(attempt), self.path(attempt)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def clear(self) -> None:
        """Remove all attempt files, and the directory if nothing else is in it. Files of other names stay."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                attempt = _attempt_of(name)
                if attempt is not None:
                    self.drop(attempt)
        with contextlib.suppress(OSError):  # not empty, or never made
            os.rmdir(self.directory)


def _attempt_of(name: str) -> AttemptId | None:
    """The attempt whose file is called ``name``, or None if it is not one of ours."""
    for ending in (_PRIVATE, _COMMITTED):
        if name.endswith(ending):
            try:
                return AttemptId.parse(name.removesuffix(ending))
            except ProtocolError:
                return None
    return None


class _SpillFile(io.BufferedWriter):
    """A buffered file whose writes say in our own words that the disk is full."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise self._told(error, len(data)) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._told(error, 0) from error

    def _told(self, error: OSError, bytes_needed: int) -> OSError:
        if error.errno not in _DISK_FULL:
            return error
        need = f"{bytes_needed} more bytes did not fit" if bytes_needed else "its last bytes did not fit"
        return SpillSpaceExhausted(
            f"the disk that holds {self.name} is full: {need}; make room there, or let TMPDIR name a larger disk",
            path=self.name,
            bytes_needed=bytes_needed,
        )
