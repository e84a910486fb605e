"""What the workloads are: the size each has by default, and how its input is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import data

_MULTIPLES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "K": 10**3, "M": 10**6}


class Workload(NamedTuple):
    """``make`` gives the input as the scripts' first argument, from the cache, the origin of text, and the size."""

    title: str
    default_size: str
    needs_text: bool
    make: Callable[[Path, data.Origin, int], str]


WORKLOADS = {
    "W1": Workload(
        "word count of one file: a generator per word, a combiner, a sorted TSV",
        "200MB",
        True,
        lambda cache, origin, size: str(data.text_file(cache, origin, size)),
    ),
    "W2": Workload(
        "inverted index of so many files: identifier to sorted file names, a sorted TSV",
        "20000",
        True,
        lambda cache, origin, size: str(data.directory_of_files(cache, origin, size)),
    ),
    "W3": Workload(
        "so many records whose functions do nothing", "20000", False, lambda _cache, _origin, size: str(size)
    ),
    "W4": Workload(
        "sort of so many records of 100 bytes",
        "10M",
        False,
        lambda cache, _origin, size: str(data.records_file(cache, size)),
    ),
    "W5": Workload(
        "word count of four lines, from a cold start",
        "4",
        False,
        lambda cache, _origin, _size: str(data.four_lines(cache)),
    ),
}


def parse_size(text: str) -> int:
    """``"200MB"`` and ``"10M"`` as numbers. Raises: ValueError."""
    for suffix, factor in _MULTIPLES.items():
        if text.upper().endswith(suffix):
            return int(float(text[: -len(suffix)]) * factor)
    return int(text)
