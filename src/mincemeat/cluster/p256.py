"""NIST P-256 in plain Python: keys, and ECDSA signatures, for machines on which nothing can be installed.

Decides: points, nonces and signatures. Does not know: encodings (self_signed.py), files, TLS.

Two multiplications are made for each certificate: its key and its one signature, before anybody can connect. TLS
itself is OpenSSL's: it signs with that key in every handshake, constant in time. So nobody is there to measure what
happens here. Still the steps do not depend on secrets: addition formulas without special cases, and both of "double"
and "double and add" computed for each bit. Nonces are derived from key and message (RFC 6979), so that a poor source
of randomness, which has given away many an ECDSA key, cannot give away one here.

Source: FIPS 186-5, sections 6.4 and A.2.2; complete addition for a = -3, Renes, Costello and Batina 2016, algorithm 4;
RFC 6979, section 3.2.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import TypeAlias

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_BASE_X = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_BASE_Y = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

BYTES = 32

_Projective: TypeAlias = tuple[int, int, int]  # x / z, y / z; z is 0 for the point at infinity alone

RandomBytes: TypeAlias = Callable[[int], bytes]


def private_key(random_bytes: RandomBytes) -> int:
    """A number of 1 to ORDER - 1, each as likely as the others. `random_bytes(n)` gives n secret bytes."""
    while True:  # about once; reducing instead would make small keys likelier
        candidate = int.from_bytes(random_bytes(BYTES), "big")
        if 0 < candidate < ORDER:
            return candidate


def public_key(private: int) -> tuple[int, int]:
    """Affine coordinates of the point that belongs to a private key."""
    return _affine(_multiply_base(private))


def sign(private: int, message: bytes) -> tuple[int, int]:
    """ECDSA with SHA-256 and the nonce of RFC 6979: r and s. The same for the same key and message."""
    digest = hashlib.sha256(message).digest()
    number = int.from_bytes(digest, "big")
    for nonce in _iter_nonces(private, digest):
        r = _affine(_multiply_base(nonce))[0] % ORDER
        s = pow(nonce, ORDER - 2, ORDER) * (number + r * private) % ORDER
        if r and s:
            return r, s
    raise AssertionError("nonces do not end")


def _iter_nonces(private: int, digest: bytes) -> Iterator[int]:
    """RFC 6979, section 3.2, for a hash that is as long as the order: the first one is almost always taken."""
    seed = private.to_bytes(BYTES, "big") + (int.from_bytes(digest, "big") % ORDER).to_bytes(BYTES, "big")
    key, value = bytes(BYTES), b"\x01" * BYTES
    for separator in (b"\0", b"\x01"):
        key = hmac.digest(key, value + separator + seed, hashlib.sha256)
        value = hmac.digest(key, value, hashlib.sha256)
    while True:
        value = hmac.digest(key, value, hashlib.sha256)
        nonce = int.from_bytes(value, "big")
        if 0 < nonce < ORDER:
            yield nonce
        key = hmac.digest(key, value + b"\0", hashlib.sha256)
        value = hmac.digest(key, value, hashlib.sha256)


def _multiply_base(scalar: int) -> _Projective:
    """scalar * base point, for 0 < scalar < 2^256, in 256 steps of a doubling and an addition each."""
    base = (_BASE_X, _BASE_Y, 1)
    product: _Projective = (0, 1, 0)
    for bit in map(int, format(scalar, "0256b")):
        product = _add(product, product)
        product = (product, _add(product, base))[bit]
    return product


def _add(one: _Projective, other: _Projective) -> _Projective:
    """The sum of any two points, also of equal ones and of infinity: no branch tells which it was."""
    p, b = PRIME, _B
    x1, y1, z1 = one
    x2, y2, z2 = other
    xx, yy, zz = x1 * x2 % p, y1 * y2 % p, z1 * z2 % p
    xy = (x1 + y1) * (x2 + y2) - xx - yy
    yz = (y1 + z1) * (y2 + z2) - yy - zz
    xz = (x1 + z1) * (x2 + z2) - xx - zz
    t = 3 * (xz - b * zz) % p
    minus, plus = yy - t, yy + t
    u = 3 * (b * xz - 3 * zz - xx) % p
    v = 3 * (xx - zz)
    return (plus * xy - yz * u) % p, (plus * minus + v * u) % p, (minus * yz + xy * v) % p


def _affine(point: _Projective) -> tuple[int, int]:
    x, y, z = point
    inverse = pow(z, PRIME - 2, PRIME)
    return x * inverse % PRIME, y * inverse % PRIME
