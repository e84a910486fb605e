"""Length-prefixed frames: u32 big-endian length | u8 kind | payload.

Decides: where one frame ends and the next begins, and how large one may be. Does not know: what a kind means.
The length counts kind and payload, so the smallest frame has length 1 and no frame has length 0.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mincemeat import limits
from mincemeat.errors import LocalProtocolError, RemoteProtocolError

_HEADER = struct.Struct(">IB")
_LENGTH = struct.Struct(">I")
_LENGTH_BYTES = _LENGTH.size

HEADER_BYTES = _HEADER.size


class Frame(NamedTuple):
    """One frame as received."""

    kind: int
    payload: bytes


def encode_frame(kind: int, *parts: bytes | memoryview, frame_bytes_max: int = limits.FRAME_BYTES_MAX) -> bytes:
    """One frame of `kind` whose payload is all `parts`, one after the other, copied once.

    Raises: LocalProtocolError if the whole frame, header included, exceeds `frame_bytes_max`.
    """
    payload_bytes = sum(map(len, parts))
    if HEADER_BYTES + payload_bytes > frame_bytes_max:
        raise LocalProtocolError(
            f"a frame of kind {kind} would have {HEADER_BYTES + payload_bytes} bytes, at most {frame_bytes_max} are"
            " allowed. Send a body this large as chunks."
        )
    return b"".join((_HEADER.pack(payload_bytes + 1, kind), *parts))


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    Memory: holds at most one incomplete frame, so at most `frame_bytes_max` beyond what one `feed` brings.
    Cost: linear in the bytes fed, however they are cut; a payload is copied once, twice if its frame came in pieces.
    """

    def __init__(self, frame_bytes_max: int = limits.FRAME_BYTES_MAX) -> None:
        self._length_max = frame_bytes_max - _LENGTH_BYTES
        self._buffer = bytearray()
        # Below this many buffered bytes there is nothing to parse: what keeps big frames in small pieces linear.
        self._wanted = _LENGTH_BYTES
        self._is_broken = False

    @property
    def has_partial(self) -> bool:
        """Whether the bytes fed so far end inside a frame: at the end of the stream, it was cut off."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by `data`, in order.

        Raises: RemoteProtocolError for a length of 0 or beyond the limit, as soon as the four bytes of the length are
        there and before anything of the frame is buffered. Where the next frame begins is then unknown: the decoder
        answers every later call with the same error.
        """
        if self._is_broken:
            raise RemoteProtocolError("the stream of frames was broken off at a malformed one")
        if not self._buffer:
            frames, used = self._parse(data)
            self._buffer += data[used:] if used else data
            return frames
        self._buffer += data
        if len(self._buffer) < self._wanted:
            return []
        frames, used = self._parse(self._buffer)
        del self._buffer[:used]
        return frames

    def _parse(self, data: bytes | bytearray) -> tuple[list[Frame], int]:
        """All complete frames of `data` and the number of bytes they take; sets how many bytes the next one wants."""
        frames: list[Frame] = []
        start, end = 0, len(data)
        with memoryview(data) as view:
            while True:
                if end - start < _LENGTH_BYTES:
                    self._wanted = _LENGTH_BYTES
                    return frames, start
                (length,) = _LENGTH.unpack_from(view, start)
                if not 0 < length <= self._length_max:
                    self._refuse(length)
                stop = start + _LENGTH_BYTES + length
                if stop > end:
                    self._wanted = stop - start
                    return frames, start
                frames.append(Frame(view[start + _LENGTH_BYTES], bytes(view[start + HEADER_BYTES : stop])))
                start = stop

    def _refuse(self, length: int) -> None:
        self._is_broken = True
        self._buffer = bytearray()
        found = "an empty frame" if not length else f"a frame of {length + _LENGTH_BYTES} bytes"
        raise RemoteProtocolError(
            f"the peer announces {found}; the protocol allows {HEADER_BYTES} to"
            f" {self._length_max + _LENGTH_BYTES} bytes"
        )
