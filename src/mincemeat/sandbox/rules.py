"""Which paths a sandboxed slot may read and write, as Landlock's rights.

Decides: what Python itself needs, what is never opened, and what a kernel of some version can refuse. Does not know:
whether a path exists, or how rights are handed to the kernel.

A rule opens all that is beneath a path; what no rule opens is closed. Not restricted by any kernel so far: looking at
names, sizes and owners (stat). Changing the modes or times of files that the worker's user owns is left to filters.py.
Source: linux/landlock.h, and the kernel's userspace-api/landlock.rst for which version brought what.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple


class Right(enum.IntFlag):
    """LANDLOCK_ACCESS_FS_*"""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_OF_ABI_1: Final = Right((1 << 13) - 1)
_READ: Final = Right.READ_FILE | Right.READ_DIR
_PROGRAMS: Final = _READ | Right.EXECUTE
# Plain files and directories only. A worker reads what is in there, so nobody must be able to lay a link there that
# leads it elsewhere, or a pipe on which it would wait for ever.
_OUTPUTS: Final = (
    _READ | Right.WRITE_FILE | Right.TRUNCATE | Right.MAKE_REG | Right.MAKE_DIR | Right.REMOVE_FILE | Right.REMOVE_DIR
)
# A directory in which a worker does nothing but remove. Nothing is executed from it.
_OWN: Final = _OUTPUTS | Right.MAKE_SYM | Right.MAKE_FIFO | Right.MAKE_SOCK | Right.REFER
_DEVICE: Final = Right.READ_FILE | Right.WRITE_FILE | Right.TRUNCATE
# What may be said of a file; the rest is of directories, and the kernel refuses a rule that says it of a file.
OF_FILES: Final = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV

# LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP, of which no rule opens any port.
TCP: Final = 0b11
# LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and _SIGNAL: only within what the slot has started.
SCOPES: Final = 0b11

# Programs and shared libraries; whole systems keep theirs in one of the last two.
_SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix/store", "/gnu/store")
# What libraries read that is no secret on any machine. Not /etc/passwd: who works here is nobody's business.
_SETTINGS: Final = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Of an installation or a virtual environment. Not all of it: many keep theirs in the directory of a project.
_OF_A_PREFIX: Final = ("bin", "lib", "lib64", "libexec", "share", "ssl", "etc/fonts", "include", "pyvenv.cfg")


class Rule(NamedTuple):
    """``path``, and what may be done beneath it. ``is_needed``: without it no slot works."""

    path: str
    rights: Right
    is_needed: bool = False


class Python(NamedTuple):
    """Where this interpreter has its parts: prefixes, search path, and the directory of this package."""

    prefixes: tuple[str, ...]
    search_path: tuple[str, ...]
    package: str


def handled(abi: int) -> Right:
    """What a kernel of that version refuses unless a rule allows it."""
    rights = _OF_ABI_1
    for version, right in ((2, Right.REFER), (3, Right.TRUNCATE), (5, Right.IOCTL_DEV)):
        if abi >= version:
            rights |= right
    return rights


def rules(
    python: Python,
    *,
    process: int,
    scratch: str,
    outputs: Iterable[str],
    temporary: str,
    read: Iterable[str],
    home: str,
) -> list[Rule]:
    """All that a slot may reach, as for a kernel that knows every right."""
    found = [Rule(path, _PROGRAMS) for path in (*_SYSTEM, *python_paths(python, home))]
    found += [Rule(path, _READ) for path in (*_SETTINGS, f"/proc/{process}")]
    found += [Rule(path, _DEVICE) for path in _DEVICES]
    found += [Rule(path, _READ, is_needed=True) for path in (*read, scratch)]
    found += [Rule(path, _OUTPUTS, is_needed=True) for path in outputs]
    found.append(Rule(temporary, _OWN, is_needed=True))
    return found


def python_paths(python: Python, home: str) -> list[str]:
    """What the interpreter and installed packages are read from."""
    paths = [f"{prefix.rstrip('/')}/{part}" for prefix in python.prefixes for part in _OF_A_PREFIX]
    # Beside this package there may be anything: a worker that is one file lies in somebody's home, perhaps.
    beside = python.package.rpartition("/")[0]
    paths += [entry for entry in python.search_path if entry.startswith("/") and entry.rstrip("/") != beside]
    if beside.rpartition("/")[2] in ("site-packages", "dist-packages"):
        paths.append(beside)
    paths.append(python.package)
    return [path for path in dict.fromkeys(paths) if not is_above(path, home)]


def is_above(path: str, home: str) -> bool:
    """Whether to open ``path`` is to open ``home``, or the whole disk."""
    whole = path.rstrip("/")
    return not whole or (bool(home) and f"{home.rstrip('/')}/".startswith(f"{whole}/"))


def rights_of(rule: Rule, abi: int, *, is_directory: bool) -> Right:
    """What of the rule may be said to a kernel of that version about that kind of file."""
    rights = rule.rights & handled(abi)
    return rights if is_directory else rights & OF_FILES


def searched(entries: Sequence[object]) -> tuple[str, ...]:
    """Of ``sys.path`` what names a place."""
    return tuple(entry for entry in entries if isinstance(entry, str) and entry)
