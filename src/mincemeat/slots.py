"""Slots: child processes that carry out attempts, one at a time.

Decides: how a slot is started, spoken to and ended. Does not know: which attempt should run where, or why.

::

    driver or worker                      slot (slot_main.py)
      SlotProcess --- socket pair (slot_channel.py), both ways ---> runs attempt.py
      describe_exit, kill                                             ends when the socket does

A slot is a fresh interpreter rather than a fork: it inherits no threads, locks or sockets of the caller, behaves the
same on every platform, and may crash without taking anything along. Its parent trusts nothing that comes back: headers
are JSON, bodies stay bytes. What user code prints goes to the parent's standard error, so that results can be piped.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mincemeat.interpreters import another
from mincemeat.slot_channel import Header, encode


class Room(NamedTuple):
    """What a slot is started with if it shall not have all that its parent has.

    ``environment`` instead of the parent's; ``output``: the descriptor that it prints to; ``message``: the first that
    it gets, before anything else is said to it.
    """

    environment: Mapping[str, str]
    output: int
    message: Header


class SlotProcess:
    """One running slot, seen from its parent. ``channel`` is the parent's end of the socket pair.

    The owner reads ``channel`` (blocking, selector or asyncio, as it likes) and feeds a Decoder; end of file means that
    the process is ending or has ended, and ``describe_exit`` says how.
    """

    def __init__(self, *, forked: Callable[[int], None] | None = None, room: Room | None = None) -> None:
        """``forked``: slot_main.main, of a process with one thread and no secrets; without it another interpreter.

        ``room``: only for the latter.
        """
        _occupy_standard_descriptors()
        parent, child = socket.socketpair()
        try:
            self._process: subprocess.Popen[bytes] | _ForkedProcess = (
                _start(child, room) if forked is None else _fork(child, forked)
            )
        except BaseException:
            parent.close()
            raise
        finally:
            child.close()
        self.channel = parent
        if room is not None:
            self.send(room.message)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, header: Header, body: bytes = b"") -> None:
        """Hand the slot one message; blocks until the kernel took it. A slot that has died is noticed when reading."""
        try:
            self.channel.sendall(encode(header, body))
        except (BrokenPipeError, ConnectionResetError):
            pass

    @property
    def exit_code(self) -> int:
        """As of ``subprocess``, negative for a signal; 0 while it runs."""
        return self._process.returncode or 0

    def describe_exit(self) -> str:
        """How the process ended, in words; waits for it (the channel is already closed at its end)."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its channel without ending"
        kill_group(self._process)  # what user code started goes with it
        return describe_exit_code(code)

    def kill(self) -> None:
        """End the process and what it started, at once, and reap it. May be called again."""
        self.channel.close()
        if self._process.returncode is None:  # not reaped yet, so the number is its own still
            kill_group(self._process)
        self._process.wait()


def describe_exit_code(code: int) -> str:
    """How a process ended with ``code``, which is negative for a signal, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; out of memory?" if name == "SIGKILL" else ""
    return f"was killed by signal {-code} ({name}{hint})"


def _start(child: socket.socket, room: Room | None = None) -> subprocess.Popen[bytes]:
    output = error_output() if room is None else room.output
    common: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
    if room is not None:
        common["env"] = room.environment
    if sys.platform == "win32":
        # A socket handle cannot be inherited by number there: it is shared with the process once that has an id.
        common["stdin"] = subprocess.PIPE
        process = subprocess.Popen(
            another("mincemeat.slot_main", None).command,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
            **common,
        )
        assert process.stdin is not None
        process.stdin.write(child.share(process.pid))
        process.stdin.close()
        return process
    # A session of its own: Ctrl-C in the terminal reaches only the parent, and killing the group gets grandchildren.
    interpreter = another("mincemeat.slot_main", child.fileno())
    return subprocess.Popen(
        interpreter.command,
        pass_fds=[child.fileno(), *interpreter.descriptors],
        start_new_session=True,
        **common,
    )


def error_output() -> int:
    """Where children may print: our standard error if there is one, else nowhere."""
    if sys.__stderr__ is None:  # closed before we began: what has its number now is not for printing
        return subprocess.DEVNULL
    try:
        os.fstat(2)
    except OSError:  # a daemon without standard error
        return subprocess.DEVNULL
    return 2


def _occupy_standard_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2, so that no channel gets such a number.

    A child's own streams would take the place of its end, and whatever prints by number would write into ours.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


class _ForkedProcess:
    """What is used here of ``subprocess.Popen``, for a child that is no other program."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal. Raises: TimeoutExpired."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, 0 if give_up_at is None else os.WNOHANG)
            except ChildProcessError:  # somebody else reaped it
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif give_up_at is not None and time.monotonic() >= give_up_at:
                raise subprocess.TimeoutExpired("slot", timeout or 0.0)
            else:
                time.sleep(0.001)
        return self.returncode

    def kill(self) -> None:
        """Does nothing once it is reaped, as that of ``Popen``: its number may be another process's by then."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _fork(channel: socket.socket, main: Callable[[int], None]) -> _ForkedProcess:
    """As ``_start``, without another interpreter."""
    pid = os.fork()
    if pid:
        return _ForkedProcess(pid)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        number = channel.detach()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.closerange(3, number)
        os.closerange(number + 1, os.sysconf("SC_OPEN_MAX"))
        main(number)
        code = 0
    except BaseException:  # noqa: BLE001 - it must not go on in what was the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def kill_group(process: subprocess.Popen[bytes] | _ForkedProcess) -> None:
    """Kill a child that leads its own process group, and all that is in it."""
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        else:
            return
    process.kill()
