"""Other processes as /proc tells of them: by a mark in their environment, by their parents, by where they listen."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")
_LISTENING, _ESTABLISHED = "0A", "01"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def marked(name: str, value: str) -> list[int]:
    """Living processes (no zombies) in whose first environment ``name`` is ``value``."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0") and _state(pid) != "Z":
                found.append(pid)
    return found


def descendants(pid: int) -> list[int]:
    """Children of ``pid``, theirs, and so on: those of a worker are its slots."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for other in _pids():
        with contextlib.suppress(OSError):
            children[_parent(other)].append(other)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        found += (own := children[waiting.pop()])
        waiting += own
    return found


def listening_ports(pid: int) -> set[tuple[str, int]]:
    """(address, port) of each IPv4 socket that the process listens on."""
    return set(_sockets(pid, _LISTENING))


def connections(pid: int) -> int:
    """How many IPv4 connections it has."""
    return len(_sockets(pid, _ESTABLISHED))


def _sockets(pid: int, wanted: str) -> list[tuple[str, int]]:
    """Their own addresses."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(_PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    found = []
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "net" / "tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == wanted and inode in inodes:
                address, _, port = local.partition(":")
                found.append((".".join(str(byte) for byte in bytes.fromhex(address)[::-1]), int(port, 16)))
    return found


def describe(pid: int) -> str:
    command = b""
    with contextlib.suppress(OSError):
        command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
    return f"{pid} ({command.decode('utf-8', 'replace').strip()[:200]})"


def send(pid: int, number: signal.Signals) -> bool:
    """Whether the process was there to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    return text[text.rindex(")") + 2 :].split()


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])
