"""Results as a SQLite database: one table ``results(key, value)`` with an index on key.

Decides: the table, and which values are native. plain.py decides the forms of the rest; target.py the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mincemeat.errors import InvalidJob
from mincemeat.model import Pair
from mincemeat.sinks.base import Sink
from mincemeat.sinks.plain import json_text, no_form, plain
from mincemeat.sinks.target import Target

# What SQLite keeps beside a database that is in use, or was when its program died.
_COMPANIONS: Final = ("-journal", "-wal")


class SqliteSink(Sink):
    """Writes a ``.sqlite`` file: None, bool, int, float, str and bytes are native, an int of more than 64 bits is its
    decimal text, a NaN the text ``NaN`` (SQLite would make NULL of it), anything else the text that plain.py makes of
    it, or JSON text.

    Raises: InvalidJob when made, if nothing can be written there; InvalidEmission for what has no form.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import sqlite3

        self._target = Target(path)
        for companion in _COMPANIONS:
            # SQLite would play it back into the new database, with which it has nothing to do.
            if os.path.exists(self._target.path + companion):
                self._target.abort()
                raise InvalidJob(
                    f"cannot replace the database {os.fspath(path)!r}: {self._target.path + companion!r} says that it "
                    f"is in use, or was when its program died. Close that program, or choose another name"
                )
        # check_same_thread: the contract says one thread at a time, not always the same one.
        self._database = sqlite3.connect(self._target.private_path, isolation_level=None, check_same_thread=False)
        # One transaction in a file that nobody sees yet: the rename is the commit, target.py the sync.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("BEGIN")
        self._database.execute("CREATE TABLE results (key, value)")

    def write(self, pairs: Iterable[Pair]) -> None:
        self._target.check_open()
        self._execute(lambda: self._database.executemany("INSERT INTO results VALUES (?, ?)", _rows(pairs)))

    def commit(self) -> None:
        if not self._target.is_open:
            return
        # After the rows, in one sort, rather than row by row.
        self._execute(lambda: self._database.execute("CREATE INDEX results_key ON results (key)"))
        self._execute(lambda: self._database.execute("COMMIT"))
        self._database.close()
        self._target.commit()

    def abort(self) -> None:
        if self._target.is_open:
            self._database.close()
            self._target.abort()

    def _execute(self, statement: Callable[[], object]) -> None:
        """Raises: SpillSpaceExhausted for a full disk. State after any error: aborted."""
        import sqlite3

        try:
            statement()
        except sqlite3.OperationalError as error:
            self.abort()
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise self._target.no_space() from error
            raise
        except BaseException:
            self.abort()
            raise


def _rows(pairs: Iterable[Pair]) -> Iterator[tuple[Any, Any]]:
    for key, value in pairs:
        try:
            yield _native(key), _native(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise no_form(key, error) from error


def _native(value: Any) -> int | float | str | bytes | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, float) and math.isinf(value):
        return float(value)
    form = value if type(value) is str else plain(value)
    if form is None or isinstance(form, float):
        return form
    if isinstance(form, int):
        return int(form) if -(2**63) <= form < 2**63 else str(form)
    text = form if isinstance(form, str) else json_text(form)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates, as in names of files that are no text
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
