"""Results for the eye and for the pipe: a table on a terminal, lines of key, tab, value elsewhere.

Decides: how a key and a result look as text. Does not know: whether there is a terminal, or how wide it is.
Both print when the job is committed and not before: a job that fails prints nothing, and no result lands in the middle
of a progress line. What is printed is for reading; the sinks that write files keep types and every character.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import IO, Any, TextIO

from mincemeat import limits
from mincemeat.model import Pair
from mincemeat.sinks.base import Sink

_GAP = "  "
_ELLIPSIS = "..."
# A key or result of more characters is cut before anything else looks at it: no terminal is that wide.
_CELL_CHARS_MAX = 2_000


class TableSink(Sink):
    """Prints a table of the first results on ``stream``.

    Shape: two columns in the order of writing; a column of numbers is right-aligned. Cells are cut so that a row fits
    ``width`` columns: a result at its end, a key in its middle, because what tells paths and addresses apart is last.
    At most ``rows_max`` rows (None: all), then a line that says how many more there are.
    Memory: the rows that are printed.
    """

    def __init__(self, stream: TextIO, *, width: int, rows_max: int | None = limits.TABLE_ROWS_MAX) -> None:
        self._stream = stream
        self._width = width
        self._rows_max = rows_max
        self._rows: list[tuple[str, str]] = []
        self._numeric = (True, True)
        self._more = 0
        self._ended = False

    def write(self, pairs: Iterable[Pair]) -> None:
        pairs = iter(pairs)
        room = None if self._rows_max is None else self._rows_max - len(self._rows)
        for key, value in itertools.islice(pairs, room):
            self._rows.append((_cell(key), _cell(value)))
            self._numeric = (self._numeric[0] and _is_number(key), self._numeric[1] and _is_number(value))
        self._more += sum(1 for _ in pairs)

    def commit(self) -> None:
        if not self._ended:
            self._ended = True
            _print_until_closed(self._stream, self._lines())

    def abort(self) -> None:
        self._ended = True
        self._rows.clear()

    def _lines(self) -> Iterable[str]:
        if not self._rows:
            yield "no results\n"
            return
        rows = [("key", "value"), *self._rows]
        wanted = (max(_columns(row[column]) for row in rows) for column in (0, 1))
        left, right = _fit(*wanted, width=self._width)
        rows.insert(1, ("-" * left, "-" * right))
        for key, value in rows:
            key, value = _shorten(key, left, _cut_middle), _shorten(value, right, _cut)
            row = _align(key, left, self._numeric[0]) + _GAP + _align(value, right, self._numeric[1])
            yield row.rstrip() + "\n"
        if self._more:
            yield f"... and {self._more:,} more (use -o FILE for all of them, --top N for the largest)\n"


class LinesSink(Sink):
    """Prints one line of key, tab, value for each result on ``stream``, for sort, head and their like.

    Shape: no header. Tabs and line ends inside a key or result are printed as ``\\t``, ``\\n`` and ``\\r``; a str is
    printed as it is otherwise, anything else as its ``str()``.
    A reader that closes the pipe early has had enough: no error.
    Memory: bounded; what is larger waits in a temporary file for the commit.
    """

    def __init__(self, stream: TextIO) -> None:
        import tempfile

        self._stream = stream
        self._spool: IO[str] = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by commit or abort
            limits.LINES_SPOOL_BYTES, "w+", encoding="utf-8", errors="surrogatepass", newline=""
        )

    def write(self, pairs: Iterable[Pair]) -> None:
        self._spool.writelines(f"{_field(key)}\t{_field(value)}\n" for key, value in pairs)

    def commit(self) -> None:
        if not self._spool.closed:
            self._spool.seek(0)
            with self._spool as lines:
                _print_until_closed(self._stream, lines)

    def abort(self) -> None:
        self._spool.close()


def _print_until_closed(stream: TextIO, lines: Iterable[str]) -> None:
    try:
        stream.writelines(lines)
        stream.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it exits, and would complain then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


# -- text of one value -----------------------------------------------------------------------------------


def _field(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if "\t" in text or "\n" in text or "\r" in text:
        return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _cell(value: Any) -> str:
    text = (value if isinstance(value, str) else str(value))[:_CELL_CHARS_MAX]
    if text.isprintable():
        return text
    # Threat: data with escape sequences in it could rewrite the terminal of whoever looks at it.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal | Fraction) and not isinstance(value, bool)


# -- columns of the terminal -----------------------------------------------------------------------------


def _fit(key: int, value: int, *, width: int) -> tuple[int, int]:
    """How many of ``width`` columns keys and values get, which want ``key`` and ``value``: a short one all, or half."""
    room = max(width - len(_GAP), 2 * len(_ELLIPSIS))
    if key + value > room:
        key = min(key, max(room - value, room // 2))
        value = min(value, room - key)
    return key, value


def _shorten(text: str, columns: int, cut: Callable[[str, int], str]) -> str:
    return text if _columns(text) <= columns else cut(text, columns - len(_ELLIPSIS))


def _align(text: str, columns: int, to_the_right: bool) -> str:
    blank = " " * (columns - _columns(text))
    return blank + text if to_the_right else text + blank


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_char_columns, text))


def _cut(text: str, columns: int) -> str:
    return _beginning(text, columns) + _ELLIPSIS


def _cut_middle(text: str, columns: int) -> str:
    end = _beginning(text[::-1], columns - columns // 2)[::-1]
    return _beginning(text, columns // 2) + _ELLIPSIS + end


def _beginning(text: str, columns: int) -> str:
    if text.isascii():
        return text[:columns]
    ends = itertools.accumulate(map(_char_columns, text))
    return "".join(char for char, end in zip(text, ends, strict=True) if end <= columns)


def _char_columns(char: str) -> int:
    """Columns that terminals give ``char``: two to most of East Asia, none to combining marks.

    Source: Unicode Standard Annex 11; terminals differ in the rest, such as joined emoji.
    """
    import unicodedata

    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
