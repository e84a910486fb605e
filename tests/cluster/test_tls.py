"""Contexts: TLS 1.3 and nothing else, and a key that nobody else can read."""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from mincemeat.cluster.tls import ALPN, client_context, peer_fingerprint, server_context


def connect(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject, bytes]:
    """Both ends of a TLS handshake in memory, and what the server said after its end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server)
    for end in (client_end, server_end, client_end, server_end):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return server_end, client_end, to_client.read()


def test_both_contexts_agree_on_tls_1_3_and_alpn() -> None:
    context, fingerprint = server_context()
    server_end, client_end, after = connect(context, client_context())
    assert client_end.version() == server_end.version() == "TLSv1.3"
    assert client_end.selected_alpn_protocol() == server_end.selected_alpn_protocol() == ALPN
    assert peer_fingerprint(client_end) == fingerprint
    assert after == b"", "a session ticket would let a client skip the certificate"


def test_the_fingerprint_is_sha_256_of_the_certificate() -> None:
    context, fingerprint = server_context()
    _, client_end, _ = connect(context, client_context())
    certificate = client_end.getpeercert(binary_form=True)
    assert certificate is not None
    assert hashlib.sha256(certificate).digest() == fingerprint


def test_every_run_has_a_certificate_of_its_own() -> None:
    assert server_context()[1] != server_context()[1]


def test_tls_1_2_is_refused_by_both_ends() -> None:
    old_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old_client.check_hostname = False
    old_client.verify_mode = ssl.CERT_NONE
    old_client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL"):
        connect(server_context()[0], old_client)


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
def test_the_key_is_on_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose disk was full ended with "No space left on device" instead of joining, or coming back."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is none"))
    before = set(os.listdir("/proc/self/fd"))
    context, fingerprint = server_context()
    assert set(os.listdir("/proc/self/fd")) == before
    _, client_end, _ = connect(context, client_context())
    assert peer_fingerprint(client_end) == fingerprint


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
def test_where_there_are_no_files_in_memory_the_key_is_private_while_it_is_a_file_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    load_cert_chain = ssl.SSLContext.load_cert_chain

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSYS, "no such call here")

    def watching(context: ssl.SSLContext, certfile: Path) -> None:
        modes.extend([stat.S_IMODE(certfile.stat().st_mode), stat.S_IMODE(certfile.parent.stat().st_mode)])
        load_cert_chain(context, certfile)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watching)
    previous = os.umask(0)
    try:
        server_context()
    finally:
        os.umask(previous)
    assert modes == [0o600, 0o700]
    assert list(tmp_path.iterdir()) == []
