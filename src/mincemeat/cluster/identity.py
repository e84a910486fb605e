"""A server's identity that outlasts its runs: a key, its certificate, and the secret of its join token, in one file.

Decides: the form of the file and who may read it. Does not know: how a certificate is made (certificate.py).

Who has the file can pose as the server; who has the token (wire/join_token.py) can only join it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from mincemeat.errors import InvalidJob
from mincemeat.wire.join_token import PIN_BYTES, SECRET_BYTES, JoinToken, parse_token

_FORMAT: Final = 1
_MARK: Final = "mincemeat identity"
_BYTES_MAX: Final = 64 * 2**10


@dataclass(frozen=True)
class Identity:
    """``pem``: private key and certificate. ``fingerprint``: SHA-256 of the latter's DER encoding, 32 bytes."""

    pem: bytes = field(repr=False)
    fingerprint: bytes
    token: JoinToken


def make_identity(path: str) -> Identity:
    """A new one, in a new file ``path`` that only its owner can read. Raises: InvalidJob if something is there."""
    from mincemeat.cluster.certificate import make_certificate

    pem, fingerprint = make_certificate()
    identity = Identity(pem, fingerprint, JoinToken(fingerprint[:PIN_BYTES], secrets.token_bytes(SECRET_BYTES)))
    content = {_MARK: _FORMAT, "pem": pem.decode("ascii"), "token": identity.token.text()}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidJob(f"the identity file {path} cannot be made: {error.strerror}") from error
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return identity


def read_identity(path: str) -> Identity:
    """Raises: InvalidJob in one sentence, also for a file that others can read."""
    identity = load_identity(path)
    if sys.platform != "win32" and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise InvalidJob(f"others can read {path}, and pose as this server: chmod 600 {path}, or rather make a new one")
    return identity


def load_identity(path: str) -> Identity:
    """As ``read_identity``, whoever may read it."""
    from mincemeat.cluster.tls import certificate_fingerprint

    try:
        with open(path, encoding="ascii") as file:
            content: Any = json.loads(file.read(_BYTES_MAX))
        if content[_MARK] != _FORMAT:
            raise ValueError("another format")
        pem, token = content["pem"].encode("ascii"), parse_token(content["token"])
        fingerprint = certificate_fingerprint(pem)
    except OSError as error:
        hint = f" (mincemeat token {path} makes one)" if isinstance(error, FileNotFoundError) else ""
        raise InvalidJob(f"the identity file {path} cannot be read: {error.strerror}{hint}") from error
    except Exception as error:  # not JSON, not ASCII, no certificate, a token that was cut
        raise InvalidJob(f"{path} is no identity of a server; mincemeat token FILE makes one") from error
    if token.pin != fingerprint[:PIN_BYTES]:
        raise InvalidJob(f"{path} holds a token that was made for another certificate; make a new identity")
    return Identity(pem, fingerprint, token)
