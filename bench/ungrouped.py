"""What it costs to hold pairs whose keys hardly repeat: in a dict of lists, and as two columns (shuffle/ungrouped.py).

    python bench/ungrouped.py                     1,000,000 pairs with text of 100 characters as keys
    python bench/ungrouped.py --repeat 3          each key three times, where the dict is right

Both are filled by batches as a map attempt does it, and dealt out to 64 ranges in order. Prints nanoseconds a pair and
the peak of memory beside the pairs themselves; best of --rounds, alternating.
"""

from __future__ import annotations

import argparse
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from mincemeat import limits
from mincemeat.model import Pair
from mincemeat.shuffle.folds import Holding
from mincemeat.shuffle.order import dealt_by_range
from mincemeat.shuffle.recognise import MapSide
from mincemeat.shuffle.ungrouped import Ungrouped


def in_a_dict(pairs: list[Pair], splitters: list[str]) -> None:
    holding = Holding(MapSide(None))
    fill(holding.take, pairs)
    for _, _, lists in dealt_by_range(holding.held, splitters):
        [value for (value,) in lists] if set(map(len, lists)) == {1} else lists


def in_columns(pairs: list[Pair], splitters: list[str]) -> None:
    holding = Ungrouped([], [])
    fill(holding.take, pairs)
    for _ in holding.dealt_by_range(splitters):
        pass


def fill(take: Callable[[Any], None], pairs: list[Pair]) -> None:
    for start in range(0, len(pairs), limits.BATCH_PAIRS_MAX):
        take(pairs[start : start + limits.BATCH_PAIRS_MAX])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=1, help="how often each key occurs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chance = random.Random(20041206)
    keys = [f"{chance.randrange(10**10):010d}{number:090d}" for number in range(options.pairs // options.repeat)]
    pairs = [(key, None) for key in keys * options.repeat]
    splitters = sorted(chance.sample(keys, 63))
    ways = {"a dict of lists": in_a_dict, "two columns": in_columns}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(options.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way(pairs, splitters)
            best[name] = min(best[name], time.perf_counter() - started)
    for name, way in ways.items():
        tracemalloc.start()
        way(pairs, splitters)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"{name:16}  {best[name] / len(pairs) * 1e9:5.0f} ns  {peak / len(pairs):5.0f} bytes a pair")


if __name__ == "__main__":
    main()
