"""Who has joined: one record for each worker, found by its name and by its resume key.

Decides: what a worker is called, and how much may wait for one that does not read. Does not know: attempts, jobs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.wire import messages, tickets

log = logging.getLogger("mincemeat")


@dataclass(eq=False)
class WorkerRecord:
    """The coordinator's note about one joined worker.

    ``outbox`` is emptied in order by a writer task, up to ``None``. ``channels`` are its data connections; ``relays``
    admits as many uploads at a time as the worker carries out at once.
    """

    worker: str
    connection: Connection
    hello: messages.Hello
    ticket_key: bytes
    outbox: asyncio.Queue[messages.Message | None] = field(
        default_factory=lambda: asyncio.Queue(limits.OUTBOX_MESSAGES_MAX)
    )
    channels: dict[Connection, None] = field(default_factory=dict)
    relays: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(limits.DATA_CONNECTIONS_PER_PEER))

    def send(self, message: messages.Message | None) -> None:
        """Queue ``message``. Threat: a worker that asks and never reads must not fill our memory: it is cut off."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("worker %s does not read what it is sent and is cut off", self.worker)
            self.connection.abort()

    @property
    def host(self) -> str:
        return self.connection.peer[0]


class Roster:
    """The workers that are connected now."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._records: dict[str, WorkerRecord] = {}
        self._by_resume_id: dict[bytes, WorkerRecord] = {}
        self._times_joined: dict[str, int] = {}
        self._root = random_bytes(32)
        self._epoch = 0
        self._is_revoking = False

    def add(self, connection: Connection, hello: messages.Hello) -> WorkerRecord:
        address = f"{connection.peer[0]}:{connection.peer[1]}"
        count = self._times_joined[address] = self._times_joined.get(address, 0) + 1
        worker = address if count == 1 else f"{address}/{count}"  # a port used again is another worker
        record = WorkerRecord(worker, connection, hello, tickets.ticket_key(self._root, worker, self._epoch))
        self._records[worker] = record
        self._by_resume_id[connection.session.resume_id] = record
        return record

    def remove(self, record: WorkerRecord) -> None:
        """It has left: so have its data connections, though a worker that is frozen would hold them open for ever."""
        del self._records[record.worker]
        self._by_resume_id.pop(record.connection.session.resume_id, None)
        for channel in record.channels:
            channel.abort()
        self.revoke()

    def revoke(self) -> None:
        """Somebody should fetch no more blocks: from the next epoch on no ticket is valid that was given until now."""
        self._is_revoking = True

    def begin_epoch(self) -> None:
        """Give everybody a new key for tickets, if anybody's are to be revoked.

        Who is fetching by an old ticket is refused in the middle of it, and gets its blocks through the coordinator.
        """
        if not self._is_revoking:
            return
        self._is_revoking = False
        self._epoch += 1
        for record in self._records.values():
            record.ticket_key = tickets.ticket_key(self._root, record.worker, self._epoch)
            record.send(messages.NewEpoch(ticket_key=record.ticket_key.hex()))

    def everybody(self) -> list[WorkerRecord]:
        return list(self._records.values())

    def find(self, worker: str) -> WorkerRecord | None:
        return self._records.get(worker)

    def find_resumed(self, resume_id: bytes) -> WorkerRecord | None:
        return self._by_resume_id.get(resume_id)

    def resume_key(self, resume_id: bytes) -> bytes | None:
        record = self._by_resume_id.get(resume_id)
        return None if record is None else record.connection.session.resume_key
