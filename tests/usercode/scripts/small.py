"""Run in every way a script can be run: from a file, from standard input, as a notebook cell, as a job file."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import helpers  # type: ignore[import-not-found]
from journey import Arrival, Claim, run  # type: ignore[import-not-found]

from mincemeat.model import UserFunctions

with open("runs", "a") as runs:
    runs.write("run\n")


@dataclass(frozen=True)
class Line:
    words: int

    class Note:
        text = "nested"


def count(text: str) -> int:
    return len(text.split())


def mapfn(key: str, value: int) -> Iterator[tuple[object, object]]:
    yield Line(count("a b") + value), Line.Note()
    yield os.path.basename("x/y"), helpers.tally("Word", value)


def check(arrival: Arrival) -> bool:
    (line, note), (base, tally) = arrival.pairs
    return (
        line == Line(5)
        and type(line) is Line
        and type(note) is Line.Note
        and base == "y"
        and tally == helpers.Tally("word", 3)
    )


run({"small": Claim(UserFunctions(mapfn=mapfn), check)}, Path(sys.argv[1]), Path(sys.argv[2]))
