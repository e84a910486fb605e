"""What the first bytes of an unknown peer show: a sane TLS ClientHello, or some other protocol by name.

Decides: whether a TLS object is worth creating for a stranger, and how to name one who is no mincemeat.
Does not know: TLS beyond the nine bytes that open every ClientHello.
"""

from __future__ import annotations

from mincemeat import limits
from mincemeat.errors import RemoteProtocolError

# What either end of the original mincemeat.py 0.1 may say first.
_ORIGINAL_STARTS = (b"challenge:", b"auth:", b"disconnect:")
_HTTP_STARTS = (b"HTTP/", b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PRI * HTTP")

_RECORD_HEADER_BYTES = 5
_RECORD_BYTES_MAX = 2**14  # RFC 8446, section 5.1
_ALERT, _HANDSHAKE, _CLIENT_HELLO = 0x15, 0x16, 0x01
# Shorter than any ClientHello: version, random, the lengths of four lists (RFC 8446, section 4.1.2).
_CLIENT_HELLO_BYTES_MIN = 42


def describe_stranger(data: bytes) -> str:
    """What protocol `data`, the first bytes of a peer, seems to be, as words that explain why it is no mincemeat."""
    if data.startswith(_ORIGINAL_STARTS):
        return "it speaks the unencrypted protocol of the original mincemeat.py, which this version does not accept"
    if data.startswith(_HTTP_STARTS):
        return "it speaks HTTP"
    if data.startswith(b"SSH-"):
        return "it speaks SSH"
    if looks_like_tls_answer(data):
        return "it speaks TLS"
    return f"its first bytes are {data[:16]!r}"


def looks_like_tls_answer(data: bytes) -> bool:
    """Whether `data`, the first bytes of a server, open a TLS record that may answer a ClientHello."""
    return data[:1] in (bytes([_ALERT]), bytes([_HANDSHAKE])) and data[1:2] in (b"", b"\x03")


def is_client_hello_complete(data: bytes, bytes_max: int = limits.CLIENT_HELLO_BYTES_MAX) -> bool:
    """Whether the whole of a sane ClientHello is there; False asks for more bytes.

    One record must hold all of it, as every TLS library sends it; a peer that fragments it is a peer that plays games.
    Raises: RemoteProtocolError as soon as the bytes cannot become one of at most `bytes_max` bytes.
    """
    expected = bytes([_HANDSHAKE, 0x03])
    if data[:2] != expected[: len(data)]:
        raise RemoteProtocolError(f"the peer does not speak TLS ({describe_stranger(data)})")
    if len(data) < _RECORD_HEADER_BYTES + 4:
        return False
    record_bytes = int.from_bytes(data[3:5], "big")
    hello_bytes = int.from_bytes(data[6:9], "big")
    if data[5] != _CLIENT_HELLO or hello_bytes + 4 != record_bytes or hello_bytes < _CLIENT_HELLO_BYTES_MIN:
        raise RemoteProtocolError("the peer's first TLS record is not a whole ClientHello")
    whole = _RECORD_HEADER_BYTES + record_bytes
    if record_bytes > _RECORD_BYTES_MAX or whole > bytes_max:
        raise RemoteProtocolError(f"the peer's ClientHello has {whole} bytes, at most {bytes_max} are accepted")
    return len(data) >= whole
