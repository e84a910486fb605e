"""Results as a SQLite database: one table ``results(key, value)`` with an index on key.

Decides: the table, and which values are native. plain.py decides the forms of the rest.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Format, Joint, Stretch, check_size
from mincemeat.sinks.lines import blaming
from mincemeat.sinks.parts import PartFacts, PartWriter, checksum, is_utf8
from mincemeat.sinks.plain import json_text, plain

if TYPE_CHECKING:
    import sqlite3

# What a row costs beside its text, for a guess at how many bytes some rows take.
_ROW_BYTES: Final = 24


class SqliteWriter(PartWriter):
    """None, bool, int, float, str and bytes are native, an int of more than 64 bits is its decimal text, a NaN the text
    ``NaN`` (SQLite would make NULL of it), anything else the text that plain.py makes of it, or JSON text.
    """

    def __init__(self, path: str, *, alone: bool) -> None:
        super().__init__(path, alone=alone)
        open(path, "wb").close()  # whatever is there
        self._database = _new_database(path)

    def _append(self, keys: Sequence[Key], results: Sequence[Any]) -> int:
        try:
            rows = list(zip(_natives(keys), _natives(results), strict=True))
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, _native, error) from error
        with telling_full():
            self._database.executemany("INSERT INTO results VALUES (?, ?)", rows)
        sample = rows[:: max(1, len(rows) // 16)]
        texts = sum(len(value) for row in sample for value in row if isinstance(value, str | bytes))
        return len(rows) * (_ROW_BYTES + texts // len(sample))

    def _finish(self) -> tuple[int, int]:
        with telling_full():
            _complete(self._database, with_index=self._alone)
        return checksum(self.path)

    def close(self) -> None:
        self._database.close()


class SqliteJoint(Joint):
    """Attaches one part after the other and copies its rows. The index is made at the end, in one sort."""

    def __init__(self, path: str) -> None:
        self._database = _new_database(path)
        # Nothing of a part is run: its rows are copied.
        self._database.execute("PRAGMA trusted_schema = OFF")

    def add(self, path: str, facts: PartFacts) -> None:
        database = self._database
        with telling_full():
            database.execute("COMMIT")  # nothing can be attached in a transaction
            database.execute("ATTACH ? AS part", (path,))
            database.execute("BEGIN")
            database.execute("INSERT INTO results SELECT key, value FROM part.results ORDER BY rowid")
            database.execute("COMMIT")
            database.execute("DETACH part")
            database.execute("BEGIN")

    def finish(self) -> None:
        with telling_full():
            _complete(self._database, with_index=True)

    def close(self) -> None:
        self._database.close()


def _new_database(path: str) -> sqlite3.Connection:
    import sqlite3

    # check_same_thread: a sink is used by one thread at a time, not always the same one.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # In a file that nobody sees yet: the rename is the commit, and who renames syncs.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    with telling_full():
        database.execute("BEGIN")
        database.execute("CREATE TABLE results (key, value)")
    return database


def _complete(database: sqlite3.Connection, *, with_index: bool) -> None:
    if with_index:
        database.execute("CREATE INDEX results_key ON results (key)")
    database.execute("COMMIT")
    database.close()


@contextlib.contextmanager
def telling_full() -> Iterator[None]:
    """Raises: OSError, ENOSPC, where SQLite says in its own words that the disk is full."""
    import sqlite3

    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _natives(values: Sequence[Any]) -> Sequence[Any]:
    """A column as SQLite takes it; that of words or counts without a call for each."""
    kinds = set(map(type, values))
    if kinds == {int} and min(values) >= -(2**63) and max(values) < 2**63:
        return values
    if kinds == {str} and is_utf8(values):
        return values
    return list(map(_native, values))


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


class SqliteFormat(Format):
    """Keys and results come back as SQLite has them: None, numbers, str and bytes are what they were.

    Every part has an index, so none of them is worth guessing in which a key is.
    """

    # SQLite would play them back into the new database, with which they have nothing to do.
    companions: ClassVar[tuple[str, ...]] = ("-journal", "-wal")

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return SqliteWriter(path, alone=alone)

    def joint(self, path: str) -> Joint:
        return SqliteJoint(path)

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        with _reading(stretch) as database:
            yield from database.execute("SELECT key, value FROM results ORDER BY rowid")

    def find(self, stretch: Stretch, key: Any) -> Any:
        with _reading(stretch) as database:
            # IS, because NULL is equal to nothing.
            rows = database.execute("SELECT value FROM results WHERE key IS ? LIMIT 1", (_native(key),))
            row = rows.fetchone()
        if row is None:
            raise KeyError(key)
        return row[0]

    def count(self, stretch: Stretch) -> int:
        with _reading(stretch) as database:
            return int(database.execute("SELECT count(*) FROM results").fetchone()[0])

    def check_file(self, path: str) -> None:
        with open(path, "rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise ValueError("it is no SQLite database")


@contextlib.contextmanager
def _reading(stretch: Stretch) -> Iterator[sqlite3.Connection]:
    import sqlite3
    from pathlib import Path

    check_size(stretch)  # SQLite takes what is missing for empty, and a missing file for one that it may not open
    try:
        with contextlib.closing(
            sqlite3.connect(f"{Path(stretch.path).absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        ) as database:
            yield database
    except sqlite3.Error as error:
        raise BlockCorrupt(f"the results in {stretch.path} cannot be read: {error}", path=stretch.path) from error


FORMATS: Final = {"sqlite": SqliteFormat()}
