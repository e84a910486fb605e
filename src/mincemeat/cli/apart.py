"""A call in a child process, for what may end the process that it runs in.

Decides: how its answer comes back, and what is said where none does. Does not know: what is called.

A fork rather than a new interpreter: the job file is loaded and the record is at hand, as they are here, and what the
call writes goes where this process writes.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from mincemeat.slots import describe_exit_code

CAN_FORK: Final = hasattr(os, "fork")
_YES, _NO = b"y", b"n"


class ProcessEnded(Exception):
    """The call gave no answer: its text is how the process ended, "exited with code 3"."""


def call_apart(call: Callable[[], bool]) -> bool:
    """What ``call`` answers in a child process; its exit code is not asked, since ``os._exit(0)`` is no answer.

    Raises: ProcessEnded; KeyboardInterrupt, after which the child is gone.
    """
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # closed
            stream.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    try:
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        # What it forked may live on and hold the other end.
        os.set_blocking(reading, False)
        with suppress(BlockingIOError):
            if answer := os.read(reading, 1):
                return answer == _YES
        raise ProcessEnded(describe_exit_code(os.waitstatus_to_exitcode(status)))
    finally:
        os.close(reading)


def _answer(call: Callable[[], bool], writing: int) -> NoReturn:
    """The child's part. It leaves by ``os._exit``: what is to be done at the end is its parent's to do."""
    own = os.getpid()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):  # the parent's way to end
                signal.signal(number, signal.SIG_DFL)
        answer = call()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError, OSError):
                stream.flush()
        if os.getpid() == own:  # the call may have forked, and come back twice
            os.write(writing, _YES if answer else _NO)
    except BaseException:  # noqa: BLE001 - a fault of ours, and nobody above is to go on
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
