"""TLS contexts: the coordinator's with a certificate of its own for each run, and the one that dials.

Decides: TLS 1.3 and nothing else, ALPN `mincemeat/2`, no session tickets, no certificate chains. Does not know: who the
peer is; the fingerprint taken here is bound into the key exchange, or compared with a pinned one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
import sys
from pathlib import Path

from mincemeat.cluster.certificate import make_certificate, tell_origin
from mincemeat.errors import RemoteProtocolError
from mincemeat.scratch import ScratchDirectory

ALPN = "mincemeat/2"

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def server_context(pem: bytes = b"") -> tuple[ssl.SSLContext, bytes]:
    """A context with a fresh P-256 certificate, and its fingerprint: SHA-256 of its DER encoding, 32 bytes.

    ``pem``: a private key with its certificate to take instead, see ``identity.py``.

    The private key exists in this process and, for the moment that `ssl` needs to load it, in a file: on Linux one in
    memory, so that a full disk keeps nobody from joining; elsewhere of mode 0600 in a directory of mode 0700.
    """
    if pem:
        fingerprint = certificate_fingerprint(pem)
    else:
        pem, fingerprint = make_certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    # Resumption would skip the certificate that the key exchange is bound to.
    context.num_tickets = 0
    if not _is_loaded_from_memory(context, pem):
        with ScratchDirectory() as directory:
            path = Path(directory) / "certificate.pem"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
            context.load_cert_chain(path)
    return context, fingerprint


def _is_loaded_from_memory(context: ssl.SSLContext, pem: bytes) -> bool:
    """Load a key and its certificate without a disk; False where that cannot be done."""
    if sys.platform != "linux":
        return False
    try:
        with open(os.memfd_create("certificate.pem"), "wb", buffering=0) as file:
            file.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    except OSError:  # a kernel or container without the call, or without /proc
        return False
    return True


@functools.lru_cache(maxsize=1)
def client_context() -> ssl.SSLContext:
    """The context that dials. It verifies no chain: the caller checks the peer's fingerprint in the next step."""
    tell_origin()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer_fingerprint(tls: ssl.SSLObject) -> bytes:
    """SHA-256 of the DER encoding of the certificate that the server of this connection presented.

    Raises: RemoteProtocolError if it presented none.
    """
    certificate = tls.getpeercert(binary_form=True)
    if certificate is None:
        raise RemoteProtocolError("the server presents no certificate")
    return hashlib.sha256(certificate).digest()


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])


def certificate_fingerprint(pem: bytes) -> bytes:
    """SHA-256 of the DER encoding of the certificate in ``pem``. Raises: ValueError if there is none."""
    text = pem.decode("ascii")
    certificate = text[text.index(_CERTIFICATE) :]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()
