"""Directories in which the map outputs of workers beside a server outlive it.

Decides: which of them a worker takes over, and what in it is of use. Does not know: attempts, jobs, the journal.

Workers are numbered from 0, and the one with number n has the directory that ends in n. A server that goes on with
fewer workers than before gives what the others held to those that it has.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mincemeat.locks import Lock
from mincemeat.shuffle.store import make_directory

# What a session leaves that the next one can use (session.py): its map outputs, and whose they are.
OUTPUTS: Final = "blocks"
JOB: Final = "job"
# What it does not leave: where careful attempts say where they are. Apart, because slots write there.
POSITIONS: Final = "positions"

_LOOKS: Final = 10
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class KeptDirectory:
    """The directory of worker ``number`` of ``count``, called ``prefix`` and the number; ``server`` is a process."""

    prefix: str
    number: int
    count: int
    server: int

    async def has_server_died(self) -> bool:
        """Whether there is no server to dial again, a connection to it having ended. Its process may be just ending."""
        for _ in range(_LOOKS):
            if not _is_alive(self.server):
                return True
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    @contextmanager
    def opened(self) -> Iterator[str]:
        """The path, for one worker at a time: the one before may be just ending. It is made if it is not there."""
        path = f"{self.prefix}{self.number}"
        make_directory(path)
        with Lock.waiting_for(path):
            for entry in list(os.scandir(path)):
                if entry.name not in (OUTPUTS, JOB):
                    _remove(entry)  # what attempts had fetched when the one before was killed
            for other in self._left_over():
                with Lock.if_dead(other) as is_dead:
                    if is_dead:
                        _take_over(other, path)
            yield path

    def _left_over(self) -> list[str]:
        directory, name = os.path.split(self.prefix)
        numbers = [entry.removeprefix(name) for entry in os.listdir(directory) if entry.startswith(name)]
        left = [int(number) for number in numbers if number.isdecimal() and int(number) >= self.count]
        return [f"{self.prefix}{number}" for number in sorted(left) if number % self.count == self.number]


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # where to ask is to kill
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # not ours to signal
        return True
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] not in b"ZX"  # dead, and nobody has asked how it ended
    except OSError:  # not Linux
        return True


def _take_over(source: str, target: str) -> None:
    """Move the outputs in ``source`` to ``target`` if they are of the same job, and remove the rest."""
    job = _job_of(source)
    if job and _job_of(target) in ("", job):
        make_directory(os.path.join(target, OUTPUTS))
        for entry in list(os.scandir(os.path.join(source, OUTPUTS))):
            os.replace(entry.path, os.path.join(target, OUTPUTS, entry.name))
        # Last: what has no job is of no use.
        os.replace(os.path.join(source, JOB), os.path.join(target, JOB))
    shutil.rmtree(source, ignore_errors=True)


def _job_of(directory: str) -> str:
    try:
        with open(os.path.join(directory, JOB), encoding="ascii") as mark:
            job = mark.read()
    except (OSError, ValueError):
        return ""
    return job if os.path.isdir(os.path.join(directory, OUTPUTS)) else ""


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        os.unlink(entry.path)
