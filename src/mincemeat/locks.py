"""Locks that say that whoever writes a file or directory is alive.

Decides: how that is told (``flock``, which ends with its process, however that ends). Where files cannot be locked
(Windows, some network file systems) nobody is known to be dead, and so nothing is removed. A child that user code forks
does not hold what its parent holds: it may outlive it. scratch.py does the same for temporary directories.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

# The descriptors by which this process holds something for longer than a moment.
_kept: set[int] = set()


def keep(descriptor: int) -> None:
    """``descriptor`` holds a lock until ``let_go``, for this process alone: a forked child closes it."""
    _kept.add(descriptor)


def let_go(descriptor: int) -> None:
    """Close what was given to ``keep``; in a forked child, where the number is another file's by now, nothing."""
    if descriptor in _kept:
        _kept.discard(descriptor)
        os.close(descriptor)


def _let_go_of_all() -> None:
    for descriptor in _kept:
        os.close(descriptor)
    _kept.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go_of_all)


class Lock:
    """Held from ``of_new`` or ``waiting_for`` until ``release``; -1 stands for a lock where there are none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        if descriptor >= 0:
            keep(descriptor)

    @property
    def is_real(self) -> bool:
        return self._descriptor >= 0

    def release(self) -> None:
        """Let go. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        let_go(descriptor)

    @classmethod
    def of_new(cls, path: str) -> Lock | None:
        """The lock of what has just been made at ``path``; None if somebody took it for dead, who then removes it."""
        try:
            descriptor = _try_lock(path)
        except FileNotFoundError:  # taken for dead before it could be opened, and removed
            return None
        if descriptor is None:
            return None
        try:
            is_there = descriptor < 0 or os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:
            is_there = False
        if is_there:
            return cls(descriptor)
        os.close(descriptor)
        return None

    @classmethod
    @contextlib.contextmanager
    def waiting_for(cls, path: str) -> Iterator[bool]:
        """Hold the lock of ``path``, when it is free; whether there are locks."""
        if sys.platform == "win32":
            yield False
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    @classmethod
    @contextlib.contextmanager
    def if_dead(cls, path: str) -> Iterator[bool]:
        """Whether nobody who lives holds ``path``, which is held meanwhile."""
        try:
            descriptor = _try_lock(path)
        except OSError:  # gone by now, or not ours to open
            descriptor = None
        try:
            yield descriptor is not None and descriptor >= 0
        finally:
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)


def _try_lock(path: str) -> int | None:
    """A descriptor that holds the lock; None if somebody else holds it; -1 where there are no locks."""
    if sys.platform == "win32":
        return -1
    try:  # NFS locks nothing that is not open for writing
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)  # closed in what we start (PEP 446)
    except (IsADirectoryError, PermissionError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor
