"""One attempt on this worker: what it reads is fetched, a slot carries it out, and what came of it is put into words.

Decides: what a slot is given, what its answer means to the server, and that nothing of an attempt stays behind but the
output of one that went well. Does not know: the control connection, whether the server still wants to hear of it, or
how many attempts run at a time (as many as there are slots).

::

    MapStart ----> payloads, if they are not in it ---> slot --> MapDone, AttemptFailed
                   (unreadable here: with their data -> slot)
    ReduceStart -> blocks, by gathering.py -----------> slot --> results uploaded, if they are large --> ReduceDone
                   (damaged: fetched again ----------> slot)     BlocksUnreachable, AttemptFailed
"""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

from mincemeat import limits
from mincemeat.cluster.async_slots import Slot, SlotDied, SlotPool
from mincemeat.cluster.blocks import read_span, receive_answer
from mincemeat.cluster.fetching import Channels, Fetcher, Unreachable, get
from mincemeat.cluster.gathering import Gathering
from mincemeat.cluster.keeping import POSITIONS
from mincemeat.cluster.orders import decode_inputs
from mincemeat.errors import MincemeatError, SpillSpaceExhausted
from mincemeat.model import NO_LIMITS, AttemptId, Failure, FailureKind, RecordMark, SlotLimits, Span, shorten
from mincemeat.sandbox.resources import CAN_LIMIT_CPU, CAN_LIMIT_MEMORY
from mincemeat.scheduler.policy import attempt_timeout
from mincemeat.shuffle.store import JobStore, make_directory
from mincemeat.slot_channel import (
    Header,
    care_header,
    crash_failure,
    limits_header,
    read_failure,
    timeout_failure,
)
from mincemeat.wire import messages

log = logging.getLogger("mincemeat")


class Carrier:
    """Carries out the attempts of ``job``, whose functions are ``code``, on the slots of ``pool``.

    ``scratch`` is where it puts what an attempt needs for as long as it runs. ``is_near``: who reads the outputs is
    most likely on this machine. ``own_limits``: of this worker's slots, whatever the job allows them.
    ``disk_failure``: why no attempt can be carried out here at all.
    """

    def __init__(
        self,
        job: messages.JobStart,
        code: bytes,
        scratch: Path,
        *,
        store: JobStore,
        pool: SlotPool,
        channels: Channels,
        fetcher: Fetcher,
        is_near: bool,
        own_limits: SlotLimits = NO_LIMITS,
        disk_failure: OSError | None = None,
    ) -> None:
        self._job = job
        self._code = code
        self._scratch = scratch
        self._store = store
        self._pool = pool
        self._channels = channels
        self._fetcher = fetcher
        self._is_near = is_near
        self._own_limits = own_limits
        self._limits = own_limits.tightened(limits_of(job))
        self._disk_failure = disk_failure
        if (self._limits.memory_bytes and not CAN_LIMIT_MEMORY) or (self._limits.cpu_seconds and not CAN_LIMIT_CPU):
            log.warning("this system cannot keep slots within the limits of memory or processor time that the job has")

    @property
    def job(self) -> str:
        """Its identity."""
        return self._job.job

    async def carry_out(self, start: messages.MapStart | messages.ReduceStart) -> messages.Message:
        """How the attempt went, as the message that tells it, whatever went wrong. Cancelled: it is ended."""
        reply: messages.Message
        attempt = AttemptId.parse(start.attempt)
        try:
            if self._disk_failure is not None:
                raise self._disk_failure
            if isinstance(start, messages.MapStart):
                reply = await self._map(start)
            else:
                reply = await self._reduce(start)
        except SlotDied as error:
            positions = self._positions(start)
            failure = crash_failure(str(error), attempt, positions, code=error.code, limits_kept=self._limits)
            reply = told(self.job, start.attempt, failure)
        except TimeoutError:
            failure = timeout_failure(self._job.task_timeout_seconds or 0.0, attempt, self._positions(start))
            reply = told(self.job, start.attempt, failure)
        except Unreachable as error:
            reply = messages.BlocksUnreachable(
                job=self.job,
                attempt=start.attempt,
                holder=error.holder,
                maps=error.maps,
                reason=shorten(str(error), limits.MESSAGE_CHARS_MAX),
                damaged=error.damaged,
            )
        except (MincemeatError, OSError) as error:
            reply = told(self.job, start.attempt, system_failure(error))
        finally:
            if start.careful:
                Path(self._positions(start)).unlink(missing_ok=True)
        if isinstance(reply, messages.AttemptFailed) and reply.kind == FailureKind.SYSTEM.value:
            log.warning("%s could not be carried out here: %s", start.attempt, reply.message)
        return reply

    def _positions(self, start: messages.MapStart | messages.ReduceStart) -> str:
        """Where a careful attempt says where it is; "" for others."""
        return str(self._scratch / POSITIONS / start.attempt) if start.careful else ""

    def _care(self, start: messages.MapStart | messages.ReduceStart) -> Header:
        if not start.careful:
            return {}
        make_directory(self._scratch / POSITIONS)
        return care_header(
            self._positions(start),
            skips=self._job.skips,
            max_skipped=None if self._job.max_skipped < 0 else self._job.max_skipped,
            skip=list(map(RecordMark, start.skip_records, start.skip_digests, start.skip_reasons)),
        )

    async def _map(self, start: messages.MapStart) -> messages.Message:
        directory = self._scratch / f"{start.attempt}.splits"
        try:
            header, body = {"do": "map", "attempt": start.attempt, "splits": start.split_bytes}, start.body
            if len(body) != sum(start.split_bytes):
                make_directory(directory)
                await self._channels.get(
                    get("split", self.job, start.attempt), directory / "payloads", bytes_max=sum(start.split_bytes)
                )
                header["payloads"] = str(directory / "payloads")
            header |= self._care(start)
            reply, body = await self._in_slot(header, body, splits=len(start.split_bytes))
            if reply["did"] == "unreadable":  # files that only the server sees
                make_directory(directory)
                paths = [directory / str(number) for number in range(len(start.split_bytes))]
                for number, path in enumerate(paths):
                    await self._channels.get(get("split-data", self.job, start.attempt, number), path)
                header = {"do": "map", "attempt": start.attempt, "data": list(map(str, paths))}
                header |= self._care(start)
                reply, body = await self._in_slot(header, b"", splits=len(paths))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if reply["did"] == "unreadable":  # not even with its data
            raise MincemeatError(reply["message"])
        if reply["did"] != "done":
            return told(self.job, start.attempt, read_failure(reply, body))
        report = reply["report"]
        return messages.MapDone(
            job=self.job,
            attempt=start.attempt,
            records=report["records"],
            pairs=report["pairs"],
            seconds=report["seconds"],
            spills=report["spills"],
            partition_bytes=report["partition_bytes"],
            skipped=report["skipped"],
            set_aside=report["set_aside"],
            digests=report.get("digests", ""),
        )

    async def _reduce(self, start: messages.ReduceStart) -> messages.Message:
        partitions = range(start.first_partition, start.last_partition)
        directory = self._scratch / f"{start.attempt}.fetched"
        make_directory(directory)
        try:
            inputs = start.body
            if len(inputs) != start.inputs_bytes:
                path = directory / "inputs"
                # Who asks is told of what there is now, which is hardly more.
                most = 2 * start.inputs_bytes + limits.INLINE_BODY_BYTES
                await self._channels.get(get("inputs", self.job, start.attempt), path, bytes_max=most)
                inputs = path.read_bytes()
            gathering = Gathering(self._fetcher, self._store, self.job, partitions, decode_inputs(inputs), directory)
            await gathering.gather()
            reply, body = await self._reduce_in_slot(start, gathering.spans)
            while reply["did"] == "damaged":  # twice at most: then it raises
                await gathering.replace(reply["spans"], reply["message"])
                reply, body = await self._reduce_in_slot(start, gathering.spans)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if reply["did"] != "done":
            return told(self.job, start.attempt, read_failure(reply, body))
        return await self._reduce_done(start.attempt, reply["report"])

    async def _reduce_in_slot(self, start: messages.ReduceStart, spans: list[Span]) -> tuple[Header, bytes]:
        header: Header = {
            "do": "reduce",
            "attempt": start.attempt,
            "first": start.first_partition,
            "last": start.last_partition,
            "spans": spans,
            **self._care(start),
        }
        return await self._in_slot(header, b"")

    async def _reduce_done(self, attempt: str, report: dict[str, Any]) -> messages.Message:
        identity = AttemptId.parse(attempt)
        path = Path(self._store.path(identity))
        size = path.stat().st_size
        body = b""
        try:
            if size <= limits.INLINE_BODY_BYTES:
                body = path.read_bytes()
            else:
                async with self._channels.channel() as connection:
                    await connection.send(messages.Put(what="result", job=self.job, name=attempt, request=""))
                    await connection.send_body(read_span(Span(str(path), 0, size)))
                    await receive_answer(connection)
        finally:  # also when it is cancelled meanwhile
            self._store.drop(identity)
        return messages.ReduceDone(
            job=self.job,
            attempt=attempt,
            keys=report["keys"],
            values=report["values"],
            seconds=report["seconds"],
            output_bytes=size,
            skipped=report["skipped"],
            set_aside=report["set_aside"],
            body=body,
        )

    async def _in_slot(self, header: Header, body: bytes, splits: int = 1) -> tuple[Header, bytes]:
        """One exchange with a slot within the job's time limit for so many splits. Raises: SlotDied, TimeoutError."""
        slot = await self._pool.take()
        try:
            if slot.prepared != self.job:
                await self._prepare(slot)
            limit = self._job.task_timeout_seconds
            async with asyncio.timeout(None if limit is None else attempt_timeout(limit, splits)):
                facts = {"near": self._is_near, "retire_at": self._own_limits.cpu_seconds or 0}
                answer = await slot.exchange({**header, **facts}, body)
        except BaseException:  # dead, overdue or not wanted any more
            self._pool.discard(slot)
            self._store.drop(AttemptId.parse(header["attempt"]))
            raise
        if answer[0].get("retires"):  # the processor time that it may use in all would not do for another attempt
            self._pool.discard(slot)
        else:
            self._pool.give_back(slot)
        return answer

    async def _prepare(self, slot: Slot) -> None:
        await slot.send(
            {
                "do": "job",
                "store": self._store.directory,
                "partitions": self._job.partitions,
                "memory_bytes": self._limits.budget(self._job.memory_bytes),
                "digests": self._job.digests,
                **limits_header(self._limits),
            },
            self._code,
        )
        slot.prepared = self.job


def limits_of(job: messages.JobStart) -> SlotLimits:
    """What the server says; no number of its makes a limit of the worker's own go away."""
    asked = (job.slot_memory_bytes, job.slot_cpu_seconds)
    return SlotLimits(*(number if number > 0 else None for number in asked))


def system_failure(error: Exception) -> Failure:
    """What this worker itself could not do for an attempt, its disk being full for example."""
    # The caller should see the same exception as when a slot meets the full disk.
    exception = pickle.dumps(error) if isinstance(error, SpillSpaceExhausted) else b""
    return Failure(FailureKind.SYSTEM, str(error), exception_type=type(error).__name__, exception=exception)


def told(job: str, attempt: str, failure: Failure) -> messages.AttemptFailed:
    """``failure`` as the message that tells it, cut so that it fits into a frame."""
    return messages.AttemptFailed(
        job=job,
        attempt=attempt,
        kind=failure.kind.value,
        message=shorten(failure.message, limits.MESSAGE_CHARS_MAX),
        function=failure.function,
        key=shorten(failure.key),
        exception_type=shorten(failure.exception_type),
        traceback=shorten(failure.traceback, limits.TRACEBACK_CHARS_MAX),
        record=failure.record,
        split=failure.split,
        data=base64.b64encode(failure.data).decode("ascii"),
        body=failure.exception if len(failure.exception) <= limits.EXCEPTION_BYTES_MAX else b"",
    )
