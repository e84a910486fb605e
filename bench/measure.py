"""Decides how one run of one contender is measured: wall clock, CPU seconds and peak memory of its whole process tree.

Linux only: a supervisor process between the bench and the contender reads /proc and adopts orphans, so that daemons of
a contender count too, and are ended. Knows nothing of workloads.

Wall: from the start of the process to its end, daemons left behind not waited for.
CPU: user and system seconds of all processes of the tree that were waited for, by rusage; where a contender lets the
    kernel discard its children unseen, what /proc last said about each process is more, and counts instead.
Memory: the sum of PSS (memory shared by n processes counts 1/n in each) over the tree, sampled; the highest sample.
    The pause between samples is 20 times what one takes, and 10 ms at least, so that a contender loses 5 % of one core
    at most, and a peak shorter than that may be missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS_MIN = 0.01
_PAUSE_FACTOR = 20
_ORPHAN_SECONDS = 3.0
_ERROR_CHARS = 2000


class Measurement(NamedTuple):
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


class RunFailed(Exception):
    """The contender ended badly or took too long; the message says which, with the end of what it printed."""


def check_platform() -> None:
    """Exit with a sentence where this cannot measure."""
    if sys.platform != "linux":
        sys.exit("the bench measures process trees by /proc, so it needs Linux")


def run(command: list[str], *, timeout_seconds: float, environment: Mapping[str, str]) -> Measurement:
    """Run ``command`` once. Afterwards none of its processes is left.

    Raises: RunFailed.
    """
    # A process of its own stands between: it adopts orphans and ends all that descend from it, which the caller, with
    # children of its own, could not do.
    supervisor = [sys.executable, "-S", "-E", __file__, str(timeout_seconds), *command]
    with subprocess.Popen(supervisor, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as process:
        try:
            answer, _ = process.communicate()
        except BaseException:  # Ctrl-C: the supervisor ends its tree first, which killing it would not
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"the measuring process ended with {process.returncode}")
    report = json.loads(answer)
    if "failed" in report:
        raise RunFailed(report["failed"])
    return Measurement(**report)


def _supervise(timeout_seconds: float, command: list[str]) -> dict[str, Any]:
    signal.signal(signal.SIGINT, lambda *_: None)  # the bench gets it too, and then terminates this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, int(value), 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option})")
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        tree = _Tree(process.pid)
        try:
            has_ended = tree.watch(started + timeout_seconds)
            wall = time.perf_counter() - started
        finally:
            tree.end()
            process.wait()
            tree.reap()
        output.seek(max(0, os.fstat(output.fileno()).st_size - _ERROR_CHARS))
        said = output.read().decode("utf-8", "replace").strip()
    if not has_ended:
        return {"failed": f"took more than {timeout_seconds:.0f} s"}
    if process.returncode:
        return {"failed": f"ended with {process.returncode}: {said}"}
    times = os.times()
    cpu = max(times.children_user + times.children_system, sum(tree.cpu_seconds.values()))
    return Measurement(wall, cpu, tree.peak_bytes)._asdict()


class _Tree:
    """The processes that descend from one, as far as samples have seen them."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.peak_bytes = 0
        self.cpu_seconds: dict[tuple[int, int], float] = {}  # by process id and start time, as ids are used again

    def watch(self, deadline: float) -> bool:
        """Sample until the root has ended; whether it did so before ``deadline``."""
        descriptor = os.pidfd_open(self._root)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            pause = 0.0
            while not poll.poll(pause * 1000):
                started = time.perf_counter()
                if started > deadline:
                    return False
                self._sample()
                pause = max(_PAUSE_SECONDS_MIN, _PAUSE_FACTOR * (time.perf_counter() - started))
        finally:
            os.close(descriptor)
        return True

    def _sample(self) -> None:
        total = 0
        for pid, start, seconds in _iter_descendants(os.getpid()):
            self.cpu_seconds[pid, start] = seconds
            total += _pss_bytes(pid)
        self.peak_bytes = max(self.peak_bytes, total)

    def end(self) -> None:
        """End what is left: politely, after some seconds by force. What left its parent is a child of ours by now."""
        deadline = time.perf_counter() + _ORPHAN_SECONDS
        how = signal.SIGTERM
        while left := [entry for entry in _iter_descendants(os.getpid()) if not self._has_ended(entry[0])]:
            for pid, start, seconds in left:
                self.cpu_seconds[pid, start] = seconds
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            time.sleep(0.02)
            if time.perf_counter() > deadline:
                how = signal.SIGKILL

    def _has_ended(self, pid: int) -> bool:
        with contextlib.suppress(OSError, IndexError):
            return _stat(pid)[0] in {"Z", "X"}
        return True

    def reap(self) -> None:
        """Wait for the orphans, by which their seconds are added to those of our children."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may contain anything: state, parent, ..."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _iter_descendants(ancestor: int) -> Iterator[tuple[int, int, float]]:
    """Process id, start time in clock ticks, and CPU seconds so far of every descendant."""
    ticks = os.sysconf("SC_CLK_TCK")
    waiting = [ancestor]
    while waiting:
        for child in _children(waiting.pop()):
            waiting.append(child)
            with contextlib.suppress(OSError, IndexError):  # it may have ended in the meantime
                fields = _stat(child)
                yield child, int(fields[19]), (int(fields[11]) + int(fields[12])) / ticks


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    print(json.dumps(_supervise(float(sys.argv[1]), sys.argv[2:])))
