"""Workers that a server starts beside itself, on its own machine.

Decides: how they are started, told the password (through a pipe, never on a command line) and ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mincemeat.slots import error_output

# As long as a worker may need to hear the good-bye and remove its files.
_GRACE_SECONDS = 3.0

_BOOTSTRAP = "import sys; sys.path.insert(0, {root!r}); from mincemeat.cluster.local import main; main()"


class LocalWorkers:
    """The child processes of one server run."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int, host: str, port: int, secret: bytes) -> None:
        """Start ``count`` workers of one slot each, which join ``host``:``port``."""
        root = str(Path(__file__).resolve().parent.parent.parent)
        introduction = json.dumps({"host": host, "port": port, "secret": secret.hex()}).encode("ascii")
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOTSTRAP.format(root=root)],
                stdin=subprocess.PIPE,
                stdout=error_output(),  # the server's own output may be somebody's input
                start_new_session=True,  # Ctrl-C reaches the server, which then ends its workers
            )
            self._processes.append(process)
            assert process.stdin is not None
            process.stdin.write(introduction)
            process.stdin.close()

    def stop(self) -> None:
        """Wait a little for the workers to leave by themselves, then end them."""
        for process in self._processes:
            try:
                process.wait(timeout=_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


def main() -> None:
    """The entry point of a local worker: joins the server that its standard input introduces."""
    from mincemeat.cluster.worker import serve
    from mincemeat.errors import MincemeatError

    introduction = json.load(sys.stdin)
    try:
        secret = bytes.fromhex(introduction["secret"])
        serve(introduction["host"], introduction["port"], secret, slots=1, wait_seconds=0)
    except MincemeatError as error:
        sys.exit(f"mincemeat: local worker: {error}")
