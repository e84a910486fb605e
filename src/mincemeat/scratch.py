"""Temporary directories that nobody has to clean up after: made, marked as ours, and swept up if their process died.

Decides: how a living process's directory is told from a dead one's, and which are removed. Does not know: what is in
them.

A directory is locked (``flock`` on the directory itself) before it is marked, and both last as long as its process
does, stopped ones included. So one with a mark and without a lock is a dead process's, and the next run or worker of
the same user removes it. Where directories cannot be locked (NFS, Windows) none is marked, and all are left alone. Only
the process that made a directory holds its lock: slots are started anew, and a fork lets go of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
import time
from types import TracebackType
from typing import Final

from mincemeat import locks
from mincemeat.errors import SpillSpaceExhausted

if sys.platform != "win32":
    import fcntl

PREFIX: Final = "mincemeat-"
# A file in a directory that was locked: the name of the machine, because a lock may not be seen from another one.
_MARK: Final = ".mincemeat"
# A dead process's directory while it is removed: by its old name a slot that outlives its parent finds nothing.
_DEAD: Final = "-dead"
# Beside a job that has begun. What is left then waits for the next one.
_SWEEP_SECONDS: Final = 1.0


class ScratchDirectory:
    """A directory in the temporary directory, for this user alone. ``path`` is its name.

    Life: until ``close``; as a context manager it gives ``path``. In a forked child it closes nothing.
    Raises: SpillSpaceExhausted if there is no room for a directory; OSError if none can be made.
    """

    def __init__(self) -> None:
        try:
            self.path = tempfile.mkdtemp(prefix=PREFIX)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise SpillSpaceExhausted(
                f"the disk that holds {error.filename} is full: not even a directory could be made; make room there, "
                "or let TMPDIR name a larger disk",
                path=str(error.filename),
            ) from error
        self._process = os.getpid()
        self._lock = _lock_and_mark(self.path)

    def close(self) -> None:
        """Remove it with all that is in it, as far as that can be done. May be called again."""
        if os.getpid() != self._process:
            return
        with contextlib.suppress(OSError, RecursionError):  # the latter by a job that makes directories without end
            names = [name for name in os.listdir(self.path) if name != _MARK]
            for name in names:
                _remove(os.path.join(self.path, name))
            # The mark goes last: what a kill in between leaves behind is still known to be ours.
            if not any(os.path.lexists(os.path.join(self.path, name)) for name in names):
                shutil.rmtree(self.path, ignore_errors=True)
        locks.let_go(self._lock)
        self._lock = -1  # the number is soon another file's

    def __enter__(self) -> str:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def sweep_soon() -> None:
    """``sweep`` in a thread that nobody waits for, beside a job that has begun."""
    with contextlib.suppress(RuntimeError):  # no more threads: another time then
        threading.Thread(target=sweep, name="mincemeat-sweep", daemon=True).start()


def sweep(seconds: float = _SWEEP_SECONDS) -> None:
    """Remove the directories of this user's processes that died without doing so.

    Cost: about ``seconds`` at most; what remains is left for the next time. Several at once do not disturb each other.
    Raises: nothing; what could not be removed is told to the log.
    """
    if sys.platform == "win32":
        return
    deadline = time.monotonic() + seconds
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            for entry in entries:
                if time.monotonic() >= deadline:
                    return
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                    _remove_if_dead(entry.path, deadline)
    except OSError as error:
        _tell(f"directories of dead processes could not be looked for: {error}")


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _lock_and_mark(path: str) -> int:
    """The descriptor that holds the lock; -1 where there are no locks."""
    if sys.platform == "win32":
        return -1
    lock = -1
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)  # closed in what we start (PEP 446)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only now: whoever sees the mark can rely on the lock.
        with open(os.path.join(path, _MARK), "wb") as mark:
            mark.write(_this_machine())
    except OSError:  # no locks on this file system, or a full disk, which the job will hear of in its own words
        if lock >= 0:
            os.close(lock)
        return -1
    locks.keep(lock)
    return lock


def _remove_if_dead(path: str, deadline: float) -> None:
    """Remove the directory ``path`` if it is ours and its process is gone. Follows no link."""
    assert sys.platform != "win32"
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone meanwhile
        return
    try:
        # Looked for before the lock is tried, which must not get in the way of a process that is about to take it ...
        if os.fstat(directory).st_uid != os.geteuid() or not _is_marked(directory):
            return
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # alive, or another is sweeping it up
            return
        if not _is_marked(directory):  # ... and after it: another has swept it up
            return
        if not path.endswith(_DEAD):
            os.rename(path, path + _DEAD)
            path += _DEAD
        if _empty(directory, deadline, _MARK):
            os.unlink(_MARK, dir_fd=directory)
            os.rmdir(path)
    except OSError as error:
        _tell(f"{path}, which a dead process left behind, could not be removed: {error}")
    finally:
        os.close(directory)


def _is_marked(directory: int) -> bool:
    try:
        mark = os.open(_MARK, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return False
    with open(mark, "rb") as file:
        return file.read(1024) == _this_machine()


def _empty(directory: int, deadline: float, spared: str = "") -> bool:
    """Remove what is in the open ``directory``, but not the file ``spared``; whether there was time for all of it."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name != spared]
    for name, is_directory in found:
        if time.monotonic() >= deadline:
            return False
        if not is_directory:
            os.unlink(name, dir_fd=directory)
            continue
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            if not _empty(inner, deadline):
                return False
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=directory)
    return True


def _this_machine() -> bytes:
    assert sys.platform != "win32"
    return os.fsencode(os.uname().nodename) + b"\n"


def _tell(sentence: str) -> None:
    import logging  # not at the top: a job's start is short, and this is rare

    logging.getLogger("mincemeat").info("%s", sentence)
