"""The system calls of a sandbox, one method each.

Decides: nothing. Does not know: in which order, or what is done about a refusal. Every method raises OSError with the
kernel's own number. glibc has no functions for Landlock, so calls go by number, which x86_64 and aarch64 share.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Any, Final

_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1

_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


class Kernel:
    """This machine's, for the calling thread, which must be its process's only one."""

    def __init__(self) -> None:
        self.system = sys.platform
        self.machine = platform.machine()
        self.release = platform.release()
        self.user = os.getuid() if sys.platform != "win32" else -1
        # Elsewhere nothing of this is called.
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def threads(self) -> int:
        return len(os.listdir("/proc/self/task"))

    # -- Landlock ----------------------------------------------------------------------------------------

    def landlock_abi(self) -> int:
        """Its version, at least 1. Raises: ENOSYS, EOPNOTSUPP."""
        return self._call(_LANDLOCK_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)

    def create_ruleset(self, abi: int, files: int, tcp: int, scopes: int) -> int:
        """A descriptor. ``abi``: what the kernel does not know yet is not said to it."""
        fields = [files, *([tcp] if abi >= 4 else []), *([scopes] if abi >= 6 else [])]
        attributes = struct.pack(f"={len(fields)}Q", *fields)
        return self._call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)

    def add_rule(self, ruleset: int, descriptor: int, rights: int) -> None:
        rule = struct.pack("=Qi", rights, descriptor)
        self._call(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)

    def restrict_self(self, ruleset: int) -> None:
        self._call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)

    def open_place(self, path: str) -> int:
        """A descriptor that names it and reads nothing."""
        return os.open(path, os.O_PATH | os.O_CLOEXEC)

    def is_directory(self, descriptor: int) -> bool:
        return (os.fstat(descriptor).st_mode & 0o170000) == 0o040000

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    # -- privileges --------------------------------------------------------------------------------------

    def no_new_privileges(self) -> None:
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)

    def drop_capabilities(self) -> None:
        """All of them, and the right to get them back by a program that brings some along."""
        try:
            self._prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
            for capability in range(64):
                self._prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: that was the last one there is. EPERM: it has none to begin with.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        if self._libc.capset(header, bytes(24)) != 0:
            raise _os_error("capset")

    def install_filter(self, program: bytes) -> None:
        instructions = ctypes.create_string_buffer(program, len(program))
        filter_program = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
        self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program)

    def hide_memory(self) -> None:
        """Of this process, from others of the same user."""
        self._prctl(_PR_SET_DUMPABLE, 0)

    # -- namespaces --------------------------------------------------------------------------------------

    def own_namespaces(self) -> None:
        """Of users, network and IPC. The user and group stay what they are."""
        user, group = os.geteuid(), os.getegid()
        if self._libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) != 0:
            raise _os_error("unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "wb", buffering=0) as file:
                file.write(text.encode())

    # ----------------------------------------------------------------------------------------------------

    def _call(self, number: int, *arguments: int | bytes | None) -> int:
        result: int = self._libc.syscall(ctypes.c_long(number), *map(_as_argument, arguments))
        if result < 0:
            raise _os_error(f"system call {number}")
        return result

    def _prctl(self, option: int, *arguments: int | bytes) -> None:
        padded = [*arguments, *[0] * (4 - len(arguments))]
        if self._libc.prctl(option, *map(_as_argument, padded)) != 0:
            raise _os_error(f"prctl {option}")


def _as_argument(value: int | bytes | None) -> ctypes.c_long | bytes | None:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
