"""The coordinator's journal on a simulated disk, and the moments at which its process may die.

Decides: what is left of a journal when its process is killed (everything that was written) and when its machine loses
power (what was synced, and any part of the rest, torn). Does not know: what is in it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mincemeat.engines.resuming import Resumable
from mincemeat.journal import journal as journal_module
from mincemeat.journal.journal import Journal

if TYPE_CHECKING:
    from mincemeat.model import Job
    from tests.simulation.loop import Process


class Killed(BaseException):
    """The process is dead: nothing behind this happens. No ``except Exception`` holds it up."""


class Paper:
    """A file that outlives processes. ``at``: told before and after each write and sync; it may kill the process."""

    def __init__(self, at: Callable[[Process, str], None]) -> None:
        self.data = b""
        self.synced = 0
        self.at = at

    def lose_power(self, chance: random.Random) -> None:
        """What was not synced may be there, torn, or not at all."""
        loose = self.data[self.synced :]
        kept = loose[: chance.randrange(len(loose) + 1)]
        if kept and chance.random() < 0.3:
            kept = bytes(len(kept))  # the file had its new length already, and not what was written
        self.data = self.data[: self.synced] + kept


class PaperFile:
    """A ``LogFile`` on ``paper`` in the hands of one process."""

    def __init__(self, paper: Paper, process: Process) -> None:
        self._paper = paper
        self._process = process

    def _at(self, what: str) -> None:
        self._paper.at(self._process, what)
        if not self._process.is_alive:
            raise Killed

    def lines(self) -> Iterator[bytes]:
        return iter(self._paper.data.splitlines(keepends=True))

    def append(self, data: bytes) -> None:
        self._at("before a write")
        half = len(data) // 2
        self._paper.data += data[:half]
        self._at("within a write")
        self._paper.data += data[half:]
        self._at("behind a write")

    def sync(self) -> None:
        self._at("before a sync")
        self._paper.synced = len(self._paper.data)
        self._at("behind a sync")

    def truncate(self, size: int) -> None:
        self._at("before a truncation")
        self._paper.data = self._paper.data[:size]
        self._paper.synced = len(self._paper.data)
        self._at("behind a truncation")

    def close(self) -> None:
        """Nothing is held."""


def open_journal(paper: Paper, process: Process, directory: str, job: Job) -> Resumable:
    """As ``Resumable.open``, with the journal on ``paper`` and all else of it in ``directory``."""
    identity = {"the job": "simulated"}
    path = os.path.join(directory, "journal")
    file = PaperFile(paper, process)
    contents, history = journal_module._read(path, file, identity)
    return Resumable(job, Journal(path, file, contents, history, None), identity)
