"""Drain: nanoseconds a pair from the user's generator into the group buffer, beside the bare loop over that generator.

Workload: one record whose generator yields (word, 1) for words drawn evenly from a vocabulary; the memory budget is out
of reach, so nothing is combined or written. Each line is the median of the rounds, all of them taken in turn so that a
drifting machine drifts for all:

    bare       for _ in generator: pass
    defaultdict  for key, value in generator: groups[key].append(value)    what a plain script would write
    buffer     GroupBuffer.drain
    deal       Partitioner.indices, nanoseconds a distinct key

Run: PYTHONPATH=src python bench/drain.py [--pairs 2000000] [--rounds 5] [--vocabulary 46000]
CPU time, not wall clock; the cyclic collector is off, as it is in a slot.
"""

from __future__ import annotations

import argparse
import gc
import io
import platform
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from mincemeat.model import UserFunctions
from mincemeat.shuffle.block import BlockWriter
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.partition import make_partitioner

BUDGET_OUT_OF_REACH = 2**40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=46_000)
    options = parser.parse_args()
    distinct = [f"word{n}" for n in range(options.vocabulary)]
    words = random.Random(0).choices(distinct, k=options.pairs)

    def mapfn(_key: object, _value: object) -> Iterator[tuple[str, int]]:
        for word in words:
            yield word, 1

    def bare() -> None:
        for _ in mapfn(None, None):
            pass

    def plain() -> None:
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for key, value in mapfn(None, None):
            groups[key].append(value)

    def buffer() -> None:
        functions = UserFunctions(mapfn=mapfn)
        GroupBuffer(functions, 64, BUDGET_OUT_OF_REACH, BlockWriter(io.BytesIO())).drain([(None, None)])

    def deal() -> None:
        make_partitioner(64).indices(distinct)

    gc.disable()
    runs: list[tuple[str, Callable[[], None], int]] = [
        ("bare", bare, options.pairs),
        ("defaultdict", plain, options.pairs),
        ("buffer", buffer, options.pairs),
        ("deal", deal, options.vocabulary),
    ]
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, run, count in runs:
            started = time.process_time()
            run()
            taken[name].append((time.process_time() - started) / count * 1e9)
    print(f"Python {platform.python_version()}, {platform.machine()}; {options}")
    for name, nanoseconds in taken.items():
        spread = f"{min(nanoseconds):.0f} to {max(nanoseconds):.0f}"
        print(f"{name:12} {statistics.median(nanoseconds):6.0f} ns   ({spread} in {options.rounds} rounds)")


if __name__ == "__main__":
    main()
