"""Word count with mincemeat, and a Counter for each piece of the text: no pair is emitted by itself."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mincemeat


def count(_key: Any, text: str) -> Iterator[Any]:
    yield Counter(text.split())


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    written = f"{output}.txt"
    mincemeat.run(
        mincemeat.text(path), count, sum, collectfn=sum, sort=True, output=written, workers=workers, progress=False
    )
    os.replace(written, output)
