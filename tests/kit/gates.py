"""Jobs that a test watches and holds back, through files: both sides wait for what they need and never for a while.

The functions travel to slots as this file, so it imports nothing heavy. A record is ``directory/number: (number,
gate)``; its attempt waits until the file ``gate`` is in the directory, if it names one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

GROUPS = 5
# Set in the environment of a worker that never ends what others do at once.
SLUGGISH = "TEST_IS_SLUGGISH"
# Far beyond what a busy machine needs: only a test that fails waits so long.
PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.005

_T = TypeVar("_T")
Record = tuple[int, str]


def wait_until(look: Callable[[], _T], what: str, seconds: float = PATIENCE_SECONDS) -> _T:
    """The first true answer of ``look``. Raises: AssertionError saying ``what`` did not happen."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s: {what}"
        time.sleep(_POLL_SECONDS)
    return answer


def open_gate(directory: Path, gate: str = "go") -> None:
    (directory / gate).touch()


def pass_gate(directory: Path, gate: str) -> None:
    wait_until((directory / gate).exists, f"the gate {gate!r} opens")


# -- the job -----------------------------------------------------------------------------------------------


def records(directory: Path, count: int, held_from: int = 0, gate: str = "go") -> dict[str, Record]:
    """``count`` records; from ``held_from`` on they wait for ``gate``."""
    return {f"{directory}/{number}": (number, gate if number >= held_from else "") for number in range(count)}


def grouped(count: int) -> dict[int, list[int]]:
    """What ``held`` and ``as_given`` make of ``count`` records."""
    groups: dict[int, list[int]] = {}
    for number in range(count):
        groups.setdefault(number % GROUPS, []).append(number)
    return groups


def held(key: str, record: Record) -> Iterator[tuple[int, int]]:
    """Leaves a note of which worker (parent) and slot it runs in, and passes the record's gate."""
    number, gate = record
    Path(f"{key}.{os.getppid()}.{os.getpid()}.started").touch()
    if gate:
        pass_gate(Path(key).parent, gate)
    yield number % GROUPS, number


def sluggish(key: str, record: Record) -> Iterator[tuple[int, int]]:
    """As ``held``, and where the environment says so it waits for the gate ``thaw`` besides."""
    yield from held(key, record)
    if os.environ.get(SLUGGISH):
        pass_gate(Path(key).parent, "thaw")


def as_given(key: Any, values: list[Any]) -> list[Any]:
    return values


def sluggish_as_given(directory: Path) -> Callable[[Any, list[Any]], list[Any]]:
    """As ``held_as_given``, and where the environment says so it waits for the gate ``thaw`` besides."""
    reducefn = held_as_given(directory)

    def reduce_sluggishly(key: Any, values: list[Any]) -> list[Any]:
        values = reducefn(key, values)
        if os.environ.get(SLUGGISH):
            pass_gate(directory, "thaw")
        return values

    return reduce_sluggishly


def held_as_given(directory: Path) -> Callable[[Any, list[Any]], list[Any]]:
    """A reducefn that leaves a note and passes the gate ``reduce``."""

    def reducefn(key: Any, values: list[Any]) -> list[Any]:
        (directory / f"{os.getppid()}.reducing").touch()
        pass_gate(directory, "reduce")
        return values

    return reducefn


# -- what the test sees of it --------------------------------------------------------------------------------


def starts(directory: Path) -> list[tuple[int, int, int]]:
    """(record, worker process, slot process) of each attempt so far, in no order."""
    notes = [path.name.split(".") for path in directory.glob("*.started")]
    return [(int(number), int(worker), int(slot)) for number, worker, slot, _ in notes]


def records_of(directory: Path, worker: int) -> set[int]:
    """The records that the worker process has begun."""
    return {number for number, where, _ in starts(directory) if where == worker}


def wait_for_workers(directory: Path, *workers: int) -> None:
    """Each of these worker processes has begun a record."""
    for worker in workers:
        wait_until(lambda worker=worker: records_of(directory, worker), f"worker {worker} begins a record")  # type: ignore[misc]


def wait_for_slots(directory: Path, count: int) -> set[int]:
    """So many slots have begun a record; their processes."""

    def look() -> set[int]:
        slots = {slot for _, _, slot in starts(directory)}
        return slots if len(slots) >= count else set()

    return wait_until(look, f"{count} slots begin a record")


def wait_for_reducers(directory: Path, count: int) -> set[int]:
    """So many workers are held in ``held_as_given``; their processes."""

    def look() -> set[int]:
        workers = {int(path.name.split(".")[0]) for path in directory.glob("*.reducing")}
        return workers if len(workers) >= count else set()

    return wait_until(look, f"{count} workers reduce")
