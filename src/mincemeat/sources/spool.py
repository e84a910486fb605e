"""Inputs that can be read only once (stdin, pipes), laid down in a temporary file as they are read.

Decides: where such an input is cut: behind a line end, because a slot may read a piece while the next is still on its
way. Knows nothing of records. The file is needed because an attempt may be repeated and a pipe cannot; it grows as
splits are asked for, so that memory stays bounded and the disk holds the input once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from typing import TYPE_CHECKING, BinaryIO, Final

from mincemeat.errors import InvalidJob, SpillSpaceExhausted
from mincemeat.shuffle.store import DISK_FULL
from mincemeat.sources.paths import STDIN

if TYPE_CHECKING:
    from mincemeat.scratch import ScratchDirectory

_READ_BYTES: Final = 64 * 2**10


class Spool:
    """One once-only input. ``path`` is its temporary file, removed by ``close`` or when the process ends.

    ``name`` is ``-`` for the standard input, or the path of a pipe; it is opened at the first ``cut``, which may block.
    """

    def __init__(self, name: str) -> None:
        from mincemeat.scratch import ScratchDirectory

        directory = ScratchDirectory()
        self.path = os.path.join(directory.path, "input")
        self._file = open(self.path, "wb")  # noqa: SIM115 - it lives as long as this object
        self._name = name
        self._input: BinaryIO | None = None
        self._size = 0
        self._cut = 0
        self._is_ended = False
        self._remove = weakref.finalize(self, _discard, self._file, directory)

    def cut(self, bytes_wanted: int | None) -> tuple[int, int] | None:
        """The next stretch of the file, ``[start, stop)``; ``None`` when nothing is left.

        Shape: at least ``bytes_wanted`` bytes, ended behind a line end (or the input's); for ``None`` all that is left.
        Cost: blocks until the input has given that much. Raises: InvalidJob if it cannot be read, SpillSpaceExhausted.
        """
        line_end = self._cut
        while not self._is_ended and (bytes_wanted is None or line_end - self._cut < bytes_wanted):
            size = _READ_BYTES if bytes_wanted is None else min(_READ_BYTES, bytes_wanted)
            block = self._read(size)
            newline = block.rfind(b"\n")
            if newline >= 0:
                line_end = self._size + newline + 1
            self._append(block)
            self._is_ended = not block
        start, self._cut = self._cut, self._size if self._is_ended else line_end
        return (start, self._cut) if self._cut > start else None

    def close(self) -> None:
        if self._input is not None and self._name != STDIN:
            self._input.close()
        self._remove()

    def _read(self, size: int) -> bytes:
        try:
            if self._input is None:
                self._input = self._open()
            return self._input.read(size)
        except OSError as error:
            raise InvalidJob(f"cannot read {self._name!r}: {error.strerror or error}") from error

    def _open(self) -> BinaryIO:
        if self._name != STDIN:
            return open(self._name, "rb", buffering=0)  # closed by close()
        if sys.stdin is None:
            raise InvalidJob("'-' stands for the standard input, and this process has none")
        return sys.stdin.buffer

    def _append(self, block: bytes) -> None:
        try:
            self._file.write(block)
            self._file.flush()  # slots read it from now on
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            message = (
                f"the disk that holds {self.path} is full: {len(block)} more bytes of the input {self._name!r}, "
                "which is laid down there, did not fit; make room there, or let TMPDIR name a larger disk"
            )
            raise SpillSpaceExhausted(message, path=self.path, bytes_needed=len(block)) from error
        self._size += len(block)


def _discard(file: BinaryIO, directory: ScratchDirectory) -> None:
    with contextlib.suppress(OSError):  # the disk is full, and what is still in the buffer is of no use to anybody
        file.close()
    directory.close()
