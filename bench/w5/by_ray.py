"""Word count of four lines with Ray core."""

import sys

import ray


def count(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    task = ray.remote(count)
    counts: dict[str, int] = {}
    for pairs in ray.get([task.remote(line) for line in lines]):
        for word, n in pairs:
            counts[word] = counts.get(word, 0) + n
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
