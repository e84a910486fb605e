"""Decides the attempt file format: its numbers, how blocks are written, how each kind of damage is told.

It knows nothing of tasks, file names or grouping; keys and values are opaque columns. docs/block-format.md is the
specification, with a worked example:

    file    := header block* footer
    block   := block header (40 bytes), payload
    footer  := entry* trailer                     one entry per block, so a stretch is found without reading the rest

Nothing is unpickled before its checksum has been compared. A checksum finds accidents, not malice: who reads blocks of
other machines hands in the ``loads`` of a coding that makes only data (decoding/coding.py), and does not say
``stays_here``: marshal reads only what this build of Python wrote, and may crash the interpreter over anything else.
"""

from __future__ import annotations

import marshal
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar
from zlib import crc32

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN
from mincemeat.errors import BlockCorrupt, InvalidEmission, RefusedAsData
from mincemeat.interrupts import passing
from mincemeat.model import Key, Span, Value
from mincemeat.shuffle import texttable

# -- the numbers of the format. FROZEN: files and peers of other versions hold them; a change needs a new VERSION. ---

VERSION: Final = 1
FILE_MAGIC: Final = b"MCMEAT"
BLOCK_MAGIC: Final = b"MBLK"
END_MAGIC: Final = b"MEND"
FILE_HEADER: Final = struct.Struct("<6sH")  # magic, version
BLOCK_HEADER: Final = struct.Struct("<4sIBBHQQQI")  # magic, partition, codec, flags, 0, pairs, keys, length, CRC-32
INDEX_ENTRY: Final = struct.Struct("<IQQQ")  # partition, offset, length, pairs
TRAILER: Final = struct.Struct("<QI4s")  # blocks, CRC-32, magic

CODEC_PICKLE: Final = 0
CODEC_MARSHAL: Final = 1
# Text columns (texttable.py): keys are text, every value a whole number or every value None. Nothing but data, so they
# may come from anywhere.
CODEC_TEXT: Final = 2
# Text lists: the same with all values of a key, text or whole numbers.
CODEC_LISTS: Final = 3
CODEC_NAMES: Final = {
    CODEC_PICKLE: "pickle",
    CODEC_MARSHAL: "marshal",
    CODEC_TEXT: "text columns",
    CODEC_LISTS: "text lists",
}
PICKLE_PROTOCOL: Final = 5
# Its references keep a string that occurs again and again (the name of a file, beside each of its words) one object, as
# pickle does; without them such a block is six times as large. What only the column refers to costs no look-up, and
# ASCII, unlike before version 4, no copy. measured: bench/blocks.py.
MARSHAL_VERSION: Final = 4
# Between keys that are marshalled as one string.
_SEPARATOR: Final = "\0"
# Every key has exactly one value, and the second column holds the values themselves instead of lists of them.
FLAG_SINGLE: Final = 0x01
# The payload is how long it is when inflated, then a zlib stream (RFC 1950) of what the codec made.
FLAG_DEFLATED: Final = 0x02
FLAGS_KNOWN: Final = FLAG_SINGLE | FLAG_DEFLATED
INFLATED_LENGTH: Final = struct.Struct("<Q")

# -- end of the frozen part ------------------------------------------------------------------------------

_CRC_BYTES: Final = 4

# What marshal gives back as it was. Anything that is not exactly of these types it refuses, but for what has a buffer
# (bytearray, memoryview, NumPy's arrays and numbers): of that it would make bytes without a word.
_PLAIN: Final = frozenset({str, int, bytes, float, bool, type(None)})
_PLAIN_CONTAINERS: Final = frozenset({tuple, list})

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]
_T = TypeVar("_T")


class IndexEntry(NamedTuple):
    """Where one block of a file lies. ``length`` counts its header."""

    partition: int
    offset: int
    length: int
    pairs: int


class Block(NamedTuple):
    """One block as its checksum vouches for it, not yet decoded."""

    partition: int
    codec: int
    flags: int
    pairs: int
    keys: int
    payload: bytes
    path: str
    offset: int

    @property
    def single(self) -> bool:
        """Whether the second column holds one value per key rather than a list of values per key."""
        return bool(self.flags & FLAG_SINGLE)


class Payload(NamedTuple):
    """Columns as bytes, by which codec, and the flags of a block that say what else was done to them."""

    data: bytes
    codec: int
    flags: int = 0


def encode_columns(
    keys: list[Key], values: list[Any], dumps: Dumps = PLAIN.dumps, *, single: bool = False, stays_here: bool = False
) -> Payload:
    """The payload of a block. ``values`` holds one value per key if ``single``, else a list of values per key.

    ``dumps`` pickles what is pickled. ``stays_here``: whoever reads it says so, too. Then plain data (str, bytes,
    numbers, None, and tuples and lists of these) is marshalled, which with reading takes about 0.7 of the time
    (bench/blocks.py).
    Raises whatever pickling a key or value raises.
    """
    if stays_here and _are_plain(keys) and _are_plain(values if single else list(chain.from_iterable(values))):
        try:
            return Payload(marshal.dumps((_joined(keys) or keys, values), MARSHAL_VERSION), CODEC_MARSHAL)
        except ValueError:  # a string of more than two gigabytes
            pass
    return Payload(dumps((keys, values)), CODEC_PICKLE)


def _joined(keys: list[Key]) -> str:
    """Plain ``keys`` as one string where that gives them back, which takes half the time: ASCII text without NUL."""
    try:
        text = _SEPARATOR.join(keys)
    except TypeError:  # not all are text
        return ""
    return text if text.isascii() and text.count(_SEPARATOR) == len(keys) - 1 else ""


def _are_plain(column: list[Any]) -> bool:
    """Whether marshal gives the elements back as they are."""
    try:
        kinds = _types_of(column) - _PLAIN
        if not kinds:
            return True
        if not kinds <= _PLAIN_CONTAINERS:
            return False
        containers = (element for element in column if type(element) in _PLAIN_CONTAINERS)
        return _types_of(list(chain.from_iterable(containers))) <= _PLAIN
    except Exception:  # noqa: BLE001 - a class whose own class cannot be hashed is not plain, whatever it raises
        return False


def _types_of(elements: Collection[Any]) -> set[type]:
    kinds = list(map(type, elements))
    if kinds and kinds.count(kinds[0]) == len(kinds):  # nearly always, and found in two thirds of the time
        return {kinds[0]}
    return set(kinds)


def encode_text(columns: texttable.TextColumns) -> tuple[Payload, int]:
    """The payload of a block of a table's columns, which is single unless they are lists; how many pairs that are."""
    data, pairs = columns.payload()
    return Payload(data, CODEC_LISTS if columns.keeps_lists else CODEC_TEXT), pairs


class BlockWriter:
    """Writes one attempt file from its first byte to its last.

    ``file`` is open for writing in binary, at its start, and stays the caller's to close.
    Raises (all methods): whatever the file raises; the file is then worth nothing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = FILE_HEADER.size
        self.entries: list[IndexEntry] = []
        file.write(FILE_HEADER.pack(FILE_MAGIC, VERSION))

    def append(self, partition: int, payload: Payload, *, keys: int, pairs: int, single: bool) -> None:
        """One block: ``payload`` is what ``encode_columns`` gave for ``keys`` keys that have ``pairs`` values."""
        flags = payload.flags | (FLAG_SINGLE if single else 0)
        facts = (BLOCK_MAGIC, partition, payload.codec, flags, 0, pairs, keys, len(payload.data))
        self._file.write(BLOCK_HEADER.pack(*facts, _block_crc(BLOCK_HEADER.pack(*facts, 0), payload.data)))
        self._file.write(payload.data)
        length = BLOCK_HEADER.size + len(payload.data)
        self.entries.append(IndexEntry(partition, self._offset, length, pairs))
        self._offset += length

    def finish(self) -> int:
        """Write the footer and hand everything to the operating system. Returns: the size of the file in bytes."""
        index = b"".join([INDEX_ENTRY.pack(*entry) for entry in self.entries])
        blocks = len(self.entries)
        self._file.write(index + TRAILER.pack(blocks, _index_crc(index, blocks), END_MAGIC))
        self._file.flush()
        return self._offset + len(index) + TRAILER.size


def _block_crc(header: bytes, payload: bytes) -> int:
    return crc32(payload, crc32(memoryview(header)[:-_CRC_BYTES]))


def _index_crc(index: bytes, blocks: int) -> int:
    return crc32(blocks.to_bytes(8, "little"), crc32(index))


# -- reading ---------------------------------------------------------------------------------------------


def read_index(path: str) -> list[IndexEntry]:
    """The blocks of a file in the order they lie in it, read from its footer alone.

    Shape: contiguous, from the end of the file header to the start of the footer.
    Raises: BlockCorrupt; OSError if there is no such file.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        _check_file_header(path, file.read(FILE_HEADER.size))
        if size < FILE_HEADER.size + TRAILER.size:
            raise _corrupt(path, size, "footer is missing", f"{TRAILER.size} bytes of trailer", size - FILE_HEADER.size)
        file.seek(size - TRAILER.size)
        blocks, crc, magic = TRAILER.unpack(file.read(TRAILER.size))
        if magic != END_MAGIC:
            raise _corrupt(path, size - len(END_MAGIC), "footer is missing or cut", END_MAGIC, magic)
        room = (size - FILE_HEADER.size - TRAILER.size) // INDEX_ENTRY.size
        if blocks > room:
            raise _corrupt(path, size - TRAILER.size, "footer is cut", f"{blocks} entries", f"room for {room}")
        start = size - TRAILER.size - blocks * INDEX_ENTRY.size
        file.seek(start)
        index = file.read(blocks * INDEX_ENTRY.size)
    if _index_crc(index, blocks) != crc:
        raise _corrupt(path, start, "checksum mismatch in the footer", _hex(crc), _hex(_index_crc(index, blocks)))
    entries = [IndexEntry(*fields) for fields in INDEX_ENTRY.iter_unpack(index)]
    offset = FILE_HEADER.size
    for entry in entries:
        if entry.offset != offset:
            raise _corrupt(path, start, "footer has a gap", f"a block at byte {offset}", f"one at {entry.offset}")
        offset += entry.length
    if offset != start:
        raise _corrupt(path, start, "footer does not match the file", f"blocks to byte {start}", f"to {offset}")
    return entries


def _check_file_header(path: str, header: bytes) -> None:
    if len(header) < FILE_HEADER.size:
        raise _corrupt(path, 0, "file header is cut", f"{FILE_HEADER.size} bytes", len(header))
    magic, version = FILE_HEADER.unpack(header)
    if magic != FILE_MAGIC:
        raise _corrupt(path, 0, "not an attempt file", FILE_MAGIC, magic)
    if version != VERSION:
        raise _corrupt(path, len(FILE_MAGIC), "unknown format version", VERSION, version)


def iter_blocks(span: Span) -> Iterator[Block]:
    """The blocks of a stretch, one after the other, each with its checksum compared. Reads no header and no footer.

    Memory: one block at a time. Life: the file is closed when the iterator is exhausted or closed.
    Raises: BlockCorrupt; blocks before that offset were already yielded. OSError if there is no such file.
    """
    with open(span.path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = span.offset + span.length
        file.seek(span.offset)
        offset = span.offset
        while offset < end:
            block, offset = _read_block(file, span.path, offset, end, size)
            yield block


def _read_block(file: BinaryIO, path: str, offset: int, end: int, size: int) -> tuple[Block, int]:
    """The block at ``offset`` of a stretch up to ``end`` in a file of ``size`` bytes, and where the next one starts."""
    header = file.read(min(BLOCK_HEADER.size, max(0, end - offset)))
    if len(header) < BLOCK_HEADER.size:
        raise _corrupt(path, offset, "block header is cut", f"{BLOCK_HEADER.size} bytes", len(header))
    magic, partition, codec, flags, reserved, pairs, keys, length, crc = BLOCK_HEADER.unpack(header)
    if magic != BLOCK_MAGIC:
        raise _corrupt(path, offset, "no block starts here", BLOCK_MAGIC, magic)
    start = offset + BLOCK_HEADER.size
    # Both before anything is read, so that no more is allocated than the file holds, whatever the header says.
    if start + length > end:
        raise _corrupt(path, offset, "bad length", f"at most {end - start} bytes of payload", length)
    if start + length > size:
        raise _corrupt(path, offset, "payload is cut", f"{length} bytes", max(0, size - start))
    payload = file.read(length)
    if len(payload) < length:  # cut while it was read
        raise _corrupt(path, offset, "payload is cut", f"{length} bytes", len(payload))
    found = _block_crc(header, payload)
    if found != crc:
        raise _corrupt(path, offset, "checksum mismatch", _hex(crc), _hex(found))
    if codec not in CODEC_NAMES:  # after the checksum: this is a newer writer, not an accident
        known = ", ".join(f"{number} ({name})" for number, name in CODEC_NAMES.items())
        raise _corrupt(path, offset, f"unknown codec {codec}", known, codec)
    if flags & ~FLAGS_KNOWN or reserved:
        raise _corrupt(path, offset, "unknown flags", _hex(FLAGS_KNOWN), _hex(flags | reserved << 8))
    return Block(partition, codec, flags, pairs, keys, payload, path, offset), start + length


def decode_columns(
    block: Block, loads: Loads = PLAIN.loads, *, stays_here: bool = False
) -> tuple[list[Key], list[Any]]:
    """The keys of a block and, as ``block.single`` says, a value or a list of values for each.

    ``loads`` reads what was pickled. ``stays_here`` permits what was marshalled: only for blocks that this build of
    Python wrote on this machine for this job.
    Memory: a deflated payload is inflated to ``limits.INFLATED_BYTES_MAX`` at most.
    Raises: BlockCorrupt if the payload is not two columns of the announced sizes, or marshalled without permission;
    InvalidEmission if one of the user's own classes cannot be unpickled here, or ``loads`` refuses what is in it (the
    bytes are as they were written, so another attempt would not help).
    """
    if block.codec == CODEC_TEXT:
        return read_text_columns(block, texttable.unpack)
    if block.codec == CODEC_LISTS:
        return read_text_columns(block, texttable.unpack_lists)
    if block.flags & FLAG_DEFLATED:
        block = block._replace(payload=_inflated(block))
    columns = _unmarshalled(block, stays_here) if block.codec == CODEC_MARSHAL else _unpickled(block, loads)
    expected = f"{block.keys} keys with {block.pairs} values"
    if not (type(columns) is tuple and len(columns) == 2 and all(type(column) is list for column in columns)):
        raise _corrupt(block.path, block.offset, "payload is not two columns", expected, type(columns).__name__)
    keys: list[Key] = columns[0]
    values: list[Value] = columns[1]
    if not block.single and not all(type(entry) is list for entry in values):
        raise _corrupt(block.path, block.offset, "payload is not lists of values", expected, "something else")
    pairs = len(values) if block.single else sum(map(len, values))
    if (len(keys), len(values), pairs) != (block.keys, block.keys, block.pairs):
        found = f"{len(keys)} keys with {pairs} values"
        raise _corrupt(block.path, block.offset, "payload does not match its header", expected, found)
    return keys, values


def read_text_columns(block: Block, read: Callable[[bytes], _T]) -> _T:
    """What ``read`` makes of the payload of a block of text columns or text lists, inflated if need be.

    Raises: BlockCorrupt if it is not what the header announces, or ``read`` raises ValueError.
    """
    payload = _inflated(block) if block.flags & FLAG_DEFLATED else block.payload
    try:
        if block.codec == CODEC_LISTS:
            keys, pairs = texttable.list_counts(payload)
        else:
            keys, _ = texttable.counts(payload)
            pairs = keys
        if block.single is (block.codec == CODEC_LISTS) or (keys, pairs) != (block.keys, block.pairs):
            expected = f"{block.keys} keys with {block.pairs} values"
            found = f"{keys} keys with {pairs} values"
            raise _corrupt(block.path, block.offset, "payload does not match its header", expected, found)
        return read(payload)
    except ValueError as error:  # of text that is no UTF-8, too
        expected = CODEC_NAMES[block.codec]
        raise _corrupt(block.path, block.offset, "payload cannot be read", expected, error) from error


def _inflated(block: Block) -> bytes:
    # Threat: a few bytes of a peer that inflate until memory runs out. Test: test_bomb_is_refused_before_it_goes_off.
    payload, most = block.payload, limits.INFLATED_BYTES_MAX
    announced = INFLATED_LENGTH.unpack_from(payload)[0] if len(payload) >= INFLATED_LENGTH.size else -1
    if not 0 < announced <= most:
        raise _corrupt(block.path, block.offset, "bad inflated length", f"1 to {most} bytes", announced)
    inflating = zlib.decompressobj()
    try:
        data = inflating.decompress(memoryview(payload)[INFLATED_LENGTH.size :], announced)
    except zlib.error as error:
        raise _corrupt(block.path, block.offset, "payload cannot be inflated", f"{announced} bytes", error) from error
    # All bytes may be out before the end of the stream, with its checksum, was seen.
    if len(data) < announced or inflating.decompress(inflating.unconsumed_tail, 1) or not inflating.eof:
        raise _corrupt(block.path, block.offset, "payload does not inflate to its length", announced, len(data))
    return data


def _unpickled(block: Block, loads: Loads) -> Any:
    try:
        return loads(block.payload)
    except passing(MemoryError):
        raise
    except RefusedAsData as error:
        raise InvalidEmission(f"block {block.path} at byte {block.offset} is refused: {error}") from error
    except BaseException as error:
        raise InvalidEmission(
            f"block {block.path} at byte {block.offset}: a key or value in it cannot be unpickled: "
            f"{type(error).__name__}: {error}"
        ) from error


def _unmarshalled(block: Block, stays_here: bool) -> Any:
    # Threat: bytes of a peer that crash marshal, and so this process. Test: test_marshalled_block_of_a_peer_is_refused.
    if not stays_here:
        raise _corrupt(block.path, block.offset, "marshalled, which is read only where it was written", 0, block.codec)
    try:
        columns = marshal.loads(block.payload)
    except (EOFError, ValueError, TypeError) as error:
        raise _corrupt(block.path, block.offset, "payload cannot be unmarshalled", "columns", error) from error
    if type(columns) is tuple and len(columns) == 2 and type(columns[0]) is str:
        return columns[0].split(_SEPARATOR), columns[1]
    return columns


def _corrupt(path: str, offset: int, damage: str, expected: object, found: object) -> BlockCorrupt:
    return BlockCorrupt(
        f"block {path} at byte {offset}: {damage} (expected {expected}, found {found})",
        path=path,
        offset=offset,
        expected=expected,
        found=found,
    )


def _hex(number: int) -> str:
    return f"{number:08x}"
