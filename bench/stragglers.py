"""The experiments of Dean and Ghemawat (2004, section 5), with the real scheduler in a simulated cluster of their size.

1,746 workers of one slot, 15,000 map and 4,000 reduce tasks, as their sort had. Time is simulated: events go to the
machine of mincemeat.scheduler, whose instructions make further events, so a run of minutes takes seconds. As in
their figure 3, map tasks take 20 s and reduce tasks 300 s. How long a task takes varies (log-normal, --task-sigma), and
how long an attempt of it does. The first fifth of a reduce attempt is fetching; ticks come each half second.

What happens, each compared with the same seed where nothing happens:

    killed    200 of the workers at a quarter, half and three quarters of that time, and their outputs are lost; they
              start again at once, as the paper's did (+5 %: 933 s instead of 891), or stay away
    slow      one worker takes ten times as long for everything, with backup attempts and without (the paper's sort took
              44 % longer without: 1,283 s)

    python bench/stragglers.py                      5 seeds, medians and spread as a table in Markdown
    python bench/stragglers.py --workers 100 --maps 900 --reduces 230 --killed 11 --seeds 1

Exit code 1: with the kills at half of the time the median takes more than 5 % longer, or with the slow worker and
backups more than 1.3 times as long.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mincemeat.model import AttemptId, Phase
from mincemeat.scheduler import (
    AttemptDone,
    BlocksUnreachable,
    CancelAttempt,
    Event,
    FinishJob,
    InputExhausted,
    Machine,
    ProduceSplit,
    SplitsProduced,
    StartAttempt,
    Tick,
    WorkerJoined,
    WorkerLeft,
)

MAP_SECONDS = 20.0
REDUCE_SECONDS = 300.0
# Sorting keys that are evenly spread is even work; machines differ a little.
TASK_SIGMA = 0.05
ATTEMPT_SIGMA = 0.1
FETCHING_SHARE = 0.2
TICK_SECONDS = 0.5
# How long until the end of a connection is heard of, and until a killed worker has started again.
NOTICE_SECONDS = 0.1
RESTART_SECONDS = 5.0

KILLED_MOST = 1.05
SLOW_MOST = 1.3


class Shape(NamedTuple):
    workers: int
    maps: int
    reduces: int
    killed: int
    slow_factor: float
    task_sigma: float


class Cluster:
    """One run of one job. ``seconds`` is the simulated time at its end."""

    def __init__(
        self,
        shape: Shape,
        seed: int,
        *,
        backups: bool = True,
        kill_at: float | None = None,
        restart: bool = True,
        has_slow_worker: bool = False,
    ) -> None:
        self._shape = shape
        self._seed = seed
        self._chance = random.Random(f"{seed} attempts")
        self._machine = Machine(partitions=shape.reduces, reduce_task_bytes=1, lease_seconds=1e9, backups=backups)
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now = 0.0
        self._splits = 0
        self._names = (f"10.0.{number >> 8}.{number & 255}:1" for number in itertools.count())
        # What each worker runs: from when, for how long.
        self._running: dict[str, dict[AttemptId, tuple[float, float]]] = {}
        self.seconds = 0.0
        self.attempts = 0
        first = [self._join() for _ in range(shape.workers)]
        self._slow_worker = random.Random(f"{seed} slow").choice(first) if has_slow_worker else ""
        if kill_at is not None:
            victims = random.Random(f"{seed} killed").sample(first, shape.killed)
            self._at(kill_at, lambda: self._kill(victims, restart))
        self._at(TICK_SECONDS, self._tick)
        while not self.seconds:
            self._now, _, call = heapq.heappop(self._calls)
            call()

    def _at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (when, next(self._order), call))

    def _send(self, event: Event) -> None:
        for instruction in self._machine.handle(event, self._now):
            match instruction:
                case StartAttempt(worker=worker, attempt=attempt):
                    self._start(worker, attempt)
                case CancelAttempt(worker=worker, attempt=attempt):
                    self._running.get(worker, {}).pop(attempt, None)
                case ProduceSplit():
                    self._at(self._now, self._produce)
                case FinishJob():
                    self.seconds = self._now

    def _tick(self) -> None:
        self._send(Tick())
        self._at(self._now + TICK_SECONDS, self._tick)

    def _join(self) -> str:
        name = next(self._names)
        self._running[name] = {}
        self._at(self._now, lambda: self._send(WorkerJoined(name, 1, host=name)))
        return name

    def _produce(self) -> None:
        if self._splits < self._shape.maps:
            self._splits += 1
            self._send(SplitsProduced(self._splits - 1))
        else:
            self._send(InputExhausted())

    # -- attempts ----------------------------------------------------------------------------------------

    def _start(self, worker: str, attempt: AttemptId) -> None:
        if worker not in self._running:
            return  # killed, which the machine has not heard of yet
        self.attempts += 1
        median = MAP_SECONDS if attempt.task.phase is Phase.MAP else REDUCE_SECONDS
        own = random.Random(f"{self._seed} {attempt.task}").lognormvariate(0, self._shape.task_sigma)
        seconds = median * own * self._chance.lognormvariate(0, ATTEMPT_SIGMA)
        if worker == self._slow_worker:
            seconds *= self._shape.slow_factor
        self._running[worker][attempt] = (self._now, seconds)
        self._at(self._now + seconds, lambda: self._end(worker, attempt))

    def _end(self, worker: str, attempt: AttemptId) -> None:
        if self._running.get(worker, {}).pop(attempt, None) is None:
            return  # cancelled, or killed with its worker
        # One output tells the sizes of all partitions; to add up 15,000 times 4,000 would be what takes the time.
        sizes = (1,) * self._shape.reduces if attempt.task == (Phase.MAP, 0) else ()
        self._send(AttemptDone(worker, attempt, sizes))

    # -- what goes wrong ---------------------------------------------------------------------------------

    def _kill(self, victims: list[str], restart: bool) -> None:
        lost = tuple(index for index, _, holder in self._machine.map_outputs() if holder in set(victims))
        for victim in victims:
            del self._running[victim]
            self._at(self._now + NOTICE_SECONDS, lambda victim=victim: self._send(WorkerLeft(victim, "killed")))  # type: ignore[misc]
            if restart:
                self._at(self._now + RESTART_SECONDS, self._join)  # type: ignore[arg-type]
        for worker, attempt in list(self._fetching()):
            self._at(
                self._now + 2 * NOTICE_SECONDS,
                lambda worker=worker, attempt=attempt: self._give_up(worker, attempt, lost),  # type: ignore[misc]
            )

    def _fetching(self) -> Iterator[tuple[str, AttemptId]]:
        for worker, attempts in self._running.items():
            for attempt, (began, seconds) in attempts.items():
                if attempt.task.phase is Phase.REDUCE and self._now < began + FETCHING_SHARE * seconds:
                    yield worker, attempt

    def _give_up(self, worker: str, attempt: AttemptId, lost: tuple[int, ...]) -> None:
        if lost and self._running.get(worker, {}).pop(attempt, None) is not None:
            self._send(BlocksUnreachable(worker, attempt, lost, "connection refused"))


class Experiment(NamedTuple):
    title: str
    most: float | None
    run: Callable[[Shape, int, float], Cluster]


EXPERIMENTS = [
    Experiment("nothing happens, no backup attempts", None, lambda shape, seed, _: Cluster(shape, seed, backups=False)),
    *(
        Experiment(
            f"{{killed}} workers killed at {share:.0%} of it, started again",
            KILLED_MOST if share == 0.5 else None,
            lambda shape, seed, ideal, share=share: Cluster(shape, seed, kill_at=share * ideal),  # type: ignore[misc]
        )
        for share in (0.25, 0.5, 0.75)
    ),
    Experiment(
        "{killed} workers killed at 50% of it, and gone",
        None,
        lambda shape, seed, ideal: Cluster(shape, seed, kill_at=0.5 * ideal, restart=False),
    ),
    Experiment(
        "one worker {slow_factor:g} times slower",
        SLOW_MOST,
        lambda shape, seed, _: Cluster(shape, seed, has_slow_worker=True),
    ),
    Experiment(
        "one worker {slow_factor:g} times slower, no backup attempts",
        None,
        lambda shape, seed, _: Cluster(shape, seed, has_slow_worker=True, backups=False),
    ),
]


def row(title: str, seconds: list[float], ratios: list[float], attempts: list[int], most: float | None) -> str:
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
    meant = "" if most is None else f"{most:g}"
    return f"| {title} | {statistics.median(seconds):,.0f} | {spread} | {statistics.median(attempts):,.0f} | {meant} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1746)
    parser.add_argument("--maps", type=int, default=15_000)
    parser.add_argument("--reduces", type=int, default=4_000)
    parser.add_argument("--killed", type=int, default=200)
    parser.add_argument("--slow-factor", type=float, default=10.0)
    parser.add_argument("--task-sigma", type=float, default=TASK_SIGMA, help="of the logarithm of a task's seconds")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    shape = Shape(
        options.workers, options.maps, options.reduces, options.killed, options.slow_factor, options.task_sigma
    )
    seeds = range(options.seeds)
    ideal = [Cluster(shape, seed) for seed in seeds]
    print(
        f"{shape.workers} workers, {shape.maps} map and {shape.reduces} reduce tasks; medians of {len(seeds)} seeds\n"
    )
    print("| | simulated seconds | times as long (least–most) | attempts | at most |\n| --- | --- | --- | --- | --- |")
    seconds = [run.seconds for run in ideal]
    print(row("nothing happens", seconds, [1.0] * len(seeds), [run.attempts for run in ideal], None), flush=True)
    missed = []
    for experiment in EXPERIMENTS:
        runs = [experiment.run(shape, seed, ideal[seed].seconds) for seed in seeds]
        ratios = [run.seconds / ideal[seed].seconds for seed, run in zip(seeds, runs, strict=True)]
        title = experiment.title.format(**shape._asdict())
        seconds = [run.seconds for run in runs]
        print(row(title, seconds, ratios, [run.attempts for run in runs], experiment.most), flush=True)
        if experiment.most is not None and statistics.median(ratios) > experiment.most:
            missed.append(title)
    for title in missed:
        print(f"missed: {title}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
