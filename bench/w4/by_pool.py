"""Sort with multiprocessing.Pool: deal lines out by a sample, sort each range, write it where it belongs."""

import os
import sys
import tempfile
from bisect import bisect_right
from multiprocessing import Pool

RECORD_BYTES = 100
PIECE_RECORDS = 200_000
RANGES = 16
SAMPLE = 10_000


def read_records(path: str, first: int, count: int) -> list[bytes]:
    with open(path, "rb") as file:
        file.seek(first * RECORD_BYTES)
        return file.read(count * RECORD_BYTES).splitlines(keepends=True)


def deal(path: str, first: int, bounds: list[bytes], scratch: str) -> list[int]:
    """Write the lines of one piece to a file per range; the bytes of each."""
    ranges: list[list[bytes]] = [[] for _ in range(RANGES)]
    for line in read_records(path, first, PIECE_RECORDS):
        ranges[bisect_right(bounds, line)].append(line)
    for number, lines in enumerate(ranges):
        with open(os.path.join(scratch, f"{number}-{first}"), "wb") as file:
            file.write(b"".join(lines))
    return [len(lines) * RECORD_BYTES for lines in ranges]


def sort_range(number: int, scratch: str, firsts: list[int], output: str, offset: int) -> None:
    lines: list[bytes] = []
    for first in firsts:
        with open(os.path.join(scratch, f"{number}-{first}"), "rb") as file:
            lines += file.read().splitlines(keepends=True)
    lines.sort()
    with open(output, "r+b") as file:
        file.seek(offset)
        file.write(b"".join(lines))


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    records = os.path.getsize(path) // RECORD_BYTES
    step = max(1, records // SAMPLE)
    sample = sorted(read_records(path, n, 1)[0] for n in range(0, records, step))
    bounds = [sample[len(sample) * n // RANGES] for n in range(1, RANGES)]
    firsts = list(range(0, records, PIECE_RECORDS))
    with open(output, "wb"), tempfile.TemporaryDirectory(dir=os.path.dirname(output)) as scratch, Pool(workers) as pool:
        sizes = pool.starmap(deal, [(path, first, bounds, scratch) for first in firsts], chunksize=1)
        totals = [sum(column) for column in zip(*sizes, strict=True)]
        offsets = [sum(totals[:n]) for n in range(RANGES)]
        pool.starmap(sort_range, [(n, scratch, firsts, output, offsets[n]) for n in range(RANGES)], chunksize=1)
