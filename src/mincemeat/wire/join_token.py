"""Join tokens: what lets a worker in, and tells it which server it is about to trust.

Decides: how a token is written and read. Does not know: where servers keep theirs, or how a pin is compared.

::

    mm2-  base32 of 16 bytes of the server's certificate's fingerprint  -  base32 of a 16-byte secret

Without padding, in lower case; read in any case. The secret takes the password's place in the handshake (Role.TOKEN),
the fingerprint is compared as soon as TLS stands. So who holds a token can join that server, and can not pose as it:
what a password that everybody shares cannot do.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import Error as NotBase32
from dataclasses import dataclass, field
from typing import Final

from mincemeat.errors import AuthenticationError

PIN_BYTES: Final = 16
SECRET_BYTES: Final = 16

_PREFIX: Final = "mm2"
_DIGITS: Final = -(-PIN_BYTES * 8 // 5)


@dataclass(frozen=True)
class JoinToken:
    """``pin``: the first 16 bytes of the fingerprint of the server's certificate. ``secret``: 16 bytes."""

    pin: bytes
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """To be told to whoever may join, and to nobody else."""
        return f"{_PREFIX}-{_encode(self.pin)}-{_encode(self.secret)}"


def looks_like_token(text: str) -> bool:
    """Whether ``text``, which stands where a password may stand, is meant as a token."""
    return text.strip().lower().startswith(_PREFIX + "-")


def parse_token(text: str) -> JoinToken:
    """The token written as ``text``. Raises: AuthenticationError, which does not repeat it."""
    prefix, *parts = text.strip().lower().split("-")
    try:
        if prefix != _PREFIX:
            raise ValueError(prefix)
        pin, secret = map(_decode, parts)
    except (ValueError, NotBase32):
        raise AuthenticationError(
            f"that is no join token: one begins with {_PREFIX}- and has two parts of {_DIGITS} letters and digits; "
            "give it as `mincemeat token` printed it, all of it"
        ) from None
    return JoinToken(pin, secret)


def _encode(data: bytes) -> str:
    return b32encode(data).decode("ascii").rstrip("=").lower()


def _decode(digits: str) -> bytes:
    if len(digits) != _DIGITS:
        raise ValueError(len(digits))
    data = b32decode(digits.upper() + "=" * (-len(digits) % 8))
    if _encode(data) != digits:  # bits behind the last byte: two texts would be one token
        raise ValueError(digits)
    return data
