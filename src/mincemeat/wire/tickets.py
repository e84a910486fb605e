"""Tickets: how a fetcher shows the holder of blocks that the coordinator sent it.

Decides: the bytes of keys and tickets. Does not know: who holds what, and when an epoch ends.
The coordinator derives one key per holder and epoch from its root secret and gives it to that holder; it hands a ticket
made with that key to each fetcher. A new epoch revokes every ticket of the old one. No clocks, no password.
"""

from __future__ import annotations

import hashlib
import hmac

from mincemeat.wire.cpace import lv_cat


def _utf8(text: str) -> bytes:
    # A peer's string may hold lone surrogates (JSON allows them): they must not crash us, nor collide with others.
    return text.encode("utf-8", "surrogatepass")


def ticket_key(root: bytes, holder: str, epoch: int) -> bytes:
    """K_H = HMAC(root, lv("holder", holder, epoch)), 32 bytes; `epoch` enters as eight bytes, big-endian."""
    return hmac.digest(root, lv_cat(b"holder", _utf8(holder), epoch.to_bytes(8, "big")), hashlib.sha256)


def ticket(key: bytes, job: str, fetcher: str) -> str:
    """HMAC(K_H, lv("fetch", job, fetcher)) as 64 hexadecimal digits, as the field of a message carries it."""
    return hmac.digest(key, lv_cat(b"fetch", _utf8(job), _utf8(fetcher)), hashlib.sha256).hex()


def is_ticket_valid(key: bytes, job: str, fetcher: str, presented: str) -> bool:
    """Whether `presented` is the ticket for this job and fetcher, compared in constant time."""
    return hmac.compare_digest(ticket(key, job, fetcher).encode(), _utf8(presented))
