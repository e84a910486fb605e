"""Every step that a program takes on a file system, seen from Python: to be counted, failed, or the last it takes.

A step is a call of one of the functions below, or a write to a file that was opened by Python's own ``open`` or FileIO.
What SQLite and Arrow write for themselves is seen when it is synced or renamed.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from unittest import mock

CHANGES = ("open", "mkdir", "rmdir", "unlink", "rename", "replace", "fsync", "copy_file_range", "sendfile")
KILLED = 77

_FileIO = io.FileIO
_open = builtins.open


Watcher: TypeAlias = Callable[[str, tuple[Any, ...]], None]


class Steps:
    """Calls ``at(name, arguments)`` before each step, and ``after`` it.

    Whatever ``at`` raises is what the step raises; a write is then half done.
    """

    def __init__(self, at: Watcher, after: Watcher | None = None) -> None:
        self._at = at
        self._after = after

    @contextmanager
    def watched(self) -> Iterator[None]:
        with ExitStack() as patches:
            for name in CHANGES:
                if hasattr(os, name):
                    patches.enter_context(mock.patch.object(os, name, self._stepping(name, getattr(os, name))))
            patches.enter_context(mock.patch.object(io, "FileIO", self._file_class()))
            patches.enter_context(mock.patch.object(builtins, "open", self._open))
            yield

    def _stepping(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return real(*arguments, **options)
            self._at(name, arguments)
            result = real(*arguments, **options)
            if self._after is not None:
                self._after(name, arguments)
            return result

        return step

    def _file_class(self) -> type[io.FileIO]:
        at = self._at

        class SteppingFile(_FileIO):
            def write(self, data: Any, /) -> int:
                try:
                    at("write", (self.name,))
                except BaseException:
                    super().write(memoryview(data).cast("B")[: len(data) // 2])
                    raise
                return super().write(data)

            def truncate(self, size: int | None = None, /) -> int:
                at("truncate", (self.name,))
                return super().truncate(size)

        return SteppingFile

    def _open(self, file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+") or isinstance(file, int):
            return _open(file, mode, *rest, **options)
        raw = self._file_class()(file, mode.replace("b", "").replace("t", ""))
        buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, options.get("encoding"))


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a child process that ends, as if by kill -9, before its step ``step``; whether it came so far."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with Steps(_Countdown(step, lambda: os._exit(KILLED))).watched():
                work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, KILLED), f"the child ended with {code}"
    return code == KILLED


def failing_at(step: int, error: OSError, work: Callable[[], object]) -> tuple[bool, Exception | None]:
    """Do ``work``, whose step ``step`` fails with ``error``; whether it came so far, and what it raised."""

    def fail() -> None:
        raise error

    countdown = _Countdown(step, fail)
    raised = None
    try:
        with Steps(countdown).watched():
            work()
    except Exception as caught:  # noqa: BLE001 - the test looks at it
        raised = caught
    return countdown.left < 0, raised


class _Countdown:
    """Does ``act`` before the step ``step``, counted from 0."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.left = step
        self._act = act

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.left -= 1
        if self.left == -1:
            self._act()


class PowerCord:
    """Follows what would be there after a power cut: files as they were when they were synced, under synced names.

    ``unsettled``: directories in which a name has changed since they were synced.
    """

    def __init__(self) -> None:
        self._synced: dict[tuple[int, int], tuple[int, int]] = {}
        self.unsettled: set[str] = set()

    @contextmanager
    def watched(self, on_rename: Callable[[str, str], None]) -> Iterator[None]:
        """``on_rename(source, target)`` is called before a rename."""

        def at(name: str, arguments: tuple[Any, ...]) -> None:
            if name in ("rename", "replace"):
                on_rename(os.fspath(arguments[0]), os.fspath(arguments[1]))

        def after(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "fsync":
                facts = os.fstat(arguments[0])
                self._synced[facts.st_dev, facts.st_ino] = facts.st_mtime_ns, facts.st_size
                self.unsettled.discard(os.readlink(f"/proc/self/fd/{arguments[0]}"))
            elif name in ("rename", "replace", "mkdir"):
                changed = arguments[0] if name == "mkdir" else arguments[1]
                self.unsettled.add(os.path.dirname(os.path.realpath(changed)))

        with Steps(at, after).watched():
            yield

    def is_torn(self, path: str) -> bool:
        """Whether the file has changed since it was synced."""
        facts = os.stat(path)
        return self._synced.get((facts.st_dev, facts.st_ino)) != (facts.st_mtime_ns, facts.st_size)
