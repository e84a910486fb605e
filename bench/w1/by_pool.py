"""Word count with multiprocessing.Pool, as one writes it by hand: a dict per piece, merged as they come."""

import os
import sys
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any

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


def count(piece: tuple[str, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word, n in words(piece, read_piece(*piece)):
        counts[word] = counts.get(word, 0) + n
    return counts


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pieces = [(path, start) for start in range(0, os.path.getsize(path), PIECE_BYTES)]
    counts: dict[str, int] = {}
    with Pool(workers) as pool:
        for part in pool.imap_unordered(count, pieces):
            for word, n in part.items():
                counts[word] = counts.get(word, 0) + n
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
