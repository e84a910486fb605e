"""A worker of another version asks for the server's, on a connection whose password is proven."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.cluster import updating
from mincemeat.cluster.connection import Connection, dial
from mincemeat.cluster.outside import Outside
from mincemeat.cluster.tls import client_context
from mincemeat.cluster.updating import Updated, Updater, replace_file
from mincemeat.errors import JoinRefused, MincemeatError, RemoteProtocolError
from mincemeat.limits import VERSION
from mincemeat.onefile.published import NotToBeHad, Release
from mincemeat.wire import messages
from mincemeat.wire.codec import encode
from mincemeat.wire.frames import encode_frame
from mincemeat.wire.handshake import Role
from tests.cluster.kit import run
from tests.kit.desk import HOST, PASSWORD, coordinating, hello, until

CONTENT = b"the whole of another version\n" * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

# -- the server's side -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outside, "own_release", lambda self: Release(VERSION, DIGEST, CONTENT))


@contextlib.asynccontextmanager
async def joining(port: int) -> AsyncIterator[Connection]:
    """The password is proven, and nothing said yet."""
    connection = await dial(HOST, port, role=Role.WORKER, secret=PASSWORD)
    try:
        yield connection
    finally:
        connection.abort()
        await connection.wait_closed()


@pytest.mark.parametrize(
    ("version", "wants_file", "size"), [("0.1", True, len(CONTENT)), ("0.1", False, 0), (VERSION, True, 0)]
)
def test_the_file_goes_to_who_wants_it_and_has_another_version(
    tmp_path: Path, version: str, wants_file: bool, size: int
) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, joining(desk.port) as connection:
            await connection.send(messages.AskRelease(version=version, wants_file=wants_file))
            release = await connection.receive()
            assert release == messages.Release(version=VERSION, size=size, sha256=DIGEST if size else "", reason="")
            if size:
                assert b"".join([piece async for piece in connection.receive_body()]) == CONTENT
            await connection.send(hello())
            assert isinstance(await connection.receive(), messages.Welcome)

    run(scenario())


def test_who_does_not_read_the_file_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has not joined, so it has no lease that could end."""
    monkeypatch.setattr(limits, "ONE_FILE_SECONDS", 0.05)
    release = Release(VERSION, "", bytes(limits.ONE_FILE_BYTES_MAX))  # more than the buffers of both ends
    monkeypatch.setattr(Outside, "own_release", lambda self: release)
    caplog.set_level(logging.INFO, "mincemeat")

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, joining(desk.port) as connection:
            await connection.send(messages.AskRelease(version="0.1", wants_file=True))
            await until(lambda: any("ended: " in record.message for record in caplog.records))

    run(scenario())


def test_a_server_that_has_no_file_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Outside) -> Release:
        raise NotToBeHad("it was moved")

    monkeypatch.setattr(Outside, "own_release", none)

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, joining(desk.port) as connection:
            await connection.send(messages.AskRelease(version="0.1", wants_file=True))
            release = await connection.receive()
            assert release == messages.Release(version=VERSION, size=0, sha256="", reason="it was moved")

    run(scenario())


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_worker_of_another_version_is_told_how_to_get_this_one(tmp_path: Path, is_readable: bool) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, joining(desk.port) as connection:
            if is_readable:
                await connection.send(hello(version="9.9"))
            else:  # as one that has a field more
                await connection._stream.write(encode_frame(1, b"\0\0\0\x09", b'{"new":1}'))
            refused = await connection.receive()
            assert isinstance(refused, messages.Refused)
            assert VERSION in refused.reason
            assert "Start it with --update" in refused.reason

    run(scenario())


def test_a_stranger_that_asks_is_told_nothing(tmp_path: Path) -> None:
    """Who has not proven the password gets the greeting of the key exchange, and the end of the stream."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            reader, writer = await asyncio.open_connection(HOST, desk.port, ssl=client_context(), server_hostname="")
            assert (await reader.readexactly(38)).startswith(b"MCM2")
            writer.write(encode(messages.AskRelease(version="0.1", wants_file=True)).ljust(70, b"\0"))
            said = b""
            with contextlib.suppress(ConnectionError):
                said = await reader.read()
            # Its share of the key exchange with a random secret, at most.
            assert len(said) <= 32
            assert VERSION.encode("ascii") not in said
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(scenario())


# -- the worker's side -------------------------------------------------------------------------------------------


class Server:
    """Says what it was told to say, as a connection; keeps what it was asked."""

    def __init__(self, answer: messages.Message, pieces: Sequence[bytes] = ()) -> None:
        self.asked: list[messages.Message] = []
        self._answer = answer
        self._pieces = pieces

    async def send(self, message: messages.Message) -> None:
        self.asked.append(message)

    async def receive(self) -> messages.Message:
        return self._answer

    async def receive_body(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process runs a file called mm.py."""
    path = tmp_path / "mm.py"
    path.write_bytes(b"this version\n")
    path.chmod(0o751)
    monkeypatch.setattr(updating, "one_file", lambda: SimpleNamespace(path=str(path)))
    return path


def offer(**changes: Any) -> messages.Release:
    return messages.Release(**{"version": "9.9", "size": len(CONTENT), "sha256": DIGEST, "reason": "", **changes})


def update(server: Server, *, is_updated: bool = False) -> None:
    asyncio.run(Updater(is_updated=is_updated).update(server))  # type: ignore[arg-type]


def in_pieces(content: bytes) -> list[bytes]:
    return [content[start : start + 100_000] for start in range(0, len(content), 100_000)]


def test_the_file_of_the_server_takes_the_place_of_this_one(file: Path) -> None:
    server = Server(offer(), in_pieces(CONTENT))
    with pytest.raises(Updated, match=r"mm.py is mincemeat 9\.9 now"):
        update(server)
    assert server.asked == [messages.AskRelease(version=VERSION, wants_file=True)]
    assert file.read_bytes() == CONTENT
    assert os.listdir(file.parent) == ["mm.py"]
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o751


def test_nothing_happens_where_the_server_has_this_version(file: Path) -> None:
    update(Server(offer(version=VERSION, size=0, sha256="")))
    assert file.read_bytes() == b"this version\n"


@pytest.mark.parametrize(
    ("answer", "pieces", "words"),
    [
        (offer(), [CONTENT[:-1]], "another length came"),
        (offer(), [CONTENT, b"more"], "another length came"),
        (offer(size=5), [CONTENT], "another length came"),
        (offer(sha256="0" * 64), [CONTENT], "has not the SHA-256"),
        (offer(size=limits.ONE_FILE_BYTES_MAX + 1), [CONTENT], "bytes are taken|are taken"),
        (offer(size=-1), [CONTENT], "are taken"),
        (offer(size=0, reason="it was moved"), [], "no file to offer: it was moved"),
        (messages.Heartbeat(), [], "Heartbeat came where Release is due"),
    ],
)
def test_what_is_not_what_was_announced_changes_nothing(
    file: Path, answer: messages.Message, pieces: Iterable[bytes], words: str
) -> None:
    with pytest.raises(MincemeatError, match=words) as raised:
        update(Server(answer, list(pieces)))
    assert isinstance(raised.value, (RemoteProtocolError, JoinRefused))
    assert file.read_bytes() == b"this version\n"
    assert os.listdir(file.parent) == ["mm.py"]


def test_a_worker_that_was_just_updated_does_not_ask_for_the_file_again(file: Path) -> None:
    """A server whose file is of another version than it says would be asked for it for ever."""
    server = Server(offer(size=0, sha256=""))
    with pytest.raises(JoinRefused, match=r"mincemeat 9\.9, this worker .* still, after it was replaced"):
        update(server, is_updated=True)
    assert server.asked == [messages.AskRelease(version=VERSION, wants_file=False)]
    assert file.read_bytes() == b"this version\n"


def test_a_worker_that_has_met_a_server_of_its_version_may_be_updated_again(file: Path) -> None:
    async def scenario() -> None:
        updater = Updater(is_updated=True)
        await updater.update(Server(offer(version=VERSION, size=0, sha256="")))  # type: ignore[arg-type]
        with pytest.raises(Updated):
            await updater.update(Server(offer(), [CONTENT]))  # type: ignore[arg-type]

    asyncio.run(scenario())
    assert file.read_bytes() == CONTENT


def test_an_installed_package_is_not_replaced_and_says_what_to_do() -> None:
    server = Server(offer(size=0, sha256=""))
    with pytest.raises(JoinRefused, match=r"pip install mincemeat==9\.9"):
        update(server)
    assert server.asked == [messages.AskRelease(version=VERSION, wants_file=False)]


def test_a_link_stays_a_link_and_a_failure_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.py", tmp_path / "link.py"
    real.write_bytes(b"old")
    link.symlink_to(real)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mincemeat.cluster.updating.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(link, b"newer")
    assert real.read_bytes() == b"new"
    assert os.listdir(tmp_path / "there") == ["real.py"]


def test_a_file_that_cannot_be_replaced_is_told_with_both_versions(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mincemeat.cluster.updating.os.fsync", full)
    with pytest.raises(JoinRefused, match=r"runs mincemeat 9\.9, this worker .* is as it was: No space left on device"):
        update(Server(offer(), [CONTENT]))
    assert file.read_bytes() == b"this version\n"
