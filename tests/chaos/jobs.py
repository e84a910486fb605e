"""The jobs of chaos, what a plain loop makes of them, and how far they have come.

The functions travel to slots as this file, so it imports nothing heavy. Each call of a function leaves a line in a file
of notes: that is how the player knows the moment for a fault. Records and what becomes of them are the plan's alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Set in the environment of a worker that has little memory: there every record takes more than it has.
HUNGRY = "MINCEMEAT_CHAOS_HUNGRY"
# Set in the server's, and so in that of whatever it starts.
SERVER_PID = "MINCEMEAT_CHAOS_SERVER"
HUNGRY_BYTES = 900 * 2**20

VOCABULARY = [f"word{number:03}" for number in range(97)]
# Values of a bulky job, of which a map output has more than fits into one message.
BULKY_VALUE_BYTES = 24_000
# ... and so have its results.
BULKY_RESULT_CHARS = 6_000

# What a job is: its results, and the options that go with it.
KINDS: dict[str, dict[str, Any]] = {
    "count with a combiner": {},
    "count without one": {},
    "values in input order": {},
    "sorted": {"sort": True},
    "one output file": {"output": "answer.jsonl"},
    "a directory of sorted files": {"output": "answer.pickle/", "sort": True},
    "bulky": {"memory": "1MiB"},
}


@dataclass(frozen=True)
class JobPlan:
    """``split``: records per map task, None as the server likes. Times are those that a function sleeps per call."""

    kind: str
    seed: int
    records: int
    split: int | None
    partitions: int
    map_seconds: float
    reduce_seconds: float

    def datasource(self) -> dict[int, str]:
        chance = random.Random(self.seed)
        words = 3 if self.kind == "bulky" else 8
        return {number: " ".join(chance.choices(VOCABULARY, k=words)) for number in range(self.records)}


# -- what is computed ----------------------------------------------------------------------------------------


def emit(kind: str, key: int, text: str) -> Iterator[tuple[str, Any]]:
    for position, word in enumerate(text.split()):
        if kind == "bulky":
            yield word, random.Random(key * 100 + position).randbytes(BULKY_VALUE_BYTES)
        elif kind.startswith("count"):
            yield word, 1
        else:
            yield word, [key, position]


def conclude(kind: str, key: str, values: Any) -> Any:
    if kind == "bulky":
        digests = [hashlib.sha256(value).hexdigest() for value in values]
        return digests, random.Random(key).randbytes(BULKY_RESULT_CHARS)
    if kind.startswith("count"):
        return sum(values)
    return list(values)


def oracle(plan: JobPlan) -> dict[str, Any]:
    """The results by a plain loop, each key where it first appeared."""
    groups: dict[str, list[Any]] = {}
    for key, text in plan.datasource().items():
        for word, value in emit(plan.kind, key, text):
            groups.setdefault(word, []).append(value)
    return {word: conclude(plan.kind, word, values) for word, values in groups.items()}


# -- as a job ------------------------------------------------------------------------------------------------


def functions(plan: JobPlan, notes: Path, gate: Path) -> dict[str, Callable[[Any, Any], Any]]:
    """mapfn, reducefn and, if it has one, collectfn of the job. No record is looked at before ``gate`` is there."""

    def mapfn(key: int, text: str) -> Iterator[tuple[str, Any]]:
        if not is_looked_at():
            while not gate.exists():
                time.sleep(0.005)
            if os.environ.get(HUNGRY):
                bytearray(HUNGRY_BYTES)[::4096] = bytes(HUNGRY_BYTES // 4096)
            time.sleep(plan.map_seconds)
            note(notes, f"map {key}")
        yield from emit(plan.kind, key, text)

    def reducefn(key: str, values: Any) -> Any:
        if not is_looked_at():
            time.sleep(plan.reduce_seconds)
            note(notes, f"reduce {key}")
        return conclude(plan.kind, key, values)

    def collectfn(key: str, values: list[int]) -> int:
        return sum(values)

    job: dict[str, Callable[[Any, Any], Any]] = {"mapfn": mapfn, "reducefn": reducefn}
    if plan.kind == "count with a combiner":
        job["collectfn"] = collectfn
    return job


def is_looked_at() -> bool:
    """Whether this is the server's process, or a slot of its own: there functions are tried before a job begins."""
    return os.environ.get(SERVER_PID) in (str(os.getpid()), str(os.getppid()))


def note(notes: Path, line: str) -> None:
    handle = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


class Progress:
    """How far the job has come, from 0 to 1 in the map phase and on to 2 in the reduce phase, as its notes tell."""

    def __init__(self, plan: JobPlan, notes: Path) -> None:
        self._notes = notes
        self._read = 0
        self._keys = len({word for text in plan.datasource().values() for word in text.split()})
        self._records = plan.records
        self._mapped: set[bytes] = set()
        self._reduced: set[bytes] = set()

    def look(self) -> float:
        if self._notes.exists():
            with self._notes.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                (self._mapped if line.startswith(b"map") else self._reduced).add(line)
        if self._reduced:
            return 1 + len(self._reduced) / self._keys
        return len(self._mapped) / self._records

    @property
    def has_begun(self) -> bool:
        return bool(self._mapped or self._reduced)
