"""Writing the journal beside the event loop.

Decides: in which order records are written, and when what waits for them to be on the disk happens. Does not know: what
they say. Many commits share one sync, because a slow disk needs as long for a hundred records as for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mincemeat.journal.journal import Journal

Write: TypeAlias = "Callable[[Journal], None]"


class Recorder:
    """Writes records to ``journal`` one after the other, in a thread; used in the event loop.

    Without a journal nothing is written, and what waits happens at once. ``crashed`` is told when the disk is at fault;
    what waits never happens then, and nothing more is written, just as after ``close``.
    """

    def __init__(self, journal: Journal | None, crashed: Callable[[BaseException], None]) -> None:
        self._journal = journal
        self._crashed = crashed
        self._writes: list[Write] = []
        self._waiting: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_recording(self) -> bool:
        return self._journal is not None

    def note(self, write: Write) -> None:
        """Have it written soon. Nobody waits: if it is lost, so is all that was written after it."""
        if self._journal is not None and not self._is_closed:
            self._writes.append(write)
            self._start()

    def commit(self, write: Write, then: Callable[[], None]) -> None:
        """Have it written; call ``then``, in the loop, when it survives a power cut."""
        if self._journal is None:
            then()
            return
        if self._is_closed:
            return
        self._writes.append(write)
        self._waiting.append(then)
        self._start()

    async def close(self) -> None:
        """Return when nothing is being written any more. What is not written yet will not be."""
        self._stop()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _stop(self) -> None:
        self._is_closed = True
        self._writes.clear()
        self._waiting.clear()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._writes:
                writes, self._writes = self._writes, []
                waiting, self._waiting = self._waiting, []
                await loop.run_in_executor(None, self._write, writes, bool(waiting))
                for then in waiting:
                    then()
        except Exception as error:  # noqa: BLE001 - the disk's, or a fault of ours behind ``then``: the caller raises it
            self._stop()
            self._crashed(error)
        finally:
            self._task = None

    def _write(self, writes: list[Write], needs_sync: bool) -> None:
        journal = self._journal
        assert journal is not None
        for write in writes:
            write(journal)
        if needs_sync:
            journal.sync()
