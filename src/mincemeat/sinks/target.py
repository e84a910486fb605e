"""A file that appears whole or not at all.

Decides: the private name beside the target, and the order write, sync, rename, sync directory (as leveldb,
db/filename.cc). A file of an earlier job stays as it is until the rename replaces it. Knows nothing of formats.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from mincemeat.errors import InvalidJob, MincemeatError, SpillSpaceExhausted


class Target:
    """One file to be. ``path`` is where it will be, ``private_path`` where it is written until ``commit``.

    Life: ended once, by ``commit`` or ``abort``; ``is_open`` until then.
    Raises: InvalidJob, at once, if no file can be made there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # What a link points at is replaced, not the link.
        self.path = os.path.realpath(path)
        self._shown = os.fspath(path)
        directory, name = os.path.split(self.path)
        self.private_path = os.path.join(directory, f".{name[:100]}.{os.urandom(4).hex()}.tmp")
        self.is_open = True
        if not os.path.isdir(directory):
            raise self._refusal(f"there is no directory {os.path.dirname(self._shown)!r}")
        mode = self._mode_of_existing()
        try:
            # Not tempfile: its files are for the owner alone, and this one becomes an ordinary file.
            handle = os.open(self.private_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error
        os.close(handle)
        if mode is not None:
            with contextlib.suppress(OSError):  # a file system without modes
                os.chmod(self.private_path, mode)

    def commit(self) -> None:
        """Put the file, closed by now, in its place. State after an error: aborted, the target untouched."""
        try:
            with self.naming_full_disk():
                _sync(self.private_path, os.O_RDWR)
            os.replace(self.private_path, self.path)
        except BaseException:
            self.abort()
            raise
        self.is_open = False
        # The rename is durable when the directory is. Windows cannot open one, some file systems cannot sync it.
        with contextlib.suppress(OSError):
            _sync(os.path.dirname(self.path), os.O_RDONLY)

    def abort(self) -> None:
        self.is_open = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.private_path)

    def check_open(self) -> None:
        """Raises: MincemeatError if the file is committed or aborted, and can no longer be written."""
        if not self.is_open:
            raise MincemeatError(f"results were written to {self._shown!r} after its commit or abort")

    @contextlib.contextmanager
    def naming_full_disk(self) -> Iterator[None]:
        """Say which disk is full, which the error of the system does not. Raises: SpillSpaceExhausted instead of it."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self.no_space() from error

    def no_space(self) -> SpillSpaceExhausted:
        message = f"no space left for the results in {self._shown!r}; nothing was changed there"
        return SpillSpaceExhausted(message, path=self.path)

    def _mode_of_existing(self) -> int | None:
        try:
            facts = os.stat(self.path)
        except OSError:
            return None  # nothing there, or nothing can be: making the private file will tell
        if not stat.S_ISREG(facts.st_mode):
            raise self._refusal("it is a directory" if stat.S_ISDIR(facts.st_mode) else "it is no ordinary file")
        if not os.access(self.path, os.W_OK):
            raise self._refusal("it is write-protected")
        return stat.S_IMODE(facts.st_mode)

    def _refusal(self, reason: str) -> InvalidJob:
        return InvalidJob(f"cannot write results to {self._shown!r}: {reason}")


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
