"""Merging: nanoseconds a pair to merge blocks of (word, count) into totals, as a reduce task does.

Eight blocks, each with a third of the vocabulary drawn by chance and a count for each word, freshly unpickled, so that
no two of them share a string. The contenders in turn; the median of the rounds, and of the ratios to ``lists`` in the
same round:

    lists           a list for each key, then the user's function (return sum(values)) for each key
    folded          FoldedGroups.take, as the reduce side does where it understands this; it alone looks at types
    all in C        held.update(zip(keys, map(add, map(held.get, keys, repeat(0)), values)))
    in common       a dict of the block, to which what is held is added for the keys that both have, then held.update
    try             try: held[key] += value, except KeyError
    defaultdict     defaultdict(int), held[key] += value

Run: PYTHONPATH=src python bench/merging.py [--rounds 5] [--vocabulary 46000 600000]
CPU time; the cyclic collector is off, as it is in a slot.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import platform
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import repeat
from operator import add
from typing import Any

from mincemeat.reducers import Fold
from mincemeat.shuffle.folded import FoldedGroups

BLOCKS = 8

Blocks = list[tuple[list[str], list[int]]]
Totals = dict[str, int]


def make_blocks(vocabulary: int) -> Blocks:
    chance = random.Random(0)
    words = [f"word{number:x}" for number in range(vocabulary)]
    blocks = []
    for _ in range(BLOCKS):
        keys = chance.sample(words, vocabulary // 3)
        columns = keys, chance.choices(range(1, 1000), k=len(keys))
        blocks.append(pickle.loads(pickle.dumps(columns)))
    return blocks


def total(_key: str, values: list[int]) -> int:
    return sum(values)


def lists(blocks: Blocks) -> Totals:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for keys, values in blocks:
        for key, value in zip(keys, values, strict=True):
            groups[key].append(value)
    return {key: total(key, values) for key, values in groups.items()}


def folded(blocks: Blocks) -> Totals:
    held = FoldedGroups(Fold.SUM)
    for keys, values in blocks:
        assert held.take(keys, values, single=True)
    return held


def all_in_c(blocks: Blocks) -> Totals:
    held: Totals = {}
    for keys, values in blocks:
        held.update(zip(keys, map(add, map(held.get, keys, repeat(0)), values), strict=True))
    return held


def in_common(blocks: Blocks) -> Totals:
    held: Totals = {}
    for keys, values in blocks:
        several = dict(zip(keys, values, strict=True))
        for key in held.keys() & several.keys():
            several[key] += held[key]
        held.update(several)
    return held


def by_try(blocks: Blocks) -> Totals:
    held: Totals = {}
    for keys, values in blocks:
        for key, value in zip(keys, values, strict=True):
            try:
                held[key] += value
            except KeyError:
                held[key] = value
    return held


def by_defaultdict(blocks: Blocks) -> Totals:
    held: defaultdict[str, int] = defaultdict(int)
    for keys, values in blocks:
        for key, value in zip(keys, values, strict=True):
            held[key] += value
    return held


CONTENDERS: dict[str, Callable[[Blocks], Any]] = {
    "lists": lists,
    "folded": folded,
    "all in C": all_in_c,
    "in common": in_common,
    "try": by_try,
    "defaultdict": by_defaultdict,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, nargs="*", default=[46_000, 600_000])
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}; {options}")
    gc.disable()
    for vocabulary in options.vocabulary:
        blocks = make_blocks(vocabulary)
        pairs = sum(len(keys) for keys, _ in blocks)
        taken: defaultdict[str, list[float]] = defaultdict(list)
        expected = lists(blocks)
        for _ in range(options.rounds):
            for name, run in CONTENDERS.items():
                started = time.process_time()
                found = run(blocks)
                taken[name].append((time.process_time() - started) / pairs * 1e9)
                assert found == expected, name
                del found
        print(f"{vocabulary} words, {pairs} pairs")
        for name, nanoseconds in taken.items():
            ratio = statistics.median(mine / theirs for mine, theirs in zip(nanoseconds, taken["lists"], strict=True))
            print(f"  {name:12} {statistics.median(nanoseconds):5.0f} ns   {ratio:.2f} x lists")


if __name__ == "__main__":
    main()
