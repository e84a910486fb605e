"""How much memory and processor time a slot may use, as limits of its process.

Decides: which of the system's limits stands for which. Does not know: who asked for them.

Memory is RLIMIT_DATA: what a process can write to and shares with nobody, whether or not it has yet. RLIMIT_AS would
count address space, of which libraries are a large part and allocators reserve more than they ever use. Measured on two
cores, in MB of address space, of data and of memory in use: Python 12, 5, 9; with NumPy 139, 89, 26; with PyArrow 305,
115, 55. A process that a slot starts has the same limit again, for itself.
"""

from __future__ import annotations

import math
import sys

from mincemeat import limits

if sys.platform != "win32":
    import resource

CAN_LIMIT_MEMORY = sys.platform == "linux"  # macOS takes the limit and does not keep it
CAN_LIMIT_CPU = sys.platform != "win32"


def limit_memory(size: int, *, for_ever: bool = False) -> None:
    """From here on this process gets no more. ``for_ever``: and cannot change that."""
    if sys.platform == "linux":
        _set(resource.RLIMIT_DATA, size, hard=size if for_ever else None)


def memory_limit() -> int | None:
    """How many bytes this process may have, if somebody has said."""
    if sys.platform != "linux":
        return None
    size = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if size == resource.RLIM_INFINITY else size


def start_cpu_limit(seconds: int) -> None:
    """From here on this process may use so much processor time until the next call; then SIGXCPU ends it."""
    if sys.platform != "win32":
        _set(resource.RLIMIT_CPU, math.ceil(cpu_seconds_used()) + seconds)
        _set(resource.RLIMIT_CORE, 0)  # which the signal would write


def end_cpu_limit() -> None:
    """What it does between attempts is not counted."""
    if sys.platform != "win32":
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        _set(resource.RLIMIT_CPU, hard if hard != resource.RLIM_INFINITY else None)


def limit_cpu_for_ever(seconds: int) -> None:
    """The process is killed at so many seconds of processor time in all, whatever it does about it."""
    if sys.platform != "win32":
        _set(resource.RLIMIT_CPU, seconds, hard=seconds)


def cpu_seconds_used() -> float:
    """Processor time of this process so far."""
    if sys.platform == "win32":
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def limit_files() -> None:
    """As many open files as an attempt needs, and no core files."""
    if sys.platform != "win32":
        _set(resource.RLIMIT_CORE, 0, hard=0)
        _set(resource.RLIMIT_NOFILE, limits.SANDBOX_FILES, hard=limits.SANDBOX_FILES)


def limit_processes(count: int) -> None:
    """Processes and threads of this user; within an own user namespace only those in it are counted."""
    if sys.platform != "win32":
        _set(resource.RLIMIT_NPROC, count, hard=count)


def _set(which: int, soft: int | None, hard: int | None = None) -> None:
    """None: no (other) limit. A limit that is lower already stays."""
    assert sys.platform != "win32"
    infinite = resource.RLIM_INFINITY
    now = resource.getrlimit(which)[1]
    top = now if hard is None else hard if now == infinite else min(hard, now)
    wanted = top if soft is None else soft if top == infinite else min(soft, top)
    resource.setrlimit(which, (wanted, top))
