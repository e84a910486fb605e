"""What the processes of one simulated machine see of the outside."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.outside import Outside
from mincemeat.wire.handshake import Role
from tests.simulation.loop import Process, current
from tests.simulation.network import Door, Knocking, Network

if TYPE_CHECKING:
    from mincemeat.cluster.async_slots import Slot
    from mincemeat.cluster.identity import Identity
    from mincemeat.cluster.listening import OnConnection


class SimOutside(Outside):
    """``directory``: where scratch directories are made; ``scratches``: those there are, each with its process."""

    def __init__(
        self, network: Network, chance: random.Random, directory: str, start_slot: Callable[[], Slot] | None = None
    ) -> None:
        self._network = network
        self._chance = chance
        self._directory = directory
        self._start_slot = start_slot
        self._made = 0
        self.scratches: dict[str, Process] = {}

    def listener(
        self,
        secret: bytes,
        lookup_resume_key: Callable[[bytes], bytes | None],
        on_connection: OnConnection,
        *,
        on_unexpected: Callable[[BaseException], None],
        identity: Identity | None = None,
    ) -> Door:
        assert identity is None
        return Door(
            self._network,
            on_connection,
            is_pinned=False,
            secret=secret,
            lookup_resume_key=lookup_resume_key,
            on_unexpected=on_unexpected,
        )

    def pinned_listener(self, on_connection: OnConnection) -> Door:
        return Door(self._network, on_connection, is_pinned=True)

    async def dial(
        self,
        host: str,
        port: int,
        *,
        role: Role,
        secret: bytes,
        resume_id: bytes | None = None,
        pinned_fingerprint: bytes | None = None,
    ) -> Connection:
        knocking = Knocking(self._network, role, secret, resume_id)
        connection = await knocking.wait(host, port, limits.HANDSHAKE_SECONDS)
        assert pinned_fingerprint in (None, connection.fingerprint)
        return connection

    async def dial_pinned(self, host: str, port: int, fingerprint: bytes) -> Connection:
        connection = await Knocking(self._network).wait(host, port, limits.FETCH_CONNECT_SECONDS)
        assert fingerprint == connection.fingerprint
        return connection

    def start_slot(self) -> Slot:
        assert self._start_slot is not None, "a coordinator has no slots"
        return self._start_slot()

    def scratch(self) -> AbstractContextManager[str]:
        return self._scratch()

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[str]:
        process = current()
        self._made += 1
        path = os.path.join(self._directory, f"scratch-{self._made}")
        os.mkdir(path)
        self.scratches[path] = process
        try:
            yield path
        finally:
            if process.is_alive:
                shutil.rmtree(path, ignore_errors=True)
                del self.scratches[path]

    def sweep_soon(self) -> None:
        """A machine's dead processes leave their directories to the next one on it, which is not simulated."""

    def random_bytes(self, count: int) -> bytes:
        return self._network.random_bytes(count)

    def spread(self, seconds: float) -> float:
        return seconds * self._chance.uniform(0.5, 1.0)
