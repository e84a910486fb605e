"""The simulation on the command line.

python -m tests.simulation                      2,000 seeds, as the tests do
python -m tests.simulation --seeds 1000000      many; Ctrl-C prints what was done
python -m tests.simulation --seed 17 --trace    one, with all that happens in it
python -m tests.simulation --canaries           faults planted in our own code, and which seed finds each
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation import canaries, runner
from tests.simulation.plan import draw

CI_SEEDS = 2000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="A cluster in one thread.")
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--trace", action="store_true", help="show what happens in it")
    parser.add_argument("--seeds", type=int, default=CI_SEEDS, help="play so many")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    parser.add_argument("--canaries", action="store_true", help="plant faults, and see that each is found")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.canaries:
        return _find_canaries(options.processes)
    if options.seed is not None:
        return _play_one(options.seed, is_shown=options.trace)
    return _play_many(options.first, options.seeds, options.processes)


def _play_one(seed: int, *, is_shown: bool) -> int:
    print(draw(seed))
    try:
        world = runner.play_seed(seed, is_shown=is_shown)
    except AssertionError as error:
        world = error.world  # type: ignore[attr-defined]
        print(f"seed {seed} FAILED at {world.loop.time():.3f} s: {error}")
        return 1
    print(f"seed {seed}: {world.end}; {world.trace.count} lines, trace {world.trace.digest()}")
    return 0


def _play_many(first: int, number: int, processes: int) -> int:
    started = time.monotonic()

    def tell(tally: runner.Tally) -> None:
        faults = ", ".join(f"{kind} {times}" for kind, times in tally.faults.most_common(6))
        print(f"{time.monotonic() - started:7.0f} s  {tally.seeds} seeds, {faults}, ...", flush=True)

    try:
        tally = runner.play_many(first, number, processes, tell)
    except KeyboardInterrupt:
        return 130
    print("\n".join(tally.lines()))
    print(f"in {time.monotonic() - started:.1f} s")
    if tally.failed is not None:
        seed, problem = tally.failed
        print(f"seed {seed} FAILED: {problem}\n{runner.replay_command(seed)}")
        return 1
    return 0


def _find_canaries(processes: int) -> int:
    missed = 0
    started = time.monotonic()
    for name, found in runner.find_canaries(list(canaries.CANARIES), canaries.SEEDS_MAX, processes):
        seed, problem = found or (-1, "NOT FOUND")
        missed += found is None
        print(f"{name:45} seed {seed:>5}  {problem[:100]}", flush=True)
    total = len(canaries.CANARIES)
    print(f"{total - missed} of {total} canaries found, in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
