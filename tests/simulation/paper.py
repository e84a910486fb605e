"""The coordinator's journal on a simulated disk, the moments at which its process may die, and how the disk fails.

Decides: what is left of a journal when its process is killed (everything that was written), when its machine loses
power (what was synced, and any part of the rest, torn), and when a write fails (any part of it). Does not know: what is
in it. What a sync that failed has left out is not forgotten by the disk here, as it may be by a real one.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mincemeat.engines.resuming import Resumable
from mincemeat.journal.journal import Journal
from mincemeat.journal.reading import read_journal
from tests.simulation.plan import SYNC_FAILS, WRITE_FAILS

if TYPE_CHECKING:
    from mincemeat.model import Job
    from tests.simulation.loop import Process
    from tests.simulation.plan import Plan
    from tests.simulation.slots import Disk


class Killed(BaseException):
    """The process is dead: nothing behind this happens. No ``except Exception`` holds it up."""


class Paper:
    """A file that outlives processes. ``at``: told before and after each write and sync; it may kill the process.

    ``hit`` is told of each operation that fails, by kind. ``failed``: the processes that know of one, each with how
    often it wrote or synced after that.
    """

    def __init__(self, plan: Plan, at: Callable[[Process, str], None], hit: Callable[[str, object, str], None]) -> None:
        self.data = b""
        self.synced = 0
        self.at = at
        self.disk: Disk | None = None
        self.operations = 0
        self.is_calm = False
        self.failed: dict[Process, int] = {}
        self._plan = plan
        self._hit = hit
        self._chance = plan.chance("paper")
        self._failing: tuple[Process, int, int] | None = None

    def is_failing(self, process: Process, kind: str) -> int:
        """The error of this operation; 0: there is none. What fails, does so until enough has failed, or it ends."""
        self.operations += 1
        if self.is_calm:
            return 0
        if self.operations in self._plan.disk_fails_at and process not in self.failed:
            last = self.operations + self._plan.disk_fails_for
            self._failing = process, last, self._chance.choice([errno.ENOSPC, errno.EDQUOT, errno.EIO])
        if self._failing is None or self._failing[0] is not process or self.operations >= self._failing[1]:
            return 0
        error = errno.EIO if kind == SYNC_FAILS else self._failing[2]
        self._hit(kind, process, f"{errno.errorcode[error]}, operation {self.operations}")
        return error

    def note_failure(self, process: Process) -> None:
        self.failed.setdefault(process, 0)

    def take(self, process: Process, data: bytes) -> tuple[int, int]:
        """How many bytes of a write are written, and the error if these are not all."""
        if process in self.failed:
            self.failed[process] += 1
        if error := self.is_failing(process, WRITE_FAILS):
            return self._chance.randrange(len(data)), error
        fits = len(data) if self.disk is None else self.disk.take(len(data))
        if self.disk is None or fits == len(data):
            return fits, 0
        self.disk.times_full += 1
        return fits, self.disk.errno

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
        written, error = self._paper.take(self._process, data)
        half = min(written, len(data) // 2)
        self._paper.data += data[:half]
        self._at("within a write")
        self._paper.data += data[half:written]
        self._fail(error)
        self._at("behind a write")

    def _fail(self, error: int) -> None:
        if error:
            self._paper.note_failure(self._process)
            raise OSError(error, os.strerror(error))

    def sync(self) -> None:
        self._at("before a sync")
        if self._process in self._paper.failed:
            self._paper.failed[self._process] += 1
        self._fail(self._paper.is_failing(self._process, SYNC_FAILS))
        self._paper.synced = len(self._paper.data)
        self._at("behind a sync")

    def truncate(self, size: int) -> None:
        self._at("before a truncation")
        self._fail(self._paper.is_failing(self._process, WRITE_FAILS))
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
    contents, history = read_journal(path, file, identity)
    return Resumable(job, Journal(path, file, contents, history, None), identity)
