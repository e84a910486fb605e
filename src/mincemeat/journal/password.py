"""The password that a coordinator generated, for the one that goes on: its workers know no other.

Decides: where it lies, who may read it, and when what lies there is not believed. Does not know: what it is for. A
password that a person gave is never written: that person has it.

Threat: who reads this file can join the job, take its code and data, and give it wrong results. It is made for its
owner alone, in a directory for its owner alone, and goes with the journal. A file that another user owns, that others
may read or that is no plain file was not made here (the directory may be in a place where everybody may write), and
is not taken for the password: whoever laid it there would know it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Final

PASSWORD: Final = "password"

_FORM: Final = re.compile(r"[A-Za-z0-9]{16,64}\n")
_BYTES_MAX: Final = 65


def read_password(directory: str) -> str:
    """What was kept in ``directory``; "" for nothing that can be believed."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(os.path.join(directory, PASSWORD), flags)
    except OSError:
        return ""
    try:
        if not _is_ours(os.fstat(descriptor)):
            return ""
        text = os.read(descriptor, _BYTES_MAX + 1).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return text.rstrip("\n") if _FORM.fullmatch(text) else ""


def keep_password(directory: str, password: str) -> None:
    """Write it in place of what is there. Raises: OSError."""
    path = os.path.join(directory, PASSWORD)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    # Exclusively: what another user put here meanwhile is not written to.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        os.write(descriptor, f"{password}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    # Windows knows no such owners and modes.
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
