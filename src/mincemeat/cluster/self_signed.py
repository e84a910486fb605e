"""A self-signed P-256 certificate in plain Python, for machines on which nothing can be installed.

Decides: each byte of the X.509 certificate and of its private key, in the few kinds of DER that these need. They are
those that `cryptography` writes for the same key and serial number (certificate.py), which a test compares. Does not
know: how to compute with points (p256.py), or who asks.

Source: RFC 5280 (certificates), RFC 5480 and 5758 (P-256, ECDSA with SHA-256), RFC 5915 and 5958 (private keys), RFC
7468 (PEM), ITU-T X.690 (DER).
"""

from __future__ import annotations

import base64
import textwrap

from mincemeat.cluster import p256

COMMON_NAME = "mincemeat"
# Nobody checks the dates; fixed ones do not depend on clocks that differ. Years from 2050 on are written otherwise.
NOT_BEFORE, NOT_AFTER = "200101000000Z", "491231000000Z"

_SERIAL_BYTES = 20  # the most that RFC 5280 allows

_INTEGER, _BIT_STRING, _OCTETS, _OBJECT, _UTF8, _TIME = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x17
_SEQUENCE, _SET, _EXPLICIT_0, _EXPLICIT_1 = 0x30, 0x31, 0xA0, 0xA1


def _tlv(tag: int, *contents: bytes) -> bytes:
    """Tag, length and contents: the length in one byte up to 127, else as few bytes as it takes after their number."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(value: int) -> bytes:
    """As short as can be, with a zero byte in front where the first bit would make it negative: OpenSSL insists."""
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _object(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return _tlv(_OBJECT, bytes(encoded))


def _bits(octets: bytes) -> bytes:
    return _tlv(_BIT_STRING, b"\0", octets)  # no unused bits at the end


_EC_ON_P256 = _tlv(_SEQUENCE, _object("1.2.840.10045.2.1"), _object("1.2.840.10045.3.1.7"))
_ECDSA_WITH_SHA256 = _tlv(_SEQUENCE, _object("1.2.840.10045.4.3.2"))
_VERSION_3 = _tlv(_EXPLICIT_0, _integer(2))
_NAME = _tlv(_SEQUENCE, _tlv(_SET, _tlv(_SEQUENCE, _object("2.5.4.3"), _tlv(_UTF8, COMMON_NAME.encode()))))
_VALIDITY = _tlv(_SEQUENCE, _tlv(_TIME, NOT_BEFORE.encode()), _tlv(_TIME, NOT_AFTER.encode()))


def self_signed(random_bytes: p256.RandomBytes) -> tuple[bytes, bytes]:
    """A fresh private key (PKCS #8) and its certificate, both DER. `random_bytes(n)` gives n secret bytes."""
    private = p256.private_key(random_bytes)
    # Positive, and not zero: half a bit of chance is given away for each.
    serial = int.from_bytes(random_bytes(_SERIAL_BYTES), "big") >> 1 | 1
    public = p256.public_key(private)
    return encode_key(private, public), sign_certificate(private, public, serial)


def sign_certificate(private: int, public: tuple[int, int], serial: int) -> bytes:
    """An X.509 certificate, version 3 without extensions, of a key by itself, as DER."""
    key = _tlv(_SEQUENCE, _EC_ON_P256, _bits(_point(public)))
    signed = _tlv(_SEQUENCE, _VERSION_3, _integer(serial), _ECDSA_WITH_SHA256, _NAME, _VALIDITY, _NAME, key)
    signature = _tlv(_SEQUENCE, *map(_integer, p256.sign(private, signed)))
    return _tlv(_SEQUENCE, signed, _ECDSA_WITH_SHA256, _bits(signature))


def encode_key(private: int, public: tuple[int, int]) -> bytes:
    """A private key with its public one, PKCS #8 as DER."""
    key = _tlv(
        _SEQUENCE,
        _integer(1),
        _tlv(_OCTETS, private.to_bytes(p256.BYTES, "big")),
        _tlv(_EXPLICIT_1, _bits(_point(public))),
    )
    return _tlv(_SEQUENCE, _integer(0), _EC_ON_P256, _tlv(_OCTETS, key))


def pem(label: str, der: bytes) -> bytes:
    """DER as text between "BEGIN" and "END" lines."""
    text = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode()


def _point(public: tuple[int, int]) -> bytes:
    """Uncompressed (SEC 1, section 2.3.3)."""
    return b"\x04" + b"".join(coordinate.to_bytes(p256.BYTES, "big") for coordinate in public)
