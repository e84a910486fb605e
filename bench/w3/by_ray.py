"""No-op records with Ray core, each record a task."""

import sys
from collections import defaultdict

import ray


def nothing(record: tuple[int, int]) -> list[tuple[int, int]]:
    return [(record[1] % 7, 1)]


if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    task = ray.remote(nothing)
    counts: defaultdict[int, int] = defaultdict(int)
    for pairs in ray.get([task.remote(record) for record in enumerate(range(records))]):
        for key, value in pairs:
            counts[key] += value
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
