"""Inverted index with Ray core, by the MapReduce example of its documentation: a list per partition."""

import os
import re
import sys
from collections.abc import Iterator
from zlib import crc32

import ray

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILES_PER_PIECE = 200


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


def map_files(paths: list[str], partitions: int) -> list[dict[str, list[str]]]:
    indexes: list[dict[str, list[str]]] = [{} for _ in range(partitions)]
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as text:
            for identifier, name in identifiers(path, text.read()):
                indexes[crc32(identifier.encode()) % partitions].setdefault(identifier, []).append(name)
    return indexes


def reduce_partition(*parts: dict[str, list[str]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for part in parts:
        for identifier, names in part.items():
            index.setdefault(identifier, []).extend(names)
    return {identifier: sorted(names) for identifier, names in index.items()}


if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)
    pieces = [paths[n : n + FILES_PER_PIECE] for n in range(0, len(paths), FILES_PER_PIECE)]
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    map_task = ray.remote(map_files).options(num_returns=workers)
    reduce_task = ray.remote(reduce_partition)
    mapped = [map_task.remote(piece, workers) for piece in pieces]
    columns = [[parts] for parts in mapped] if workers == 1 else mapped
    index: dict[str, list[str]] = {}
    for part in ray.get([reduce_task.remote(*(parts[n] for parts in columns)) for n in range(workers)]):
        index.update(part)
    with open(output, "w", encoding="ascii") as file:
        for identifier in sorted(index):
            file.write(f"{identifier}\t{' '.join(index[identifier])}\n")
