"""No-op records with mincemeat. SPLIT=1 makes a task of each record; CLUSTER=1 has two workers that join over TLS."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import mincemeat


def nothing(_key: int, value: int) -> Iterator[tuple[int, int]]:
    yield value % 7, 1


def count(_key: int, values: list[int]) -> int:
    return len(values)


if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    how: dict[str, Any] = {"split": int(os.environ["SPLIT"])} if "SPLIT" in os.environ else {}
    if os.environ.get("CLUSTER"):
        how |= {"engine": "cluster", "host": "127.0.0.1", "port": 0, "password": "loopback"}
    counts = mincemeat.run(dict(enumerate(range(records))), nothing, count, workers=workers, progress=False, **how)
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
