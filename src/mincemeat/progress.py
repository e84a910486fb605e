"""The progress line: one line on a terminal, redrawn in place; nothing at all in a pipe.

Decides: how a snapshot reads as one line, and that nobody else's sentence lands in the middle of it. Does not know:
engines.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast

from mincemeat.model import Snapshot

# A job that is over sooner needs no line; one that is not should say so before the user wonders.
_QUIET_SECONDS = 0.5


class ProgressLine:
    """Draws snapshots on ``stream`` in place. Remembers the last one in ``last``. Use as a context manager.

    ``clock`` gives seconds. A stream that can no longer be written to ends the drawing, never the job.
    Inside the context, what this process writes to standard error (a warning, a line of the log, in any thread) wipes
    the line first if that is drawn there, and the line comes back below it. What children print is not seen here.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._drawn = 0
        self._is_interrupted = False  # somebody's unfinished line stands where ours would be drawn
        self._lock = threading.RLock()  # entered again when a signal's handler writes
        self._standard_error: _Beside | None = None
        self.last: Snapshot | None = None

    def __enter__(self) -> ProgressLine:
        if self._stream is not None and self._stream is sys.stderr:
            self._standard_error = _Beside(self, self._stream)
            sys.stderr = cast(TextIO, self._standard_error)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        beside = self._standard_error
        if beside is not None and sys.stderr is beside:  # else somebody has put his own there since
            sys.stderr = beside.stream

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of ``snapshot`` and draw it, if the job has lasted long enough to be worth a line.

        The line goes with the last task, not with the context: the results are printed in between, on a terminal that
        may be the same.
        """
        self.last = snapshot
        if is_finished(snapshot):
            self._clear()
        elif self._stream is not None and self._clock() - self._started >= _QUIET_SECONDS:
            # A full last column makes some terminals wrap.
            self._draw(describe(snapshot, _columns(self._stream) - 1))

    def write_beside(self, text: str, stream: TextIO) -> int:
        """Write somebody else's ``text`` on ``stream``, where the line stands."""
        with self._lock:
            self._clear()
            if text:
                self._is_interrupted = not text.endswith("\n")
            return stream.write(text)

    def _clear(self) -> None:
        with self._lock:
            if self._drawn:
                self._draw("")

    def _draw(self, text: str) -> None:
        with self._lock:
            if self._stream is None or self._is_interrupted:
                return
            # The whole width, because a terminal shows Ctrl-C as ^C wherever the cursor is.
            blank = " " * ((self._drawn if text else _columns(self._stream) - 1) - len(text))
            try:
                self._stream.write(f"\r{text}{blank}" if text else f"\r{blank}\r")
                self._stream.flush()
            except (OSError, ValueError):  # the terminal hung up, or somebody closed the stream
                self._stream = None
            self._drawn = len(text)


class _Beside:
    """Stands in for standard error while a line is drawn there."""

    def __init__(self, line: ProgressLine, stream: TextIO) -> None:
        self._line = line
        self.stream = stream

    def write(self, text: str) -> int:
        return self._line.write_beside(text, self.stream)

    def writelines(self, texts: Iterable[str]) -> None:
        self.write("".join(texts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def progress_line(wanted: bool | None) -> ProgressLine:
    """A line on standard error: if ``wanted``, or by default if that is a terminal."""
    stream: TextIO | None = sys.stderr  # None in a windowed or detached interpreter
    if wanted is None:
        wanted = stream is not None and stream.isatty()
    return ProgressLine(stream if wanted else None)


def is_finished(snapshot: Snapshot) -> bool:
    """Whether every task is committed. Never true of a job whose input is empty: it has no reduce task."""
    return 0 < snapshot.reduce_total == snapshot.reduce_committed


def describe(snapshot: Snapshot, columns: int | None = None) -> str:
    """One line for people: phase, tasks, share, workers, failures, time.

    Of more than ``columns`` characters, what matters least is left out first, and the rest is cut.
    """
    for details in (_DETAILS, _DETAILS - {"pairs"}, _DETAILS - {"pairs", "slots"}, {"records"}, set[str]()):
        line = " | ".join(_parts(snapshot, details))
        if columns is None or len(line) <= columns:
            return line
    return line[:columns]


_DETAILS = {"records", "pairs", "rate", "slots"}


def _parts(snapshot: Snapshot, details: set[str]) -> Iterable[str]:
    if snapshot.reduce_total:
        yield f"reduce {snapshot.reduce_committed}/{snapshot.reduce_total}"
    else:
        known = "" if snapshot.input_exhausted else "+"
        yield f"map {snapshot.map_committed}/{snapshot.map_total}{known}"
        if snapshot.input_bytes_total:
            share = (
                f"{snapshot.input_bytes / snapshot.input_bytes_total:.0%} of {format_bytes(snapshot.input_bytes_total)}"
            )
            rate = snapshot.input_bytes / max(snapshot.seconds, 1e-3)
            yield f"{share}, {format_bytes(rate)}/s" if "rate" in details else share
    if "records" in details:
        pairs = f", {count(snapshot.pairs, 'pair')}" if "pairs" in details else ""
        yield count(snapshot.records, "record") + pairs
    workers = count(snapshot.workers, "worker") if snapshot.slots else "no workers yet"
    if "slots" in details and snapshot.slots != snapshot.workers:
        workers += f" ({count(snapshot.slots, 'slot')})"
    yield workers
    if snapshot.failed_attempts:
        yield count(snapshot.failed_attempts, "failed attempt")
    yield format_seconds(snapshot.seconds)


def format_bytes(size: float) -> str:
    """``size`` in bytes for people, in powers of 1000: ``1.2 MB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:  # what rounds to 1000.0 belongs to the next unit
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def format_seconds(seconds: float) -> str:
    """``seconds`` as ``0:07`` or ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(number: int, noun: str) -> str:
    """``1 worker``, ``2 workers``, ``1,000 workers``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _columns(stream: TextIO) -> int:
    """How wide ``stream`` is: standard output, which ``shutil`` asks about, may be a pipe while this is a terminal."""
    if "COLUMNS" not in os.environ:
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            pass
    return shutil.get_terminal_size().columns
