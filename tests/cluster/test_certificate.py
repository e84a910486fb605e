"""The certificate made in plain Python is the packaged one: to `cryptography`, to OpenSSL and to a TLS handshake."""

from __future__ import annotations

import datetime
import hashlib
import logging
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.cluster import certificate as certificate_module
from mincemeat.cluster import p256, self_signed
from mincemeat.cluster.certificate import make_certificate, tell_origin
from mincemeat.cluster.tls import client_context, peer_fingerprint, server_context
from mincemeat.wire import primitives
from tests.cluster.test_tls import connect
from tests.kit.plain import PACKAGED, PLAIN, WAYS, chosen_ways, use


@pytest.fixture(autouse=True)
def ways() -> Iterator[None]:
    with chosen_ways():
        yield


def made(way: str) -> tuple[bytes, bytes]:
    with use(way):
        return make_certificate()


def parsed(pem: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(pem), key


@pytest.mark.parametrize("server", WAYS)
def test_tls_1_3_is_spoken_with_it(server: str) -> None:
    with use(server):
        context, fingerprint = server_context()
    server_end, client_end, _ = connect(context, client_context())
    assert server_end.version() == client_end.version() == "TLSv1.3"
    assert peer_fingerprint(client_end) == fingerprint


def test_the_package_reads_it_and_verifies_its_signature() -> None:
    pem, fingerprint = made(PLAIN)
    certificate, key = parsed(pem)
    certificate.verify_directly_issued_by(certificate)
    assert key.public_key() == certificate.public_key()
    assert certificate.fingerprint(hashes.SHA256()) == fingerprint
    _, begin, text = pem.decode().partition("-----BEGIN CERTIFICATE-----")
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(begin + text)).digest() == fingerprint
    assert 0 < certificate.serial_number < 2**159


def test_both_ways_write_the_same_fields() -> None:
    (plain, _), (packaged, _) = parsed(made(PLAIN)[0]), parsed(made(PACKAGED)[0])
    for field in (
        "version", "subject", "issuer", "not_valid_before_utc", "not_valid_after_utc", "signature_algorithm_oid",
        "public_key_algorithm_oid",
    ):  # fmt: skip
        assert getattr(plain, field) == getattr(packaged, field), field
    assert len(plain.extensions) == len(packaged.extensions) == 0
    assert plain.serial_number != packaged.serial_number


def test_no_two_of_them_share_anything_secret_or_a_serial_number() -> None:
    own, other = parsed(made(PLAIN)[0]), parsed(made(PLAIN)[0])
    assert own[0].serial_number != other[0].serial_number
    assert own[1].private_numbers() != other[1].private_numbers()


@pytest.mark.parametrize(
    "serial", [1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 2**152 - 1, 2**158, 2**159 - 1], ids=hex
)
def test_it_is_byte_for_byte_what_the_package_signs(serial: int) -> None:
    """A number that is not as short as can be, or negative for want of a zero byte, is refused by OpenSSL."""
    private = p256.ORDER // 3 >> serial % 11
    public = p256.public_key(private)
    own = x509.load_der_x509_certificate(self_signed.sign_certificate(private, public, serial))
    key = ec.derive_private_key(private, ec.SECP256R1())
    packaged = (
        x509.CertificateBuilder(own.issuer, own.subject, key.public_key(), serial)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2049, 12, 31))
        .sign(key, hashes.SHA256())
    )
    assert own.tbs_certificate_bytes == packaged.tbs_certificate_bytes
    own.verify_directly_issued_by(own)


@pytest.mark.parametrize("private", [1, 255, 2**128, p256.ORDER - 1], ids=hex)
def test_keys_are_byte_for_byte_those_of_the_package(private: int) -> None:
    """A small one has zeros in front, without which it would be another length."""
    packaged = ec.derive_private_key(private, ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert self_signed.encode_key(private, p256.public_key(private)) == packaged


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**1100))
def test_signatures_are_written_as_the_package_writes_them(r: int, s: int) -> None:
    """Also with lengths of two and three bytes, which an X.509 certificate has."""
    written = self_signed._tlv(self_signed._SEQUENCE, self_signed._integer(r), self_signed._integer(s))
    assert written == encode_dss_signature(r, s)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here")
def test_openssl_reads_key_and_certificate_and_checks_the_signature(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(made(PLAIN)[0])

    def openssl(*arguments: str) -> str:
        return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True, timeout=60).stdout

    assert "OK" in openssl("verify", "-check_ss_sig", "-CAfile", str(file), str(file))
    assert "valid" in openssl("pkey", "-in", str(file), "-noout", "-check")
    public = openssl("pkey", "-in", str(file), "-pubout")
    assert openssl("x509", "-in", str(file), "-noout", "-pubkey") == public
    assert "Jan  1 00:00:00 2020" in openssl("x509", "-in", str(file), "-noout", "-startdate")


# -- what is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obstacle", "level", "told"),
    [
        (primitives.Obstacle(False, "No module named 'cryptography'"), logging.INFO, "not installed"),
        (primitives.Obstacle(True, "ImportError: libssl"), logging.WARNING, "does not work (ImportError: libssl)"),
    ],
    ids=["absent", "broken"],
)
def test_which_way_is_taken_is_told_once_if_it_is_not_the_usual_one(
    obstacle: primitives.Obstacle,
    level: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(primitives, "obstacle", lambda: obstacle)
    certificate_module._tell.cache_clear()
    with caplog.at_level(logging.INFO, logger="mincemeat"):
        make_certificate()
        tell_origin()
    certificate_module._tell.cache_clear()
    (record,) = caplog.records
    assert record.levelno == level
    assert told in record.getMessage()


def test_nothing_is_told_where_the_package_works(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="mincemeat"):
        make_certificate()
    assert not caplog.records
