"""Results as data: what it costs to write and to read blocks as data, beside plain pickle.

    text         20,000 words, each with a float                          (no names in it)
    tuples       20,000 words, each with a tuple of four                  (no names in it)
    dataclasses  20,000 words, each with an instance of three fields
    arrays       2,000 words, each with a NumPy array of 100 doubles

For each: CPU nanoseconds a pair to write and to read, plain and as data in turn, and by how much more (median of the
rounds' ratios). Then whole jobs of one's own cluster with two local workers, plain (trust_workers=True) and as data in
turn: W1's word count and W3's functions that do nothing, as bench/workloads.py describes them, on small input.

Run: PYTHONPATH=src python bench/decoding.py [--rounds 15] [--jobs 5] [--plain]

``--plain``: without the compiled module.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import mincemeat
from mincemeat.decoding import mentions
from mincemeat.decoding.coding import PLAIN, Coding, DataCoding


@dataclass
class Seen:
    number: int
    where: str
    weight: float


def make_columns() -> dict[str, tuple[list[str], list[Any]]]:
    chance = random.Random(0)
    words = [f"{chance.getrandbits(40):x}" for _ in range(20_000)]
    return {
        "text": (words, [chance.random() for _ in words]),
        "tuples": (words, [(n, n + 1, "a", n / 3) for n in range(len(words))]),
        "dataclasses": (words, [Seen(n, "here", n / 3) for n in range(len(words))]),
        "arrays": (words[:2000], [np.random.default_rng(n).random(100) for n in range(2000)]),
    }


def report_blocks(rounds: int) -> None:
    data_coding = DataCoding(["__main__"])
    codings: dict[str, Coding] = {"plain": PLAIN, "data": data_coding}
    for kind, columns in make_columns().items():
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in codings}
        for _ in range(rounds):
            for name, coding in codings.items():
                begun = time.process_time()
                data = coding.dumps(columns)
                written = time.process_time()
                coding.loads(data)
                spent[name].append((written - begun, time.process_time() - written))
        told = [
            _told(action, [each[place] for each in spent["plain"]], [each[place] for each in spent["data"]], columns)
            for place, action in enumerate(("write", "read"))
        ]
        print(f"  {kind:12} {'   '.join(told)}")


def _told(action: str, plain: list[float], data: list[float], columns: tuple[list[str], list[Any]]) -> str:
    pairs = len(columns[0])
    ratio = statistics.median(mine / theirs for mine, theirs in zip(data, plain, strict=True))
    ns = [statistics.median(spent) / pairs * 1e9 for spent in (plain, data)]
    return f"{action} {ns[0]:6.0f} ns plain, {ns[1]:6.0f} ns as data ({(ratio - 1) * 100:+.0f} %)"


def words_of(_key: Any, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(_key: Any, counts: list[int]) -> int:
    return sum(counts)


def remainder(key: int, _value: Any) -> list[tuple[int, int]]:
    return [(key % 7, 1)]


def seen(key: int, value: int) -> list[tuple[int, Seen]]:
    return [(value % 5000, Seen(key, "here", 0.5))]


def how_many(_key: Any, values: list[Seen]) -> int:
    return len(values)


def seconds_of(datasource: Any, mapfn: Any, reducefn: Any, collectfn: Any, trust_workers: bool) -> float:
    started = time.perf_counter()
    mincemeat.run(
        datasource, mapfn, reducefn, collectfn=collectfn, engine="cluster", host="127.0.0.1", port=0, workers=2,
        trust_workers=trust_workers, progress=False,
    )  # fmt: skip
    return time.perf_counter() - started


def report_jobs(rounds: int) -> None:
    chance = random.Random(1)
    lines = {n: " ".join(f"w{int(chance.paretovariate(0.7)) % 50_000}" for _ in range(2000)) for n in range(1000)}
    jobs: dict[str, Callable[[bool], float]] = {
        "W1: 2 M words": lambda trust: seconds_of(lines, words_of, total, total, trust),
        "W3: 20,000 records": lambda trust: seconds_of(dict.fromkeys(range(20_000)), remainder, total, None, trust),
        "300,000 dataclasses": lambda trust: seconds_of(dict(enumerate(range(300_000))), seen, how_many, None, trust),
    }
    for name, job in jobs.items():
        ratios: list[float] = []
        plain: list[float] = []
        data: list[float] = []
        for turn in range(rounds):
            for trust in (True, False) if turn % 2 else (False, True):
                (plain if trust else data).append(job(trust))
            ratios.append(data[-1] / plain[-1])
        print(
            f"  {name:20} {statistics.median(plain):.2f} s plain, {statistics.median(data):.2f} s as data "
            f"({(statistics.median(ratios) - 1) * 100:+.1f} %, from {(min(ratios) - 1) * 100:+.1f} to "
            f"{(max(ratios) - 1) * 100:+.1f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=5, metavar="ROUNDS")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    if options.plain:
        mentions.compiled = None
    print(f"Python {platform.python_version()}, {platform.machine()}; compiled: {mentions.compiled is not None}")
    gc.disable()
    report_blocks(options.rounds)
    gc.enable()
    if options.jobs and not options.plain:
        report_jobs(options.jobs)


if __name__ == "__main__":
    main()
