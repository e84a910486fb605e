"""A foreign worker: a second implementation of docs/protocol.md and docs/block-format.md.

It was written from these two pages and imports nothing of mincemeat, so it shows that they say enough, and that they
still do: what the program changes without the pages, or the pages without the program, ends here. It has one slot,
keeps its map outputs in memory and runs no code that it is sent: whoever starts it hands in what the job's functions
do. It has the sections of the pages, in their order.

It does not know: anything that the pages do not say. It is a test's, not for use: its numbers take no constant time.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import os
import pickle
import platform
import queue
import re
import secrets
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

# -- section 1: TLS --------------------------------------------------------------------------------------------------

ALPN = "mincemeat/2"


class Refused(Exception):
    """The other end is not who it should be, or does not believe that we are."""


class Stream:
    """A TLS connection that one thread may read while another one writes.

    Python's own ssl.SSLSocket may not be used by two threads at once, so TLS works in memory, under a lock, and the
    socket is used outside of it.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool = False) -> None:
        self._socket = sock
        self._lock, self._order = threading.Lock(), threading.Lock()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        try:
            self._until_done(self.tls.do_handshake)
            if self.tls.selected_alpn_protocol() != ALPN:
                raise Refused(f"the other end does not speak {ALPN}")
        except BaseException:
            self.close()
            raise

    def _until_done(self, step: Any) -> Any:
        while True:
            with self._order:
                with self._lock:
                    try:
                        done, result = True, step()
                    except ssl.SSLWantReadError:
                        done, result = False, None
                    waiting = self._outgoing.read()
                if waiting:
                    self._socket.sendall(waiting)
            if done:
                return result
            received = self._socket.recv(65536)
            with self._lock:
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()

    def write(self, data: bytes) -> None:
        self._until_done(partial(self.tls.write, data))

    def read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                piece = self._until_done(partial(self.tls.read, count - len(parts)))
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                piece = b""
            if not piece:
                raise EOFError(f"the stream ended after {len(parts)} of {count} bytes")
            parts += piece
        return bytes(parts)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def dial(host: str, port: int, pin: bytes = b"") -> tuple[Stream, bytes]:
    """A TLS connection and the fingerprint of who is there; `pin` is that, or the beginning of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    stream = Stream(socket.create_connection((host, port), timeout=10), context)
    fingerprint = hashlib.sha256(stream.tls.getpeercert(binary_form=True) or b"").digest()
    if not hmac.compare_digest(fingerprint[: len(pin)], pin):
        stream.close()
        raise Refused("another certificate than the pinned one")
    return stream, fingerprint


# -- section 2: proof of the password --------------------------------------------------------------------------------

ROLE_WORKER, ROLE_CHANNEL, ROLE_TOKEN = 1, 2, 3
Q, A = 2**255 - 19, 486662  # the field and the curve of X25519


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def lv(*parts: bytes | str) -> bytes:
    out = bytearray()
    for part in parts:
        data = utf8(part) if isinstance(part, str) else part
        length = len(data)
        while length > 127:
            out.append(length & 127 | 128)
            length >>= 7
        out.append(length)
        out += data
    return bytes(out)


def calculate_generator(secret: bytes, ci: bytes, sid: bytes) -> bytes:
    zeros = bytes(max(0, 128 - 1 - len(lv("CPace255", secret))))
    digest = hashlib.sha512(lv("CPace255", secret, zeros, ci, sid)).digest()[:32]
    r = int.from_bytes(digest, "little") % 2**255
    v = -A * pow(1 + 2 * r * r, -1, Q) % Q
    is_square = pow(v**3 + A * v * v + v, (Q - 1) // 2, Q) == 1
    return (v if is_square else (-v - A) % Q).to_bytes(32, "little")


def x25519(scalar: bytes, share: bytes) -> bytes:
    if int.from_bytes(share, "little") >= Q:
        raise Refused("a share that X25519 never gives")
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:  # all zeros
        raise Refused("a share of low order") from error


def intermediate_key(sid: bytes, k: bytes, ya: bytes, yb: bytes, ad_a: bytes = b"C", ad_b: bytes = b"S") -> bytes:
    return hashlib.sha512(lv("CPace255_ISK", sid, k) + lv(ya, ad_a) + lv(yb, ad_b)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


@dataclass(frozen=True)
class Proven:
    fingerprint: bytes
    resume_key: bytes
    resume_id: bytes


def read_token(token: str) -> tuple[bytes, bytes]:
    """The pin and the secret."""
    _, pin, secret = token.split("-")
    return base64.b32decode(pin.upper() + "======"), base64.b32decode(secret.upper() + "======")


def prove(stream: Stream, fingerprint: bytes, role: int, secret: bytes, resume_id: bytes = b"") -> Proven:
    frame1 = stream.read(38)
    if frame1[:5] != b"MCM2\x01" or frame1[5] & ~1:
        raise Refused("not a server of this protocol")
    if frame1[5] & 1:
        raise Refused("busy")
    nonce = resume_id + secrets.token_bytes(32 - len(resume_id))
    head = b"MCM2\x01" + bytes([role]) + nonce
    sid = hashlib.sha256(frame1 + head).digest()
    ci = lv("mincemeat/2", "coordinator", bytes([role]), "tls-server-end-point", fingerprint)
    scalar = secrets.token_bytes(32)
    ya = x25519(scalar, calculate_generator(secret, ci, sid))
    stream.write(head + ya)
    yb = stream.read(32)
    isk = intermediate_key(sid, x25519(scalar, yb), ya, yb)
    prk = mac(b"mincemeat/2", isk)
    th = hashlib.sha256(lv(frame1, head + ya, yb, fingerprint)).digest()

    def expand(info: bytes) -> bytes:
        return mac(prk, info + b"\x01")

    stream.write(mac(expand(b"client confirm"), th))
    if not hmac.compare_digest(stream.read(32), mac(expand(b"server confirm"), th)):
        raise Refused("the server does not know our secret, or does not believe that we do")
    if role == ROLE_CHANNEL:  # keeps the key and id it was opened with
        return Proven(fingerprint, secret, resume_id)
    return Proven(fingerprint, expand(b"resume" + th), expand(b"resume id" + th)[:16])


def join(host: str, port: int, password: str) -> tuple[Stream, Proven]:
    """Proves a password, or a join token, and that the server knows it."""
    if password.lower().startswith("mm2-"):
        pin, secret = read_token(password)
        return _dial_and_prove(host, port, pin, ROLE_TOKEN, secret)
    return _dial_and_prove(host, port, b"", ROLE_WORKER, unicodedata.normalize("NFC", password).encode())


def open_channel(host: str, port: int, proven: Proven) -> Stream:
    return _dial_and_prove(host, port, proven.fingerprint, ROLE_CHANNEL, proven.resume_key, proven.resume_id)[0]


def _dial_and_prove(
    host: str, port: int, pin: bytes, role: int, secret: bytes, resume_id: bytes = b""
) -> tuple[Stream, Proven]:
    stream, fingerprint = dial(host, port, pin)
    try:
        return stream, prove(stream, fingerprint, role, secret, resume_id)
    except BaseException:
        stream.close()
        raise


# -- section 4: frames and messages ----------------------------------------------------------------------------------

FRAME_BYTES_MAX = 1_048_576
PIECE_BYTES_MAX = 262_144
INLINE_BYTES_MAX = 262_144
CHUNK = 67

MESSAGES = """
1 Hello python version implementation platform hostname pid slots data_port data_fingerprint incarnation held_job held
2 Heartbeat
3 MapDone job attempt records pairs seconds spills partition_bytes skipped set_aside digests
4 ReduceDone* job attempt keys values seconds output_bytes skipped set_aside
5 AttemptFailed* job attempt kind message function key exception_type traceback record split data
6 BlocksUnreachable job attempt holder maps reason damaged
7 Leaving reason
8 Holding attempts
9 Draining
10 AskRelease version wants_file
32 Welcome worker heartbeat_seconds lease_seconds ticket_key
33 Refused reason
34 JobStart* job partitions memory_bytes task_timeout_seconds keep_seconds code_bytes
  skips max_skipped digests slot_memory_bytes slot_cpu_seconds
35 MapStart* job attempt split_bytes careful skip_records skip_digests skip_reasons
36 ReduceStart* job attempt first_partition last_partition inputs_bytes careful skip_records skip_digests skip_reasons
37 AttemptCancel job attempt
38 DropOutputs job attempts
39 Serve* request job first_partition last_partition
40 Bye reason again
41 NewEpoch ticket_key
42 Release version size sha256 reason
64 Get* what job name split first_partition last_partition ticket fetcher
65 Put what job name request
66 Answer ok message size
67 Chunk*
68 End
"""
ROWS = [row.split() for row in MESSAGES.replace("\n  ", " ").strip().splitlines()]
TABLE = {row[1].rstrip("*"): (int(row[0]), row[2:]) for row in ROWS}
NAMES = {kind: name for name, (kind, _) in TABLE.items()}


@dataclass(frozen=True)
class Message:
    name: str
    fields: dict[str, Any]
    body: bytes = b""

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]


def encode(name: str, body: bytes = b"", /, **fields: Any) -> bytes:
    kind, names = TABLE[name]
    if name == "Chunk":
        payload = body
    else:
        text = json.dumps({field: fields[field] for field in names}, separators=(",", ":")).encode()
        payload = struct.pack(">I", len(text)) + text + body
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def decode(kind: int, payload: bytes) -> Message:
    if kind == CHUNK:
        return Message("Chunk", {}, payload)
    (length,) = struct.unpack_from(">I", payload)
    fields = json.loads(payload[4 : 4 + length])
    name = NAMES[kind]
    if sorted(fields) != sorted(TABLE[name][1]):
        raise Refused(f"{name} has the fields {sorted(fields)}")
    return Message(name, fields, payload[4 + length :])


def send(stream: Stream, name: str, body: bytes = b"", /, **fields: Any) -> None:
    stream.write(encode(name, body, **fields))


def receive(stream: Stream) -> Message:
    length, kind = struct.unpack(">IB", stream.read(5))
    if not 1 <= length <= FRAME_BYTES_MAX - 4:
        raise Refused(f"a frame of {length} bytes")
    return decode(kind, stream.read(length - 1))


def send_body(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), PIECE_BYTES_MAX):
        send(stream, "Chunk", data[start : start + PIECE_BYTES_MAX])
    send(stream, "End")


def receive_body(stream: Stream) -> bytes:
    data = bytearray()
    while (message := receive(stream)).name == "Chunk":
        data += message.body
    if message.name != "End":
        raise Refused(f"{message.name} in the middle of a body")
    return bytes(data)


# -- docs/block-format.md --------------------------------------------------------------------------------------------

BLOCK = struct.Struct("<4sIBBHQQQI")
ENTRY = struct.Struct("<IQQQ")
SINGLE, DEFLATED = 1, 2

Pairs = Iterator[tuple[Any, list[Any]]]


class NothingButData(pickle.Unpickler):
    """Payloads and records come from a network: no class, and so no code, is made of them."""

    def find_class(self, module: str, name: str) -> Any:
        raise Refused(f"a pickle asks for {module}.{name}")


def load(data: bytes) -> Any:
    return NothingButData(io.BytesIO(data)).load()


def make_block(partition: int, keys: list[Any], values: list[Any], *, single: bool = False) -> bytes:
    payload = pickle.dumps((keys, values), 5)
    pairs = len(keys) if single else sum(map(len, values))
    head = BLOCK.pack(b"MBLK", partition, 0, SINGLE if single else 0, 0, pairs, len(keys), len(payload), 0)[:36]
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def make_file(blocks: list[tuple[int, int, bytes]]) -> bytes:
    """`blocks`: of each its partition, its pairs and itself."""
    data, entries = bytearray(b"MCMEAT\x01\x00"), bytearray()
    for partition, pairs, block in blocks:
        entries += ENTRY.pack(partition, len(data), len(block), pairs)
        data += block
    entries += struct.pack("<Q", len(blocks))
    return bytes(data + entries + struct.pack("<I", zlib.crc32(entries)) + b"MEND")


def read_stretch(data: bytes, partitions: range) -> Pairs:
    at = 0
    while at < len(data):
        magic, partition, codec, flags, _, pairs, keys, length, crc = BLOCK.unpack_from(data, at)
        payload = data[at + BLOCK.size : at + BLOCK.size + length]
        if (
            magic != b"MBLK"
            or zlib.crc32(payload, zlib.crc32(data[at : at + 36])) != crc
            or partition not in partitions
        ):
            raise Refused("a damaged block")
        if flags & DEFLATED:
            (size,) = struct.unpack_from("<Q", payload)
            inflater = zlib.decompressobj()
            payload = inflater.decompress(payload[8:], min(size, 2**26))
            if len(payload) != size or not inflater.eof:
                raise Refused("a payload of another length than was announced")
        columns, lists = {0: load, 2: read_text_columns, 3: read_text_lists}[codec](payload)
        if flags & SINGLE:
            lists = [[value] for value in lists]
        if (len(columns), sum(map(len, lists))) != (keys, pairs):
            raise Refused("not the announced numbers of keys and pairs")
        yield from zip(columns, lists, strict=True)
        at += BLOCK.size + length


class Columns:
    """Numbers and texts one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def numbers(self, count: int, width: int, *, signed: bool = False) -> list[int]:
        code = {1: "b", 2: "h", 4: "i", 8: "q"}[width]
        numbers = struct.unpack_from(f"<{count}{code if signed else code.upper()}", self.data, self.at)
        self.at += count * width
        return list(numbers)

    def text(self, length: int) -> str:
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "surrogatepass")


def read_text_columns(data: bytes) -> tuple[list[Any], list[Any]]:
    length_width, value_width, _, keys, _ = struct.unpack_from("<BBHIQ", data)
    columns = Columns(data, 16)
    lengths = columns.numbers(keys, length_width)
    values = columns.numbers(keys, value_width, signed=True) if value_width else [None] * keys
    return list(map(columns.text, lengths)), values


def read_text_lists(data: bytes) -> tuple[list[Any], list[Any]]:
    length_width, count_width, index_width, _, keys, _, pairs, values, _ = struct.unpack_from("<BBBBIQQIQ", data)
    columns = Columns(data, 36)
    lengths = columns.numbers(keys, length_width)
    counts = columns.numbers(keys, count_width)
    indices = iter(columns.numbers(pairs, index_width))
    tags = columns.numbers(values, 4)
    texts = list(map(columns.text, lengths))
    of = [columns.numbers(1, 8, signed=True)[0] if tag == 0xFFFFFFFF else columns.text(tag) for tag in tags]
    return texts, [[of[next(indices)] for _ in range(count)] for count in counts]


# -- section 6: a job ------------------------------------------------------------------------------------------------

GONE = 2**64 - 1


def read_records(split: bytes) -> list[tuple[Any, Any]]:
    """The records of a split that has them, or the data of its files, in it."""
    if split[:1] == b"D":
        return list(read_pieces(split))
    if split[:1] != b"R":
        raise Refused(f"a split of the kind {split[:1]!r} is nothing for this worker")
    (count,) = struct.unpack_from(">I", split, 1)
    stream = io.BytesIO(split[5:])
    return [NothingButData(stream).load() for _ in range(count)]


def read_pieces(split: bytes) -> Iterator[tuple[Any, Any]]:
    stream = io.BytesIO(split[1:])

    def number(form: str) -> int:
        return int.from_bytes(stream.read(struct.calcsize(form)), "big")

    (form, encoding, errors, *_), pieces = json.loads(stream.read(number(">I")))
    for name, _, _, stop, _, _, codec, *_ in pieces:
        if form not in ("text", "lines") or codec or stop is None:
            raise Refused(f"pieces of {form} {codec} are nothing for this worker")
        offset = number(">Q")
        content = b""
        while offset != GONE and (length := number(">I")):
            content += stream.read(length)
        for part in re.findall(rb"[^\n]*\n|[^\n]+", content) if form == "lines" else filter(None, [content]):
            text = part.removesuffix(b"\n").removesuffix(b"\r") if form == "lines" else part
            yield (name, offset), text.decode(encoding, errors)
            offset += len(part)


def partition_of(key: str, partitions: int) -> int:
    return zlib.crc32(utf8(key)) % partitions


def term(value: Any) -> int:
    if isinstance(value, int):
        return value * 0x165667B19E3779F9
    if isinstance(value, str | bytes):
        return zlib.crc32(utf8(value) if isinstance(value, str) else value) * 0xC2B2AE3D27D4EB4F
    return 0


def make_digests(partitions: list[dict[str, list[Any]]]) -> str:
    """What is in an output; "" where values are of more types than this worker can tell of."""
    if not all(
        type(value) in (int, str, bytes) for groups in partitions for values in groups.values() for value in values
    ):
        return ""
    ranges = [0] * min(len(partitions), 32)
    for partition, groups in enumerate(partitions):
        for key, values in groups.items():
            weight = zlib.crc32(utf8(key)) + 1
            ranges[partition * len(ranges) // len(partitions)] += weight * sum(
                0x9E3779B97F4A7C15 + term(v) for v in values
            )
    return "+" + "".join(f"{total % 2**64:016x}" for total in ranges)


def make_ticket(ticket_key: bytes, job: str, fetcher: str) -> str:
    return mac(ticket_key, lv("fetch", job, fetcher)).hex()


def map_index(attempt: str) -> int:
    return int(attempt[2:].split(".")[0])


class Unreachable(Exception):
    """Blocks could not be had; its arguments are the fields of the message that tells it."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)
        self.fields = fields


class Worker:
    """A worker of one slot.

    `mapfn(key, value)` gives pairs whose keys are texts, `reducefn(key, values)` a result: what the job's functions do.
    `listens`: without it no other worker can fetch from this one, and the coordinator relays. `kept`: an earlier one
    that lost its connection, whose outputs it has.
    """

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        mapfn: Callable[[Any, Any], Iterable[tuple[str, Any]]],
        reducefn: Callable[[str, list[Any]], Any],
        *,
        listens: bool = True,
        kept: Worker | None = None,
    ) -> None:
        self._server = (host, port)
        self._mapfn, self._reducefn = mapfn, reducefn
        self.holder = Holder(self._answer_with_blocks) if listens else None
        self.done: list[str] = []  # the attempts that went well, in their order
        self.fetched: list[str] = []  # from whom blocks came, and which way
        self.served: list[str] = []  # to whom they went
        self.outputs: dict[str, dict[int, bytes]] = kept.outputs if kept else {}  # attempt: partition: blocks
        self._held_job = kept.job["job"] if kept else ""
        self._unwanted: set[str] = set()
        self._is_leaving = False
        self._attempts: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.ticket_key = b""
        self._heard = time.monotonic()
        self.welcome: Message = Message("Bye", {})
        self.job: Message = self.welcome
        self._control, self._proven = join(host, port, password)

    def run(self) -> str:
        """Work until the coordinator says good-bye; its reason."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._carry_out_all)]
        try:
            self._say_hello()
            for thread in threads:
                thread.start()
            while (message := self._receive()).name != "Bye":
                self._handle(message)
            return str(message["reason"])
        except (OSError, EOFError):
            if not self._is_leaving:
                raise
            return "it left"
        finally:
            self._attempts.put(None)
            self._control.close()
            if self.holder is not None:
                self.holder.close()

    def drain(self) -> None:
        self._send("Draining")

    def leave(self, reason: str) -> None:
        self._is_leaving = True
        self._send("Leaving", reason=reason)
        self._control.close()

    def break_off(self) -> None:
        self._is_leaving = True
        self._control.close()

    def _send(self, name: str, body: bytes = b"", /, **fields: Any) -> None:
        send(self._control, name, body, **fields)

    def _receive(self) -> Message:
        message = receive(self._control)
        self._heard = time.monotonic()
        return message

    def _say_hello(self) -> None:
        self._send("AskRelease", version="", wants_file=False)
        version = receive(self._control)["version"]
        self._send(
            "Hello",
            python=".".join(platform.python_version_tuple()[:2]),
            version=version,
            implementation=platform.python_implementation(),
            platform=sys.platform,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            slots=1,
            data_port=self.holder.port if self.holder else 0,
            data_fingerprint=self.holder.fingerprint.hex() if self.holder else "0" * 64,
            incarnation=secrets.token_hex(8),
            held_job=self._held_job,
            held=len(self.outputs),
        )
        if self.outputs:
            self._send("Holding", attempts=list(self.outputs))
        self.welcome = self._receive()
        if self.welcome.name != "Welcome":
            raise Refused(str(self.welcome.fields))
        self.ticket_key = bytes.fromhex(self.welcome["ticket_key"])

    def _beat(self) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while time.monotonic() - self._heard < self.welcome["lease_seconds"]:
                self._send("Heartbeat")
                time.sleep(self.welcome["heartbeat_seconds"])
        self._control.close()

    def _handle(self, message: Message) -> None:
        match message.name:
            case "Heartbeat":
                pass
            case "JobStart":
                self.job = message
                if len(message.body) != message["code_bytes"]:
                    self._get("code", "")
            case "MapStart" | "ReduceStart":
                self._attempts.put(message)
            case "AttemptCancel":
                self._unwanted.add(message["attempt"])
            case "DropOutputs":
                for attempt in message["attempts"]:
                    self.outputs.pop(attempt, None)
            case "NewEpoch":
                self.ticket_key = bytes.fromhex(message["ticket_key"])
            case "Serve":
                threading.Thread(target=self._upload, args=(message,), daemon=True).start()
            case _:
                raise Refused(f"{message.name} is no message to a worker")

    # -- attempts --------------------------------------------------------------------------------------------------

    def _carry_out_all(self) -> None:
        while (start := self._attempts.get()) is not None:
            attempt = start["attempt"]
            if attempt in self._unwanted:
                continue
            try:
                if start.name == "MapStart":
                    name, body, told = "MapDone", b"", self._map(start)
                else:
                    name, (body, told) = "ReduceDone", self._reduce(start)
            except Unreachable as error:
                name, body, told = "BlocksUnreachable", b"", error.fields
            except Exception as error:  # noqa: BLE001 - the coordinator is told
                name, body, told = "AttemptFailed", b"", failure(error)
            with contextlib.suppress(OSError, ssl.SSLError):
                if attempt not in self._unwanted:
                    if name in ("MapDone", "ReduceDone"):
                        self.done.append(attempt)
                    self._send(name, body, job=start["job"], attempt=attempt, **told)

    def _map(self, start: Message) -> dict[str, Any]:
        began = time.monotonic()
        payloads = start.body
        if len(payloads) != sum(start["split_bytes"]):
            payloads = self._get("split", start["attempt"])
        records = []
        for number, size in enumerate(start["split_bytes"]):
            split, payloads = payloads[:size], payloads[size:]
            if split[:1] == b"F":  # this worker looks at no files
                split = self._get("split-data", start["attempt"], split=number)
            records += read_records(split)
        partitions: list[dict[str, list[Any]]] = [{} for _ in range(self.job["partitions"])]
        pairs = 0
        for record in records:
            for key, value in self._mapfn(*record):
                partitions[partition_of(key, len(partitions))].setdefault(key, []).append(value)
                pairs += 1
        blocks = {
            partition: make_block(partition, list(groups), list(groups.values()))
            for partition, groups in enumerate(partitions)
            if groups
        }
        self.outputs[start["attempt"]] = blocks
        return {
            "records": len(records),
            "pairs": pairs,
            "seconds": time.monotonic() - began,
            "spills": 0,
            "partition_bytes": [len(blocks.get(partition, b"")) for partition in range(len(partitions))],
            "skipped": 0,
            "set_aside": "",
            "digests": make_digests(partitions) if self.job["digests"] else "",
        }

    def _reduce(self, start: Message) -> tuple[bytes, dict[str, Any]]:
        began = time.monotonic()
        inputs = start.body
        if len(inputs) != start["inputs_bytes"]:
            inputs = self._get("inputs", start["attempt"])
        stretches = self._gather(json.loads(inputs), start["first_partition"], start["last_partition"])
        asked = range(start["first_partition"], start["last_partition"])
        groups: dict[int, dict[str, list[Any]]] = {partition: {} for partition in asked}
        for stretch in stretches:
            for key, values in read_stretch(stretch, asked):
                groups[partition_of(key, self.job["partitions"])].setdefault(key, []).extend(values)
        blocks, count = [], 0
        for partition, found in groups.items():
            results = [self._reducefn(key, values) for key, values in found.items()]
            if found:
                blocks.append((partition, len(found), make_block(partition, list(found), results, single=True)))
            count += sum(map(len, found.values()))
        output = make_file(blocks)
        told = {
            "keys": sum(map(len, groups.values())),
            "values": count,
            "seconds": time.monotonic() - began,
            "output_bytes": len(output),
            "skipped": 0,
            "set_aside": "",
        }
        if len(output) <= INLINE_BYTES_MAX:
            return output, told
        with contextlib.closing(open_channel(*self._server, self._proven)) as channel:
            send(channel, "Put", what="result", job=start["job"], name=start["attempt"], request="")
            send_body(channel, output)
            receive(channel)
        return b"", told

    # -- data connections ------------------------------------------------------------------------------------------

    def _get(self, what: str, name: str, body: bytes = b"", **more: Any) -> bytes:
        fields = {"split": 0, "first_partition": 0, "last_partition": 0, "ticket": "", "fetcher": "", **more}
        with contextlib.closing(open_channel(*self._server, self._proven)) as channel:
            return ask(channel, body, what=what, job=self.job["job"], name=name, **fields)

    def _gather(self, inputs: dict[str, Any], first: int, last: int) -> list[bytes]:
        """The blocks of each map output, in their order."""
        found: dict[int, bytes] = {}
        for place, holder in enumerate(inputs["holders"]):
            maps = [(index, f"m-{index:05}.{number}") for index, number, where in inputs["maps"] if where == place]
            told: dict[str, Any] = {"holder": holder["worker"], "maps": [index for index, _ in maps]}
            try:
                sections = read_sections(self._fetch(holder, [name for _, name in maps], first, last))
            except (OSError, EOFError, Refused) as error:
                raise Unreachable(**told, reason=str(error), damaged=False) from error
            gone = [index for index, blocks in sections.items() if blocks is None]
            if gone:
                raise Unreachable(holder=holder["worker"], maps=gone, reason="they are gone", damaged=True)
            found |= {index: blocks for index, blocks in sections.items() if blocks is not None}
        return [found[index] for index, _, _ in inputs["maps"]]

    def _fetch(self, holder: dict[str, Any], names: list[str], first: int, last: int) -> bytes:
        if holder["worker"] == self.welcome["worker"]:
            return self._sections(names, first, last)
        body = json.dumps(names).encode()
        fields = {"first_partition": first, "last_partition": last, "fetcher": self.welcome["worker"]}
        try:
            sections = self._fetch_directly(holder, body, **fields)
            self.fetched.append(f"directly from {holder['worker']}")
        except (OSError, EOFError):
            sections = self._get("relay", holder["worker"], body, **fields)
            self.fetched.append(f"by relay from {holder['worker']}")
        return sections

    def _fetch_directly(self, holder: dict[str, Any], body: bytes, **fields: Any) -> bytes:
        stream, _ = dial(holder["host"], holder["port"], bytes.fromhex(holder["fingerprint"]))
        with contextlib.closing(stream):
            more = {"what": "blocks", "job": self.job["job"], "name": holder["worker"], "split": 0}
            return ask(stream, body, ticket=holder["ticket"], **more, **fields)

    def _sections(self, attempts: list[str], first: int, last: int) -> bytes:
        data = bytearray()
        for attempt in attempts:
            output = self.outputs.get(attempt)
            if output is None:
                data += struct.pack(">IQ", map_index(attempt), GONE)
            else:
                blocks = b"".join(block for partition, block in output.items() if first <= partition < last)
                data += struct.pack(">IQ", map_index(attempt), len(blocks)) + blocks
        return bytes(data)

    def _send_sections(self, stream: Stream, request: Message) -> None:
        sections = self._sections(json.loads(request.body), request["first_partition"], request["last_partition"])
        send(stream, "Answer", ok=True, message="", size=len(sections))
        send_body(stream, sections)

    def _answer_with_blocks(self, stream: Stream) -> None:
        """Serve one fetcher. A ticket that is not for it ends the connection."""
        while True:
            request = receive(stream)
            expected = make_ticket(self.ticket_key, self.job["job"], request["fetcher"])
            if request["what"] != "blocks" or not hmac.compare_digest(expected.encode(), utf8(request["ticket"])):
                return
            self.served.append(f"directly to {request['fetcher']}")
            self._send_sections(stream, request)

    def _upload(self, serve: Message) -> None:
        with contextlib.closing(open_channel(*self._server, self._proven)) as channel:
            send(channel, "Put", what="relay", job=serve["job"], name="", request=serve["request"])
            self.served.append("by relay")
            self._send_sections(channel, serve)
            receive(channel)


def ask(stream: Stream, body: bytes, /, **fields: Any) -> bytes:
    send(stream, "Get", body, **fields)
    answer = receive(stream)
    if not answer["ok"]:
        raise Refused(answer["message"])
    return receive_body(stream)


def read_sections(data: bytes) -> dict[int, bytes | None]:
    """The blocks of each map task, None where they are gone."""
    found: dict[int, bytes | None] = {}
    at = 0
    while at < len(data):
        index, length = struct.unpack_from(">IQ", data, at)
        found[index] = None if length == GONE else data[at + 12 : at + 12 + length]
        at += 12 + (0 if length == GONE else length)
    return found


def failure(error: Exception) -> dict[str, Any]:
    return {
        "kind": "system",
        "message": str(error),
        "function": "",
        "key": "",
        "exception_type": type(error).__name__,
        "traceback": "",
        "record": -1,
        "split": -1,
        "data": "",
    }


# -- section 5: the port for other workers ---------------------------------------------------------------------------


class Holder:
    """Listens with a certificate of its own; `serve` gets each connection in a thread of its own."""

    def __init__(self, serve: Callable[[Stream], None], host: str = "127.0.0.1") -> None:
        self._serve = serve
        certificate, key = make_certificate()
        self.fingerprint = hashlib.sha256(certificate).digest()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.num_tickets = 0
        self._context.set_alpn_protocols([ALPN])
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(ssl.DER_cert_to_PEM_cert(certificate))
            file.write(
                f"-----BEGIN EC PRIVATE KEY-----\n{base64.encodebytes(key).decode()}-----END EC PRIVATE KEY-----\n"
            )
            file.flush()
            self._context.load_cert_chain(file.name)
        self._socket = socket.create_server((host, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._on_connection, args=(connection,), daemon=True).start()

    def _on_connection(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError, ssl.SSLError, EOFError, Refused):
            self._serve(Stream(connection, self._context, server=True))


# P-256 and as much of DER as one certificate takes.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    slope = 3 * (a[0] ** 2 - 1) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope**2 - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(scalar: int) -> Point:
    point: Point | None = None
    for bit in f"{scalar:b}":
        point = point and add(point, point)
        if bit == "1":
            point = add(point, G) if point else G
    assert point is not None
    return point


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 128 else bytes([0x82]) + len(body).to_bytes(2, "big")
    return bytes([tag]) + size + body


def der_integer(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def make_certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, both as DER."""
    curve = bytes.fromhex("06082a8648ce3d030107")  # prime256v1
    algorithm = der(0x30, bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
    secret, nonce = secrets.randbelow(N - 1) + 1, secrets.randbelow(N - 1) + 1
    x, y = multiply(secret)
    point = der(3, b"\0\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big"))
    name = der(0x30, der(0x31, der(0x30, bytes.fromhex("0603550403"), der(0x0C, b"second"))))
    validity = der(0x30, der(0x17, b"200101000000Z"), der(0x17, b"491231235959Z"))
    public = der(0x30, der(0x30, bytes.fromhex("06072a8648ce3d0201"), curve), point)
    version, serial = der(0xA0, der_integer(2)), der_integer(secrets.randbits(64))
    to_be_signed = der(0x30, version, serial, algorithm, name, validity, name, public)
    r = multiply(nonce)[0] % N
    digest = int.from_bytes(hashlib.sha256(to_be_signed).digest(), "big")
    s = pow(nonce, -1, N) * (digest + r * secret) % N
    signature = der(3, b"\0" + der(0x30, der_integer(r), der_integer(s)))
    key = der(0x30, der_integer(1), der(4, secret.to_bytes(32, "big")), der(0xA0, curve), der(0xA1, point))
    return der(0x30, to_be_signed, algorithm, signature), key
