"""Small jobs with an answer that is known, and what becomes of an attempt.

Decides: what is mapped and reduced, and the oracle: a plain loop over the records. Knows nothing of the cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mincemeat import reducers
from mincemeat.model import UserFunctions


class Unlucky(Exception):
    """What the jobs' functions raise."""


@dataclass
class Fate:
    """What becomes of one attempt. ``share``: of its ``seconds``, what is over when its work is done, all at once."""

    seconds: float = 0.0
    share: float = 0.5
    hangs: bool = False
    kills: bool = False
    raises: bool = False
    code_is_missing: bool = False
    version: int = 0  # what a whimsical function gives

    def __str__(self) -> str:
        told = [name for name in ("hangs", "kills", "raises", "code_is_missing") if getattr(self, name)]
        return f"{self.seconds:.3f} s {' '.join(told)}"


NO_FATE = Fate()
# Of the attempt that is carried out just now.
FATE = NO_FATE
# What the code of a job stands for: slots are in this process, so nothing needs to be packed.
LOADED: dict[bytes, UserFunctions] = {}


def _meet_fate(poison: object, key: object) -> None:
    if FATE.raises:
        raise Unlucky("a share had a bad moment")
    if poison is not None and key == poison:
        raise Unlucky(f"record {key} cannot be mapped")


@dataclass(frozen=True)
class SimJob:
    """``records`` in order, ``functions`` for them, and the ``answer``. ``poison``: a record that always raises."""

    records: dict[int, Any]
    functions: UserFunctions
    answer: dict[Any, Any]
    code: bytes
    poison: int | None = None


def make(chance: random.Random, *, poison: bool = False, whims: bool = False) -> SimJob:
    """Some job of no more than a few dozen records."""
    count = chance.choice([0, 1, 3, 8, 15, 30]) if not poison else chance.choice([3, 8, 15])
    records = {index: (chance.randrange(100), "x" * chance.choice([0, 5, 200])) for index in range(count)}
    poisoned = chance.choice(list(records)) if poison else None
    kind = _whimsical if whims else chance.choice([_inverted, _counted, _joined])
    mapfn, collectfn, reducefn, plain = kind(chance, poisoned)
    functions = UserFunctions(mapfn, reducefn, collectfn, sort=chance.random() < 0.3)
    code = b"code of a simulated job " + chance.randbytes(8)
    LOADED.clear()
    LOADED[code] = functions
    return SimJob(records, functions, _oracle(records, plain, mapfn, poisoned), code, poisoned)


Parts = tuple[Callable[..., Any], Any, Any, Callable[[Any, list[Any]], Any]]


def _inverted(chance: random.Random, poison: int | None) -> Parts:
    """Where each number is: the values of a key in the order of the input, with no reducefn."""
    modulus = chance.choice([1, 3, 20])

    def mapfn(key: int, value: tuple[int, str]) -> Iterator[tuple[int, tuple[int, str]]]:
        _meet_fate(poison, key)
        for step in range(1 + key % 3):
            yield (value[0] + step) % modulus, (key, value[1])

    return mapfn, None, None, lambda key, values: values


def _counted(chance: random.Random, poison: int | None) -> Parts:
    """How often each word is there: the compiled way, with a combiner."""
    modulus = chance.choice([2, 10])

    def mapfn(key: int, value: tuple[int, str]) -> Iterator[tuple[str, int]]:
        _meet_fate(poison, key)
        yield f"word {value[0] % modulus}", 1
        yield "all", 1

    return mapfn, reducers.sum, reducers.sum, lambda key, values: sum(values)


def _joined(chance: random.Random, poison: int | None) -> Parts:
    """A reducefn that sees order and number of its values."""
    modulus = chance.choice([4, 30])

    def mapfn(key: int, value: tuple[int, str]) -> list[tuple[str, str]]:
        _meet_fate(poison, key)
        return [(f"k{value[0] % modulus}", f"{key}{value[1]}"), (f"k{key % modulus}", str(key))]

    def reducefn(key: str, values: Any) -> str:
        if FATE.raises:
            raise Unlucky("a share had a bad moment")
        return ",".join(values)

    return mapfn, None, reducefn, lambda key, values: ",".join(values)


def _whimsical(chance: random.Random, poison: int | None) -> Parts:
    """Each attempt gives something else, for two keys of each record: both must be of the same one in the end."""

    def mapfn(key: int, value: tuple[int, str]) -> list[tuple[str, int]]:
        _meet_fate(poison, key)
        return [(f"a{key}", FATE.version), (f"b{key}", FATE.version)]

    return mapfn, None, None, lambda key, values: values


def _oracle(
    records: dict[int, Any], plain: Callable[[Any, list[Any]], Any], mapfn: Callable[..., Any], poison: int | None
) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = {}
    for key, value in records.items():
        if key != poison:
            for emitted, it in mapfn(key, value):
                groups.setdefault(emitted, []).append(it)
    return {key: plain(key, values) for key, values in groups.items()}
