"""No-op records with Dask's futures: Client.map, each record a task."""

import sys
from collections import defaultdict

from dask.distributed import Client


def nothing(record: tuple[int, int]) -> list[tuple[int, int]]:
    return [(record[1] % 7, 1)]


if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    counts: defaultdict[int, int] = defaultdict(int)
    with Client(n_workers=workers, threads_per_worker=1, dashboard_address=None) as client:
        for pairs in client.gather(client.map(nothing, list(enumerate(range(records))))):
            for key, value in pairs:
                counts[key] += value
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
