"""Drain: nanoseconds a pair from the user's generator into the group buffer, beside the bare loop over that generator.

Workload: a generator that yields (word, 1) for each word of ``text.split()``, once for every MB of text; the memory
budget is out of reach, so nothing is written before the end. The text is the named file's beginning, cut down to its
most frequent words if a vocabulary is given; without a file, words drawn evenly. Each line is the median of the
rounds, all of them taken in turn so that a drifting machine drifts for all:

    bare         for _ in generator: pass
    sum by hand  for key, value in generator: totals[key] = totals.get(key, 0) + value
    lists by hand  for key, value in generator: groups[key].append(value)    what a plain script would write
    no combiner  GroupBuffer.drain, values kept
    sum          GroupBuffer.drain, collectfn returns sum(values)
    sum of twos  the same with values other than 1
    unknown      GroupBuffer.drain, a collectfn that is not understood
    finish       the group buffer's combining, dealing out and encoding of "sum" and of "unknown", ns a distinct key
    deal         Partitioner.indices, nanoseconds a distinct key

Run: PYTHONPATH=src python bench/drain.py [--text FILE --megabytes 20] [--vocabulary 46000] [--rounds 5]
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from mincemeat.model import UserFunctions
from mincemeat.shuffle.block import BlockWriter
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.partition import make_partitioner

BUDGET_OUT_OF_REACH = 2**40
WORDS_PER_RECORD = 150_000


def read_words(options: argparse.Namespace) -> list[str]:
    if options.text is None:
        distinct = [f"word{n}" for n in range(options.vocabulary or 46_000)]
        return random.Random(0).choices(distinct, k=options.pairs)
    with open(options.text, encoding="utf-8", errors="replace") as file:
        words = file.read(options.megabytes * 1_000_000).split()
    if options.vocabulary:
        frequent = {word for word, _ in Counter(words).most_common(options.vocabulary)}
        words = [word for word in words if word in frequent]
    return words


def total(key: str, values: list[int]) -> int:
    return sum(values)


def total_unrecognised(key: str, values: list[int]) -> int:
    return 0 + sum(values)


class Contenders:
    """One method per line of the table; each returns CPU seconds by what they were spent for."""

    def __init__(self, words: list[str]) -> None:
        self.pieces = [" ".join(words[at : at + WORDS_PER_RECORD]) for at in range(0, len(words), WORDS_PER_RECORD)]
        self.distinct = list(dict.fromkeys(words))
        self.pairs = len(words)

    def generator(self, value: int = 1) -> Iterator[tuple[str, int]]:
        for piece in self.pieces:
            for word in piece.split():
                yield word, value

    def bare(self) -> None:
        for _ in self.generator():
            pass

    def sum_by_hand(self) -> None:
        totals: dict[str, int] = {}
        for key, value in self.generator():
            totals[key] = totals.get(key, 0) + value

    def lists_by_hand(self) -> None:
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for key, value in self.generator():
            groups[key].append(value)

    def buffer(self, collectfn: Any = None, value: int = 1) -> GroupBuffer:
        functions = UserFunctions(mapfn=lambda _key, _value: self.generator(value), collectfn=collectfn)
        buffer = GroupBuffer(functions, 64, BUDGET_OUT_OF_REACH, BlockWriter(io.BytesIO()))
        buffer.drain([(None, None)])
        return buffer

    def deal(self) -> None:
        make_partitioner(64).indices(self.distinct)


def parse(description: str | None, *, vocabulary: int) -> argparse.Namespace:
    """The options of a program whose words ``read_words`` reads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", metavar="FILE")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=vocabulary)
    return parser.parse_args()


def main() -> None:
    options = parse(__doc__, vocabulary=0)
    work = Contenders(read_words(options))
    taken: defaultdict[str, list[float]] = defaultdict(list)

    def timed(name: str, run: Callable[[], Any], count: int) -> Any:
        started = time.process_time()
        answer = run()
        taken[name].append((time.process_time() - started) / count * 1e9)
        return answer

    gc.disable()
    for _ in range(options.rounds):
        timed("bare", work.bare, work.pairs)
        timed("sum by hand", work.sum_by_hand, work.pairs)
        timed("lists by hand", work.lists_by_hand, work.pairs)
        timed("no combiner", work.buffer, work.pairs)
        summed = timed("sum", lambda: work.buffer(total), work.pairs)
        timed("finish, sum", summed.finish, len(work.distinct))
        del summed
        timed("sum of twos", lambda: work.buffer(total, 2), work.pairs)
        listed = timed("unknown", lambda: work.buffer(total_unrecognised), work.pairs)
        timed("finish, unknown", listed.finish, len(work.distinct))
        del listed
        timed("deal", work.deal, len(work.distinct))
    print(f"Python {platform.python_version()}, {platform.machine()}; {options}")
    print(f"{work.pairs} pairs, {len(work.distinct)} distinct")
    bare = statistics.median(taken["bare"])
    for name, nanoseconds in taken.items():
        median = statistics.median(nanoseconds)
        above = "" if name == "bare" or "finish" in name or name == "deal" else f"{median - bare:6.0f} above bare"
        spread = f"{min(nanoseconds):.0f} to {max(nanoseconds):.0f} in {options.rounds} rounds"
        print(f"{name:16} {median:6.0f} ns {above:18} ({spread})")


if __name__ == "__main__":
    main()
