"""Control groups with little memory, where this machine lets us make some: there the kernel kills a slot of it.

Decides: where a group is made, for both versions of control groups. Does not know: what is run in it.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# A worker and its slots fit into it, and a hungry record does not.
_LIMIT_BYTES = 200 * 2**20
# How long the kernel may need to see that a group is empty.
_GOING_SECONDS = 10.0


class MemoryGroup:
    """One group, empty at first. Raises: OSError where it cannot be made."""

    def __init__(self, name: str) -> None:
        root, limit, swap = _here()
        self._path = root / name
        self._path.mkdir()
        try:
            (self._path / limit).write_text(str(_LIMIT_BYTES))
            if (self._path / swap).exists():  # else it would only become slow
                (self._path / swap).write_text(str(0 if swap.endswith("max") else _LIMIT_BYTES))
        except BaseException:
            self._path.rmdir()
            raise

    def inside(self) -> list[str]:
        """The words before a command that is to run in it."""
        return ["sh", "-c", f'echo $$ > "{self._path}/cgroup.procs" && exec "$@"', "sh"]

    def kills(self) -> int:
        """How many processes the kernel has killed in it."""
        for name in ("memory.oom_control", "memory.events"):
            if (self._path / name).exists():
                for line in (self._path / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def close(self) -> None:
        """Remove it. Its processes have ended."""
        deadline = time.monotonic() + _GOING_SECONDS
        while True:
            try:
                self._path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return


def _here() -> tuple[Path, str, str]:
    """Where groups are made, and the files for memory, and for memory and swap."""
    if (_ROOT / "memory").is_dir():
        return _ROOT / "memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    return _ROOT, "memory.max", "memory.swap.max"


@functools.cache
def obstacle() -> str:
    """Why this machine allows no such groups, in words; "" if it does."""
    try:
        MemoryGroup(f"mincemeat-chaos-probe-{os.getpid()}").close()
    except OSError as error:
        return str(error)
    return ""
