"""This command once more, by the file as it is now: how a worker that was updated goes on.

Decides: how the password gets over without being typed again, and without standing where others read. Does not know:
why it is started again.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final, NoReturn

# The number of a descriptor that the password can be read from. That it is there says that this is the second start.
VARIABLE: Final = "MINCEMEAT_STARTED_AGAIN"


def start_again(password: str) -> NoReturn:
    """Become the interpreter that runs this same command line. Raises: OSError."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "wb", buffering=0) as pipe:
        pipe.write(password.encode("utf-8", "surrogateescape"))  # a pipe takes more than anybody can remember
    os.set_inheritable(reader, True)
    os.environ[VARIABLE] = str(reader)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def password_handed_on() -> str | None:
    """The password that this process had before it was started again; None if it was not.

    The variable is removed from the environment, as the password's own is.
    """
    number = os.environ.pop(VARIABLE, "")
    if not number.isdecimal():
        return None
    try:
        with open(int(number), "rb") as pipe:
            return pipe.read().decode("utf-8", "surrogateescape")
    except OSError:
        return None
