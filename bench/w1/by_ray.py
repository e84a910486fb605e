"""Word count with Ray core, by the MapReduce example of its documentation: a list per partition."""

import os
import sys
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import ray

PIECE_BYTES = 4 * 2**20


def read_piece(path: str, start: int) -> str:
    """The lines that start in one piece of a file."""
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        end = start + PIECE_BYTES
        data = file.read(max(0, end - file.tell()))
        if data and not data.endswith(b"\n"):
            data += file.readline()
    return data.decode("utf-8", "replace")


def words(_key: Any, text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        yield word, 1


def map_piece(piece: tuple[str, int], partitions: int) -> list[dict[str, int]]:
    counts: list[dict[str, int]] = [{} for _ in range(partitions)]
    for word, n in words(piece, read_piece(*piece)):
        part = counts[hash_of(word) % partitions]
        part[word] = part.get(word, 0) + n
    return counts


def hash_of(word: str) -> int:
    return crc32(word.encode())


def reduce_partition(*parts: dict[str, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in parts:
        for word, n in part.items():
            counts[word] = counts.get(word, 0) + n
    return counts


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pieces = [(path, start) for start in range(0, os.path.getsize(path), PIECE_BYTES)]
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    map_task = ray.remote(map_piece).options(num_returns=workers)
    reduce_task = ray.remote(reduce_partition)
    mapped = [map_task.remote(piece, workers) for piece in pieces]
    columns = [[parts] for parts in mapped] if workers == 1 else mapped
    counts: dict[str, int] = {}
    for part in ray.get([reduce_task.remote(*(parts[n] for parts in columns)) for n in range(workers)]):
        counts.update(part)
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
