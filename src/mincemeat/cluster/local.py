"""Workers that a server starts beside itself, on its own machine.

Decides: how they are started, told the password (through a pipe, never on a command line) and ended. Does not know:
whether they are needed still.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from mincemeat import limits
from mincemeat.slots import SlotProcess, error_output

# As long as a worker that was told to end may need to end its slots and remove its files.
_GRACE_SECONDS = 3.0

_BOOTSTRAP = "import sys; sys.path.insert(0, {root!r}); from mincemeat.cluster.local import main; main()"


class LocalWorkers:
    """The child processes of one server run.

    They are started before there is a server to be told of, so that they boot while it gets ready.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start ``count`` workers of one slot each, which wait for ``introduce``."""
        root = str(Path(__file__).resolve().parent.parent.parent)
        for _ in range(count):
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOTSTRAP.format(root=root)],
                    stdin=subprocess.PIPE,
                    stderr=error_output(),
                    stdout=error_output(),  # the server's own output may be somebody's input
                    start_new_session=True,  # Ctrl-C reaches the server, which then ends its workers
                )
            )

    def introduce(self, host: str, port: int, secret: bytes) -> None:
        """Have all of them join ``host``:``port``."""
        introduction = json.dumps({"host": host, "port": port, "secret": secret.hex()}).encode("ascii")
        for process in self._processes:
            assert process.stdin is not None
            try:
                with process.stdin as pipe:
                    pipe.write(introduction)
            except OSError:
                pass  # it has ended already, which describe_end tells

    def describe_end(self) -> str:
        """How they ended if all of them have, in words; "" while one runs, and if there is none."""
        codes = [process.poll() for process in self._processes]
        if not codes or None in codes:
            return ""
        return f"all {len(codes)} local workers have ended, with the exit codes {', '.join(map(str, codes))}"

    def stop(self) -> None:
        """End them: politely, so that they remove their files, and after a while without asking."""
        for process in self._processes:
            process.terminate()
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def main() -> None:
    """The entry point of a local worker: joins the server that its standard input introduces."""
    # Before anything else is imported: SIGTERM means what Ctrl-C means, also where a shell had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)
    try:
        slot = SlotProcess()
        try:
            _import_what_joining_needs()
            if introduction := sys.stdin.read():  # the server may have ended before there was one
                _join(json.loads(introduction), slot)
        finally:
            slot.kill()
    except KeyboardInterrupt:
        pass


def _import_what_joining_needs() -> None:
    """While the server gets ready, and not when it waits for this worker."""
    for name in ("mincemeat.cluster.worker", "cryptography.x509", "cryptography.hazmat.primitives.asymmetric.x25519"):
        importlib.import_module(name)


def _end(number: int, frame: FrameType | None) -> None:
    """asyncio.run makes a cancellation of SIGINT, behind which the worker cleans up.

    Before and after it there is nothing to clean up, and a KeyboardInterrupt while it closes, or while the interpreter
    does, would be told on the server's terminal: the signal often comes just behind the good-bye.
    """
    del number, frame
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        os._exit(0)
    signal.raise_signal(signal.SIGINT)


def _join(introduction: dict[str, Any], slot: SlotProcess) -> None:
    from mincemeat.cluster.worker import serve
    from mincemeat.errors import MincemeatError

    secret = bytes.fromhex(introduction["secret"])
    try:
        # The server is there; when many start at once, some of them have to try again.
        serve(
            introduction["host"], introduction["port"], secret, slots=1, wait_seconds=limits.LEASE_SECONDS, first=slot
        )
    except MincemeatError as error:
        sys.exit(f"mincemeat: local worker: {error}")
