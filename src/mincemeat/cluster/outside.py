"""What coordinator and worker use of the world outside their process: connections, slots, directories, chance.

Decides: nothing; behind each name is the real thing. It is in one place so that a whole cluster can also run in one
thread with a network, slots and chance that obey a seed (tests/simulation); nothing here knows of that. Time is not
among it: it is the running loop's, ``loop.time()``, which is ``time.monotonic`` in the real program.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from mincemeat import limits
from mincemeat.cluster.async_slots import AsyncSlot, Slot
from mincemeat.cluster.connection import Connection, Listener, PinnedListener, dial, dial_pinned
from mincemeat.onefile.published import Release, own_release
from mincemeat.scratch import ScratchDirectory, sweep_soon
from mincemeat.wire.handshake import Role

if TYPE_CHECKING:
    from mincemeat.cluster.identity import Identity
    from mincemeat.cluster.listening import OnConnection


class Door(Protocol):
    """What is used of a listener. See ``listening.py``."""

    @property
    def fingerprint(self) -> bytes: ...
    async def start(self, host: str, port: int) -> int: ...
    async def close(self, grace_seconds: float = 0.0) -> None: ...


class Outside:
    """The real world. Stateless: one of them serves any number of coordinators and workers."""

    # -- connections -------------------------------------------------------------------------------------

    def listener(
        self,
        secret: bytes,
        lookup_resume_key: Callable[[bytes], bytes | None],
        on_connection: OnConnection,
        *,
        on_unexpected: Callable[[BaseException], None],
        identity: Identity | None = None,
    ) -> Door:
        return Listener(secret, lookup_resume_key, on_connection, on_unexpected=on_unexpected, identity=identity)

    def pinned_listener(self, on_connection: OnConnection) -> Door:
        return PinnedListener(on_connection)

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
        return await dial(
            host, port, role=role, secret=secret, resume_id=resume_id, pinned_fingerprint=pinned_fingerprint
        )

    async def dial_pinned(self, host: str, port: int, fingerprint: bytes) -> Connection:
        return await dial_pinned(host, port, fingerprint, timeout=limits.FETCH_CONNECT_SECONDS)

    # -- this machine ------------------------------------------------------------------------------------

    def start_slot(self) -> Slot:
        return AsyncSlot()

    def scratch(self) -> AbstractContextManager[str]:
        """A directory that lasts as long as its context. Gives its path."""
        return ScratchDirectory()

    def own_release(self) -> Release:
        """The one file of this version. Raises: NotToBeHad."""
        return own_release()

    def sweep_soon(self) -> None:
        """Remove, beside the work, what dead processes left on this machine."""
        sweep_soon()

    # -- chance ------------------------------------------------------------------------------------------

    def random_bytes(self, count: int) -> bytes:
        """Secret ones."""
        return os.urandom(count)

    def spread(self, seconds: float) -> float:
        """A pause of about ``seconds`` (half of it up to all), so that those who wait do not all come at once."""
        return seconds * random.uniform(0.5, 1.0)


OUTSIDE = Outside()
