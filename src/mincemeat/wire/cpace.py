"""CPace-X25519-SHA512: both ends turn a password into a shared key, and a stranger learns nothing to test guesses on.

Decides: generator, shares and session key, byte for byte. Does not know: frames, roles, confirmation (handshake.py).

    client  g = elligator2(hash(password, channel, session id))    server  the same g
            ya random, Ya = ya * g       ---- Ya ---->                      yb random, Yb = yb * g
            K = ya * Yb                  <--- Yb -----                      K = yb * Ya
            ISK = SHA-512(lv(name, sid, K) | lv(Ya, ADa) | lv(Yb, ADb))    the same ISK

Source: draft-irtf-cfrg-cpace-20, cipher suite CPACE-X25519-ELL2-SHA512, initiator-responder order; Elligator 2 as in
RFC 9380, section 6.7.1, for Montgomery curves. The map from hash to generator is plain integer arithmetic and not
constant in time: its input is salted with both nonces of the session, so a measured time belongs to one generator that
is never used again. Still, who takes part in many sessions can compute for each word of a dictionary which generators
it would have given, so that times would tell words apart, slowly. Hence inverse and root test are powers with fixed
exponents: Euclid's inverse is seven times as fast, but takes a time that depends on its input.
"""

from __future__ import annotations

import hashlib

from mincemeat.errors import RemoteProtocolError
from mincemeat.wire import primitives

SHARE_BYTES = 32
SCALAR_BYTES = 32

_DSI = b"CPace255"
_DSI_ISK = b"CPace255_ISK"
_PRIME = 2**255 - 19
_CURVE_A = 486_662
_NON_SQUARE = 2
# Input block of SHA-512: the password is padded to fill the first one, so the time does not tell its length.
_HASH_BLOCK_BYTES = 128


def prepend_len(data: bytes) -> bytes:
    """`data` with its length in front, as LEB128 (seven bits a byte, low ones first)."""
    length = len(data)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data


def lv_cat(*parts: bytes) -> bytes:
    """All parts, each with its length in front: no two lists of parts give the same bytes."""
    return b"".join(map(prepend_len, parts))


def _generator_string(password: bytes, channel: bytes, sid: bytes) -> bytes:
    used = len(prepend_len(password)) + len(prepend_len(_DSI)) + 1
    return lv_cat(_DSI, password, bytes(max(0, _HASH_BLOCK_BYTES - used)), channel, sid)


def _elligator2(r: int) -> int:
    """The u-coordinate of a point of Curve25519 for any field element `r`."""
    v = -_CURVE_A * pow(1 + _NON_SQUARE * r * r, _PRIME - 2, _PRIME) % _PRIME
    is_square = pow(v * (v * v + _CURVE_A * v + 1), (_PRIME - 1) // 2, _PRIME) != _PRIME - 1
    return v if is_square else (-v - _CURVE_A) % _PRIME


def calculate_generator(password: bytes, channel: bytes, sid: bytes) -> bytes:
    """The session's generator, 32 bytes: the only place where the password enters."""
    digest = hashlib.sha512(_generator_string(password, channel, sid)).digest()[:32]
    r = int.from_bytes(digest, "little") & (2**255 - 1)
    return _elligator2(r % _PRIME).to_bytes(32, "little")


def scalar_mult(scalar: bytes, point: bytes) -> bytes:
    """X25519 (RFC 7748) of a 32-byte scalar and the u-coordinate of a point.

    Raises: RemoteProtocolError for a point of low order, whose product every impostor knows, and for an encoding that
    no honest X25519 produces (bit 255 set, or a number of 2^255 - 19 or more).
    """
    if len(point) != SHARE_BYTES or int.from_bytes(point, "little") >= _PRIME:
        raise RemoteProtocolError("the peer's share is not the encoding of a point of Curve25519")
    try:
        return primitives.x25519(scalar, point)
    except ValueError:  # the product is all zeros
        raise RemoteProtocolError("the peer's share is a point of low order: no key can be agreed with it") from None


def transcript_ir(share_a: bytes, data_a: bytes, share_b: bytes, data_b: bytes) -> bytes:
    """Both shares with their associated data, the initiator's first."""
    return lv_cat(share_a, data_a) + lv_cat(share_b, data_b)


def session_key(sid: bytes, shared: bytes, transcript: bytes) -> bytes:
    """The intermediate session key (ISK), 64 bytes."""
    return hashlib.sha512(lv_cat(_DSI_ISK, sid, shared) + transcript).digest()
