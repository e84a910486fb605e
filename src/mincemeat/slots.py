"""Slots: child processes that carry out attempts, one at a time.

Decides: how a slot is started, spoken to and ended. Does not know: which attempt should run where, or why.

::

    driver or worker                      slot (slot_main.py)
      SlotProcess --- socket pair: JSON header + body, both ways ---> runs attempt.py
      describe_exit, kill                                             ends when the socket does

A slot is a fresh interpreter rather than a fork: it inherits no threads, locks or sockets of the caller, behaves the
same on every platform, and may crash without taking anything along. Its parent trusts nothing that comes back: headers
are JSON, bodies stay bytes. What user code prints goes to the parent's standard error, so that results can be piped.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from mincemeat.model import Failure, FailureKind

Header = dict[str, Any]

_PREFIX: Final = struct.Struct(">II")
_RECEIVE_BYTES: Final = 256 * 1024

# -P: the current directory must not shadow the standard library (a script called random.py beside the user's own).
_BOOTSTRAP: Final = "import sys; sys.path.insert(0, {root!r}); from mincemeat.slot_main import main; main({channel})"


def encode(header: Header, body: bytes = b"") -> bytes:
    """One message to or from a slot: two lengths, the header as JSON, the body as it is."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    return _PREFIX.pack(len(text), len(body)) + text + body


class Decoder:
    """Bytes from the socket pair in, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        """Messages that are complete now, in order."""
        buffer = self._buffer
        buffer += data
        messages: list[tuple[Header, bytes]] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            header_bytes, body_bytes = _PREFIX.unpack_from(buffer, start)
            body_start = start + _PREFIX.size + header_bytes
            end = body_start + body_bytes
            if len(buffer) < end:
                break
            header = json.loads(bytes(buffer[start + _PREFIX.size : body_start]))
            messages.append((header, bytes(buffer[body_start:end])))
            start = end
        if start:
            del buffer[:start]
        return messages


def receive(channel: socket.socket) -> tuple[Header, bytes]:
    """The next message, waiting for it. Raises: EOFError when the other end is gone."""
    header_bytes, body_bytes = _PREFIX.unpack(_receive_exactly(channel, _PREFIX.size))
    header = json.loads(_receive_exactly(channel, header_bytes))
    return header, _receive_exactly(channel, body_bytes)


def _receive_exactly(channel: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = channel.recv(min(size, _RECEIVE_BYTES))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_failure(header: Header, body: bytes) -> Failure:
    """The failure that a slot's ``failed`` reply tells."""
    return Failure(
        kind=FailureKind(header["kind"]),
        message=header["message"],
        function=header["function"],
        key=header["key"],
        exception_type=header["exception_type"],
        traceback=header["traceback"],
        exception=body,
    )


def crash_failure(how: str) -> Failure:
    """The slot is gone; ``how`` is what ``describe_exit`` said."""
    return Failure(FailureKind.CRASH, f"the process that ran the user's function {how}")


def timeout_failure(seconds: float) -> Failure:
    """The attempt was ended because it ran longer than ``seconds``."""
    return Failure(
        FailureKind.TIMEOUT,
        f"the attempt ran longer than task_timeout={seconds:g} seconds and was ended",
        exception_type="TimeoutError",
    )


class SlotProcess:
    """One running slot, seen from its parent. ``channel`` is the parent's end of the socket pair.

    The owner reads ``channel`` (blocking, selector or asyncio, as it likes) and feeds a Decoder; end of file means that
    the process is ending or has ended, and ``describe_exit`` says how.
    """

    def __init__(self) -> None:
        parent, child = socket.socketpair()
        try:
            self._process = _start(child)
        except BaseException:
            parent.close()
            raise
        finally:
            child.close()
        self.channel = parent

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, header: Header, body: bytes = b"") -> None:
        """Hand the slot one message; blocks until the kernel took it. A slot that has died is noticed when reading."""
        try:
            self.channel.sendall(encode(header, body))
        except (BrokenPipeError, ConnectionResetError):
            pass

    def describe_exit(self) -> str:
        """How the process ended, in words; waits for it (the channel is already closed at its end)."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its channel without ending"
        if code >= 0:
            return f"exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        hint = "; out of memory?" if name == "SIGKILL" else ""
        return f"was killed by signal {-code} ({name}{hint})"

    def kill(self) -> None:
        """End the process and what it started, at once, and reap it. May be called again."""
        self.channel.close()
        if self._process.poll() is None:
            _kill_group(self._process)
        self._process.wait()


def _start(child: socket.socket) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent)
    common: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": error_output()}
    if sys.platform == "win32":
        # A socket handle cannot be inherited by number there: it is shared with the process once that has an id.
        common["stdin"] = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOTSTRAP.format(root=root, channel=None)],
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
            **common,
        )
        assert process.stdin is not None
        process.stdin.write(child.share(process.pid))
        process.stdin.close()
        return process
    # A session of its own: Ctrl-C in the terminal reaches only the parent, and killing the group gets grandchildren.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOTSTRAP.format(root=root, channel=child.fileno())],
        pass_fds=[child.fileno()],
        start_new_session=True,
        **common,
    )


def error_output() -> int:
    """Where children may print: our standard error if there is one, else nowhere."""
    try:
        os.fstat(2)
    except OSError:  # a daemon without standard error
        return subprocess.DEVNULL
    return 2


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        else:
            return
    process.kill()
