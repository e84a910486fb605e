"""How long a crowd of workers takes to join one coordinator on loopback, and how much memory that has then.

The coordinator is a process of its own with a real job. Workers are lightweight: many in each of a few processes, with
real connections, TLS, key exchange, listeners and sessions, but with slots that only sleep. A map task of this job
emits nothing, so all that a slot has to say is that it is done. Time is from the moment when all worker processes are
ready, until the coordinator counts all of them. Exit code 1: a target was missed.

    python bench/joining.py                        500 workers in 2 processes, map tasks of 5 s
    python bench/joining.py --workers 50 --most-seconds 30
    python bench/joining.py --plain coordinator    without `cryptography`, as on a bare Python; or: all
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mincemeat.cluster.outside import Outside
from mincemeat.cluster.worker import Proof, _Worker
from mincemeat.engines.cluster import ClusterEngine
from mincemeat.model import Job, MapReport, Snapshot, UserFunctions
from mincemeat.sinks.memory import MemorySink
from mincemeat.slot_channel import Header
from mincemeat.sources.base import as_source
from mincemeat.wire.handshake import Role

LOOPBACK = "127.0.0.1"
PASSWORD = b"changeme"
# Meant: five hundred people who press Enter in the same second get in before they wonder; and a small server will do.
SECONDS_MOST = 10.0
MEGABYTES_MOST = 300.0


# -- the coordinator's process ----------------------------------------------------------------------------


class Endless:
    """A dict-like datasource with as many records as are asked for, until it is told to end."""

    is_over = False

    def __iter__(self) -> Any:
        number = 0
        while not self.is_over:
            yield number
            number += 1

    def __getitem__(self, key: int) -> int:
        return key


def peak_megabytes() -> float:
    """The largest resident set of this process so far."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def serve(workers: int, partitions: int) -> None:
    """Serve until all have joined and done some work; says so on standard output, a JSON object a line."""
    data = Endless()

    def say(**facts: object) -> None:
        print(json.dumps(facts), flush=True)

    most = 0

    def observe(snapshot: Snapshot) -> None:
        nonlocal most
        if snapshot.workers > most:
            most = snapshot.workers
            say(joined=most, megabytes=peak_megabytes(), tasks=snapshot.map_committed)
        if most >= workers and snapshot.map_committed >= 2 * workers:
            data.is_over = True

    engine = ClusterEngine(password=PASSWORD, host=LOOPBACK, port=0, split=1, on_listening=lambda port: say(port=port))
    job = Job("joining", UserFunctions(), partitions=partitions, backups=False)
    engine.run(job, as_source(data), MemorySink(), observe)
    say(joined=most, megabytes=peak_megabytes(), done=True, cpu=time.process_time())


# -- a process of workers ---------------------------------------------------------------------------------


class SleepingSlot:
    """Says after a while that its map attempt is done, and that there was nothing to emit."""

    def __init__(self, seconds: float, partitions: int) -> None:
        self.prepared = ""
        self._seconds = seconds
        self._partitions = partitions

    async def send(self, header: Header, body: bytes = b"") -> None:
        pass

    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        count = len(header["splits"])
        await asyncio.sleep(self._seconds * count)
        report = MapReport(count, 0, self._seconds * count, 0, (0,) * self._partitions)._asdict()
        report = json.loads(json.dumps(report))  # as it comes from a slot
        return {"did": "done", "attempt": header["attempt"], "report": report}, b""

    def kill(self) -> None:
        pass


class Lightweight(Outside):
    def __init__(self, start_slot: Callable[[], SleepingSlot]) -> None:
        self._start_slot = start_slot

    def start_slot(self) -> SleepingSlot:
        return self._start_slot()

    def sweep_soon(self) -> None:
        pass


def work(port: int, workers: int, seconds: float, partitions: int) -> None:
    """So many workers in this process, which begin when a line comes on standard input."""
    outside = Lightweight(lambda: SleepingSlot(seconds, partitions))

    async def everybody() -> None:
        crowd = [
            _Worker(LOOPBACK, port, Proof(Role.WORKER, PASSWORD), 1, 60.0, False, lambda _: None, outside=outside)
            for _ in range(workers)
        ]
        await asyncio.gather(*(worker.serve() for worker in crowd))

    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(everybody())
    print(json.dumps({"cpu": time.process_time()}), flush=True)


# -- both -------------------------------------------------------------------------------------------------


def without_cryptography() -> None:
    """As in a Python that has nothing installed: see wire/primitives.py."""
    sys.modules["cryptography"] = None  # type: ignore[assignment]


def role(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(options: argparse.Namespace) -> tuple[float, float]:
    """Seconds until all had joined, and the coordinator's peak then, in megabytes."""
    shape = ["--partitions", options.partitions, "--plain", options.plain]
    server = role("--role", "server", "--workers", options.workers, *shape)
    crowds: list[subprocess.Popen[str]] = []
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        for number in range(options.processes):
            share = options.workers // options.processes + (number < options.workers % options.processes)
            arguments = ["--role", port, "--workers", share, "--task-seconds", options.task_seconds, *shape]
            crowds.append(role(*arguments))
        for crowd in crowds:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "ready\n"
        began = time.perf_counter()
        for crowd in crowds:
            assert crowd.stdin is not None
            crowd.stdin.write("go\n")
            crowd.stdin.flush()
        for line in server.stdout:
            facts = json.loads(line)
            if facts["joined"] >= options.workers:
                break
            if options.verbose:
                print(f"{time.perf_counter() - began:6.2f} s: {facts}", file=sys.stderr)
        else:
            raise SystemExit("the server ended before all had joined")
        seconds = time.perf_counter() - began
        rest = server.stdout.readlines()
        ended = json.loads(rest[-1])
        if server.wait(60) or not ended.get("done"):
            raise SystemExit("the job did not end well")
        cpu = [json.loads(crowd.communicate(timeout=60)[0])["cpu"] for crowd in crowds]
        print(
            f"{options.workers} workers joined within {seconds:.2f} s, while {facts['tasks']} tasks were done; the "
            f"coordinator had {facts['megabytes']:.0f} MB then and {ended['megabytes']:.0f} MB at the end; "
            f"seconds of the processor in all: coordinator {ended['cpu']:.1f}, workers {sum(cpu):.1f}"
        )
        return seconds, ended["megabytes"]
    finally:
        for process in (server, *crowds):
            process.kill()
            process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2, help="that the workers share")
    parser.add_argument("--task-seconds", type=float, default=5.0)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--most-seconds", type=float, default=SECONDS_MOST)
    parser.add_argument("--most-megabytes", type=float, default=MEGABYTES_MOST)
    parser.add_argument("--plain", choices=["none", "coordinator", "all"], default="none", help="without cryptography")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None and options.plain in ("all", "coordinator" if options.role == "server" else ""):
        without_cryptography()
    if options.role == "server":
        serve(options.workers, options.partitions)
        return 0
    if options.role is not None:
        work(int(options.role), options.workers, options.task_seconds, options.partitions)
        return 0
    python = f"{platform.python_implementation()} {platform.python_version()}"
    plain = {"none": "", "coordinator": "; the coordinator without cryptography", "all": "; nobody has cryptography"}
    print(f"{python}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}{plain[options.plain]}")
    seconds, megabytes = measure(options)
    missed = [
        sentence
        for is_missed, sentence in (
            (seconds > options.most_seconds, f"joining took more than {options.most_seconds:g} s"),
            (megabytes > options.most_megabytes, f"the coordinator had more than {options.most_megabytes:g} MB"),
        )
        if is_missed
    ]
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
