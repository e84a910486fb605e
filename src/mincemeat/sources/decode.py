"""From the bytes of an input to its records: whole texts, lines, or files.

Decides: what a line is, how bytes become text, and which offset stands in a key. Knows nothing of where the bytes come
from. Records leave in batches, each an iterator that runs in C: a line costs a few hundred nanoseconds, and a frame of
Python for each would double that.

A line ends at ``\\n``, and a ``\\r`` before it belongs to the line end. ``str.splitlines`` is of no use here: it also
splits at form feeds, U+2028 and others, which are no line ends to anybody who counts the lines of a file.
"""

from __future__ import annotations

import codecs
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain, count, repeat
from operator import add
from typing import Any, AnyStr, Final, NamedTuple, TypeAlias

from mincemeat.errors import UserCodeError
from mincemeat.model import describe_key

Batch: TypeAlias = "Iterable[tuple[Any, Any]]"

TEXT: Final = "text"
LINES: Final = "lines"
ENDED_LINES: Final = "ended lines"
FILES: Final = "files"
JSONL: Final = "jsonl"
CSV: Final = "csv"

UTF8: Final = "utf-8"

# Encodings in which text can be lost or misread if it is cut behind a line end, although b"\n" ends a line in them.
_STATEFUL_CODECS: Final = ("utf-7", "hz", "iso2022")


class CsvForm(NamedTuple):
    """``header``: the names of the columns; True: they are the first line of each file; False: rows are lists.

    ``multiline``: whether a quoted field may hold line ends; such a file cannot be cut at them.
    """

    delimiter: str
    header: list[str] | bool
    multiline: bool


class Reading(NamedTuple):
    """What records to make: ``form`` is one of the words above; ``encoding`` is ``None`` for bytes (FILES only).

    ``record_bytes``: about how long a record of TEXT is, where the whole of a file comes as one stream.
    ``csv``: what else CSV needs. ENDED_LINES are LINES with their line ends: rows of CSV are made of them.
    """

    form: str
    encoding: str | None
    errors: str
    record_bytes: int
    csv: CsvForm | None = None


class Content(NamedTuple):
    """The bytes of one piece, from ``offset`` of its file on, to be consumed once. A range is whole lines.

    ``head``: the first line of its file, where the piece does not start with it and cannot do without.
    """

    name: str
    offset: int
    blocks: Iterator[bytes]
    codec: str
    is_range: bool
    head: bytes = b""


def normal_encoding(encoding: str) -> str:
    """``encoding`` as used here. UTF-8 with a mark is UTF-8: the mark at the start of a file is always dropped, and a
    decoder of its own would drop further ones, wherever a block happens to start. Raises: LookupError."""
    name = codecs.lookup(encoding).name
    "".encode(encoding)  # a LookupError for what is a codec and no text encoding, as rot13
    return UTF8 if name in ("utf-8", "utf-8-sig") else name


@functools.cache
def ends_lines_with_a_byte(encoding: str) -> bool:
    """Whether text in ``encoding`` may be cut behind any byte ``\\n``: not so UTF-16, UTF-32, EBCDIC, stateful ones."""
    name = codecs.lookup(encoding).name
    return not name.startswith(_STATEFUL_CODECS) and "\n".encode(encoding) == b"\n"


def records_of(content: Content, reading: Reading) -> Iterator[Batch]:
    """The records of ``content`` in order. Raises: UserCodeError, its key the record's, if a text does not decode."""
    if reading.form == JSONL:
        from mincemeat.sources.rows import json_records

        yield from map(json_records, records_of(content, reading._replace(form=LINES)))
        return
    if reading.form == CSV and reading.csv is not None:
        from mincemeat.sources.rows import csv_batches

        as_lines = reading._replace(form=ENDED_LINES if reading.csv.multiline else LINES)
        head = Content(content.name, 0, iter([content.head]), "", is_range=True) if content.head else None
        yield from csv_batches(
            chain.from_iterable(records_of(content, as_lines)),
            None if head is None else chain.from_iterable(records_of(head, as_lines)),
            reading.csv,
        )
        return
    blocks = content.blocks
    if content.codec:
        from mincemeat.sources.compression import decompressed

        blocks = decompressed(blocks, content.codec, content.name)
    if reading.form == FILES:
        yield [(content.name, _whole(content.name, blocks, reading))]
        return
    encoding = reading.encoding or UTF8
    if not ends_lines_with_a_byte(encoding):
        yield from _stream_batches(content, blocks, reading)
    elif reading.form != TEXT:
        yield from _line_batches(content, blocks, reading)
    else:
        yield from _text_batches(content, blocks, reading)


# -- texts and files -------------------------------------------------------------------------------------


def _text_batches(content: Content, blocks: Iterator[bytes], reading: Reading) -> Iterator[Batch]:
    """A range is one record, however long its last line is; the whole of a file is cut on its way."""
    encoding = reading.encoding or UTF8
    portions = _gathered(_whole_lines(blocks, b"\n"), sys.maxsize if content.is_range else reading.record_bytes)
    offset = content.offset
    for portion in portions:
        key = (content.name, offset)
        text = portion[_mark_length(portion, offset, encoding) :]
        if text:  # nothing at all in a file but its mark
            yield [(key, _decode(text, key, encoding, reading.errors))]
        offset += len(portion)


def _whole(name: str, blocks: Iterator[bytes], reading: Reading) -> bytes | str:
    data = b"".join(blocks)
    if reading.encoding is None:
        return data
    return _decode(data[_mark_length(data, 0, reading.encoding) :], name, reading.encoding, reading.errors)


def _decode(data: bytes, key: object, encoding: str, errors: str) -> str:
    try:
        return data.decode(encoding, errors)
    except UnicodeError as error:
        name = describe_key(key)
        raise UserCodeError(f"the input {name} is not {encoding}: {error}", function="datasource", key=name) from error


def _mark_length(data: bytes, offset: int, encoding: str) -> int:
    """How many bytes at the start of ``data`` are a byte order mark to drop."""
    return 3 if offset == 0 and encoding == UTF8 and data.startswith(codecs.BOM_UTF8) else 0


# -- lines -----------------------------------------------------------------------------------------------


def _line_batches(content: Content, blocks: Iterator[bytes], reading: Reading) -> Iterator[Batch]:
    name, offset = content.name, content.offset
    encoding = reading.encoding or UTF8
    for block in _whole_lines(blocks, b"\n"):
        mark = _mark_length(block, offset, encoding)
        if mark:
            # The first line has the key 0 with and without a mark, so it is cut off and goes alone.
            end = block.find(b"\n") + 1 or len(block)
            yield _lines(name, offset, block[mark:end], reading)
            offset, block = end, block[end:]
        if block:
            yield _lines(name, offset, block, reading)
            offset += len(block)


def _lines(name: str, offset: int, block: bytes, reading: Reading) -> Batch:
    """The records of a block of whole lines; its last line may lack its end."""
    try:
        text = block.decode(reading.encoding or UTF8, reading.errors)
    except UnicodeError:
        return _lines_one_by_one(name, offset, block, reading)
    lines = text.split("\n")
    if len(text) == len(block) and block.isascii():
        lengths: Iterable[int] = map(len, lines)
    else:
        raw = block.split(b"\n")
        if len(raw) != len(lines):  # an errors= handler made or swallowed line ends
            return _lines_one_by_one(name, offset, block, reading)
        lengths = map(len, raw)
    return _keyed(name, offset, lengths, 1, _finished(text, lines, reading))


def _keyed(name: str, offset: int, lengths: Iterable[int], line_end_length: int, lines: list[str]) -> Batch:
    """Records of ``lines``, the first of which starts at ``offset``; ``lengths`` are those of the lines in the file."""
    # Line i starts behind i other lines and their i line ends.
    offsets = map(add, accumulate(lengths, initial=offset), count(0, line_end_length))
    return zip(zip(repeat(name), offsets), lines, strict=False)


def _finished(text: str, lines: list[str], reading: Reading) -> list[str]:
    """``lines``, which are ``text`` split at ``\\n``, as the records have them."""
    if reading.form != ENDED_LINES:
        return _without_line_ends(text, lines)
    ended = [line + "\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended


def _without_line_ends(text: str, lines: list[str]) -> list[str]:
    """``lines`` is ``text`` split at ``\\n``; nothing follows its last line end, and ``\\r\\n`` is one line end."""
    if "\r" not in text:
        return lines if lines[-1] else lines[:-1]
    ended = [line.removesuffix("\r") for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended


def _lines_one_by_one(name: str, offset: int, block: bytes, reading: Reading) -> Iterator[tuple[Any, Any]]:
    """As ``_lines``, slowly; the lines before one that does not decode are there."""
    for raw in _split_keeping_ends(block):
        key = (name, offset)
        if reading.form == ENDED_LINES:
            line = raw
        else:
            line = raw.removesuffix(b"\r\n") if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
        yield key, _decode(line, key, reading.encoding or UTF8, reading.errors)
        offset += len(raw)


def _split_keeping_ends(block: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in block.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _whole_lines(blocks: Iterable[AnyStr], newline: AnyStr) -> Iterator[AnyStr]:
    """The same text cut anew so that every portion but the last ends behind a line end.

    Cost: linear also for a line of many blocks, whose parts are joined once.
    """
    parts: list[AnyStr] = []
    for block in blocks:
        end = block.rfind(newline) + 1
        if not end:
            parts.append(block)
            continue
        parts.append(block[:end])
        yield newline[:0].join(parts)
        parts = [block[end:]] if end < len(block) else []
    if parts:
        yield newline[:0].join(parts)


def _gathered(portions: Iterable[AnyStr], length_wanted: int) -> Iterator[AnyStr]:
    """Consecutive portions joined until they are at least ``length_wanted`` long."""
    parts: list[AnyStr] = []
    length = 0
    for portion in portions:
        parts.append(portion)
        length += len(portion)
        if length >= length_wanted:
            yield parts[0][:0].join(parts)
            parts, length = [], 0
    if parts:
        yield parts[0][:0].join(parts)


# -- encodings that have to be decoded from the start of the file -----------------------------------------

_MARKS: Final = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_MARK_BYTES_MAX: Final = 4


def _stream_batches(content: Content, blocks: Iterator[bytes], reading: Reading) -> Iterator[Batch]:
    """Records whose offsets are those of the text encoded again: exact if the file is well-formed UTF-16 or UTF-32."""
    name, encoding = content.name, reading.encoding or UTF8
    first = b""
    while len(first) < _MARK_BYTES_MAX and (block := next(blocks, b"")):
        first += block
    # The decoder swallows a mark; the first record has the key 0 all the same, as it has in UTF-8.
    mark = next((len(mark) for mark in _MARKS.get(encoding, ()) if first.startswith(mark)), 0)
    portions = _whole_lines(_decoded(name, chain([first], blocks), encoding, reading.errors), "\n")
    if reading.form == TEXT:
        portions = _gathered(portions, reading.record_bytes)
    measure = _measure_in(encoding)

    def lines_of(offset: int, text: str) -> Batch:
        lines = text.split("\n")
        return _keyed(name, offset, map(measure, lines), measure("\n"), _finished(text, lines, reading))

    offset = 0
    for text in filter(None, portions):
        if reading.form == TEXT:
            yield [((name, offset), text)]
        elif mark and offset == 0:
            end = text.find("\n") + 1 or len(text)
            yield lines_of(0, text[:end])
            if end < len(text):
                yield lines_of(mark + measure(text[:end]), text[end:])
        else:
            yield lines_of(offset, text)
        offset += measure(text) + (mark if offset == 0 else 0)


def _decoded(name: str, blocks: Iterable[bytes], encoding: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    try:
        for block in blocks:
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeError as error:
        key = describe_key(name)
        raise UserCodeError(f"the input {key} is not {encoding}: {error}", function="datasource", key=key) from error


def _measure_in(encoding: str) -> Callable[[str], int]:
    """How many bytes a text takes in ``encoding``, a mark apart."""
    if encoding.startswith(("utf-16", "utf-32")):
        return lambda text: len(text.encode(encoding[:6] + "-le", "surrogatepass"))
    return lambda text: len(text.encode(encoding, "replace"))
