"""The certificate that a coordinator, or a worker for its fetchers, makes for each run, or for its identity.

Decides: what is in it, P-256, self-signed, with dates that nobody checks; and that it is told in the log, once, when
the package `cryptography` is not what makes it. Does not know: TLS contexts (tls.py). The plain way is self_signed.py.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os

from mincemeat.cluster import self_signed
from mincemeat.wire import primitives

log = logging.getLogger("mincemeat")


def make_certificate() -> tuple[bytes, bytes]:
    """A private key with its certificate, PEM, and the fingerprint: SHA-256 of the certificate's DER encoding.

    Time: a tenth of a millisecond, or six in plain Python.
    """
    tell_origin()
    return _packaged() if primitives.obstacle() is None else _plain()


def tell_origin() -> None:
    """Say in the log if this process does not use `cryptography`: a warning where that should be mended."""
    obstacle = primitives.obstacle()
    if obstacle is not None:
        _tell(obstacle)


@functools.cache
def _tell(obstacle: primitives.Obstacle) -> None:
    if obstacle.is_broken:
        log.warning(
            "the package cryptography is installed and does not work (%s). Plain Python takes its place, which is"
            " slower and not constant in time: install it again.",
            obstacle.reason,
        )
    else:
        log.info("the package cryptography is not installed: plain Python takes its place")


def _packaged() -> tuple[bytes, bytes]:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self_signed.COMMON_NAME)])
    # The dates of self_signed.py.
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
    certificate = (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2049, 12, 31))
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem + certificate.public_bytes(serialization.Encoding.PEM), certificate.fingerprint(hashes.SHA256())


def _plain() -> tuple[bytes, bytes]:
    key, certificate = self_signed.self_signed(os.urandom)
    pem = self_signed.pem("PRIVATE KEY", key) + self_signed.pem("CERTIFICATE", certificate)
    return pem, hashlib.sha256(certificate).digest()
