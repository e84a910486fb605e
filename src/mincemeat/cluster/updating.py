"""``mincemeat worker --update``: a worker of another version gets the one file from its server, and becomes that.

Decides: what is asked and told of versions before Hello, what may come as a file, and how it gets into its place. Does
not know: how the worker starts again (cli/worker.py).

Only on a connection whose password is proven, at both ends: a stranger is neither told the version nor sent a byte, and
what a stranger would like to be run here does not come this far. A server has its workers run code anyway; what is
checked is that the file is whole and the one that was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mincemeat import limits
from mincemeat.cluster.blocks import timely
from mincemeat.cluster.connection import Connection
from mincemeat.errors import ConnectionFailed, JoinRefused, MincemeatError, RemoteProtocolError
from mincemeat.interpreters import one_file
from mincemeat.model import shorten
from mincemeat.onefile.published import NotToBeHad, Release
from mincemeat.wire import messages

log = logging.getLogger("mincemeat")


class Updated(MincemeatError):
    """The file that this process was started from is another version now, and waits to be started."""


def how_to_become(version: str) -> str:
    """What a person does about a worker that has another version than its server."""
    return (
        f"Start it with --update, if it is the one file mincemeat.py; an installed one is made the same by: "
        f"pip install mincemeat=={version}"
    )


# -- server ------------------------------------------------------------------------------------------------------


async def tell_release(connection: Connection, ask: messages.AskRelease, own_release: Callable[[], Release]) -> None:
    """Answer ``ask``, with the file if it is wanted. Raises: ConnectionFailed; TimeoutError, if it is not read."""
    release, reason = None, ""
    if ask.wants_file and ask.version != limits.VERSION:
        try:
            release = await asyncio.get_running_loop().run_in_executor(None, own_release)
        except NotToBeHad as error:
            log.warning("a worker of version %s asked for the one file: %s", shorten(ask.version, 40), error)
            reason = str(error)
    if release is None:
        await connection.send(messages.Release(version=limits.VERSION, size=0, sha256="", reason=reason))
        return
    log.info("worker %s:%d of version %s is sent the one file", *connection.peer[:2], shorten(ask.version, 40))
    size = len(release.content)
    async with asyncio.timeout(limits.ONE_FILE_SECONDS):
        await connection.send(messages.Release(version=release.version, size=size, sha256=release.sha256, reason=""))
        await connection.send_body([release.content])


# -- worker ------------------------------------------------------------------------------------------------------


class Updater:
    """Asks the server of each new connection for its version."""

    def __init__(self, *, is_updated: bool = False) -> None:
        """``is_updated``: this very process is what an update has become. It is not updated again before it has met a
        server of its version: a server that offers what does not fit would else be asked for ever."""
        self.is_updated = is_updated

    async def update(self, connection: Connection) -> None:
        """Return if the server has this version.

        Raises: Updated; JoinRefused, if it has another and this worker cannot become that; ConnectionFailed,
        RemoteProtocolError.
        """
        file = one_file()
        wants = file is not None and not self.is_updated
        await connection.send(messages.AskRelease(version=limits.VERSION, wants_file=wants))
        try:
            answer = await asyncio.wait_for(connection.receive(), limits.HANDSHAKE_SECONDS)
        except TimeoutError:
            raise ConnectionFailed(f"no answer within {limits.HANDSHAKE_SECONDS:g} seconds") from None
        if not isinstance(answer, messages.Release):
            raise RemoteProtocolError(f"{type(answer).__name__} came where Release is due")
        if answer.version == limits.VERSION:
            self.is_updated = False
            return
        versions = f"the server runs mincemeat {shorten(answer.version, 40)}, this worker {limits.VERSION}"
        if file is None:
            raise JoinRefused(
                f"{versions}, which is installed and does not replace itself: pip install "
                f"mincemeat=={shorten(answer.version, 40)}"
            )
        if self.is_updated:
            raise JoinRefused(f"{versions} still, after it was replaced by what the server had offered")
        if not answer.size:
            raise JoinRefused(f"{versions}, and has no file to offer: {shorten(answer.reason)}")
        content = await _receive_file(connection, answer)
        try:
            replace_file(Path(file.path), content)
        except OSError as error:
            raise JoinRefused(
                f"{versions}; {file.path} could not be replaced by the server's file and is as it was: {error.strerror}"
            ) from error
        raise Updated(f"{file.path} is mincemeat {shorten(answer.version, 40)} now")


async def _receive_file(connection: Connection, release: messages.Release) -> bytes:
    """What ``release`` announced, whole. Raises: RemoteProtocolError, ConnectionFailed."""
    if not 0 < release.size <= limits.ONE_FILE_BYTES_MAX:
        raise RemoteProtocolError(
            f"the server offers a mincemeat.py of {release.size} bytes; at most {limits.ONE_FILE_BYTES_MAX} are taken"
        )
    content = bytearray()
    async for piece in timely(connection.receive_body()):
        content += piece
        if len(content) > release.size:
            break
    if len(content) != release.size:
        raise RemoteProtocolError(f"a mincemeat.py of {release.size} bytes was announced, and another length came")
    if hashlib.sha256(content).hexdigest() != release.sha256:
        raise RemoteProtocolError("the mincemeat.py that came has not the SHA-256 that was announced")
    return bytes(content)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of the file ``path``, which is the old or the new at any moment. Raises: OSError."""
    path = path.resolve()  # a link stays one
    mode = path.stat().st_mode & 0o7777
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
