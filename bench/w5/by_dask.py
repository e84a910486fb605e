"""Word count of four lines with Dask: a bag on its default scheduler, processes."""

import sys

import dask.bag


def count(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    words = dask.bag.from_sequence(lines).map(count).flatten().pluck(0)
    counts = dict(words.frequencies().compute(scheduler="processes", num_workers=workers))
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
