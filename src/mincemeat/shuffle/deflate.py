"""Decides whether the blocks of an attempt are deflated: only where they may cross a network, and shrink a lot.

It knows nothing of columns, nor of which blocks will in fact be sent: a map attempt cannot know who reduces. A worker
that reached its server at a loopback address takes all others to be on its machine. What deflating costs and when it
pays stands in docs/block-format.md, with the measurement.
"""

from __future__ import annotations

import zlib

from mincemeat import limits
from mincemeat.shuffle.block import FLAG_DEFLATED, INFLATED_LENGTH, Payload


class Deflating:
    """Deflates the payloads of one attempt, until one of them does not become small enough for it to pay.

    ``stays_here``: no block leaves this machine, so none is deflated.
    """

    def __init__(self, *, stays_here: bool) -> None:
        self._pays = not stays_here
        self._is_tried = False

    def packed(self, payload: Payload) -> Payload:
        """``payload``, deflated or as it is. Small ones are left alone and say nothing about the others."""
        size = len(payload.data)
        if not self._pays or not limits.DEFLATE_BYTES_MIN <= size <= limits.INFLATED_BYTES_MAX:
            return payload
        if not self._is_tried:
            self._is_tried = True
            if _deflated(_both_ends(payload.data)) is None:
                self._pays = False
                return payload
        deflated = _deflated(payload.data)
        if deflated is None:
            self._pays = False
            return payload
        return Payload(INFLATED_LENGTH.pack(size) + deflated, payload.codec, FLAG_DEFLATED)


def _deflated(data: bytes) -> bytes | None:
    """None if it is not small enough."""
    deflated = zlib.compress(data, limits.DEFLATE_LEVEL)
    return deflated if len(deflated) <= len(data) * limits.DEFLATE_RATIO_MAX else None


def _both_ends(data: bytes) -> bytes:
    """A part of a payload that is worth a try: keys are at its beginning, values at its end."""
    half = limits.DEFLATE_TRIED_BYTES // 2
    return data if len(data) <= 2 * half else data[:half] + data[-half:]
