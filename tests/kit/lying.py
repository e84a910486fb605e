"""A worker that knows the password and lies: all of it is real but its slot, which writes what the test wants."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from mincemeat.cluster.async_slots import Slot
from mincemeat.cluster.outside import Outside
from mincemeat.cluster.worker import _proof, _Worker
from mincemeat.model import AttemptId, Failure, MapReport, ReduceReport
from mincemeat.shuffle.block import CODEC_PICKLE, Payload
from mincemeat.shuffle.store import JobStore
from mincemeat.slot_channel import Decoder, Header, failed_message

Answer = Callable[["LyingSlot", Header], Awaitable[tuple[Header, bytes]]]


class LyingSlot:
    """Says what ``answer`` gives, whatever it is asked to do."""

    def __init__(self, answer: Answer) -> None:
        self.prepared = ""
        self._answer = answer
        self.job: Header = {}

    async def send(self, header: Header, body: bytes = b"") -> None:
        self.job = header

    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        return await self._answer(self, header)

    def kill(self) -> None:
        pass

    # -- what may be answered ------------------------------------------------------------------------------

    def map_output(self, header: Header, columns: bytes, *, set_aside: str = "") -> tuple[Header, bytes]:
        """A map output of one block with the pickle ``columns`` in it; none of b""."""
        partition_bytes = [0] * self.job["partitions"]
        if columns:
            partition_bytes[0] = self._write(header, columns)
        else:
            self._write(header, b"")
        report = MapReport(1, 1, 0.01, 0, tuple(partition_bytes), 1 if set_aside else 0, set_aside)
        return _through_json({"did": "done", "attempt": header["attempt"], "report": report._asdict()})

    def result(self, header: Header, columns: bytes) -> tuple[Header, bytes]:
        size = self._write(header, columns)
        report = ReduceReport(1, 1, 0.01, size)
        return _through_json({"did": "done", "attempt": header["attempt"], "report": report._asdict()})

    def failure(self, header: Header, failure: Failure) -> tuple[Header, bytes]:
        return failed_message(header["attempt"], failure)

    def _write(self, header: Header, columns: bytes) -> int:
        store, attempt = JobStore(self.job["store"]), AttemptId.parse(header["attempt"])
        with store.writing(attempt) as writer:
            if columns:
                writer.append(0, Payload(columns, CODEC_PICKLE), keys=1, pairs=1, single=True)
        store.commit(attempt)
        return os.path.getsize(store.path(attempt))


def _through_json(header: Header) -> tuple[Header, bytes]:
    from mincemeat.slot_channel import encode

    ((answer, body),) = Decoder().feed(encode(header))
    return answer, body


class _LyingOutside(Outside):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def start_slot(self) -> Slot:
        return LyingSlot(self._answer)


class LyingWorker(threading.Thread):
    """Joins the server at ``port`` and carries attempts out by ``answer``."""

    def __init__(self, port: int, answer: Answer, password: str = "changeme") -> None:
        super().__init__(daemon=True)
        tell = logging.getLogger("mincemeat").info
        outside = _LyingOutside(answer)
        self.worker = _Worker("127.0.0.1", port, _proof(password), 1, 10.0, False, tell, outside=outside)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self.worker.serve())
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


async def file_is_there(path: Any) -> None:
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
