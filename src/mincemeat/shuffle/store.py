"""Decides where attempt files lie, how they are named, and how one becomes visible.

It knows nothing of what is in a block. A file is written under a private name and renamed when it is whole:

    m-00017.2.blocks.part      being written, worth nothing, removed with its attempt
    m-00017.2.blocks           committed
    r-00003.0.regroup/         a reduce attempt's own, for partitions that do not fit into memory; removed with it

It is not synced before the rename: an attempt that a power cut takes away is attempted again, and a torn file is found
by its checksums. Files that outlive their job (those of a sink) are another room's and are synced.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Collection, Iterator
from typing import Any, Final

from mincemeat.errors import BlockCorrupt, ProtocolError, SpillSpaceExhausted
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle.block import BlockWriter, read_index

_COMMITTED: Final = ".blocks"
_PRIVATE: Final = ".blocks.part"

_REGROUP: Final = ".regroup"

DISK_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


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
        make_directory(self.directory)
        try:
            with _spill_file(path) as writer:
                yield writer
        except BaseException:
            self.drop(attempt)
            raise

    @contextlib.contextmanager
    def writing_file(self, attempt: AttemptId) -> Iterator[str]:
        """The attempt's private name, for a file of another form than blocks, which the caller makes and closes.

        Raises: SpillSpaceExhausted where the caller is told that the disk is full. However the block is left by an
        exception, nothing of the attempt remains on disk.
        """
        path = self._private_path(attempt)
        make_directory(self.directory)
        try:
            with telling_of_a_full_disk(path):
                yield path
        except BaseException:
            self.drop(attempt)
            raise

    @contextlib.contextmanager
    def regrouping(self, attempt: AttemptId) -> Iterator[RegroupFiles]:
        """Files for what the attempt lays down for itself. However the block is left, none of them remains."""
        files = RegroupFiles(self._regroup_path(attempt))
        files.clear()  # of the same attempt, killed in an earlier life
        try:
            yield files
        finally:
            files.clear()

    def _regroup_path(self, attempt: AttemptId) -> str:
        return os.path.join(self.directory, f"{attempt}{_REGROUP}")

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

    def is_whole(self, attempt: AttemptId) -> bool:
        """Whether the attempt's committed file is there and has its footer, which is written last."""
        try:
            read_index(self.path(attempt))
        except (OSError, BlockCorrupt):
            return False
        return True

    def size(self, attempt: AttemptId) -> int:
        """Bytes of the attempt's committed file. Raises: OSError if it is not there."""
        return os.path.getsize(self.path(attempt))

    def drop(self, attempt: AttemptId) -> None:
        """Remove what there is of the attempt, committed or not; nothing is no error."""
        for path in (self._private_path(attempt), self.path(attempt)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        RegroupFiles(self._regroup_path(attempt)).clear()

    def outputs(self) -> list[AttemptId]:
        """Every attempt whose committed file is there."""
        try:
            names = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        committed = (_attempt_of(name) for name in names if name.endswith(_COMMITTED))
        return [attempt for attempt in committed if attempt is not None]

    def keep_only(self, attempts: Collection[AttemptId]) -> None:
        """Remove all attempt files but the committed ones of ``attempts``: what a killed process left behind."""
        kept = {os.path.basename(self.path(attempt)) for attempt in attempts}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                attempt = _attempt_of(name)
                if name in kept or attempt is None:
                    continue
                if name.endswith(_REGROUP):
                    RegroupFiles(self._regroup_path(attempt)).clear()
                else:
                    os.unlink(os.path.join(self.directory, name))

    def clear(self) -> None:
        """Remove all attempt files, and the directory if nothing else is in it. Files of other names stay."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                attempt = _attempt_of(name)
                if attempt is not None:
                    self.drop(attempt)
        with contextlib.suppress(OSError):  # not empty, or never made
            os.rmdir(self.directory)


class RegroupFiles:
    """Files of one attempt in a directory of their own, which is made when the first of them is."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._made = 0

    @contextlib.contextmanager
    def writing(self) -> Iterator[tuple[str, BlockWriter]]:
        """A new file's path and a writer on it; the file is whole when the block ends, and gone if it raises.

        Raises: SpillSpaceExhausted when the disk is full.
        """
        make_directory(self._directory)
        path = os.path.join(self._directory, f"{self._made}{_COMMITTED}")
        self._made += 1
        try:
            with _spill_file(path) as writer:
                yield path, writer
        except BaseException:
            self.drop(path)
            raise

    def drop(self, path: str) -> None:
        """Remove one of the files; nothing is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def clear(self) -> None:
        """Remove all of them, and the directory."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._directory):
                self.drop(os.path.join(self._directory, name))
            os.rmdir(self._directory)


def _attempt_of(name: str) -> AttemptId | None:
    """The attempt whose file is called ``name``, or None if it is not one of ours."""
    for ending in (_PRIVATE, _COMMITTED, _REGROUP):
        if name.endswith(ending):
            try:
                return AttemptId.parse(name.removesuffix(ending))
            except ProtocolError:
                return None
    return None


def make_directory(path: str | os.PathLike[str]) -> None:
    """Make it unless it is there, in a directory that is: one that was removed with its job is not made again.

    0700: blocks hold the job's data, and temporary directories are everybody's. Raises: SpillSpaceExhausted.
    """
    with contextlib.suppress(FileExistsError), telling_of_a_full_disk(path):
        os.mkdir(path, 0o700)


@contextlib.contextmanager
def _spill_file(path: str) -> Iterator[BlockWriter]:
    """A writer on a new file at ``path``, which has its footer when the block ends. Raises: SpillSpaceExhausted."""
    with writing_file(path) as file:
        writer = BlockWriter(file)
        yield writer
        writer.finish()


@contextlib.contextmanager
def writing_file(path: str | os.PathLike[str]) -> Iterator[io.BufferedWriter]:
    """A new file at ``path``, written when the block ends; a part of it stays if that raises.

    Raises: SpillSpaceExhausted when the disk is full.
    """
    with telling_of_a_full_disk(path):
        file = _SpillFile(io.FileIO(os.fspath(path), "w"))
    try:
        yield file
        file.close()
    except BaseException:
        with contextlib.suppress(OSError):  # closing flushes, and so meets the full disk once more
            file.close()
        raise


class _SpillFile(io.BufferedWriter):
    """A buffered file whose writes say in our own words that the disk is full."""

    _taken = 0

    def write(self, data: Any, /) -> int:
        self._taken += len(data)
        try:
            return super().write(data)
        except OSError as error:
            raise self._told(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._told(error) from error

    def _told(self, error: OSError) -> OSError:
        if error.errno not in DISK_FULL:
            return error
        # What was handed in and is not there: part of it may have waited in the buffer for a while.
        return disk_full(str(self.name), self._taken - os.fstat(self.fileno()).st_size)


@contextlib.contextmanager
def telling_of_a_full_disk(path: str | os.PathLike[str], bytes_needed: int = 0) -> Iterator[None]:
    """Around what makes or writes the file ``path``, which would need ``bytes_needed`` (0: some) more bytes.

    Raises: SpillSpaceExhausted where the system says that the disk is full; other errors as they are.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise disk_full(os.fspath(path), bytes_needed) from error


def disk_full(path: str, bytes_needed: int) -> SpillSpaceExhausted:
    """The error that says that the disk of the file ``path`` has no room for ``bytes_needed`` (0: some) bytes of it."""
    return SpillSpaceExhausted(
        f"the disk that holds {path} is full: {bytes_needed or 'some'} more bytes did not fit; make room there, or let "
        "TMPDIR name a larger disk",
        path=path,
        bytes_needed=bytes_needed,
    )
