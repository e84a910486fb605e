"""What the digests of a map output cost: map attempts with and without, alternating, over kinds of pairs.

    python bench/digest.py [ROUNDS]

Prints for each kind the least time with digests over the least without, and the median of the ratios. Times are
processor time of this process; other work on the machine still shows in them, as caches are shared, and the least of
several rounds is what it shows least in.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from mincemeat import limits, reducers
from mincemeat.attempt import run_map
from mincemeat.model import AttemptId, UserFunctions
from mincemeat.shuffle.store import JobStore

LINES = [" ".join(f"w{(line * 7919 + word * word * 31) % 50_000}" for word in range(200)) for line in range(1_000)]


def counted(key: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def where(key: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, key


def floats(key: int, line: str) -> Iterator[tuple[str, float]]:
    for word in line.split():
        yield word, len(word) / 3


def tuples(key: int, line: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for word in line.split():
        yield word, (key, len(word))


def tuple_keys(key: int, line: str) -> Iterator[tuple[tuple[str, int], int]]:
    for word in line.split():
        yield (word, key % 10), key


def numbers(key: int, line: str) -> Iterator[tuple[int, str]]:
    for place, word in enumerate(line.split()):
        yield key * 200 + place, word


def biggest(key: Any, values: list[float]) -> float:
    return max(values) + 0.0


KINDS: dict[str, tuple[Callable[..., Any], Any]] = {
    "words counted (table)": (counted, reducers.sum),
    "words with records (table)": (where, None),
    "words with floats": (floats, None),
    "words with floats, combined": (floats, biggest),
    "words with tuples": (tuples, None),
    "tuples with numbers": (tuple_keys, None),
    "numbers with words, no two alike": (numbers, None),
}


def seconds(mapfn: Callable[..., Any], combiner: Any, store: JobStore, with_digest: bool) -> float:
    functions = UserFunctions(mapfn, combiner, combiner)
    attempt = AttemptId.parse("m-00000.0")
    started = time.process_time()
    run_map(
        functions,
        enumerate(LINES),
        store,
        attempt,
        partitions=limits.PARTITIONS,
        memory_bytes=limits.MEMORY_BYTES,
        with_digest=with_digest,
    )
    took = time.process_time() - started
    store.drop(attempt)
    return took


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = JobStore(directory)
        for name, (mapfn, combiner) in KINDS.items():
            without: list[float] = []
            with_digest: list[float] = []
            for _ in range(rounds):
                without.append(seconds(mapfn, combiner, store, False))
                with_digest.append(seconds(mapfn, combiner, store, True))
            pairs = sum(len(line.split()) for line in LINES)
            each = min(without) / pairs * 1e9
            median = statistics.median(more / less for more, less in zip(with_digest, without, strict=True))
            ratio = min(with_digest) / min(without)
            print(f"{name:34} {ratio:.3f}  (median {median:.3f}; {each:.0f} ns a pair without)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
