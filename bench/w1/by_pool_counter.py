"""Word count with multiprocessing.Pool and Counter(text.split()): no user function per word."""

import os
import sys
from collections import Counter
from multiprocessing import Pool

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


def count(piece: tuple[str, int]) -> Counter[str]:
    return Counter(read_piece(*piece).split())


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pieces = [(path, start) for start in range(0, os.path.getsize(path), PIECE_BYTES)]
    counts: Counter[str] = Counter()
    with Pool(workers) as pool:
        for part in pool.imap_unordered(count, pieces):
            counts.update(part)
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
