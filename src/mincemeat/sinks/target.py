"""A file that appears whole or not at all.

Decides: the private name beside the target, and the order write, sync, rename, sync directory (as leveldb,
db/filename.cc). A file of an earlier job stays as it is until the rename replaces it; what a killed job left beside it
is removed by the next one, which knows it by its name and by nobody's holding its lock. Knows nothing of formats.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from typing import TypeAlias

from mincemeat.errors import InvalidJob, MincemeatError, SpillSpaceExhausted
from mincemeat.locks import Lock
from mincemeat.shuffle.store import DISK_FULL

Identity: TypeAlias = tuple[int, int, int, int]

log = logging.getLogger("mincemeat")

# What systems say that do not sync directories, as opposed to disks that fail.
_CANNOT_SYNC_DIRECTORIES = {
    getattr(errno, name)
    for name in ("EINVAL", "EACCES", "EPERM", "EISDIR", "EBADF", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOTTY")
    if hasattr(errno, name)
}
# Beside the private file, and removed with it: an own part, and what parquet.py rewrites.
_COMPANIONS = ("", ".part", ".part.narrow", ".narrow")


class Target:
    """One file to be. ``path`` is where it will be, ``private_path`` where it is written until ``commit``.

    ``identity``: what it is known by after ``commit``, whatever is at ``path`` then.
    Life: ended once, by ``commit`` or ``abort``; ``is_open`` until then.
    Raises: InvalidJob, at once, if no file can be made there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # What a link points at is replaced, not the link.
        self.path = os.path.realpath(path)
        self._shown = os.fspath(path)
        directory, name = os.path.split(self.path)
        self._prefix = f".{os.fsencode(name)[:100].decode('utf-8', 'ignore')}."
        self.is_open = True
        self.identity: Identity | None = None
        if not os.path.isdir(directory):
            raise refusal(self._shown, f"there is no directory {os.path.dirname(self._shown)!r}")
        mode = self._mode_of_existing()
        try:
            self.private_path, self._lock = self._new_private_file(directory)
        except OSError as error:
            raise refusal(self._shown, error.strerror or str(error)) from error
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system without modes
                os.chmod(self.private_path, mode)
        self._remove_what_is_dead(directory)

    def commit(self) -> None:
        """Put the file, closed by now, in its place. State after an error: aborted, the target untouched."""
        try:
            with self.naming_full_disk():
                sync(self.private_path, os.O_RDWR)
            self.identity = identity_of(self.private_path)
            os.replace(self.private_path, self.path)
        except BaseException:
            self.abort()
            raise
        self.is_open = False
        self._lock.release()
        settle(os.path.dirname(self.path))

    def abort(self) -> None:
        self.is_open = False
        _remove(self.private_path)
        self._lock.release()

    def check_open(self) -> None:
        """Raises: MincemeatError if the file is committed or aborted, and can no longer be written."""
        if not self.is_open:
            raise MincemeatError(f"results were written to {self._shown!r} after its commit or abort")

    def naming_full_disk(self) -> contextlib.AbstractContextManager[None]:
        """See the function."""
        return naming_full_disk(self._shown, self.path)

    def _new_private_file(self, directory: str) -> tuple[str, Lock]:
        while True:
            path = os.path.join(directory, f"{self._prefix}{os.urandom(4).hex()}.tmp")
            # Not tempfile: its files are for the owner alone, and this one becomes an ordinary file.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            lock = Lock.of_new(path)
            if lock is not None:
                return path, lock

    def _remove_what_is_dead(self, directory: str) -> None:
        ours = re.compile(re.escape(self._prefix) + r"[0-9a-f]{8}\.tmp")
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                path = os.path.join(directory, name)
                if ours.fullmatch(name) and path != self.private_path:
                    with Lock.if_dead(path) as is_dead:
                        if is_dead:
                            _remove(path)

    def _mode_of_existing(self) -> int | None:
        try:
            facts = os.stat(self.path)
        except OSError:
            return None  # nothing there, or nothing can be: making the private file will tell
        if stat.S_ISDIR(facts.st_mode):
            raise refusal(self._shown, "it is a directory (for part files in it, end the name with a slash)")
        if not stat.S_ISREG(facts.st_mode):
            raise refusal(self._shown, "it is no ordinary file")
        if not os.access(self.path, os.W_OK):
            raise refusal(self._shown, "it is write-protected")
        return stat.S_IMODE(facts.st_mode)


def identity_of(path: str) -> Identity:
    """What tells a file from another one of its name; a rename does not change it. Raises: OSError."""
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def refusal(shown: str, reason: str) -> InvalidJob:
    """What to raise where nothing can be written to ``shown``."""
    return InvalidJob(f"cannot write results to {shown!r}: {reason}")


@contextlib.contextmanager
def naming_full_disk(shown: str, path: str) -> Iterator[None]:
    """Say which disk is full, which the error of the system does not. Raises: SpillSpaceExhausted instead of it."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        message = f"no space left for the results in {shown!r}; nothing was changed there"
        raise SpillSpaceExhausted(message, path=path) from error


def sync(path: str, flags: int = os.O_RDWR) -> None:
    """Wait until the file at ``path`` is on the disk."""
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: str) -> None:
    """A rename is durable when the directory is. Windows cannot open one, some file systems cannot sync it.

    Raises: OSError where one could, and the disk failed.
    """
    try:
        sync(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_DIRECTORIES:
            raise


def settle(path: str) -> None:
    """As ``sync_directory``, for a directory in which a rename has just committed, which nothing may take back."""
    try:
        sync_directory(path)
    except OSError as error:
        log.warning("the results are in place in %s; whether they outlast a power cut is not known: %s", path, error)


def _remove(path: str) -> None:
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + companion)
