"""Results as comma- or tab-separated values with the header ``key,value``.

Decides: how a field is written and quoted, and read again. A tuple key is one field of JSON text rather than columns of
its own, because whether all keys are tuples of one length is known only when the last is there. plain.py decides the
forms of what is no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Stretch, equal_keys
from mincemeat.sinks.lines import LineFormat, blaming, lines_of, unreadable
from mincemeat.sinks.parts import BytesWriter, PartWriter
from mincemeat.sinks.plain import json_text, plain

if TYPE_CHECKING:
    from mincemeat.shuffle.texttable import TextColumns

# [^"]* and not single characters, because fields may be long.
_QUOTED: Final = re.compile(r'"([^"]*(?:""[^"]*)*)"')


class CsvWriter(BytesWriter):
    """UTF-8, quoted as RFC 4180 says, lines ending in ``\\n`` on every system.

    Text and numbers stand as they are, ``None`` is an empty field (and the empty text is ``""``), everything else is
    JSON text or the text that plain.py makes of it. Lone surrogates, as in names of files that are no text, are
    written as ``\\udcff``.
    """

    def __init__(self, path: str, *, alone: bool, delimiter: str, header: bytes) -> None:
        super().__init__(path, alone=alone, header=header)
        self._delimiter = delimiter
        self._multiline = False

    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes:
        delimiter = self._delimiter
        try:
            fields = zip(_fields(keys, delimiter), _fields(results, delimiter), strict=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, lambda value: _field(value, delimiter), error) from error
        text = "".join([f"{key}{delimiter}{result}\n" for key, result in fields])
        if not self._multiline and text.count("\n") != len(keys):
            self._multiline = True
        return text.encode("utf-8", "backslashreplace")

    def _bytes_of_text(self, columns: TextColumns) -> bytes | None:
        if not columns.folds:
            return None
        delimiter = self._delimiter.encode()
        data = columns.lines(delimiter)
        # As in _fields: no key that would be quoted, the empty one included.
        is_plain = data.count(b"\n") == data.count(delimiter) == columns.records
        has_empty = data.startswith(delimiter) or b"\n" + delimiter in data
        return data if is_plain and not (has_empty or b'"' in data or b"\r" in data) else None

    def _notes(self) -> dict[str, Any]:
        return {"multiline": self._multiline}


def _fields(values: Sequence[Any], delimiter: str) -> Sequence[str]:
    """The fields of a column; those of a word count without a call for each."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(repr, values))
    if kinds == {str} and all(values):
        text = "\n".join(values)
        if not (delimiter in text or '"' in text or "\r" in text) and text.count("\n") == len(values) - 1:
            return values
    return [_field(value, delimiter) for value in values]


def _field(value: Any, delimiter: str) -> str:
    if type(value) is int:
        return repr(value)
    form = value if type(value) is str else plain(value)
    if form is None:
        return ""
    text = form if isinstance(form, str) else json_text(form)
    # By hand: the csv module leaves a lone carriage return unquoted on older Pythons, and cannot tell None from "".
    if not text or delimiter in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


class CsvFormat(LineFormat):
    """Keys and results come back as text, an empty field that is not quoted as None."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        # Not of the class: the two formats differ in it.
        self.header = f"key{delimiter}value\n".encode()  # type: ignore[misc]

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return CsvWriter(path, alone=alone, delimiter=self._delimiter, header=self.header)

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        delimiter = self._delimiter
        record = ""
        for line in lines_of(stretch):
            try:
                text = line.decode()
                if not record and '"' not in text:
                    key, found, value = text[:-1].partition(delimiter)
                    if not found:
                        raise ValueError("it has one field")
                    yield key or None, value or None
                    continue
                record += text
                # A quoted field may go on in the next line; how many quotes there are tells whether it does.
                if text.count('"') % 2 != (len(record) != len(text)):
                    continue
                yield _unquoted(record[:-1], delimiter)
            except ValueError as error:
                raise unreadable(stretch, line, error) from error
            record = ""
        if record:
            raise unreadable(stretch, record.encode(), ValueError("its quotes do not close"))

    def find(self, stretch: Stretch, key: Any) -> Any:
        fields = [_field(same, self._delimiter).encode("utf-8", "backslashreplace") for same in equal_keys(key)]
        if stretch.facts is None or stretch.facts.notes.get("multiline", True):
            # A line may begin in the middle of a field.
            wanted = {_unquoted(field.decode() + self._delimiter, self._delimiter)[0] for field in fields}
            for found, value in self.pairs(stretch):
                if found in wanted:
                    return value
            raise KeyError(key)
        line = self.find_line(stretch, [field + self._delimiter.encode() for field in fields])
        return _unquoted(line.decode(), self._delimiter)[1]


def _unquoted(record: str, delimiter: str) -> tuple[str | None, str | None]:
    """The two fields of a record. Raises: ValueError if it has not two."""
    fields: list[str | None] = []
    position = 0
    while True:
        quoted = _QUOTED.match(record, position)
        if quoted is None:
            end = record.find(delimiter, position)
            end = len(record) if end < 0 else end
            fields.append(record[position:end] or None)
        else:
            end = quoted.end()
            fields.append(quoted[1].replace('""', '"'))
        if end == len(record):
            break
        if record[end] != delimiter:
            raise ValueError("there is something behind a quote")
        position = end + 1
    if len(fields) != 2:
        raise ValueError(f"it has {len(fields)} fields")
    return fields[0], fields[1]


FORMATS: Final = {"csv": CsvFormat(","), "tsv": CsvFormat("\t")}
