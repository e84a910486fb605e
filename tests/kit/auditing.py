"""What this process does to files, and what it unpickles, while a test attacks it: the interpreter's audit events."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Which arguments of an event are paths that are made, changed or removed.
_CHANGING = {
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.link": (0, 1),
    "os.symlink": (0, 1),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.utime": (0,),
    "shutil.rmtree": (0,),
    "shutil.move": (0, 1),
}
_FORBIDDEN = ("pickle.find_class", "marshal.loads", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn")
_SEEN = frozenset(("open", "os.listdir", "os.scandir", *_CHANGING, *_FORBIDDEN))  # to look is an event itself
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """``violations``: what happened in the thread that watches, outside of ``inside`` or not to happen at all.

    ``secret``: a directory in which nothing may even be read.
    """

    def __init__(self, inside: str, secret: str) -> None:
        self._inside = os.path.realpath(inside) + os.sep
        self._secret = os.path.realpath(secret)
        self._thread = threading.get_ident()
        self.violations: list[str] = []

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _SEEN or threading.get_ident() != self._thread or _is_importing():
            return
        if event in _FORBIDDEN:
            self.violations.append(f"{event}{arguments!r:.200}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING:
                self._must_be_inside(event, path)
            self._must_not_be_secret(event, path)
        elif event in ("os.listdir", "os.scandir"):
            self._must_not_be_secret(event, arguments[0])
        elif event in _CHANGING:
            for place in _CHANGING[event]:
                self._must_be_inside(event, arguments[place])

    def _must_be_inside(self, event: str, path: object) -> None:
        if not isinstance(path, int) and not _real(path).startswith(self._inside) and _real(path) != os.devnull:
            self.violations.append(f"{event} {path!r:.200}")

    def _must_not_be_secret(self, event: str, path: object) -> None:
        if path is not None and not isinstance(path, int) and _real(path).startswith((self._secret, "/etc/passwd")):
            self.violations.append(f"{event} {path!r:.200}")


def _real(path: object) -> str:
    return os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]


def _is_importing() -> bool:
    """Loading a module unmarshals it, and may write its bytecode."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap_external>":
        frame = frame.f_back
    return frame is not None


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in _watches:
        watch.see(event, arguments)


_watches: list[Watch] = []
_is_hooked = False


@contextlib.contextmanager
def watching(inside: str | os.PathLike[str], secret: str | os.PathLike[str]) -> Iterator[Watch]:
    """Watch this thread for as long as the block lasts."""
    global _is_hooked
    if not _is_hooked:  # a hook cannot be taken away again
        _is_hooked = True
        sys.addaudithook(_see)
    watch = Watch(os.fspath(inside), os.fspath(secret))
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
