"""Sort with mincemeat in 512 MB: lines are keys; slots of this machine, or with CLUSTER=1 two workers over TLS."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import mincemeat

# What two slots may hold, so that the whole tree of processes stays below 512 MB.
MEMORY = "120MB"


def lines(_where: tuple[str, int], text: str) -> Iterator[Any]:
    keys = text.split("\n")
    if not keys[-1]:
        keys.pop()
    yield mincemeat.Pairs(keys, [None] * len(keys))


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    where: dict[str, Any] = {}
    if os.environ.get("CLUSTER"):
        where = {"engine": "cluster", "host": "127.0.0.1", "port": 0, "password": "loopback"}
    # Bytes that are no UTF-8 come through as they are, and the order of UTF-8 is that of its bytes.
    source = mincemeat.text(path, errors="surrogateescape")
    written = f"{output}.txt"
    mincemeat.run(source, lines, sort=True, output=written, memory=MEMORY, workers=workers, progress=False, **where)
    os.replace(written, output)
