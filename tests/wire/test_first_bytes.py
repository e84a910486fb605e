"""First bytes: which strangers are worth a TLS object."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import RemoteProtocolError
from mincemeat.wire.first_bytes import is_client_hello_complete


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = client_hello()


def test_a_real_client_hello_is_complete_at_its_last_byte() -> None:
    assert [is_client_hello_complete(HELLO[:size]) for size in range(len(HELLO))] == [False] * len(HELLO)
    assert is_client_hello_complete(HELLO)
    assert is_client_hello_complete(HELLO + b"more")


def test_a_client_hello_beyond_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(RemoteProtocolError, match=f"has {len(HELLO)} bytes, at most 100"):
        is_client_hello_complete(HELLO[:9], bytes_max=100)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n",
        b"challenge:00",
        b"\x15\x03\x01\0\x02\x01\0",
        b"\x16\x02",
        b"\x16\x03\x01\xff\xff\x01\0\xff\xfb",  # a record larger than TLS allows
        b"\x16\x03\x01\x00\x40\x02\0\0\x3c",  # a ServerHello
        b"\x16\x03\x01\x00\x40\x01\0\0\x3d",  # one byte beyond its record
        b"\x16\x03\x01\x00\x08\x01\0\0\x04",  # too short to be one
    ],
)
def test_what_cannot_become_a_client_hello_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        is_client_hello_complete(data)


@given(st.binary(max_size=80))
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    try:
        assert not is_client_hello_complete(garbage[:50])
    except RemoteProtocolError:
        pass
