"""Fetching blocks from other workers, and serving them: directly with a ticket, else through the coordinator.

Decides: which way a fetch takes and who is let in. Does not know: attempts, grouping.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mincemeat import limits
from mincemeat.cluster.blocks import (
    Stretch,
    decode_attempts,
    encode_attempts,
    read_sections,
    receive_answer,
    save,
    send_stretch,
    timely,
)
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.outside import OUTSIDE, Outside
from mincemeat.cluster.saying import said_in_line
from mincemeat.errors import ConnectionFailed, MincemeatError, RemoteProtocolError, SpillSpaceExhausted
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle.store import JobStore
from mincemeat.wire import messages, tickets
from mincemeat.wire.handshake import Role

log = logging.getLogger("mincemeat")


@dataclass(frozen=True)
class Holder:
    """Where one worker's map outputs can be had. ``ticket`` lets this fetcher, and nobody else, fetch them."""

    worker: str
    host: str
    port: int
    fingerprint: str
    ticket: str


class Unreachable(MincemeatError):
    """Neither the direct way nor the relay gave the outputs of the map tasks ``maps`` that ``holder`` has.

    ``damaged``: it was reached, and they are gone there, or not what was written.
    """

    holder: str = ""
    maps: list[int]
    damaged: bool = False


class HolderServer:
    """Serves this worker's blocks to whoever brings a ticket of the coordinator's; to nobody before ``admit``."""

    def __init__(self, *, outside: Outside = OUTSIDE) -> None:
        self._listener = outside.pinned_listener(self._on_connection)
        self._key = b""
        self._job = ""
        self._store: JobStore | None = None
        self._connections: Counter[str] = Counter()

    @property
    def fingerprint(self) -> bytes:
        return self._listener.fingerprint

    async def start(self, host: str) -> int:
        """Listen on the address ``host``; the port."""
        return await self._listener.start(host, 0)

    def admit(self, key: bytes, job: str, store: JobStore) -> None:
        """Serve ``store`` to tickets made with ``key`` for ``job``."""
        self._key, self._job, self._store = key, job, store

    def renew(self, key: bytes) -> None:
        """From now on tickets are made with ``key``."""
        self._key = key

    async def close(self) -> None:
        await self._listener.close()

    async def _on_connection(self, connection: Connection) -> None:
        """Threat: a fetcher opens connections without end, and reads from none of them what is waiting there."""
        fetcher = ""
        try:
            while (request := await self._receive_request(connection)) is not None:
                if not fetcher:
                    if self._connections[request.fetcher] >= limits.CHANNELS_PER_WORKER_MAX:
                        raise RemoteProtocolError("a fetcher has as many connections as it may already")
                    fetcher = request.fetcher
                    self._connections[fetcher] += 1
                elif request.fetcher != fetcher:
                    raise RemoteProtocolError("a fetcher says that it is another one")
                assert self._store is not None
                await answer_with_blocks(
                    connection, self._store, request.body, request.first_partition, request.last_partition
                )
        finally:
            self._connections[fetcher] -= 1
            if self._connections[fetcher] <= 0:
                del self._connections[fetcher]

    async def _receive_request(self, connection: Connection) -> messages.Get | None:
        """The next request of somebody who may have the blocks; None: it may not."""
        request = await connection.receive()
        if not isinstance(request, messages.Get) or request.what != "blocks":
            raise RemoteProtocolError(f"a fetcher sent {type(request).__name__} where Get blocks is due")
        if (
            self._store is None
            or request.job != self._job
            or not tickets.is_ticket_valid(self._key, request.job, request.fetcher, request.ticket)
        ):
            # Without an answer, which would say that the blocks cannot be had: an honest fetcher, whose ticket was
            # revoked together with somebody else's, asks the server then.
            log.warning("%s:%d asked for blocks without a valid ticket", *connection.peer[:2])
            return None
        return request


async def answer_with_blocks(connection: Connection, store: JobStore, body: bytes, first: int, last: int) -> None:
    """Answer with the blocks of partitions ``first`` to ``last`` - 1 of the outputs listed in ``body``."""
    try:
        stretch = Stretch(store, decode_attempts(body), range(first, last))
    except OSError as error:
        await connection.send(messages.Answer(ok=False, message=str(error), size=0))
        return
    await send_stretch(connection, stretch)


def get(what: str, job: str, name: str = "", split: int = 0) -> messages.Get:
    """A request to the server that needs neither partitions nor a ticket."""
    return messages.Get(
        what=what, job=job, name=name, split=split, first_partition=0, last_partition=0, ticket="", fetcher=""
    )


class Channels:
    """Data connections to the coordinator: opened when needed, at most a few, used again."""

    def __init__(self, server: tuple[str, int], control: Connection, *, outside: Outside = OUTSIDE) -> None:
        self._server = server
        self._outside = outside
        self._control = control
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(limits.DATA_CONNECTIONS_PER_PEER)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Connection]:
        """A connection for one transfer. Raises: ConnectionFailed, ProtocolError; then it is not used again."""
        async with self._places:
            connection = self._idle.pop() if self._idle else await self._open()
            try:
                yield connection
            except BaseException:
                connection.abort()
                raise
            self._idle.append(connection)

    async def get(self, request: messages.Get, path: Path, *, bytes_max: int | None = None) -> None:
        """Save what ``request`` asks for at ``path``: no more than ``bytes_max``, for what goes into memory then.

        Raises: MincemeatError with the server's words if it refuses.
        """
        async with self.channel() as connection:
            await connection.send(request)
            answer = await receive_answer(connection)
            if answer.ok:
                if bytes_max is not None and not 0 <= answer.size <= bytes_max:
                    raise RemoteProtocolError(f"at most {bytes_max} bytes are due, and the server has {answer.size}")
                await save(connection.receive_body(), path, answer.size if answer.size >= 0 else None)
        if not answer.ok:
            raise MincemeatError(said_in_line(answer.message, limits.MESSAGE_CHARS_MAX))

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def _open(self) -> Connection:
        session = self._control.session
        return await self._outside.dial(
            *self._server,
            role=Role.CHANNEL,
            secret=session.resume_key,
            resume_id=session.resume_id,
            pinned_fingerprint=self._control.fingerprint,
        )


class Fetcher:
    """Gets blocks of other workers, for any number of reduce attempts at a time."""

    def __init__(self, worker: str, server_host: str, channels: Channels, *, outside: Outside = OUTSIDE) -> None:
        self.worker = worker
        self._outside = outside
        self._server_host = server_host
        self._channels = channels
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)
        # A holder gives few places to strangers at one address: a crowd of dialers would push one another out.
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(limits.DATA_CONNECTIONS_PER_PEER)
        )
        self._relayed: set[str] = set()

    async def fetch(
        self, job: str, holder: Holder, outputs: list[AttemptId], partitions: range, path: Path
    ) -> dict[int, Span]:
        """Save the blocks of ``partitions`` of ``outputs`` at ``path``; where those of each map task lie in it.

        Raises: Unreachable when both ways failed, and for those that the holder has no more; OSError,
        SpillSpaceExhausted included, when our own disk is at fault.
        """
        request = messages.Get(
            what="blocks",
            job=job,
            split=0,
            name=holder.worker,
            first_partition=partitions.start,
            last_partition=partitions.stop,
            ticket=holder.ticket,
            fetcher=self.worker,
            body=encode_attempts(outputs),
        )
        maps = [output.task.index for output in outputs]
        try:
            if not await self._fetch_directly(holder, request, path):
                await self._channels.get(replace(request, what="relay", ticket=""), path)
            spans = read_sections(path, set(maps))
            if len(spans) != len(maps):
                raise RemoteProtocolError(f"worker {holder.worker} sent other map outputs than it was asked for")
        except SpillSpaceExhausted:  # our own disk, and not the holder's fault
            raise
        except MincemeatError as error:
            raise Unreachable(str(error), holder=holder.worker, maps=maps) from error
        found = {index: span for index, span in spans.items() if span is not None}
        if len(found) < len(spans):
            gone = sorted(spans.keys() - found.keys())
            reason = f"worker {holder.worker} no longer has the outputs of {len(gone)} map tasks, or they are damaged"
            raise Unreachable(reason, holder=holder.worker, maps=gone, damaged=True)
        return found

    async def _fetch_directly(self, holder: Holder, request: messages.Get, path: Path) -> bool:
        """Whether it could be done. Raises: MincemeatError when the holder can be reached and does not have them."""
        if holder.worker in self._relayed:
            return False
        async with self._places[holder.worker]:
            try:
                idle = self._idle[holder.worker]
                connection = idle.pop() if idle else await self._dial(holder)
            except MincemeatError as error:  # whatever it is that answers there, the server knows a way
                log.info("worker %s cannot be reached directly (%s); the server relays", holder.worker, error)
                self._relayed.add(holder.worker)  # a firewall does not go away within a job
                return False
            try:
                await _transfer(connection, request, path)
            except BaseException as error:
                connection.abort()
                if not isinstance(error, ConnectionFailed):
                    raise
                log.info("a fetch from worker %s broke off (%s); the server relays it", holder.worker, error)
                return False
            idle.append(connection)
        return True

    async def _dial(self, holder: Holder) -> Connection:
        host = holder.host
        if is_loopback(host) and not is_loopback(self._server_host):
            host = self._server_host  # the holder runs beside the server, which knows it by a name that only it can use
        return await self._outside.dial_pinned(host, holder.port, bytes.fromhex(holder.fingerprint))

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()


async def _transfer(connection: Connection, request: messages.Get, path: Path) -> None:
    try:
        async with asyncio.timeout(limits.LEASE_SECONDS):
            await connection.send(request)
            answer = await receive_answer(connection)
    except TimeoutError:
        raise ConnectionFailed(f"no answer within {limits.LEASE_SECONDS:g} seconds") from None
    if not answer.ok:
        raise MincemeatError(said_in_line(answer.message, limits.MESSAGE_CHARS_MAX))
    await save(timely(connection.receive_body()), path, answer.size)


def is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")
