"""A worker: joins, supervises its slots, keeps its map outputs and serves them to other workers.

Decides: when to dial again, which slot process takes an attempt, which way blocks are fetched. Never runs user code and
never unpickles anything: that happens in slots, so that a segfault, an endless loop or a sys.exit costs one attempt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.outside import OUTSIDE, Outside
from mincemeat.cluster.session import WorkerSession
from mincemeat.errors import AuthenticationError, ConnectionFailed, ServerBusy
from mincemeat.slots import SlotProcess
from mincemeat.wire.handshake import Role, normalise_password

log = logging.getLogger("mincemeat")


def serve(
    host: str,
    port: int,
    password: str | bytes,
    *,
    slots: int = 1,
    wait_seconds: float = limits.WAIT_SECONDS,
    forever: bool = False,
    tell: Callable[[str], None] | None = None,
    first: SlotProcess | None = None,
) -> None:
    """Join the server at ``host``:``port`` and work; return when its job is done.

    Args:
        wait_seconds: how long to try when no server is there, or when it was lost.
        forever: serve job after job, and never stop trying.
        tell: gets the few sentences a person at this worker's terminal should read; default: the log.
        first: one of the slots, already started; it stays the caller's to end.

    Raises: ConnectionFailed, AuthenticationError, JoinRefused, ServerBusy (for a minute), RemoteProtocolError (not a
    mincemeat server).
    """
    secret = normalise_password(password)
    worker = _Worker(
        host, port, secret, slots, float("inf") if forever else wait_seconds, forever, tell or log.info, first
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(worker.serve())
        return
    # A notebook runs an event loop in this very thread: use another one.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(asyncio.run, worker.serve())
        try:
            working.result()
        except BaseException:  # Ctrl-C comes here and not there
            worker.stop()
            raise


class _Worker:
    def __init__(
        self,
        host: str,
        port: int,
        secret: bytes,
        slots: int,
        wait_seconds: float,
        forever: bool,
        tell: Callable[[str], None],
        first: SlotProcess | None = None,
        *,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._host, self._port, self._secret = host, port, secret
        self._slots = slots
        self._wait_seconds = wait_seconds
        self._forever = forever
        self._tell = tell
        self._incarnation = f"{socket.gethostname()}:{os.getpid()}"
        self._is_stopped = False
        self._first = first
        self._outside = outside
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def stop(self) -> None:
        """Let ``serve``, which runs in another thread, be cancelled."""
        self._is_stopped = True
        if self._serving is not None:
            loop, task = self._serving
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # it has ended already
                pass

    async def serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving = asyncio.get_running_loop(), task
        while not self._is_stopped:
            with self._outside.scratch() as scratch:
                connection = await self._join()
                self._outside.sweep_soon()
                server = (self._host, self._port)
                session = WorkerSession(
                    connection,
                    server,
                    Path(scratch),
                    self._slots,
                    self._incarnation,
                    self._first,
                    outside=self._outside,
                )
                self._first = None  # a session ends its slots
                try:
                    await session.run()
                except ConnectionFailed as error:
                    self._tell(f"lost the server at {self._host}:{self._port} ({error})")
                    if not self._wait_seconds:
                        raise
                    continue
            if not self._forever:
                return

    async def _join(self) -> Connection:
        """Dial until the password is proven. Waits and tries again when the server is not there or busy."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        pause = limits.RETRY_SECONDS_MIN
        refusals = 0
        told = False
        while True:
            try:
                return await self._outside.dial(self._host, self._port, role=Role.WORKER, secret=self._secret)
            except AuthenticationError as error:
                refusals += 1
                # To try a refused password again would only spend the guesses of everybody at this address.
                if error.is_certain or refusals >= limits.PASSWORD_REFUSALS_MAX:
                    raise
            except (ConnectionFailed, ServerBusy) as error:
                least = limits.BUSY_SECONDS if isinstance(error, ServerBusy) else 0.0
                if loop.time() - started >= max(self._wait_seconds, least):
                    raise
                if not told:
                    self._tell(f"{error}; trying again {self._patience()}")
                    told = True
            await asyncio.sleep(self._outside.spread(pause))
            pause = min(pause * 2, limits.RETRY_SECONDS_MAX)

    def _patience(self) -> str:
        return "until it is there" if self._forever else f"for {self._wait_seconds:g} seconds"
