"""No-op records with multiprocessing.Pool, each record a task (chunksize 1)."""

import sys
from collections import defaultdict
from multiprocessing import Pool


def nothing(record: tuple[int, int]) -> list[tuple[int, int]]:
    return [(record[1] % 7, 1)]


if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    counts: defaultdict[int, int] = defaultdict(int)
    with Pool(workers) as pool:
        for pairs in pool.imap_unordered(nothing, enumerate(range(records)), chunksize=1):
            for key, value in pairs:
                counts[key] += value
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
