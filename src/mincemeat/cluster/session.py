"""One worker's time with one server: from Hello to Bye.

Decides: what this worker says of itself, what a message of the server means here, and when the server is given up. Does
not know: how the connection came about, what happens after it, or how an attempt is carried out (carrying.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mincemeat import limits
from mincemeat.cluster.async_slots import SlotPool
from mincemeat.cluster.blocks import receive_answer
from mincemeat.cluster.carrying import Carrier
from mincemeat.cluster.connection import Connection
from mincemeat.cluster.fetching import (
    Channels,
    Fetcher,
    HolderServer,
    answer_with_blocks,
    get,
    is_loopback,
)
from mincemeat.cluster.keeping import JOB, OUTPUTS
from mincemeat.cluster.orders import check_job, check_start, check_welcome, read_key
from mincemeat.cluster.outside import OUTSIDE, Outside
from mincemeat.cluster.saying import said_in_line
from mincemeat.cluster.updating import Updater
from mincemeat.errors import (
    ConnectionFailed,
    JoinRefused,
    MincemeatError,
    PortInUse,
    RemoteProtocolError,
)
from mincemeat.limits import VERSION
from mincemeat.model import NO_LIMITS, AttemptId, Phase, SlotLimits
from mincemeat.shuffle.store import JobStore, telling_of_a_full_disk
from mincemeat.slots import SlotProcess
from mincemeat.wire import messages

log = logging.getLogger("mincemeat")

# A refusal is a sentence or two that say what to do.
_REASON_CHARS_MAX = 1000
# A worker that is stopped says so if that takes no longer.
_LEAVING_SECONDS = 1.0


class WorkerSession:
    """Serves one server until it says good-bye.

    ``scratch`` is the caller's to remove. What is in it from an earlier session with the same job is announced to the
    server, and served as if it had been made in this one; ``keep_seconds`` says how long that is worth waiting for.
    """

    def __init__(
        self,
        connection: Connection,
        server: tuple[str, int],
        scratch: Path,
        slots: int,
        incarnation: str,
        first: SlotProcess | None = None,
        *,
        updater: Updater | None = None,
        slot_limits: SlotLimits = NO_LIMITS,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._updater = updater
        self._connection = connection
        self._server = server
        self._scratch = scratch
        self._slots = slots
        self._slot_limits = slot_limits
        self._incarnation = incarnation
        self._store = JobStore(scratch / OUTPUTS)
        self._holder = HolderServer(outside=outside)
        self._channels = Channels(server, connection, outside=outside)
        # Not the same: blocks that go out for others would wait behind blocks that come in, and those for these.
        self._uploads = Channels(server, connection, outside=outside)
        self._pool = SlotPool(slots, first, start_slot=outside.start_slot)
        # Then the other workers are most likely here, too, and deflating blocks for them costs more than it saves.
        self._is_near = is_loopback(connection.peer[0])
        self._outside = outside
        self._fetcher: Fetcher | None = None
        self._carrier: Carrier | None = None
        self._has_code = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._serving: dict[asyncio.Task[None], None] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._has_job = False
        self._ticket_key = b""
        self._has_joined = self._is_over = False
        # Until when it goes on: without end, until it is drained.
        self._patience = asyncio.timeout(None)
        self.keep_seconds = 0.0
        # Says whose outputs are in the store.
        self._job_mark = scratch / JOB
        self._held_job = ""

    async def run(self) -> None:
        """Work until the server says good-bye.

        Raises: ConnectionFailed when the server is lost, or says that it will be back; JoinRefused; ProtocolError; what
        ``updater`` raises.
        Nothing is left running.
        Cancelled: it tells the server that it leaves, so that nobody waits for the lease to end.
        """
        try:
            async with self._patience:
                await self._work()
        except asyncio.CancelledError:
            await self._say_leaving("it was stopped")
            raise
        except TimeoutError:
            if not self._patience.expired():
                raise
            await self._say_leaving("it could wait no longer")
        finally:
            self._is_over = True
            await self._close()

    @property
    def is_draining(self) -> bool:
        return self._patience.when() is not None

    def drain(self) -> int | None:
        """Let ``run`` return when nobody needs this worker any more, or in ``limits.DRAIN_SECONDS``.

        How many attempts run; ``None`` if it has not joined yet, and may be cancelled without a loss.
        """
        if not self._has_joined:
            return None
        if self._is_over:
            return 0
        self._patience.reschedule(asyncio.get_running_loop().time() + limits.DRAIN_SECONDS)
        self._spawn(self._connection.send, messages.Draining())
        return len(self._running)

    async def _work(self) -> None:
        welcome = await self._join()
        self._has_joined = True
        self._fetcher = Fetcher(welcome.worker, self._server[0], self._channels, outside=self._outside)
        self._spawn(self._beat, welcome)
        self._spawn(self._watch_server, welcome)
        while True:
            message = await self._connection.receive()
            if isinstance(message, messages.Bye):
                reason = said_in_line(message.reason)
                log.info("the server says good-bye: %s", reason)
                if message.again:
                    raise ConnectionFailed(reason)
                return
            self._handle(message)

    async def _say_leaving(self, reason: str) -> None:
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                await self._connection.send(messages.Leaving(reason=reason))
        except (ConnectionFailed, TimeoutError):
            pass  # the server will see for itself

    async def _join(self) -> messages.Welcome:
        if self._updater is not None:
            await self._updater.update(self._connection)
        try:
            port = await self._holder.start(self._connection.local[0])
        except PortInUse as error:
            log.info("no other worker will reach this one, so the server relays: %s", error)
            port = 0
        held = self._held_outputs()
        await self._connection.send(
            messages.Hello(
                python=".".join(platform.python_version_tuple()[:2]),
                version=VERSION,
                implementation=platform.python_implementation(),
                platform=sys.platform,
                hostname=socket.gethostname(),
                pid=os.getpid(),
                slots=self._slots,
                data_port=port,
                data_fingerprint=self._holder.fingerprint.hex(),
                incarnation=self._incarnation,
                held_job=self._held_job if held else "",
                held=len(held),
            )
        )
        for start in range(0, len(held), limits.HELD_OUTPUTS_PER_MESSAGE):
            names = list(map(str, held[start : start + limits.HELD_OUTPUTS_PER_MESSAGE]))
            await self._connection.send(messages.Holding(attempts=names))
        try:
            async with asyncio.timeout(limits.HANDSHAKE_SECONDS):
                answer = await self._connection.receive()
        except TimeoutError:
            raise ConnectionFailed(f"no welcome within {limits.HANDSHAKE_SECONDS:g} seconds") from None
        if isinstance(answer, messages.Refused):
            raise JoinRefused(f"the server does not take this worker: {said_in_line(answer.reason, _REASON_CHARS_MAX)}")
        if isinstance(answer, messages.Bye):
            raise ConnectionFailed(f"the server is just closing: {said_in_line(answer.reason)}")
        if not isinstance(answer, messages.Welcome):
            raise RemoteProtocolError(f"{type(answer).__name__} came where Welcome is due")
        check_welcome(answer)
        self._ticket_key = read_key(answer.ticket_key)
        return answer

    def _held_outputs(self) -> list[AttemptId]:
        """The map outputs of an earlier session that are whole; everything else of it is removed."""
        try:
            self._held_job = self._job_mark.read_text("ascii")
        except (OSError, ValueError):
            self._store.clear()
            return []
        outputs = [output for output in self._store.outputs() if output.task.phase is Phase.MAP]
        held = [output for output in outputs if self._store.is_whole(output)]
        self._store.keep_only(held)
        return held

    def forget(self) -> None:
        """The job is over: nobody will ask for its outputs."""
        self._store.clear()
        self._job_mark.unlink(missing_ok=True)

    async def _beat(self, welcome: messages.Welcome) -> None:
        """Show signs of life, which the server answers."""
        while True:
            try:
                async with asyncio.timeout(welcome.heartbeat_seconds):
                    await self._connection.send(messages.Heartbeat())
            except TimeoutError:
                continue  # the server does not read: it may be frozen
            await asyncio.sleep(welcome.heartbeat_seconds)

    async def _watch_server(self, welcome: messages.Welcome) -> None:
        """Give the server up when nothing has come from it for a lease."""
        loop = asyncio.get_running_loop()
        while (left := self._connection.last_received + welcome.lease_seconds - loop.time()) > 0:
            due = loop.time() + min(left, welcome.heartbeat_seconds)
            await asyncio.sleep(due - loop.time())
            if loop.time() - due > limits.HELD_UP_SECONDS:
                # It was this process that was stopped: the server has not been asked, and may have answered.
                await asyncio.sleep(limits.HELD_UP_SECONDS)
        log.warning("the server has been silent for %g seconds", welcome.lease_seconds)
        self._connection.abort()

    def _handle(self, message: messages.Message) -> None:
        match message:
            case messages.Heartbeat():
                pass
            case messages.JobStart():
                check_job(message)
                if self._has_job:
                    raise RemoteProtocolError("the server began a second job")
                self._has_job = True
                self._spawn(self._begin, message)
            case messages.MapStart() | messages.ReduceStart():
                self._start(message)
            case messages.AttemptCancel():
                running = self._running.get(message.attempt)
                if running is not None:
                    running.cancel()
            case messages.DropOutputs():
                for name in message.attempts:
                    self._store.drop(AttemptId.parse(name))
            case messages.NewEpoch():
                self._ticket_key = read_key(message.ticket_key)
                self._holder.renew(self._ticket_key)
            case messages.Serve() if len(self._serving) >= limits.CHANNELS_PER_WORKER_MAX:
                log.info("the server asks for more uploads at a time than it may; it gets no answer to this one")
            case messages.Serve():
                task = self._spawn(self._upload_blocks, message)
                self._serving[task] = None
                task.add_done_callback(self._serving.pop)
            case _:
                raise RemoteProtocolError(f"{type(message).__name__} is not a message to a worker")

    def _start(self, start: messages.MapStart | messages.ReduceStart) -> None:
        check_start(start)
        name = start.attempt
        wanted = [running for running, task in self._running.items() if not task.cancelling()]
        # A slot's next attempt may come before the last word of the one before it has left.
        if name in wanted or len(wanted) >= 2 * self._slots + limits.DATA_CONNECTIONS_PER_PEER:
            raise RemoteProtocolError(f"the server starts {name} on a worker that has {len(wanted)} attempts already")
        task = self._running[name] = self._spawn(self._attempt, start)

        def forget(ended: asyncio.Task[None]) -> None:
            if self._running.get(name) is ended:  # and not another one of that name
                del self._running[name]

        task.add_done_callback(forget)

    async def _begin(self, job: messages.JobStart) -> None:
        self.keep_seconds = job.keep_seconds
        self._holder.admit(self._ticket_key, job.job, self._store)
        code = job.body
        disk_failure: OSError | None = None
        try:
            if job.job != self._held_job:
                self._store.clear()
                with telling_of_a_full_disk(self._job_mark):
                    self._job_mark.write_text(job.job, "ascii")
            if len(code) != job.code_bytes:
                path = self._scratch / "code"
                await self._channels.get(get("code", job.job), path, bytes_max=job.code_bytes)
                code = path.read_bytes()
        except OSError as error:
            if isinstance(error, ConnectionFailed):
                raise
            disk_failure = error  # each attempt tells it, until the server gives this worker no more
        assert self._fetcher is not None
        self._carrier = Carrier(
            job,
            code,
            self._scratch,
            store=self._store,
            pool=self._pool,
            own_limits=self._slot_limits,
            channels=self._channels,
            fetcher=self._fetcher,
            is_near=self._is_near,
            disk_failure=disk_failure,
        )
        self._has_code.set()

    async def _attempt(self, start: messages.MapStart | messages.ReduceStart) -> None:
        """Carry out one attempt and tell the server how it went. Cancelled: end it, tell nothing."""
        await self._has_code.wait()
        carrier = self._carrier
        if carrier is None or start.job != carrier.job:
            raise RemoteProtocolError(f"{start.attempt} came before its job")
        await self._connection.send(await carrier.carry_out(start))

    # -- blocks ------------------------------------------------------------------------------------------

    async def _upload_blocks(self, serve: messages.Serve) -> None:
        """Send blocks to the coordinator, for a fetcher that cannot reach this worker.

        Whatever goes wrong is the fetcher's to notice: it may be gone, or have sent nonsense.
        """
        try:
            async with self._uploads.channel() as connection:
                await connection.send(messages.Put(what="relay", job=serve.job, name="", request=serve.request))
                await answer_with_blocks(
                    connection, self._store, serve.body, serve.first_partition, serve.last_partition
                )
                await receive_answer(connection)
        except (MincemeatError, OSError) as error:
            log.info("blocks could not be sent by way of the server: %s", error)

    # -- tasks -------------------------------------------------------------------------------------------

    def _spawn(self, work: Callable[[Any], Awaitable[None]], argument: object) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._watch(work, argument))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def _watch(self, work: Callable[[Any], Awaitable[None]], argument: object) -> None:
        """Whatever goes wrong beside the main loop ends the session there: a silent worker would be worse."""
        try:
            await work(argument)
        except MincemeatError as error:
            log.info("the connection to the server is given up: %s", error)
            self._connection.abort()
        except Exception:
            log.exception("a fault of the worker's own; the connection to the server is given up")
            self._connection.abort()

    async def _close(self) -> None:
        """What must not be left running is ended before the first wait: Ctrl-C may come a second time."""
        for task in list(self._tasks):
            task.cancel()
        self._pool.close()
        if self._fetcher is not None:
            self._fetcher.close()
        self._channels.close()
        self._uploads.close()
        self._connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._holder.close()
