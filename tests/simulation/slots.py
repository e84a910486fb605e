"""Simulated slots and disks: real attempts on real files, carried out by ``slot_main.Slot`` in this very process.

Decides: when, within the time an attempt takes, its work is done, and how a slot or a disk fails. What an attempt does
is the program's own. A slot is no part of its worker's process: it goes on while that is frozen, and ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mincemeat import positions, usercode
from mincemeat.cluster.async_slots import SlotDied
from mincemeat.model import AttemptId, UserFunctions
from mincemeat.shuffle import store as store_module
from mincemeat.slot_channel import Decoder, Header
from mincemeat.slot_main import Slot
from tests.simulation import jobs
from tests.simulation.loop import Process, current

if TYPE_CHECKING:
    from tests.simulation.world import World


class Disk:
    """One machine's disk: a directory, how much more fits into it (None: enough), and what is said when it is full."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.room: int | None = None
        self.errno = errno.ENOSPC
        self.times_full = 0

    def fails(self, path: str) -> OSError:
        """What who writes to ``path`` is told when not all of it fits."""
        self.times_full += 1
        return OSError(self.errno, os.strerror(self.errno), path)

    def take(self, size: int) -> int:
        """How many of ``size`` bytes fit."""
        if self.room is None:
            return size
        fits = min(size, self.room)
        self.room -= fits
        return fits


# The disk that is written to just now: attempts run one at a time here.
_DISKS: dict[str, Disk] = {}


class _SimFile(io.FileIO):
    """A file on a disk that may be full."""

    def write(self, data: Any, /) -> int:
        disk = _DISKS.get(str(self.name).rpartition("/machine-")[2].partition("/")[0])
        if disk is None or disk.room is None:
            return super().write(data)
        size = memoryview(data).nbytes
        fits = disk.take(size)
        if fits < size:
            super().write(memoryview(data).cast("B")[:fits])
            raise disk.fails(str(self.name))
        return super().write(data)


@contextlib.contextmanager
def in_process(clock: Callable[[], float]) -> Iterator[None]:
    """Slots are carried out in this process, at the time of ``clock``, and files of attempts are on simulated disks."""
    load, former, time = usercode.load, vars(store_module)["io"], vars(positions)["time"]
    usercode.load = _load
    vars(positions)["time"] = types.SimpleNamespace(monotonic=clock)
    # Its own ``io``, in which files are on simulated disks.
    vars(store_module)["io"] = types.SimpleNamespace(BufferedWriter=io.BufferedWriter, FileIO=_SimFile)
    try:
        yield
    finally:
        usercode.load, vars(store_module)["io"], vars(positions)["time"] = load, former, time
        _DISKS.clear()


def mount(name: str, disk: Disk) -> None:
    _DISKS[name] = disk


def _load(code: bytes) -> UserFunctions:
    if jobs.FATE.code_is_missing:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
    return jobs.LOADED[code]


class LastWords:
    """What a careful attempt says of where it is, at the moment in which its process is lost."""

    def __init__(self, header: Header) -> None:
        self._path = header["care"]["positions"] if "care" in header else ""
        self._said = b""

    def take(self) -> None:
        if self._path:
            with open(self._path, "rb") as file:
                self._said = file.read()

    def put_back(self) -> None:
        """What was said behind that moment was never said."""
        if self._path:
            with open(self._path, "wb") as file:
                file.write(self._said)


class SimSlot:
    """What ``AsyncSlot`` is to a worker."""

    def __init__(self, world: World) -> None:
        self.prepared = ""
        self.worker: Process = current()
        self._world = world
        self._slot = Slot()
        self._is_alive = True
        self._pending: Any = None

    @property
    def is_alive(self) -> bool:
        return self._is_alive and self.worker.is_alive

    async def send(self, header: Header, body: bytes = b"") -> None:
        self._slot.handle(header, body)

    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        world, loop = self._world, self._world.loop
        fate = world.faults.fate_of(self.worker, header)
        world.trace.note(loop.time(), "begin", self.worker, f"{header['attempt']} {fate}")
        pending = self._pending = loop.create_future()
        loop.later(fate.seconds * fate.share, self._work, header, body, fate, pending)
        answer: tuple[Header, bytes] = await pending
        return answer

    def _work(self, header: Header, body: bytes, fate: jobs.Fate, pending: Any) -> None:
        """The process of the slot, at one moment of the time it takes."""
        if not self.is_alive or (fate.hangs and fate.stops_at < 0):
            return
        loop, attempt = self._world.loop, AttemptId.parse(header["attempt"])
        last_words = LastWords(header)
        fate.at_stop = last_words.take
        jobs.FATE = fate
        try:
            reply = self._slot.handle(header, body)
        finally:
            jobs.FATE = jobs.NO_FATE
        assert reply is not None
        self._world.aside.note(attempt, fate, is_careful="care" in header)
        if fate.stopped:
            assert self._slot._store is not None
            self._slot._store.drop(attempt)
            last_words.put_back()
            self._world.trace.note(loop.time(), "stop", self.worker, f"{attempt} {fate.stopped} at {fate.stopped_at}")
        if fate.stopped == jobs.HANGS:
            return
        if fate.stopped or fate.kills:
            self._leave_behind(attempt)
            loop.later(0.001, self._die, pending)
            return
        [(answer, answer_body)] = Decoder().feed(reply)
        if answer["did"] == "done":
            # The real seconds would make the size of the next split, and with it everything, differ from run to run.
            answer["report"]["seconds"] = fate.seconds
        self._world.trace.note(loop.time(), "work", self.worker, f"{header['attempt']} {answer['did']}")
        loop.later(fate.seconds * (1 - fate.share), self._reply, pending, (answer, answer_body))

    def _leave_behind(self, attempt: AttemptId) -> None:
        """A process that is killed in the middle leaves its private file as it was, perhaps torn."""
        directory = self._slot._job["store"]
        if os.path.isdir(os.path.dirname(directory)):
            store_module.make_directory(directory)
            with open(os.path.join(directory, f"{attempt}.blocks.part"), "wb") as file:
                file.write(b"torn")

    def _die(self, pending: Any) -> None:
        self._is_alive = False
        if not pending.done():
            pending.set_exception(SlotDied("was killed by signal 9 (SIGKILL; out of memory?)"))

    def _reply(self, pending: Any, answer: tuple[Header, bytes]) -> None:
        if self.is_alive and not pending.done():
            pending.set_result(answer)

    def kill(self) -> None:
        self._is_alive = False
