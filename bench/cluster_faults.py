"""What killed and slow workers cost a real cluster: 20 worker processes on loopback, with tasks that sleep.

The shape is that of bench/stragglers.py, of the paper's sort, at 20 workers of one slot: 172 map tasks (8.6 for each
worker) and 46 reduce tasks (2.3 for each), which take 15 times as long. Tasks sleep, so two cores do for 20 workers;
everything else is real: processes, TLS, blocks that are fetched, kill -9. The clock starts when every worker has begun
a map task, and stops when the last reduce task is committed; results are compared with what they have to be.

    nothing   nothing happens; the others are compared with the same round of it
    killed    kill -9 of 2 of the 20 (11.5 % would be 2.3) at half of that time; started again at once, or gone
    slow      one worker sleeps ten times as long, with backup attempts and without

    python bench/cluster_faults.py                          3 rounds of all; about 8 minutes
    python bench/cluster_faults.py --rounds 1 --only nothing --map-seconds 0.1 --reduce-seconds 0.5 --workers 4
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mincemeat import limits
from mincemeat.engines.cluster import ClusterEngine
from mincemeat.model import Job, Snapshot, UserFunctions
from mincemeat.sinks.memory import MemorySink
from mincemeat.sources.base import as_source

LOOPBACK = "127.0.0.1"
PASSWORD = "changeme"
MAPS_PER_WORKER = 8.6
REDUCES_PER_WORKER = 2.3
SLOWNESS = "MINCEMEAT_BENCH_SLOWNESS"
SLOW_FACTOR = 10
PATIENCE_SECONDS = 120.0


class Shape(NamedTuple):
    workers: int
    map_seconds: float
    reduce_seconds: float

    @property
    def maps(self) -> int:
        return round(self.workers * MAPS_PER_WORKER)

    @property
    def reduces(self) -> int:
        return round(self.workers * REDUCES_PER_WORKER)


def functions(shape: Shape, directory: Path) -> UserFunctions:
    """Each map task has a value for each reduce task, which adds them up."""
    gate, reduces, map_seconds, reduce_seconds = str(directory / "go"), shape.reduces, *shape[1:]

    def sleep(seconds: float) -> None:
        time.sleep(seconds * float(os.environ.get(SLOWNESS, "1")))

    def mapfn(key: int, note: str) -> Iterator[tuple[int, int]]:
        Path(f"{note}.{os.getppid()}").touch()
        while not os.path.exists(gate):
            time.sleep(0.01)
        sleep(map_seconds)
        for partition in range(reduces):
            yield partition, key

    def reducefn(key: int, values: list[int]) -> int:
        sleep(reduce_seconds)
        return sum(values)

    return UserFunctions(mapfn, reducefn, partitionfn=lambda key: key)


class Run:
    """One job on a cluster of its own. ``seconds`` is how long it took."""

    def __init__(self, shape: Shape, directory: Path, *, backups: bool = True, slow: bool = False) -> None:
        self._shape = shape
        self._directory = directory
        self._slow = slow
        self.workers: list[subprocess.Popen[bytes]] = []
        self._port = 0
        self._snapshot = Snapshot("")
        self._ended_at = 0.0
        self._sink = MemorySink()
        self._data = {number: str(directory / f"{number}.started") for number in range(shape.maps)}
        self._job = Job(
            "faults",
            functions(shape, directory),
            partitions=shape.reduces,
            reduce_task_bytes=1,
            backups=backups,
        )
        self._engine = ClusterEngine(password=PASSWORD, host=LOOPBACK, port=0, split=1, on_listening=self._listening)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _listening(self, port: int) -> None:
        self._port = port

    def _serve(self) -> None:
        self._engine.run(self._job, as_source(self._data), self._sink, self._observe)

    def _observe(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if snapshot.reduce_total and snapshot.reduce_committed == snapshot.reduce_total:
            self._ended_at = self._ended_at or time.monotonic()

    def start_worker(self, slowness: int = 1) -> None:
        command = [sys.executable, "-m", "mincemeat", "-n", "1", "-P", str(self._port), LOOPBACK]
        environment = {**os.environ, "MINCEMEAT_PASSWORD": PASSWORD, SLOWNESS: str(slowness)}
        self.workers.append(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        )

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise SystemExit(f"did not happen within {PATIENCE_SECONDS:g} s: {what}; {self._snapshot}")
            time.sleep(0.02)

    def carry_out(self, at: float | None = None, then: Callable[[Run], None] | None = None) -> float:
        """Seconds from when all had begun. ``then`` is done ``at`` so many of them."""
        try:
            self._thread.start()
            self._wait(lambda: self._port != 0, "the server listens")
            for number in range(self._shape.workers):
                self.start_worker(SLOW_FACTOR if self._slow and not number else 1)
            self._wait(lambda: len(list(self._directory.glob("*.started.*"))) >= self._shape.workers, "all have begun")
            began = time.monotonic()
            (self._directory / "go").touch()
            if at is not None and then is not None:
                time.sleep(max(0.0, began + at - time.monotonic()))
                then(self)
            self._thread.join(PATIENCE_SECONDS)
            if self._thread.is_alive() or not self._ended_at:
                raise SystemExit(f"the job did not end; {self._snapshot}")
            right = {partition: sum(range(self._shape.maps)) for partition in range(self._shape.reduces)}
            if self._sink.results != right:
                raise SystemExit("the results are not what they have to be")
            return self._ended_at - began
        finally:
            for worker in self.workers:
                worker.kill()
                worker.wait()


def kill(count: int, restart: bool) -> Callable[[Run], None]:
    def strike(run: Run) -> None:
        for worker in run.workers[:count]:
            worker.kill()
        if restart:
            for _ in range(count):
                run.start_worker()

    return strike


def measure(name: str, shape: Shape, ideal: float, killed: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        match name:
            case "nothing":
                return Run(shape, path).carry_out()
            case "killed":
                return Run(shape, path).carry_out(ideal / 2, kill(killed, restart=True))
            case "gone":
                return Run(shape, path).carry_out(ideal / 2, kill(killed, restart=False))
            case "slow":
                return Run(shape, path, slow=True).carry_out()
            case _:
                return Run(shape, path, slow=True, backups=False).carry_out()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--killed", type=int, default=2)
    parser.add_argument("--map-seconds", type=float, default=0.2)
    parser.add_argument("--reduce-seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="experiments besides nothing, by name")
    options = parser.parse_args()
    limits.SPLITS_PER_ATTEMPT_MAX = 1  # type: ignore[misc]  # as many attempts as tasks, as in the paper
    shape = Shape(options.workers, options.map_seconds, options.reduce_seconds)
    titles = {
        "nothing": "nothing happens",
        "killed": f"{options.killed} of {shape.workers} killed at half of it, started again",
        "gone": f"{options.killed} of {shape.workers} killed at half of it, and gone",
        "slow": f"one worker {SLOW_FACTOR} times slower",
        "waiting": f"one worker {SLOW_FACTOR} times slower, no backup attempts",
    }
    chosen = [name for name in titles if name == "nothing" or not options.only or name in options.only]
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    load = os.getloadavg()[0]
    for _ in range(options.rounds):
        for name in chosen:
            ideal = seconds["nothing"][-1] if seconds["nothing"] else 0.0
            seconds[name].append(measure(name, shape, ideal, options.killed))
            print(json.dumps({name: round(seconds[name][-1], 2)}), file=sys.stderr, flush=True)
    maps, reduces = f"{shape.maps} map tasks of {shape.map_seconds:g} s", f"{shape.reduces} reduce tasks"
    print(f"{shape.workers} workers, {maps} and {reduces} of {shape.reduce_seconds:g} s")
    print(f"{options.rounds} rounds, medians (least to most)")
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, load before {load:.1f}\n")
    print("| | seconds | times as long |\n| --- | --- | --- |")
    for name in chosen:
        ratios = [took / ideal for took, ideal in zip(seconds[name], seconds["nothing"], strict=True)]
        print(f"| {titles[name]} | {spread(seconds[name], '.1f')} | {spread(ratios, '.2f')} |")
    return 0


def spread(numbers: list[float], form: str) -> Any:
    return f"{statistics.median(numbers):{form}} ({min(numbers):{form}}–{max(numbers):{form}})"


if __name__ == "__main__":
    sys.exit(main())
