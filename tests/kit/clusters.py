"""Real clusters on loopback for tests: a server in the test's own thread, workers in threads or processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mincemeat

LOOPBACK = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]


class ClientThread(threading.Thread):
    """``Client().conn(...)`` in a thread; keeps what it raised."""

    def __init__(self, port: int, password: str | bytes, slots: int = 1) -> None:
        super().__init__(daemon=True)
        self.client = mincemeat.Client(slots=slots)
        self.client.password = password
        self.port = port
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.client.conn(LOOPBACK, self.port)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error


def run_server(
    server: mincemeat.Server,
    *,
    clients: int = 1,
    password: str | bytes = "changeme",
    client_password: str | bytes | None = None,
    slots: int = 1,
    on_listening: Callable[[int], None] | None = None,
) -> dict[Any, Any]:
    """Run ``server`` on a free loopback port with so many clients in threads; its results."""
    threads: list[ClientThread] = []

    def join(port: int) -> None:
        for _ in range(clients):
            thread = ClientThread(port, password if client_password is None else client_password, slots)
            thread.start()
            threads.append(thread)
        if on_listening is not None:
            on_listening(port)

    server.on_listening = join
    server.progress = False
    try:
        return server.run_server(password=password, port=0, host=LOOPBACK)
    finally:
        for thread in threads:
            thread.join(timeout=20)
            assert not thread.is_alive(), "a client did not come back"


def worker_command(port: int, *options: str, prelude: str = "") -> list[str]:
    """The command line of a worker; one that runs ``prelude`` first if there is any."""
    start = ["-c", f"{prelude}; import mincemeat; mincemeat.run_client()"] if prelude else ["-m", "mincemeat"]
    return [sys.executable, *start, "-P", str(port), *options, LOOPBACK]


@contextmanager
def worker_process(
    port: int,
    *options: str,
    password: str = "changeme",
    prelude: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A worker as a user starts it; ended when the block is left."""
    process = subprocess.Popen(
        worker_command(port, *options, prelude=prelude),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {}), "MINCEMEAT_PASSWORD": password},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_script(source: str, directory: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``source`` as a user's script called job.py in ``directory``."""
    script = directory / "job.py"
    script.write_text(source, "utf-8")
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=directory,
        check=False,
    )
