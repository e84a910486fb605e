"""Many seeds, on several processes, up to the first that fails.

Decides: who plays which seeds, and what is counted. Seeds do not know of each other.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, count

from tests.simulation import canaries
from tests.simulation.plan import draw
from tests.simulation.world import World, play

_SEEDS_AT_A_TIME = 20


@dataclass
class Tally:
    """What some seeds came to. ``failed``: a seed and what was wrong with it."""

    seeds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    events: int = 0
    virtual_seconds: float = 0.0
    failed: tuple[int, str] | None = None

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.faults += other.faults
        self.ends += other.ends
        self.messages += other.messages
        self.events += other.events
        self.virtual_seconds += other.virtual_seconds
        if other.failed is not None and (self.failed is None or other.failed < self.failed):
            self.failed = other.failed

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield (
            f"{self.seeds} seeds: {self.events} events of the scheduler, {self.messages} messages, "
            f"{self.virtual_seconds / 3600:.1f} hours of virtual time"
        )
        yield "ends: " + ", ".join(f"{number} {end}" for end, number in self.ends.most_common())
        yield f"{sum(self.faults.values())} faults:"
        for kind, number in sorted(self.faults.items(), key=lambda pair: (-pair[1], pair[0])):
            yield f"{number:>10} {kind}"


def play_seed(seed: int, *, is_shown: bool = False) -> World:
    """Raises: AssertionError, which knows its ``world``, if anything is not as it should be."""
    return play(draw(seed), is_shown=is_shown)


def replay_command(seed: int) -> str:
    return f"python -m tests.simulation --seed {seed} --trace"


def play_seeds(seeds: range) -> Tally:
    """Play them one after the other, up to the first that fails."""
    tally = Tally()
    for seed in seeds:
        tally.seeds += 1
        try:
            world = play_seed(seed)
        except AssertionError as error:
            tally.failed = seed, str(error)
            break
        tally.faults += world.faults.happened
        tally.ends[world.end] += 1
        tally.messages += sum(world.network.sent.values())
        tally.events += world.events
        tally.virtual_seconds += world.loop.time()
    return tally


def find_canary(name: str, seeds_max: int, first: int | None = None) -> tuple[int, str] | None:
    """The seed below ``seeds_max`` that finds the canary ``name``; ``first`` is tried before all others."""
    canary = canaries.CANARIES[name]
    return canaries.find(canary, chain(() if first is None else (first,), range(seeds_max)))


def find_canaries(
    names: list[str], seeds_max: int, processes: int, hints: dict[str, int] | None = None
) -> Iterator[tuple[str, tuple[int, str] | None]]:
    """Each canary's name, and what found it; in the order of ``names``."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        searches = {name: pool.submit(find_canary, name, seeds_max, (hints or {}).get(name)) for name in names}
        for name, search in searches.items():
            yield name, search.result()


def play_many(
    first: int, number: int | None, processes: int, tell: Callable[[Tally], None], *, tell_seconds: float = 10.0
) -> Tally:
    """Play ``number`` seeds from ``first`` on (None: without end) in so many processes; stop at the first that fails.

    ``tell`` gets what there is so far, every few seconds. KeyboardInterrupt passes through, after a last ``tell``.
    """
    total = Tally()
    last = None if number is None else first + number
    starts = iter(count(first, _SEEDS_AT_A_TIME) if last is None else range(first, last, _SEEDS_AT_A_TIME))
    told = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: set[Future[Tally]] = set()
        try:
            while total.failed is None:
                while len(running) < 2 * processes and (start := next(starts, None)) is not None:
                    stop = start + _SEEDS_AT_A_TIME if last is None else min(start + _SEEDS_AT_A_TIME, last)
                    running.add(pool.submit(play_seeds, range(start, stop)))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    total.add(future.result())
                if time.monotonic() - told >= tell_seconds:
                    told = time.monotonic()
                    tell(total)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            tell(total)
            raise
        for future in running:
            future.cancel()
    return total
