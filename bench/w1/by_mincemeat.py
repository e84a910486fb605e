"""Word count with mincemeat: slots of this machine, or with CLUSTER=1 two workers that join over TLS.

With JOURNAL=1 it is written down what is done.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import mincemeat


def words(_key: Any, text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        yield word, 1


def total(_word: str, counts: list[int]) -> int:
    return sum(counts)


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    where: dict[str, Any] = {}
    if os.environ.get("CLUSTER"):
        where = {"engine": "cluster", "host": "127.0.0.1", "port": 0, "password": "loopback"}
    if os.environ.get("JOURNAL"):
        where["journal"] = f"{output}.journal"
    written = f"{output}.txt"
    mincemeat.run(
        mincemeat.text(path),
        words,
        total,
        collectfn=total,
        sort=True,
        output=written,
        workers=workers,
        progress=False,
        **where,
    )
    os.replace(written, output)
