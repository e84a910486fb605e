"""A worker: joins, supervises its slots, keeps its map outputs and serves them to other workers.

Decides: when to dial again, which slot process takes an attempt, which way blocks are fetched. Never runs user code and
never unpickles anything: that happens in slots, so that a segfault, an endless loop or a sys.exit costs one attempt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from mincemeat import limits
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.keeping import KeptDirectory
from mincemeat.cluster.outside import OUTSIDE, Outside
from mincemeat.cluster.seclusion import SecludedOutside, Seclusion
from mincemeat.cluster.session import WorkerSession
from mincemeat.cluster.updating import Updater
from mincemeat.errors import AuthenticationError, ConnectionFailed, ServerBusy
from mincemeat.model import NO_LIMITS, SlotLimits
from mincemeat.sandbox.plan import Sandbox
from mincemeat.slots import SlotProcess
from mincemeat.wire.handshake import Role, normalise_password
from mincemeat.wire.join_token import looks_like_token, parse_token

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
    drain_signal: int | None = None,
    keep_in: KeptDirectory | None = None,
    updater: Updater | None = None,
    sandbox: Sandbox | None = None,
    slot_limits: SlotLimits = NO_LIMITS,
) -> None:
    """Join the server at ``host``:``port`` and work; return when its job is done.

    Args:
        password: or a join token, as text, which proves as much and says which server it is for.
        wait_seconds: how long to try when no server is there, or when it was lost.
        forever: serve job after job, and never stop trying.
        tell: gets the few sentences a person at this worker's terminal should read; default: the log.
        first: one of the slots, already started; it stays the caller's to end.
        drain_signal: the first such signal lets it finish its attempts and leave, the second does what the first would
            have done. Only in the main thread.
        keep_in: where map outputs stay if the server dies, with which the worker ends.
        updater: a server of another version is asked for its file.
        sandbox: what slots may reach. Excludes ``first`` and ``keep_in``.
        slot_limits: what slots may use up, whatever the job allows them.

    Raises: ConnectionFailed, AuthenticationError, JoinRefused, ServerBusy (for a minute), RemoteProtocolError (not a
    mincemeat server), SandboxIncomplete; Updated.
    """
    worker = _Worker(
        host,
        port,
        _proof(password),
        slots,
        float("inf") if forever else wait_seconds,
        forever,
        tell or log.info,
        first,
        keep_in,
        updater,
        sandbox=sandbox,
        slot_limits=slot_limits,
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with _draining_on(drain_signal, worker.drain):
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


class Proof(NamedTuple):
    """What a worker joins by. ``pin``: the beginning of the only fingerprint that it trusts, None for any."""

    role: Role
    secret: bytes
    pin: bytes | None = None


def _proof(password: str | bytes) -> Proof:
    if isinstance(password, str) and looks_like_token(password):
        token = parse_token(password)
        return Proof(Role.TOKEN, token.secret, token.pin)
    return Proof(Role.WORKER, normalise_password(password))


@contextmanager
def _draining_on(number: int | None, drain: Callable[[], None]) -> Iterator[None]:
    """Call ``drain`` at the first signal ``number``, unless whoever started us wants it to be ignored."""
    previous = None if number is None else signal.getsignal(number)
    if (
        number is None
        or previous in (None, signal.SIG_IGN)
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def first(_: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, previous)
        drain()

    signal.signal(number, first)
    try:
        yield
    finally:
        signal.signal(number, previous)


class _Worker:
    def __init__(
        self,
        host: str,
        port: int,
        proof: Proof,
        slots: int,
        wait_seconds: float,
        forever: bool,
        tell: Callable[[str], None],
        first: SlotProcess | None = None,
        keep_in: KeptDirectory | None = None,
        updater: Updater | None = None,
        *,
        sandbox: Sandbox | None = None,
        slot_limits: SlotLimits = NO_LIMITS,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._host, self._port, self._proof = host, port, proof
        self._slots = slots
        self._wait_seconds = wait_seconds
        self._forever = forever
        self._tell = tell
        # With something that nobody can guess: who says it is the process that held what it says it holds.
        self._incarnation = f"{socket.gethostname()}:{os.getpid()}:{outside.random_bytes(8).hex()}"
        self._is_stopped = self._is_idle_stopped = False
        self._first = first
        self._keep_in = keep_in
        self._updater = updater
        self._sandbox = sandbox
        self._slot_limits = slot_limits
        self._outside = outside
        self._session: WorkerSession | None = None
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def stop(self) -> None:
        """Let ``serve``, which runs in another thread, be cancelled."""
        self._is_stopped = True
        if self._serving is not None:
            _, task = self._serving
            self._call_in_loop(task.cancel)

    def drain(self) -> None:
        """Let ``serve`` return as soon as nobody needs this worker. From a signal handler, or another thread."""
        self._is_stopped = True
        self._call_in_loop(self._drain)

    def _call_in_loop(self, work: Callable[[], object]) -> None:
        if self._serving is not None:
            loop, _ = self._serving
            try:
                loop.call_soon_threadsafe(work)
            except RuntimeError:  # it has ended already
                pass

    def _drain(self) -> None:
        attempts = None if self._session is None else self._session.drain()
        if attempts is None:
            assert self._serving is not None
            self._is_idle_stopped = self._serving[1].cancel()
            return
        what = f"finishing {attempts} attempt{'s' * (attempts > 1)}, then leaving" if attempts else "leaving"
        patience = f"when nobody needs its map outputs, after {limits.DRAIN_SECONDS:g} seconds at the latest"
        self._tell(f"{what} {patience}; again to leave at once")

    async def serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving = asyncio.get_running_loop(), task
        try:
            await self._serve()
        except asyncio.CancelledError:
            if not self._is_idle_stopped:
                raise

    async def _serve(self) -> None:
        patience = self._wait_seconds
        outside = self._outside
        with ExitStack() as cleanup:
            scratch = cleanup.enter_context(self._scratch())
            seclusion = None
            if self._sandbox is not None:
                seclusion = await self._seclude(self._sandbox, scratch)
                cleanup.callback(seclusion.close)
                self._first, outside = seclusion.first, SecludedOutside(seclusion)
            while not self._is_stopped:
                connection = await self._join(patience)
                self._outside.sweep_soon()
                server = (self._host, self._port)
                session = self._session = WorkerSession(
                    connection,
                    server,
                    Path(scratch),
                    self._slots,
                    self._incarnation,
                    self._first,
                    updater=self._updater,
                    slot_limits=self._slot_limits,
                    outside=outside,
                )
                self._first = None  # a session ends its slots
                try:
                    await session.run()
                except ConnectionFailed as error:
                    if session.is_draining or (self._keep_in is not None and await self._keep_in.has_server_died()):
                        # In a directory that is kept, whoever comes next finds the outputs.
                        return
                    self._tell(f"lost the server at {self._host}:{self._port} ({error})")
                    if self._keep_in is None:
                        patience = max(self._wait_seconds, session.keep_seconds)
                    if not patience:
                        raise
                    continue
                finally:
                    self._session = None
                    if seclusion is not None:
                        seclusion.clear()
                session.forget()
                patience = self._wait_seconds
                if not self._forever:
                    return

    async def _seclude(self, sandbox: Sandbox, scratch: str) -> Seclusion:
        """Say what the sandbox is here. Raises: SandboxIncomplete, before anybody is dialed."""
        start = partial(Seclusion, sandbox, self._slot_limits, scratch)
        seclusion = await asyncio.get_running_loop().run_in_executor(None, start)
        self._tell(seclusion.sentence)
        return seclusion

    def _scratch(self) -> AbstractContextManager[str]:
        return self._outside.scratch() if self._keep_in is None else self._keep_in.opened()

    async def _join(self, patience: float) -> Connection:
        """Dial until the password is proven. Waits and tries again when the server is not there or busy.

        ``patience``: for so many seconds. Raises: what the last attempt raised.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        pause = limits.RETRY_SECONDS_MIN
        refusals = 0
        told = False
        while True:
            try:
                return await self._outside.dial(
                    self._host,
                    self._port,
                    role=self._proof.role,
                    secret=self._proof.secret,
                    pinned_fingerprint=self._proof.pin,
                )
            except AuthenticationError as error:
                refusals += 1
                # To try a refused password again would only spend the guesses of everybody at this address.
                if error.is_certain or refusals >= limits.PASSWORD_REFUSALS_MAX:
                    raise
            except (ConnectionFailed, ServerBusy) as error:
                least = limits.BUSY_SECONDS if isinstance(error, ServerBusy) else 0.0
                if loop.time() - started >= max(patience, least):
                    raise
                if not told:
                    how_long = "until it is there" if patience == float("inf") else f"for {patience:g} seconds"
                    self._tell(f"{error}; trying again {how_long}")
                    told = True
            await asyncio.sleep(self._outside.spread(pause))
            pause = min(pause * 2, limits.RETRY_SECONDS_MAX)
