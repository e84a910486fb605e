"""What the one file costs at the start: ``python bench/onefile.py [ROUNDS]``.

Package and mincemeat.py, in alternation, by the same interpreter: a job of one record by ``mincemeat run``, a worker
from its start to the end of such a job on a server that waits for it, and ``--version`` for interpreter and parser
alone. The package is compiled on the disk, as pip leaves it.
"""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mincemeat
from mincemeat.onefile.building import build

JOB = "datasource = [1]\n\ndef mapfn(key, value):\n    yield key, value\n"


def identity(key: int, value: int) -> list[tuple[int, int]]:
    return [(key, value)]


def seconds_of(command: list[str], *words: str) -> float:
    started = time.perf_counter()
    subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def processor_seconds() -> float:
    """Of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def seconds_of_worker(command: list[str]) -> float:
    """From its start to the results."""
    started: list[float] = []
    workers: list[subprocess.Popen[bytes]] = []

    def join(port: int) -> None:
        started.append(time.perf_counter())
        workers.append(subprocess.Popen([*command, "-p", "secret", "-P", str(port), "127.0.0.1"]))

    server = mincemeat.Server([1], identity, on_listening=join, progress=False, preflight=False)
    server.run_server(password="secret", port=0, host="127.0.0.1")
    took = time.perf_counter() - started[0]
    workers[0].wait()
    return took


def main(rounds: int = 10) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file, job = Path(scratch, "mincemeat.py"), Path(scratch, "job.py")
        file.write_bytes(build())
        job.write_text(JOB, "ascii")
        ways = {"package": [sys.executable, "-m", "mincemeat"], "one file": [sys.executable, str(file)]}
        compileall.compile_dir(mincemeat.__path__[0], quiet=1)
        measured: dict[str, Callable[[list[str]], float]] = {
            "--version": lambda way: seconds_of(way, "--version"),
            "run": lambda way: seconds_of(way, "run", str(job), "--no-progress"),
            "worker": seconds_of_worker,
        }
        for what, measure in measured.items():
            times: dict[str, list[float]] = {name: [] for name in ways}
            processor: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    before = processor_seconds()
                    times[name].append(measure(way))
                    processor[name].append(processor_seconds() - before)
            for name, values in times.items():
                spent = statistics.median(processor[name])
                print(
                    f"{what:>10}  {name:>8}: median {statistics.median(values):.3f} s, least {min(values):.3f} s; "
                    f"of processors {spent:.2f} s"
                )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
