"""From lines to what is written in them: JSON values, and rows of CSV.

Decides: what is a good line and a good row, and what is said of a bad one. Knows nothing of files, bytes and encodings.
What a line holds stays out of the messages: they name path and offset.

CSV is RFC 4180 as the ``csv`` module reads it. Where a file is cut at line ends, a piece cannot know whether it starts
inside quotes. It need not: the first row of a file that goes on in the next line belongs to a piece that starts outside
quotes, since all rows before it end with their lines. That piece sees the quote which is open at the end of the line
and raises. So a file with line ends inside quotes, read without ``multiline``, fails the job, whatever other pieces
made of it. Whoever lets a job pass over bad rows has to know that this one is about the file, not about the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any, Final, TypeAlias

from mincemeat import limits
from mincemeat.errors import InvalidJob, UserCodeError
from mincemeat.model import describe_key
from mincemeat.sources.decode import Batch, CsvForm

Record: TypeAlias = tuple[Any, Any]
Row: TypeAlias = tuple[Any, list[str]]

# Lines that are parsed by one call: enough to make its costs disappear.
_ROWS_PER_BATCH: Final = 512


def _fault(subject: str, key: object, reason: object) -> UserCodeError:
    name = describe_key(key)
    message = f"{subject} at {name} {reason}"
    error = UserCodeError(message, function="datasource", key=name)
    # What the caller's thread will raise: the whole sentence, rather than what a parser says of a string.
    error.__cause__ = InvalidJob(message)
    return error


# -- JSON lines ------------------------------------------------------------------------------------------


def json_records(lines: Batch) -> Iterator[Record]:
    """The decoded values under the keys of their lines. Raises: UserCodeError from InvalidJob at a line that is bad."""
    import json

    decode = json.JSONDecoder().decode
    for key, line in lines:
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            if not line or line.isspace():
                continue
            reason = f"{error.msg}, character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
            raise _fault("the line", key, f"is not JSON: {reason}")  # noqa: B904 - it has its cause
        yield key, value


# -- CSV -------------------------------------------------------------------------------------------------


def csv_batches(lines: Iterator[Record], head: Iterator[Record] | None, form: CsvForm) -> Iterator[Batch]:
    """The rows of ``lines`` under the keys of their first lines; blank lines are passed over.

    ``lines`` have their line ends if the form is multiline. ``head``: the first line of the file if ``lines`` do not
    begin with it. Raises: UserCodeError from InvalidJob for a header or a row that cannot be meant.
    """
    names: list[str] | None = None
    if form.header is True:
        header = next(_rows(lines if head is None else head, form), None)
        if header is None:
            return
        names = _checked_names(*header)
    elif form.header is not False:
        names = form.header
    if form.multiline:
        yield _checked_records(_rows(lines, form), names)
        return
    while batch := list(islice(lines, _ROWS_PER_BATCH)):
        values = _parsed_at_once(batch, form, names)
        if values is None:
            yield _checked_records(_rows(iter(batch), form), names)
        else:
            yield zip([key for key, _ in batch], values, strict=True)


def _checked_names(key: Any, names: list[str]) -> list[str]:
    if not names:
        raise _fault("the line", key, "is empty, where the header should be; header=False reads rows as lists")
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if first.setdefault(name, number) != number:
            message = f"gives columns {first[name]} and {number} the same name; header= takes other names"
            raise _fault("the header", key, message)
    return names


def _parsed_at_once(batch: list[Record], form: CsvForm, names: list[str] | None) -> Iterable[Any] | None:
    """What the lines of ``batch`` hold; ``None`` if any of them is not exactly one row as it should be."""
    import csv

    # A quote that is open at the end of the last line shows in the row behind it, which is then missing.
    behind = "x"
    before = csv.field_size_limit(_field_chars_max())
    try:
        rows = list(csv.reader(chain((line for _, line in batch), behind), delimiter=form.delimiter))
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(before)
    if len(rows) != len(batch) + 1:
        return None
    rows.pop()
    if names is None:
        return rows if all(rows) else None
    if set(map(len, rows)) != {len(names)}:
        return None
    return map(dict, map(zip, repeat(names), rows))


def _field_chars_max() -> int:
    """The bound of the csv module is 128 KiB, and one for all: it is moved while we parse, and moved back."""
    import csv

    return max(limits.CSV_FIELD_CHARS_MAX, csv.field_size_limit())


def _rows(lines: Iterator[Record], form: CsvForm) -> Iterator[Row]:
    """Row by row, with the key of its first line; a blank line is an empty row. Takes no line beyond a row's last."""
    import csv

    keys: list[Any] = []
    is_ended = False

    def feed() -> Iterator[str]:
        nonlocal is_ended
        for key, line in lines:
            keys.append(key)
            yield line
        is_ended = True

    reader = csv.reader(feed(), delimiter=form.delimiter)
    limit, chars_max = csv.field_size_limit, _field_chars_max()
    while True:
        keys.clear()
        before = limit(chars_max)
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _fault("the row", keys[0], f"is not CSV: {error}")  # noqa: B904 - it has its cause
        finally:
            limit(before)
        if row is None:
            return
        if not form.multiline and (len(keys) > 1 or is_ended):
            message = "has a quoted field that goes on beyond the end of the line; multiline=True reads such files"
            raise _fault("the row", keys[0], message)
        if is_ended:
            raise _fault("the row", keys[0], "has a quoted field that is still open at the end of the file")
        yield keys[0], row


def _checked_records(rows: Iterable[Row], names: list[str] | None) -> Iterator[Record]:
    for key, row in rows:
        if not row:
            continue
        if names is None:
            yield key, row
        elif len(row) == len(names):
            yield key, dict(zip(names, row, strict=True))
        else:
            message = f"has {len(row)} fields and its header {len(names)}; header=False reads such rows as lists"
            raise _fault("the row", key, message)
