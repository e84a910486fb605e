"""Where the arithmetic of the key exchange comes from: the package `cryptography`, or plain Python where that is not.

Decides: which of the two this process uses, once, for X25519 and for the certificate alike (cluster/certificate.py asks
here). Does not know: protocols. Nothing on the wire shows the choice, and two ends need not agree in it.

The package is always taken where it works, as it is constant in time and ten times as fast. It does not work where
it is not installed, which is what the one-file mincemeat is for, and where its native part is broken: built for
another Python or libc, half copied, or with an OpenSSL that may not do X25519. Then it should cost time rather than
the join.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

from mincemeat.wire import x25519 as plain

# RFC 7748, section 5.2: the first vector.
_SCALAR = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
_POINT = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
_PRODUCT = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")


@dataclass(frozen=True)
class Obstacle:
    """Why `cryptography` is not used. `is_broken`: it is installed and does not work, which somebody should mend."""

    is_broken: bool
    reason: str


@functools.cache
def obstacle() -> Obstacle | None:
    """What is in the way of `cryptography` in this process; None: nothing, it is used. Imports it, the first time."""
    try:
        for name in ("cryptography", "cryptography.x509"):  # with the latter comes all that a certificate needs
            importlib.import_module(name)
        product = packaged_x25519(_SCALAR, _POINT)
    except ModuleNotFoundError as error:
        return Obstacle(error.name != "cryptography", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        return Obstacle(True, f"{type(error).__name__}: {error}")
    except BaseException as error:
        # A panic of Rust code is no Exception; an interruption is not the package's fault.
        if type(error).__module__ != "pyo3_runtime":
            raise
        return Obstacle(True, f"{type(error).__name__}: {error}")
    if product != _PRODUCT:
        return Obstacle(True, "it gives a wrong product for the first vector of RFC 7748")
    return None


def x25519(scalar: bytes, point: bytes) -> bytes:
    """X25519 (RFC 7748). Raises: ValueError if the product is all zeros, and for other lengths than 32."""
    if obstacle() is None:
        return packaged_x25519(scalar, point)
    return plain.x25519(scalar, point)


def packaged_x25519(scalar: bytes, point: bytes) -> bytes:
    """X25519 by `cryptography`. Raises as above, and whatever an installation that does not work raises."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))
