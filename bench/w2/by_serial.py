"""Inverted index in one process."""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


if __name__ == "__main__":
    directory, output = sys.argv[1], sys.argv[2]
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)
    index: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as text:
            for identifier, name in identifiers(path, text.read()):
                index[identifier].append(name)
    with open(output, "w", encoding="ascii") as file:
        for identifier in sorted(index):
            file.write(f"{identifier}\t{' '.join(sorted(index[identifier]))}\n")
