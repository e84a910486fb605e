"""A job with a journal as a real process that is killed and started again, and what it did each time.

Each call of a function of the job is a line in ``notes``, so that what was done twice is seen.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from mincemeat.journal import History, MapCommit
from mincemeat.journal.log import read_log
from tests.kit.clusters import LOOPBACK
from tests.kit.gates import PATIENCE_SECONDS

# For the job's own file. NOTES is in its environment.
NOTE = """
import os

def note(word):
    handle = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{word}\\n".encode())
    os.close(handle)
"""


class Rerun:
    """The job that ``words`` (behind "python") start, any number of times; ``cleanup`` ends what is still running."""

    def __init__(self, directory: Path, cleanup: ExitStack, words: list[str], **environment: str) -> None:
        self.journal = directory / "job.journal"
        self.notes = directory / "notes"
        self._cleanup = cleanup
        self._words = words
        self._environment = {**os.environ, "NOTES": str(self.notes), "TMPDIR": str(directory), **environment}
        self._environment.pop("MINCEMEAT_PASSWORD", None)

    def start(self) -> subprocess.Popen[str]:
        return self._run(self._words)

    def start_worker(self, port: int, password: str = "changeme") -> subprocess.Popen[str]:
        return self._run(["-m", "mincemeat", "-p", password, "-P", str(port), "-n", "1", LOOPBACK])

    def _run(self, words: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._cleanup.callback(_end, process)
        return process

    def history(self) -> History | None:
        """What the journal says now; None while it says nothing."""
        if not self.journal.exists():
            return None
        with self.journal.open("rb") as file:
            return History.of(read_log(file).records)

    def wait_until(self, holds: Callable[[History], bool], process: subprocess.Popen[str]) -> None:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (history := self.history()) is None or not holds(history):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at, history
            time.sleep(0.005)

    def killed(self, moment: Callable[[History], bool]) -> History:
        """Start the job and kill it with -9 as soon as ``moment`` is there; what it left in the journal."""
        return self.kill_at(moment, self.start())

    def kill_at(self, moment: Callable[[History], bool], process: subprocess.Popen[str]) -> History:
        self.wait_until(moment, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        history = self.history()
        assert history is not None
        return history

    def noted(self, function: str, keys: set[str]) -> Counter[str]:
        """How often ``function`` was called for each of ``keys``."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        calls = Counter(line.split()[1] for line in lines if line.startswith(f"{function} "))
        return Counter({key: calls[key] for key in keys})


def maps(count: int) -> Callable[[History], bool]:
    """So many map tasks are committed."""
    return lambda history: sum(commit.splits for commit in history.map_commits()) >= count


def reduces(count: int) -> Callable[[History], bool]:
    return lambda history: len(history.reduce_commits()) >= count


def records_of(commits: Iterator[MapCommit], records_per_split: int = 4) -> set[str]:
    """Numbers of the records that are in committed outputs."""
    return {
        str(record)
        for commit in commits
        for record in range(
            records_per_split * commit.attempt.task.index,
            records_per_split * (commit.attempt.task.index + commit.splits),
        )
    }


def free_port() -> int:
    """A port that was free a moment ago: the server is started twice on it, and workers must find it again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()
