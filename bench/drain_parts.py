"""Where draining spends its nanoseconds: each part of the loop over pairs, and what else it could be.

The workload of bench/drain.py. Each variant collects batches of 512 pairs by ``list.extend``, then does what it says;
the figures are nanoseconds a pair above ``for _ in generator: pass``, the least of the rounds, all variants in turn:

    by hand         for key, value in generator: held[key] = held.get(key, 0) + value, without batches
    batches         nothing with them
    types ...       looking whether all of a batch are tuples or lists
    ... = get + v   and the other ways to add a batch up, without looking at types
    all in C        held.update(zip(keys, map(add, map(held.get, keys, repeat(0)), values)))
    count           Counter.update over the keys: the values left out
    direct          = get + v over islice(generator, 512), without a list of them

Run: PYTHONPATH=src:. python bench/drain_parts.py [--text FILE --megabytes 20] [--vocabulary 46000] [--rounds 5]
"""

from __future__ import annotations

import gc
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby, islice, repeat
from operator import add, itemgetter
from typing import Any

from bench.drain import WORDS_PER_RECORD, parse, read_words

BATCH = 512
PLAIN = {tuple, list}
_first = itemgetter(0)
_second = itemgetter(1)

Batch = list[tuple[str, int]]


def types_by_set(_held: Any, batch: Batch) -> None:
    assert {*map(type, batch)} <= PLAIN


def types_by_count(_held: Any, batch: Batch) -> None:
    assert list(map(type, batch)).count(tuple) == len(batch)


def types_by_groupby(_held: Any, batch: Batch) -> None:
    assert {kind for kind, _ in groupby(batch, type)} <= PLAIN


def by_get(held: Any, batch: Batch) -> None:
    get = held.get
    for key, value in batch:
        held[key] = get(key, 0) + value


def by_try(held: Any, batch: Batch) -> None:
    for key, value in batch:
        try:
            held[key] += value
        except KeyError:
            held[key] = value


def by_in(held: Any, batch: Batch) -> None:
    for key, value in batch:
        if key in held:
            held[key] += value
        else:
            held[key] = value


def by_iadd(held: Any, batch: Batch) -> None:
    for key, value in batch:
        held[key] += value


def all_in_c(held: Any, batch: Batch) -> None:
    keys = [*map(_first, batch)]
    held.update(zip(keys, map(add, map(held.get, keys, repeat(0)), map(_second, batch)), strict=True))


def count(held: Any, batch: Batch) -> None:
    Counter.update(held, map(_first, batch))


Variant = tuple[Callable[[Any, Batch], None], Callable[[], Any]]
VARIANTS: dict[str, Variant] = {
    "batches": (lambda _held, _batch: None, dict),
    "types by set": (types_by_set, dict),
    "types by count": (types_by_count, dict),
    "types by groupby": (types_by_groupby, dict),
    "= get + v": (by_get, dict),
    "try +=": (by_try, dict),
    "in, +=": (by_in, dict),
    "defaultdict +=": (by_iadd, lambda: defaultdict(int)),
    "all in C": (all_in_c, dict),
    "count": (count, dict),
}


def main() -> None:
    options = parse(__doc__, vocabulary=46_000)
    words = read_words(options)
    pieces = [" ".join(words[at : at + WORDS_PER_RECORD]) for at in range(0, len(words), WORDS_PER_RECORD)]
    pairs, distinct = len(words), len(set(words))
    del words
    taken: defaultdict[str, list[float]] = defaultdict(list)

    def generator() -> Iterator[tuple[str, int]]:
        for piece in pieces:
            for word in piece.split():
                yield word, 1

    def bare() -> None:
        for _ in generator():
            pass

    def by_hand() -> None:
        held: dict[str, int] = {}
        for key, value in generator():
            held[key] = held.get(key, 0) + value

    def direct() -> None:
        held: dict[str, int] = {}
        get, emitted = held.get, generator()
        for _ in range(pairs // BATCH + 1):
            for key, value in islice(emitted, BATCH):
                held[key] = get(key, 0) + value

    def in_batches(step: Callable[[Any, Batch], None], held: Any) -> None:
        batch: Batch = []
        emitted = generator()
        while True:
            batch.extend(islice(emitted, BATCH))
            if not batch:
                return
            step(held, batch)
            batch.clear()

    def timed(name: str, run: Callable[..., None], *arguments: Any) -> None:
        started = time.process_time()
        run(*arguments)
        taken[name].append((time.process_time() - started) / pairs * 1e9)

    gc.disable()
    for _ in range(options.rounds):
        timed("bare", bare)
        timed("by hand", by_hand)
        for name, (step, make) in VARIANTS.items():
            timed(name, in_batches, step, make())
        timed("direct", direct)
    print(f"Python {platform.python_version()}, {platform.machine()}; {options}")
    bare_ns = min(taken.pop("bare"))
    print(f"{pairs} pairs, {distinct} distinct; bare {bare_ns:.0f} ns")
    for name, nanoseconds in taken.items():
        print(f"{name:18} {min(nanoseconds) - bare_ns:4.0f} ns above bare")


if __name__ == "__main__":
    main()
