"""Inverted index with Dask: bag.from_sequence, flatten, foldby, on distributed's local cluster."""

import operator
import os
import re
import sys
from collections.abc import Iterator

import dask.bag
from dask.distributed import Client

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILES_PER_PIECE = 200


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


def read(path: str) -> Iterator[tuple[str, str]]:
    with open(path, encoding="utf-8", errors="replace", newline="\n") as text:
        return identifiers(path, text.read())


def append(names: list[str], pair: tuple[str, str]) -> list[str]:
    return [*names, pair[1]] if not names else _appended(names, pair[1])


def _appended(names: list[str], name: str) -> list[str]:
    names.append(name)  # only ever a list that append() made itself
    return names


if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)
    with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None):
        pairs = dask.bag.from_sequence(paths, partition_size=FILES_PER_PIECE).map(read).flatten()
        index = dict(pairs.foldby(operator.itemgetter(0), append, [], operator.add, []).compute())
    with open(output, "w", encoding="ascii") as file:
        for identifier in sorted(index):
            file.write(f"{identifier}\t{' '.join(sorted(index[identifier]))}\n")
