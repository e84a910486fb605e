"""What a slot and its parent say to each other: a header as JSON and a body of bytes, and failures in that form.

Decides: the form of messages. Does not know: processes. Its parent trusts nothing that comes from a slot: a header is
JSON and a body stays bytes. Apart from slots.py, because a slot should not import how slots are started.
"""

from __future__ import annotations

import json
import signal
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mincemeat import limits
from mincemeat.errors import ProtocolError
from mincemeat.model import (
    NO_LIMITS,
    TIME_LIMIT,
    AttemptId,
    Failure,
    FailureKind,
    Phase,
    RecordMark,
    SlotLimits,
)

if TYPE_CHECKING:
    import socket

Header: TypeAlias = dict[str, Any]

# What compiled code dies of when it asks for memory and does not look at the answer, or gives up.
_WITHOUT_MEMORY: Final = {-signal.SIGABRT, -signal.SIGSEGV}
_SIGXCPU: Final = getattr(signal, "SIGXCPU", 0)

_PREFIX: Final = struct.Struct(">II")
_RECEIVE_BYTES: Final = 256 * 1024


def encode(header: Header, body: bytes = b"") -> bytes:
    """One message to or from a slot: two lengths, the header as JSON, the body as it is."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    return _PREFIX.pack(len(text), len(body)) + text + body


class Decoder:
    """Bytes from the socket pair in, whole messages out. ``bytes_most``: a larger one is not waited for."""

    def __init__(self, bytes_most: int | None = None) -> None:
        self._buffer = bytearray()
        self._bytes_most = bytes_most

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        """Messages that are complete now, in order.

        Raises: ProtocolError for what is none, which user code can write there as well as anybody.
        """
        buffer = self._buffer
        buffer += data
        messages: list[tuple[Header, bytes]] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            header_bytes, body_bytes = _PREFIX.unpack_from(buffer, start)
            body_start = start + _PREFIX.size + header_bytes
            end = body_start + body_bytes
            if self._bytes_most is not None and end - start > self._bytes_most:
                raise ProtocolError(f"a message of {end - start:,} bytes came (at most {self._bytes_most:,})")
            if len(buffer) < end:
                break
            header = _header(bytes(buffer[start + _PREFIX.size : body_start]))
            messages.append((header, bytes(buffer[body_start:end])))
            start = end
        if start:
            del buffer[:start]
        return messages


def _header(text: bytes) -> Header:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("did"), str):
        raise ProtocolError("bytes came that are no message")
    return header


def receive(channel: socket.socket) -> tuple[Header, bytes]:
    """The next message, waiting for it. Raises: EOFError when the other end is gone."""
    header_bytes, body_bytes = _PREFIX.unpack(_receive_exactly(channel, _PREFIX.size))
    header = json.loads(_receive_exactly(channel, header_bytes))
    return header, _receive_exactly(channel, body_bytes)


def _receive_exactly(channel: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = channel.recv(min(size, _RECEIVE_BYTES))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def map_message(attempt: AttemptId, payloads: Sequence[bytes]) -> tuple[Header, bytes]:
    """What tells a slot to carry out a map attempt over the splits with these payloads."""
    return {"do": "map", "attempt": str(attempt), "splits": list(map(len, payloads))}, b"".join(payloads)


def read_failure(header: Header, body: bytes) -> Failure:
    """The failure that a slot's ``failed`` reply tells."""
    return Failure(
        kind=FailureKind(header["kind"]),
        message=header["message"],
        function=header["function"],
        key=header["key"],
        exception_type=header["exception_type"],
        traceback=header["traceback"],
        exception=body,
        record=header["record"],
        split=header["split"],
        data=a2b_base64(header["data"]),
    )


def failed_message(attempt: str, failure: Failure) -> tuple[Header, bytes]:
    """The slot's reply that ``attempt`` ended in ``failure``."""
    header: Header = {"did": "failed", "attempt": attempt, "kind": failure.kind.value}
    for field in ("message", "function", "key", "exception_type", "traceback", "record", "split"):
        header[field] = getattr(failure, field)
    header["data"] = b2a_base64(failure.data, newline=False).decode("ascii")
    return header, failure.exception


def limits_header(kept: SlotLimits) -> Header:
    """What tells a slot its limits, in the message that begins a job."""
    return {"limits": list(kept)} if kept != NO_LIMITS else {}


def care_header(
    positions: str, *, skips: bool = False, max_skipped: int | None = None, skip: Sequence[RecordMark] = ()
) -> Header:
    """What makes an attempt a careful one, in the message that tells a slot to carry it out; see careful.Care."""
    return {"care": {"positions": positions, "skips": skips, "max_skipped": max_skipped, "skip": list(skip)}}


def crash_failure(
    how: str, attempt: AttemptId, positions: str = "", *, code: int = 0, limits_kept: SlotLimits = NO_LIMITS
) -> Failure:
    """The slot is gone; ``how`` is what ``describe_exit`` said. ``positions`` is what a careful attempt wrote.

    ``code``: with which it ended; ``limits_kept``: which it was under, and may have been ended by.
    """
    seconds, size = limits_kept.cpu_seconds, limits_kept.memory_bytes
    if seconds is not None and code == -_SIGXCPU:
        failure = Failure(
            FailureKind.TIMEOUT,
            f"the attempt used more than slot_cpu={seconds} seconds of processor time and was ended",
            exception_type=TIME_LIMIT,
        )
        return _placed(failure, attempt, positions, limits.CULPRIT_TIMEOUT_SHARE * seconds)
    if size is not None and code in _WITHOUT_MEMORY:
        how += f"; out of memory? slot_memory allows {size:,} bytes"
    failure = Failure(FailureKind.CRASH, f"the process that ran the user's function {how}")
    return _placed(failure, attempt, positions, 0.0)


def timeout_failure(seconds: float, attempt: AttemptId, positions: str = "") -> Failure:
    """The attempt was ended because it ran longer than ``seconds``. ``positions``: as for ``crash_failure``."""
    failure = Failure(
        FailureKind.TIMEOUT,
        f"the attempt ran longer than task_timeout={seconds:g} seconds and was ended",
        exception_type=TIME_LIMIT,
    )
    return _placed(failure, attempt, positions, limits.CULPRIT_TIMEOUT_SHARE * seconds)


def _placed(failure: Failure, attempt: AttemptId, positions: str, least_seconds: float) -> Failure:
    """``failure`` with the record at which the process was lost, if it had been at it for ``least_seconds``."""
    from mincemeat.positions import read_position

    position = read_position(positions) if positions else None
    if position is None:
        return failure
    is_map = attempt.task.phase is Phase.MAP
    function = "mapfn" if is_map else "reducefn"
    if position.seconds < least_seconds:
        where = f"; {function} was at key {position.key} then, which had not taken most of that time"
        return failure._replace(message=failure.message + where)
    return failure._replace(
        function=function,
        key=position.key,
        record=position.record,
        split=attempt.task.index if is_map else -1,
        data=position.data,
    )
