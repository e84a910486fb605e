"""Small disks of one's own: a tmpfs that only one process and its children see."""

from __future__ import annotations

import subprocess
from pathlib import Path

# The process, and nobody else, sees a small disk in place of the directory $0.
_ON_A_SMALL_DISK = 'mount -t tmpfs -o size=$1 tmpfs "$0" && shift && exec "$@"'


def on_a_small_disk(directory: Path, size: str, *command: str) -> list[str]:
    return [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        _ON_A_SMALL_DISK,
        str(directory),
        size,
        *command,
    ]


def can_have_small_disks() -> bool:
    try:
        probe = on_a_small_disk(Path("/mnt"), "64k", "true")
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
