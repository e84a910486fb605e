"""What a scenario has left behind that it should not have: processes, sockets, files, descriptors of our own.

What kill -9 leaves in the temporary directory is documented: directories that bear our mark, which the next job of the
same user removes. Anything else is a finding.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.chaos import processes
from tests.chaos.stage import MARK, Stage

# A slot notices that its worker is gone when its channel ends; on a busy machine that may take a moment.
_LEAVING_SECONDS = 20.0
# Sweeping has a second each time, and happens beside the job.
_SWEEPS = 4


def open_descriptors() -> set[str]:
    """What this process has open, by number and name."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # the one that lists them
            pass
    return found


def processes_left(mark: str, seconds: float = _LEAVING_SECONDS) -> list[str]:
    deadline = time.monotonic() + seconds
    while left := processes.marked(MARK, mark):
        if time.monotonic() > deadline:
            return [f"the process {processes.describe(pid)} is left" for pid in left]
        time.sleep(0.02)
    return []


def still_listening(addresses: set[tuple[str, int]]) -> list[str]:
    """Those of ``addresses`` of this machine at which somebody listens still."""
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        host, _, port = local.partition(":")
        if state == "0A":
            listening.add((".".join(str(byte) for byte in bytes.fromhex(host)[::-1]), int(port, 16)))
    return [f"somebody listens at {host}:{port} still" for host, port in sorted(addresses & listening)]


def files_left(stage: Stage) -> list[str]:
    """What is in the temporary directory although nobody was killed, or although the next job has swept."""
    if not any(actor.killed for actor in stage.actors):
        return [f"{path} is left, and nobody was killed" for path in _found(stage.temporary)]
    strange = [path for path in stage.temporary.iterdir() if not (path / ".mincemeat").is_file()]
    if strange:
        return [f"{path} is left, and does not bear the mark of what is swept up" for path in strange]
    for _ in range(_SWEEPS):
        if not _found(stage.temporary):
            return []
        ended = stage.start_tiny_job()
        if ended.returncode:
            return [f"the next job failed: {ended.stderr}"]
    return [f"{path} is left, and the next jobs have not removed it" for path in _found(stage.temporary)]


def journal_left(directory: Path) -> list[str]:
    return [f"{path} is left of the journal" for path in directory.glob("job.journal*")]


def output_left(directory: Path, output: str) -> list[str]:
    """Private files beside the answer."""
    known = {"answer", "answer.jsonl", "answer.pickle", "job.json", "notes", "gate", "tmp", "disks", "logs"}
    return [f"{path} is left beside {output!r}" for path in directory.iterdir() if path.name not in known]


def _found(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())
