"""What is fuzzed: everything that reads bytes of a peer, of a slot, or of a disk.

A target has a corpus of what its reader should meet, and ``read``, which may raise what the reader promises to raise.
Anything else, a crash of the process, more memory than the process is allowed, or a second without an end is a finding.
"""

from __future__ import annotations

import enum
import hashlib
import os
import pickle
import random
import struct
import sys
import tempfile
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy

from mincemeat import limits
from mincemeat.cluster.blocks import decode_attempts, read_sections
from mincemeat.decoding import mentions
from mincemeat.decoding.coding import DataCoding
from mincemeat.errors import MincemeatError
from mincemeat.journal.log import LogDamaged, read_log
from mincemeat.journal.log import _encode as log_line
from mincemeat.model import Failure, FailureKind, Span
from mincemeat.positions import PositionFile, read_position
from mincemeat.reducers import Fold
from mincemeat.scheduler.digests import parse_digests
from mincemeat.set_aside import Report, decode_report
from mincemeat.shuffle import texttable
from mincemeat.shuffle.block import (
    BLOCK_HEADER,
    CODEC_LISTS,
    CODEC_TEXT,
    FILE_HEADER,
    BlockWriter,
    decode_columns,
    encode_columns,
    encode_text,
    iter_blocks,
    read_index,
)
from mincemeat.shuffle.deflate import Deflating
from mincemeat.usercode import envelope
from mincemeat.wire import codec, messages
from mincemeat.wire.first_bytes import describe_stranger, is_client_hello_complete, looks_like_tls_answer
from mincemeat.wire.frames import FrameDecoder
from mincemeat.wire.handshake import Authenticated, ClientHandshake, Role, ServerHandshake, ServerState
from mincemeat.wire.join_token import JoinToken, parse_token

FINGERPRINT = hashlib.sha256(b"certificate").digest()


@dataclass
class Target:
    corpus: list[bytes]
    read: Callable[[bytes, random.Random], None]
    expected: tuple[type[BaseException], ...] = (MincemeatError,)
    # What is changed is put right before it is read: checksums, which would stop nearly everything at the door.
    repair: Callable[[bytes], bytes] = field(default=lambda data: data)


# -- the wire ---------------------------------------------------------------------------------------------


def _messages() -> list[bytes]:
    """One of each kind, with values that say something."""
    found = []
    for cls in messages.KINDS.values():
        values: dict[str, Any] = {}
        for name, kind in cls.__annotations__.items():
            values[name] = {
                "str": "m-00001.0",
                "int": 3,
                "float": 0.5,
                "float | None": None,
                "bool": True,
                "list[int]": [1, 2],
                "list[str]": ["m-00001.0"],
            }.get(kind, "")
        values = {name: value for name, value in values.items() if name not in ("body", "carries_body")}
        if cls.carries_body or cls is messages.Chunk:
            values["body"] = b"a body"
        found.append(codec.encode(cls(**values)))
    return found


def _in_pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 1, 3])))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read_messages(data: bytes, chance: random.Random) -> None:
    decoder = FrameDecoder()
    for piece in _in_pieces(data, chance):
        for frame in decoder.feed(piece):
            message = codec.decode(frame)
            assert codec.decode(FrameDecoder().feed(codec.encode(message))[0]) == message, "it is what it says"
    assert len(decoder._buffer) <= limits.FRAME_BYTES_MAX


class _Random:
    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, count: int) -> bytes:
        return self._chance.randbytes(count)


def _recorded() -> tuple[list[bytes], list[bytes]]:
    """What a client and a server say in a handshake that ends well, of each role."""
    of_clients, of_servers = [], []
    for role in Role:
        resume_id = bytes(16) if role is Role.CHANNEL else None
        client = ClientHandshake(b"secret", role, FINGERPRINT, _Random(1), resume_id)
        server = _server()
        said_by_client, said_by_server = b"", b""
        step = server.start()
        while step.send:
            said_by_server += step.send
            answer = client.receive(step.send)
            if not answer.send:
                break
            said_by_client += answer.send
            step = server.receive(answer.send)
            if server.state is ServerState.DECISION:
                step = server.grant()
        of_clients.append(said_by_client)
        of_servers.append(said_by_server)
    return of_clients, of_servers


def _server() -> ServerHandshake:
    return ServerHandshake(lambda role, resume_id: b"secret", FINGERPRINT, _Random(2))


def read_as_server(data: bytes, chance: random.Random) -> None:
    """Frames 2 and 4, each as long as it may be, and a byte too much or too few now and then."""
    server = _server()
    server.start()
    for frame in (data[:70], data[70:102]):
        for piece in _in_pieces(frame, chance):
            if server.state in (ServerState.HELLO, ServerState.TAG) and piece:
                server.receive(piece)
        if server.state is ServerState.DECISION:
            server.grant()
    is_recorded = data[:102] in HANDSHAKES[0]
    assert server.state is not ServerState.DONE or is_recorded, "only the recorded client knows the secret"


def read_as_client(data: bytes, chance: random.Random) -> None:
    client = ClientHandshake(b"secret", Role.WORKER, FINGERPRINT, _Random(1))
    for frame in (data[:38], data[38:70], data[70:]):
        if frame:
            event = client.receive(frame).event
            assert not isinstance(event, Authenticated) or data[:102] in [said[:102] for said in HANDSHAKES[1]]


HANDSHAKES = _recorded()


def read_first_bytes(data: bytes, chance: random.Random) -> None:
    assert len(describe_stranger(data)) < 300
    looks_like_tls_answer(data)
    is_client_hello_complete(data)


def read_token(data: bytes, chance: random.Random) -> None:
    parse_token(data.decode("latin-1"))


# -- blocks -----------------------------------------------------------------------------------------------

_COLUMNS: list[tuple[list[Any], list[Any], bool]] = [
    (["a", "b", "naïve"], [1, 2, 3], True),
    (["a", "b"], [[1, 2], [3]], False),
    ([1, ("x", 2), None], [{"k": 1}, {1, 2}, 2.5], True),
    (["word"] * 1 + [f"w{n}" for n in range(60)], list(range(61)), True),
    (["k"], [["text", "text", 5, "other"]], False),
]


def _block_files() -> list[bytes]:
    found = []
    for keys, values, single in _COLUMNS:
        for payload, is_text in _payloads(keys, values, single):
            with tempfile.TemporaryFile() as file:
                writer = BlockWriter(file)
                pairs = len(values) if single else sum(map(len, values))
                for partition in (0, 3):
                    writer.append(partition, payload, keys=len(keys), pairs=pairs, single=single and not is_text)
                writer.finish()
                file.seek(0)
                found.append(file.read())
    return found


def _payloads(keys: list[Any], values: list[Any], single: bool) -> list[tuple[Any, bool]]:
    found: list[tuple[Any, bool]] = [(encode_columns(keys, values, single=single), False)]
    found.append((Deflating(stays_here=False).packed(found[0][0]), False))
    found.append((encode_columns(keys, values, single=single, stays_here=True), False))
    table = texttable.TextTable.for_fold(Fold.SUM) if single else texttable.TextTable.for_lists()
    if table is not None:
        flat = values if single else [value for entry in values for value in entry]
        of_each = keys if single else [key for key, entry in zip(keys, values, strict=True) for _ in entry]
        if table.take(of_each, flat)[1]:
            found.append((encode_text(table.everything())[0], not single))
    return found


def repair_blocks(data: bytes) -> bytes:
    """The checksum of each block that begins where one should, made right."""
    fixed = bytearray(data)
    offset = FILE_HEADER.size
    while offset + BLOCK_HEADER.size <= len(fixed):
        fields = BLOCK_HEADER.unpack_from(fixed, offset)
        length = fields[-2]
        end = offset + BLOCK_HEADER.size + length
        if end > len(fixed):
            break
        payload = bytes(fixed[offset + BLOCK_HEADER.size : end])
        head = bytes(fixed[offset : offset + BLOCK_HEADER.size - 4])
        fixed[offset + BLOCK_HEADER.size - 4 : offset + BLOCK_HEADER.size] = struct.pack(
            "<I", crc32(payload, crc32(head))
        )
        offset = end
    return bytes(fixed)


_scratch = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def _written(data: bytes) -> str:
    path = os.path.join(_scratch, str(os.getpid()))
    with open(path, "wb") as file:
        file.write(data)
    return path


def _no_pickles(data: bytes) -> Any:
    """What was pickled is another target's."""
    raise ValueError("not read here")


def read_blocks(data: bytes, chance: random.Random) -> None:
    path = _written(data)
    end = len(data)
    try:
        end = FILE_HEADER.size + sum(entry.length for entry in read_index(path))
    except MincemeatError:
        pass  # its blocks are read nevertheless, as those of a stretch that a holder has sent
    stretch = Span(path, FILE_HEADER.size, max(0, end - FILE_HEADER.size))
    for block in iter_blocks(stretch):
        if block.codec in (CODEC_TEXT, CODEC_LISTS) and texttable.compiled is not None:
            _read_with_table(block.payload, block.codec)
        try:
            decode_columns(block, _no_pickles)
        except MincemeatError:
            pass


def _read_with_table(payload: bytes, codec_of_block: int) -> None:
    """The ways of compiled code, which trusts nothing that it reads."""
    compiled = texttable.compiled
    table = compiled.Table(compiled.LIST if codec_of_block == CODEC_LISTS else compiled.SUM)
    merge = table.merge_lists if codec_of_block == CODEC_LISTS else table.merge
    digest = compiled.digest_lists if codec_of_block == CODEC_LISTS else lambda data: compiled.digest(data, False)
    for read in (merge, digest):
        try:
            read(payload)
        except (ValueError, OverflowError):
            pass
    if len(table):
        table.sort()
        table.deal(7)


def read_stretch(data: bytes, chance: random.Random) -> None:
    read_sections(Path(_written(data)), range(2**32))


# -- data -------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """A class of the job's."""

    x: int
    y: int


class Colour(enum.Enum):
    RED = 1


CODING = DataCoding([__name__])
_VALUES: list[Any] = [
    [{"k": [1, 2.5, None, True]}, ("a", b"b", {1, 2}), frozenset("ab"), -(2**70), bytearray(b"x"), 1j],
    [Point(1, 2), Colour.RED, Counter("aab"), OrderedDict(a=1), deque([1, 2], 5), defaultdict(int, a=1)],
    [
        date(2026, 1, 1),
        datetime(2026, 1, 1, tzinfo=UTC),
        timedelta(1),
        Decimal("1.5"),
        Fraction(1, 3),
        uuid.UUID(int=5),
    ],
    [ValueError("x", 1), KeyError("k"), range(5), slice(1, 2)],
    [numpy.arange(6).reshape(2, 3), numpy.array(["a", "b"]), numpy.float64(1.5), numpy.array([None, "x"], object)],
]
# What unpickling may raise; that it is told as the user's or as damage is for others to see to.
_UNPICKLING = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(ArithmeticError, AssertionError, RecursionError),
)
_FORBIDDEN = ("open", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "marshal.", "code.")
_audited: list[str] = []
_is_auditing = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _is_auditing and event.startswith(_FORBIDDEN):
        _audited.append(event)


sys.addaudithook(_hook)


class Ran(BaseException):
    """Bytes have made something happen."""


def read_data(data: bytes, chance: random.Random) -> None:
    global _is_auditing
    plainly = mentions.read_plainly(data)
    if mentions.compiled is not None:
        found = mentions.read(data)
        if (found.problem, found.mentions if not found.problem else []) != (
            plainly.problem,
            plainly.mentions if not plainly.problem else [],
        ):
            raise Ran(f"compiled and plain reading differ: {found} and {plainly}")
    _is_auditing = True
    try:
        CODING.loads(data)
    finally:
        _is_auditing = False
        if _audited:
            events, _audited[:] = list(_audited), []
            raise Ran(f"reading data did {events}")


# -- what else comes from elsewhere ------------------------------------------------------------------------


def _reports() -> list[bytes]:
    report = Report()
    for number in range(3):
        failure = Failure(FailureKind.USER, "message", "mapfn", key=f"'{number}'", record=number, split=1, data=b"data")
        report.add(failure._replace(exception_type="ValueError", traceback="Traceback", exception=b"pickled"))
    return [report.encode().encode("ascii")]


def read_report(data: bytes, chance: random.Random) -> None:
    decode_report(data.decode("latin-1"))


def _envelopes() -> list[bytes]:
    module = envelope.SourceModule("helpers", "/home/somebody/helpers.py", False, b"x = 1")
    packed = envelope.Packed(b"pickles", {"job": {"name": "module"}}, (module,), {"path": "text"}, "process")
    return [envelope.encode(packed)]


def read_envelope(data: bytes, chance: random.Random) -> None:
    envelope.decode(data)


def _logs() -> list[bytes]:
    records: list[dict[str, Any]] = [{"map": "m-00001.0", "size": 5}, {"reduce": "r-00001.0"}, {"text": "ü"}]
    return [b"".join(log_line(record, 40 * number) for number, record in enumerate(records))]


def read_log_file(data: bytes, chance: random.Random) -> None:
    contents = read_log(data.splitlines(keepends=True))
    assert contents.size + contents.torn == len(data)


def _positions() -> list[bytes]:
    path = os.path.join(_scratch, "position")
    file = PositionFile(path)
    file.enter(5, "'key'", b"data")
    file.close()
    return [Path(path).read_bytes()[:4096]]


def read_position_file(data: bytes, chance: random.Random) -> None:
    read_position(_written(data))


def read_digests(data: bytes, chance: random.Random) -> None:
    parse_digests(data.decode("latin-1"), 8)


def read_attempts(data: bytes, chance: random.Random) -> None:
    decode_attempts(data)


TARGETS: dict[str, Target] = {
    "messages": Target(_messages(), read_messages),
    "server's handshake": Target(HANDSHAKES[0], read_as_server),
    "client's handshake": Target(HANDSHAKES[1], read_as_client),
    "first bytes": Target(
        [b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4" + bytes(196), b"GET / HTTP/1.1\r\n", b"SSH-2.0-x"], read_first_bytes
    ),
    "join token": Target([JoinToken(bytes(16), bytes(range(16))).text().encode()], read_token),
    "blocks": Target(_block_files(), read_blocks),
    "blocks with right checksums": Target(_block_files(), read_blocks, repair=repair_blocks),
    "pickles as data": Target([CODING.dumps(value) for value in _VALUES], read_data, (MincemeatError, *_UNPICKLING)),
    "stretch": Target([struct.pack(">IQ", 3, 2) + b"xy" + struct.pack(">IQ", 4, 2**64 - 1)], read_stretch),
    "list of attempts": Target([b'["m-00001.0","m-00002.1"]'], read_attempts),
    "report of records": Target(_reports(), read_report),
    "digests": Target([b"+" + b"0123456789abcdef" * 8, b""], read_digests, (ValueError,)),
    "envelope": Target(_envelopes(), read_envelope),
    "journal": Target(_logs(), read_log_file, (LogDamaged,)),
    "position": Target(_positions(), read_position_file),
}
