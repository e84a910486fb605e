"""The progress line: one line on a terminal, redrawn in place; nothing at all in a pipe.

Decides: how a snapshot reads as one line. Does not know: engines.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mincemeat.model import Snapshot

# A job that is over sooner needs no line; one that is not should say so before the user wonders.
_QUIET_SECONDS = 0.5


class ProgressLine:
    """Draws snapshots on ``stream`` in place. Remembers the last one in ``last``. Use as a context manager.

    ``clock`` gives seconds. A stream that can no longer be written to ends the drawing, never the job.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._drawn = 0
        self.last: Snapshot | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def observe(self, snapshot: Snapshot) -> None:
        """Take note of ``snapshot`` and draw it, if the job has lasted long enough to be worth a line.

        The line goes with the last task, not with the context: the results are printed in between, on a terminal that
        may be the same.
        """
        self.last = snapshot
        if is_finished(snapshot):
            self._clear()
        elif self._clock() - self._started >= _QUIET_SECONDS:
            self._draw(describe(snapshot))

    def _clear(self) -> None:
        if self._drawn:
            self._draw("")

    def _draw(self, text: str) -> None:
        if self._stream is None:
            return
        text = text[: _columns(self._stream) - 1]  # a full last column makes some terminals wrap
        blank = " " * (self._drawn - len(text))
        try:
            self._stream.write(f"\r{text}{blank}" if text else f"\r{blank}\r")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal hung up, or somebody closed the stream
            self._stream = None
        self._drawn = len(text)


def progress_line(wanted: bool | None) -> ProgressLine:
    """A line on standard error: if ``wanted``, or by default if that is a terminal."""
    stream: TextIO | None = sys.stderr  # None in a windowed or detached interpreter
    if wanted is None:
        wanted = stream is not None and stream.isatty()
    return ProgressLine(stream if wanted else None)


def is_finished(snapshot: Snapshot) -> bool:
    """Whether every task is committed. Never true of a job whose input is empty: it has no reduce task."""
    return 0 < snapshot.reduce_total == snapshot.reduce_committed


def describe(snapshot: Snapshot) -> str:
    """One line for people: phase, tasks, share, workers, failures, time."""
    parts = []
    if snapshot.reduce_total:
        parts.append(f"reduce {snapshot.reduce_committed}/{snapshot.reduce_total}")
    else:
        known = "" if snapshot.input_exhausted else "+"
        parts.append(f"map {snapshot.map_committed}/{snapshot.map_total}{known}")
        if snapshot.input_bytes_total:
            share = snapshot.input_bytes / snapshot.input_bytes_total
            rate = snapshot.input_bytes / max(snapshot.seconds, 1e-3)
            parts.append(f"{share:.0%} of {format_bytes(snapshot.input_bytes_total)}, {format_bytes(rate)}/s")
    parts.append(f"{snapshot.records:,} records, {snapshot.pairs:,} pairs")
    parts.append("no workers yet" if not snapshot.slots else count(snapshot.workers, "worker"))
    if snapshot.slots != snapshot.workers:
        parts[-1] += f" ({count(snapshot.slots, 'slot')})"
    if snapshot.failed_attempts:
        parts.append(count(snapshot.failed_attempts, "failed attempt"))
    parts.append(format_seconds(snapshot.seconds))
    return " | ".join(parts)


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
