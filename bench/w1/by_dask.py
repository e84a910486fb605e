"""Word count with Dask: bag.read_text, a generator per block of text, foldby, on distributed's local cluster."""

import operator
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import dask.bag
from dask.distributed import Client


def words(_key: Any, text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        yield word, 1


def words_of_lines(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        yield from words(None, line)


def add_pair(total: int, pair: tuple[str, int]) -> int:
    return total + pair[1]


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None):
        lines = dask.bag.read_text(path, blocksize="4MiB", encoding="utf-8", errors="replace")
        pairs = lines.map_partitions(words_of_lines)
        counts = dict(pairs.foldby(operator.itemgetter(0), add_pair, 0, operator.add, 0).compute())
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
