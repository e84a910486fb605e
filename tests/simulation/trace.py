"""What happened, line by line: hashed always, kept for a while, printed if asked.

Decides: what of a message belongs into the trace: its kind and what it is about. No sizes (a traceback holds the name
of this run's temporary directory), no bodies, no secrets.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import deque

from mincemeat.wire.messages import KINDS

_HEADER = struct.Struct(">IBI")
_LINES_KEPT = 400
_TOLD = ("attempt", "attempts", "name", "what", "request", "maps", "first_partition", "ok", "worker", "kind", "reason")


def describe(data: bytes) -> str:
    """One frame, as it is on the wire, in words."""
    kind = KINDS[data[4]].__name__
    if kind in ("Chunk", "End", "Heartbeat"):
        return kind
    _, _, size = _HEADER.unpack_from(data)
    fields = json.loads(data[_HEADER.size : _HEADER.size + size])
    told = [str(fields[name]) for name in _TOLD if name in fields and not (name == "reason" and "job" in fields)]
    return " ".join([kind, *told])


class Trace:
    """``is_shown``: each line is printed as it comes."""

    def __init__(self, *, is_shown: bool = False) -> None:
        self.is_shown = is_shown
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.count = 0

    def note(self, now: float, what: str, who: object, text: str = "") -> None:
        line = f"{now:12.6f} {what:<10} {who} {text}"
        self.count += 1
        self._hash.update(line.encode())
        self.lines.append(line)
        if self.is_shown:
            print(line, flush=True)

    def digest(self) -> str:
        return self._hash.hexdigest()
