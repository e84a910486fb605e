"""Word count of four lines with mincemeat. CLUSTER=1 has two workers that join over TLS."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import mincemeat


def words(_key: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(_word: str, counts: list[int]) -> int:
    return sum(counts)


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    where: dict[str, Any] = {}
    if os.environ.get("CLUSTER"):
        where = {"engine": "cluster", "host": "127.0.0.1", "port": 0, "password": "loopback"}
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    counts = mincemeat.run(lines, words, total, workers=workers, progress=False, **where)
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
