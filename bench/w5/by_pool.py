"""Word count of four lines with multiprocessing.Pool."""

import sys
from multiprocessing import Pool


def count(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    counts: dict[str, int] = {}
    with Pool(workers) as pool:
        for pairs in pool.map(count, lines):
            for word, n in pairs:
                counts[word] = counts.get(word, 0) + n
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
