"""No-op records with joblib (loky), in batches as joblib chooses them."""

import sys
from collections import defaultdict

from joblib import Parallel, delayed


def nothing(record: tuple[int, int]) -> list[tuple[int, int]]:
    return [(record[1] % 7, 1)]


if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    counts: defaultdict[int, int] = defaultdict(int)
    for pairs in Parallel(n_jobs=workers)(delayed(nothing)(record) for record in enumerate(range(records))):
        for key, value in pairs:
            counts[key] += value
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
