"""Inverted index with mincemeat: slots of this machine, or with CLUSTER=1 two workers that join over TLS."""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import mincemeat

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


def in_order(_identifier: str, names: list[str]) -> str:
    return " ".join(sorted(names))


if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    where: dict[str, Any] = {}
    if os.environ.get("CLUSTER"):
        where = {"engine": "cluster", "host": "127.0.0.1", "port": 0, "password": "loopback"}
    written = f"{output}.txt"
    mincemeat.run(
        mincemeat.files(directory),
        identifiers,
        in_order,
        sort=True,
        output=written,
        workers=workers,
        progress=False,
        **where,
    )
    os.replace(written, output)
