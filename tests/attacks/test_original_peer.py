"""The original mincemeat.py at either end: its first bytes as they were, and what a person reads then.

Its server spoke first (``challenge:`` and hexadecimal digits), its client waited for that and said nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from mincemeat.cluster.connection import Refusal, dial
from mincemeat.errors import RemoteProtocolError
from mincemeat.wire.handshake import Role
from tests.cluster.kit import HOST, PASSWORD, listening, read_to_end, run, stranger, stranger_server


def test_a_worker_that_dials_an_original_server_says_what_it_is() -> None:
    async def scenario() -> None:
        heard = b""

        async def original(plain: socket.socket) -> None:
            nonlocal heard
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(plain, b"challenge:" + b"5f" * 20 + b"\n")
            heard = await read_to_end(plain)

        async with stranger_server(original) as port:
            with pytest.raises(RemoteProtocolError) as caught:
                await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
            assert str(caught.value) == (
                f"{HOST}:{port} answers, but is not a mincemeat server (it speaks the unencrypted protocol of the "
                "original mincemeat.py, which this version does not accept)"
            )
        assert b"auth" not in heard
        assert PASSWORD not in heard

    run(scenario())


@pytest.mark.parametrize("said", [b"", b"challenge:" + b"5f" * 20 + b"\n", b"auth:" + b"5f" * 20 + b"\n"])
def test_a_server_that_an_original_client_dials_says_what_it_is(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """One that waits for the server to speak first was told to be slow."""
    caplog.set_level(logging.INFO, "mincemeat")

    async def scenario() -> None:
        async with listening(handshake_seconds=0.1 if not said else 10.0) as hall, stranger(hall.port) as plain:
            await asyncio.get_running_loop().sock_sendall(plain, said)
            # Not what the original would take for a challenge, and answer.
            assert not (await read_to_end(plain)).startswith(b"challenge")
            assert hall.listener.refusals == {Refusal.STRANGER if said else Refusal.SILENT: 1}

    run(scenario())
    assert "original mincemeat.py" in caplog.text
