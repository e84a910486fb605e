"""The keys of one handshake: from secret, frames and certificate to tags and resume key.

Decides: every input of every hash. Does not know: states, or when a frame is due (handshake.py).
Source: HKDF is RFC 5869 with SHA-256; all else docs/protocol.md, "Key schedule".
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from mincemeat.wire import cpace

RESUME_ID_BYTES = 16

_NAME = b"mincemeat/2"


@dataclass(frozen=True)
class Keys:
    """All that follows from the session key and the transcript."""

    client_tag: bytes = field(repr=False)
    server_tag: bytes = field(repr=False)
    resume_key: bytes = field(repr=False)
    resume_id: bytes
    transcript_hash: bytes


def session_generator(secret: bytes, role: int, fingerprint: bytes, frame_1: bytes, frame_2_head: bytes) -> bytes:
    """The generator that both ends compute from the secret; both nonces salt it. `frame_2_head` lacks the share."""
    channel = cpace.lv_cat(_NAME, b"coordinator", bytes([role]), b"tls-server-end-point", fingerprint)
    return cpace.calculate_generator(secret, channel, _session_id(frame_1, frame_2_head))


def derive_keys(
    scalar: bytes, their_share: bytes, *, frame_1: bytes, frame_2: bytes, share_s: bytes, fingerprint: bytes
) -> Keys:
    """All keys, from our scalar, the other end's share and everything that was said.

    Raises: RemoteProtocolError if `their_share` is no point to agree on a key with.
    """
    head, share_c = frame_2[: -cpace.SHARE_BYTES], frame_2[-cpace.SHARE_BYTES :]
    shared = cpace.scalar_mult(scalar, their_share)
    transcript = cpace.transcript_ir(share_c, b"C", share_s, b"S")
    prk = hmac.digest(_NAME, cpace.session_key(_session_id(frame_1, head), shared, transcript), hashlib.sha256)
    th = hashlib.sha256(cpace.lv_cat(frame_1, frame_2, share_s, fingerprint)).digest()
    return Keys(
        client_tag=hmac.digest(_expand(prk, b"client confirm"), th, hashlib.sha256),
        server_tag=hmac.digest(_expand(prk, b"server confirm"), th, hashlib.sha256),
        resume_key=_expand(prk, b"resume" + th),
        resume_id=_expand(prk, b"resume id" + th)[:RESUME_ID_BYTES],
        transcript_hash=th,
    )


def _session_id(frame_1: bytes, frame_2_head: bytes) -> bytes:
    return hashlib.sha256(frame_1 + frame_2_head).digest()


def _expand(prk: bytes, info: bytes) -> bytes:
    """HKDF-Expand to 32 bytes, which is one block (RFC 5869, section 2.3)."""
    return hmac.digest(prk, info + b"\x01", hashlib.sha256)
