"""Inverted index with multiprocessing.Pool: some files at a time, merged as they come."""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing import Pool

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILES_PER_PIECE = 200


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


def index_files(paths: list[str]) -> dict[str, list[str]]:
    index: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as text:
            for identifier, name in identifiers(path, text.read()):
                index[identifier].append(name)
    return dict(index)


if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)
    pieces = [paths[n : n + FILES_PER_PIECE] for n in range(0, len(paths), FILES_PER_PIECE)]
    index: defaultdict[str, list[str]] = defaultdict(list)
    with Pool(workers) as pool:
        for part in pool.imap_unordered(index_files, pieces):
            for identifier, names in part.items():
                index[identifier] += names
    with open(output, "w", encoding="ascii") as file:
        for identifier in sorted(index):
            file.write(f"{identifier}\t{' '.join(sorted(index[identifier]))}\n")
