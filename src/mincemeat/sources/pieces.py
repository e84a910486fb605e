"""Pieces of files on their way: described, sent with their data, opened again in a slot.

Decides: which bytes of a file a byte range owns, how a split of files is written (below), and when a file counts as not
visible here. Knows nothing of what records are made of the bytes: that is records_of in decode.py.

    F  JSON                                    the description alone
    D  length JSON (offset (length block)* 0)* the description, then for each piece where it starts and its blocks

A range ``[start, stop)`` owns the lines that start in it, the classic rule of MapReduce: its reader passes over the
line that it starts in the middle of, and reads on beyond ``stop`` to the end of its last line. So pieces can be planned
from file sizes alone, and every line has exactly one owner. Compressed files travel compressed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple, cast

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.sources.base import DATA_TAG, FILES_TAG, SplitUnreadable, read_exactly
from mincemeat.sources.compression import BLOCK_BYTES, open_decompressed
from mincemeat.sources.decode import Content, CsvForm, Reading, records_of
from mincemeat.sources.paths import is_url

# A file with a NUL this near to its start is no text: what git, grep and others look at, too.
BINARY_PROBE_BYTES: Final = 1024
# Looking for one line end takes a short read: lines are rarely longer.
_PROBE_BYTES: Final = 8 * 2**10

# Bytes as characters, so that JSON carries them.
_HEAD_CODEC: Final = "latin-1"
LENGTH: Final = struct.Struct(">I")
_OFFSET: Final = struct.Struct(">Q")
_PASSED_OVER: Final = (
    2**64 - 1
)  # instead of a piece's offset: it looks binary and has no records, not even an empty one


class Piece(NamedTuple):
    """A stretch of one file. ``stop`` is ``None`` for a whole file that is not cut at line ends.

    ``size`` and ``mtime_ns`` tell whether a file of that path is the file that was planned; ``size`` is -1 for a spool,
    whose path is unique and which still grows. If ``path`` is a URL, ``version`` stands for the time (see urls.py).
    ``may_be_binary``: to be passed over if it looks binary.
    ``head``: the first line of the file, for pieces that need it and do not start with it; its bytes as characters.
    """

    name: str
    path: str
    start: int
    stop: int | None
    size: int
    mtime_ns: int
    codec: str
    may_be_binary: bool
    head: str = ""
    version: Mapping[str, str] = {}


def describe(reading: Reading, pieces: Iterable[Piece]) -> bytes:
    """The payload of a split of files. JSON in ASCII, so that names that are no text survive as lone surrogates."""
    return FILES_TAG + _as_json(reading, pieces)


def _as_json(reading: Reading, pieces: Iterable[Piece]) -> bytes:
    return json.dumps([reading, list(pieces)], separators=(",", ":")).encode("ascii")


def _from_json(text: bytes) -> tuple[Reading, list[Piece]]:
    (form, encoding, errors, record_bytes, csv), pieces = json.loads(text)
    reading = Reading(form, encoding, errors, record_bytes, csv and CsvForm(*csv))
    return reading, [Piece(*piece) for piece in pieces]


def read_files(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records of a description behind its tag, chained in C: no frame of Python between them and the user."""
    reading, pieces = _from_json(stream.read())

    def batches() -> Iterator[Iterable[tuple[Any, Any]]]:
        for piece in pieces:
            with _opened(piece) as content:
                if content is not None:
                    yield from records_of(content, reading)

    return chain.from_iterable(batches())


def data_parts(reading: Reading, pieces: list[Piece]) -> Iterator[bytes]:
    """The split with its data inside. Shape: parts of any size up to a block. Raises: SplitUnreadable."""
    # What the files are called here and how large they are is nobody's business elsewhere.
    head = _as_json(reading, [piece._replace(path="", size=-1, mtime_ns=0, version={}) for piece in pieces])
    yield DATA_TAG + LENGTH.pack(len(head)) + head
    for piece in pieces:
        with _opened(piece) as content:
            if content is None:
                yield _OFFSET.pack(_PASSED_OVER)
                continue
            yield _OFFSET.pack(content.offset)
            for block in content.blocks:
                yield LENGTH.pack(len(block))
                yield block
            yield LENGTH.pack(0)


def rechunked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of ``limits.CHUNK_BYTES``, the last one shorter."""
    gathered = bytearray()
    for part in parts:
        gathered += part
        while len(gathered) >= limits.CHUNK_BYTES:
            yield bytes(gathered[: limits.CHUNK_BYTES])
            del gathered[: limits.CHUNK_BYTES]
    if gathered:
        yield bytes(gathered)


def read_data(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records of ``data_parts`` behind its tag. Raises: SplitUnreadable if the stream ends before its end."""
    reading, pieces = _from_json(read_exactly(stream, read_length(stream)))

    def batches() -> Iterator[Iterable[tuple[Any, Any]]]:
        for piece in pieces:
            (offset,) = _OFFSET.unpack(read_exactly(stream, _OFFSET.size))
            if offset == _PASSED_OVER:
                continue
            blocks = received_blocks(stream)
            head = piece.head.encode(_HEAD_CODEC)
            content = Content(piece.name, offset, blocks, piece.codec, piece.stop is not None, head)
            yield from records_of(content, reading)
            for _ in blocks:  # behind the end of an archive there may be padding; the next piece starts after it
                pass

    return chain.from_iterable(batches())


def read_length(stream: BinaryIO) -> int:
    (length,) = LENGTH.unpack(read_exactly(stream, LENGTH.size))
    return int(length)


def received_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """What was sent as ``(length block)* 0``. Raises: SplitUnreadable if it ends before."""
    while length := read_length(stream):
        yield read_exactly(stream, length)


def head_of(piece: Piece) -> str:
    """The ``head`` for the pieces of the same file. Raises: SplitUnreadable; InvalidJob if the line has no end."""
    with _opened(piece._replace(start=0, stop=None, may_be_binary=False)) as content:
        head = b""
        for block in content.blocks if content is not None else ():
            head += block
            end = head.find(b"\n") + 1
            if end:
                return head[:end].decode(_HEAD_CODEC)
            if len(head) > limits.CSV_HEAD_BYTES_MAX:
                bound = limits.CSV_HEAD_BYTES_MAX
                raise InvalidJob(f"the first line of {piece.name!r} should be a header and has more than {bound} bytes")
    return head.decode(_HEAD_CODEC)


@contextlib.contextmanager
def _opened(piece: Piece) -> Iterator[Content | None]:
    """The content of ``piece``, ``None`` if it is to be passed over. Raises: SplitUnreadable, also while it is read."""
    with _open(piece) as file:
        if piece.may_be_binary and b"\0" in _head(file, piece.codec):
            yield None
            return
        if piece.stop is None:
            yield Content(piece.name, 0, _blocks(file, piece), piece.codec, is_range=False)
        else:
            first = _first_line_start(file, piece.start, piece.stop)
            blocks = _owned_blocks(file, piece, first, piece.stop)
            yield Content(piece.name, first, blocks, piece.codec, is_range=True, head=piece.head.encode(_HEAD_CODEC))


def _open(piece: Piece) -> BinaryIO:
    """The file of ``piece``, which is the one that was planned. Raises: SplitUnreadable."""
    if is_url(piece.path):
        from mincemeat.sources.urls import open_url

        return open_url(piece.name, piece.path, piece.size, piece.version, piece.start, piece.stop)
    try:
        file = open(piece.path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    except (OSError, ValueError) as error:
        raise SplitUnreadable(f"the input {piece.name!r} cannot be opened here: {error}") from error
    try:
        _check_same(piece, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file)


def open_seekable(piece: Piece) -> BinaryIO:
    """The file of ``piece``, for a reader that goes back and forth. Raises: SplitUnreadable, not while it is read."""
    if is_url(piece.path):
        from mincemeat.sources.urls import open_seekable_url

        return open_seekable_url(piece.name, piece.path, piece.size, piece.version)
    return io.BufferedReader(cast(io.FileIO, _open(piece)))


def _check_same(piece: Piece, facts: os.stat_result) -> None:
    if piece.size < 0:
        if piece.stop is None or facts.st_size >= piece.stop:
            return
        raise SplitUnreadable(
            f"the input {piece.name!r} is {facts.st_size} bytes here and should be {piece.stop} or more"
        )
    if (facts.st_size, facts.st_mtime_ns) != (piece.size, piece.mtime_ns):
        raise SplitUnreadable(
            f"the input {piece.name!r} is not the file that the job was planned with: {facts.st_size} bytes here, "
            f"changed at {facts.st_mtime_ns} ns; expected {piece.size} bytes, changed at {piece.mtime_ns} ns"
        )


def _head(file: BinaryIO, codec: str) -> bytes:
    """The first bytes of the (decompressed) content. A damaged archive has none here; reading it will tell."""
    head = b""
    if not codec:
        head = _read(file, BINARY_PROBE_BYTES)
    else:
        with contextlib.suppress(Exception):
            head = open_decompressed(file, codec).read(BINARY_PROBE_BYTES)
    file.seek(0)
    return head


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise SplitUnreadable(f"the input {file.name!r} cannot be read here: {error}") from error


def _blocks(file: BinaryIO, piece: Piece) -> Iterator[bytes]:
    left = piece.size
    while block := _read(file, BLOCK_BYTES):
        left -= len(block)
        yield block
    if left > 0:
        raise _shrunk(piece)


def _shrunk(piece: Piece) -> SplitUnreadable:
    return SplitUnreadable(f"the input {piece.name!r} became shorter while it was read")


def _first_line_start(file: BinaryIO, start: int, stop: int) -> int:
    """Where the first line that starts in ``[start, stop)`` starts; ``stop`` if none does."""
    if start == 0:
        return 0
    # A line starts at `start` exactly if the byte before it ends one; one that starts at `stop` is the next range's.
    position = start - 1
    file.seek(position)
    while position < stop - 1:
        block = _read(file, min(_PROBE_BYTES, stop - 1 - position))
        newline = block.find(b"\n")
        if newline >= 0:
            return position + newline + 1
        if not block:
            break
        position += len(block)
    return stop


def _owned_blocks(file: BinaryIO, piece: Piece, first: int, stop: int) -> Iterator[bytes]:
    """The bytes from ``first`` to the end of the line of byte ``stop - 1``; nothing if ``first`` is ``stop``."""
    file.seek(first)
    position, last = first, b"\n"
    while position < stop:
        block = _read(file, min(BLOCK_BYTES, stop - position))
        if not block:
            raise _shrunk(piece)
        position += len(block)
        last = block[-1:]
        yield block
    while last != b"\n":
        block = _read(file, _PROBE_BYTES)
        newline = block.find(b"\n")
        if newline >= 0:
            yield block[: newline + 1]
            return
        if not block:
            return
        yield block
