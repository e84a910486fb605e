"""Small jobs with an answer that is known, and what becomes of an attempt.

Decides: what is mapped and reduced, and the oracle: a plain loop over the records. Knows nothing of the cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from mincemeat import reducers
from mincemeat.model import UserFunctions


class Unlucky(Exception):
    """What the jobs' functions raise."""


class Stopped(BaseException):
    """The process of the slot is no more, or does nothing any more: what is done behind this is undone (slots.py)."""


# A record ("map", repr of its key) or a key ("reduce", its repr), as what is set aside tells of it.
Place: TypeAlias = "tuple[str, str]"
RAISES, RAISES_LATE, KILLS, HANGS = "raises", "raises when it has emitted", "kills", "hangs"


@dataclass
class Fate:
    """What becomes of one attempt. ``share``: of its ``seconds``, what is over when its work is done, all at once.

    ``stops_at``: the call of a function in which the slot is killed or hangs; -1: it is killed behind the last one, or
    hangs before the first. ``raised``, ``stopped`` and ``stopped_at`` are what came of it.
    """

    seconds: float = 0.0
    share: float = 0.5
    hangs: bool = False
    kills: bool = False
    raises: bool = False
    code_is_missing: bool = False
    version: int = 0  # what a whimsical function gives
    stops_at: int = -1
    # Called when the slot is killed or hangs in a call of a function.
    at_stop: Callable[[], None] | None = None
    calls: int = 0
    raised: dict[Place, None] = field(default_factory=dict)
    stopped: str = ""
    stopped_at: Place | None = None

    def __str__(self) -> str:
        told = [name for name in ("hangs", "kills", "raises", "code_is_missing") if getattr(self, name)]
        return f"{self.seconds:.3f} s {' '.join(told)}"


NO_FATE = Fate()
# Of the attempt that is carried out just now.
FATE = NO_FATE
# What the code of a job stands for: slots are in this process, so nothing needs to be packed.
LOADED: dict[bytes, UserFunctions] = {}


def _meet_fate(bad: dict[Place, str], phase: str, key: object, *, has_emitted: bool = False) -> None:
    """A function is called for ``key``; with ``has_emitted`` it is about to return."""
    place = phase, repr(key)
    trouble = bad.get(place)
    if FATE.stopped:  # nobody is there any more
        raise Stopped
    if has_emitted:
        if trouble == RAISES_LATE:
            _raise(place, f"{phase} cannot end for {key}")
        return
    call, FATE.calls = FATE.calls, FATE.calls + 1
    if call == FATE.stops_at and (FATE.kills or FATE.hangs):
        _stop(place, KILLS if FATE.kills else HANGS)
    if FATE.raises:
        _raise(place, "a share had a bad moment")
    if trouble == RAISES:
        _raise(place, f"{phase} cannot be done for {key}")
    if trouble in (KILLS, HANGS):
        _stop(place, trouble)


def _raise(place: Place, text: str) -> NoReturn:
    FATE.raised[place] = None
    raise Unlucky(text)


def _stop(place: Place, how: str) -> NoReturn:
    FATE.stopped, FATE.stopped_at = how, place
    if FATE.at_stop is not None:
        FATE.at_stop()
    raise Stopped


@dataclass(frozen=True)
class SimJob:
    """``records`` in order, ``functions`` for them, and the ``answer``. ``poison``: a record that always raises.

    ``bad``: records and keys to which something happens whenever they are run; the answer is the one without them.
    """

    records: dict[int, Any]
    functions: UserFunctions
    answer: dict[Any, Any]
    code: bytes
    poison: int | None = None
    bad: dict[Place, str] = field(default_factory=dict)
    plain: Callable[[Any, list[Any]], Any] = lambda key, values: values

    def answer_without(self, aside: Container[Place]) -> dict[Any, Any]:
        """What a plain loop gives that leaves out the records and keys in ``aside``, all bad ones among them."""
        assert self.functions.mapfn is not None
        return _oracle(self.records, self.plain, self.functions.mapfn, aside)


def make(
    chance: random.Random, *, poison: bool = False, whims: bool = False, bad: int = 0, bad_keys: int = 0, hangs: bool
) -> SimJob:
    """Some job of no more than a few dozen records. ``hangs``: bad ones may do that, too."""
    counts = [3, 8, 15] if poison else [3, 8, 15, 30] if bad else [0, 1, 3, 8, 15, 30]
    count = chance.choice(counts)
    records = {index: (chance.randrange(100), "x" * chance.choice([0, 5, 200])) for index in range(count)}
    trouble: dict[Place, str] = {}
    poisoned = chance.choice(list(records)) if poison else None
    if poisoned is not None:
        trouble["map", repr(poisoned)] = RAISES
    kind = _whimsical if whims else chance.choice([_inverted, _counted, _joined])
    mapfn, collectfn, reducefn, plain = kind(chance, trouble)
    functions = UserFunctions(mapfn, reducefn, collectfn, sort=chance.random() < 0.3)
    code = b"code of a simulated job " + chance.randbytes(8)
    LOADED.clear()
    LOADED[code] = functions
    if bad or bad_keys:
        keys = list(_oracle(records, plain, mapfn, ())) if kind is _joined else []
        troubles = [RAISES, RAISES, RAISES_LATE, KILLS, *([HANGS] if hangs else [])]
        for phase, places, number in (("map", list(records), bad), ("reduce", keys, bad_keys)):
            for place in chance.sample(places, min(number, len(places))):
                trouble[phase, repr(place)] = chance.choice(troubles)
    return SimJob(records, functions, _oracle(records, plain, mapfn, trouble), code, poisoned, trouble, plain)


Parts = tuple[Callable[..., Any], Any, Any, Callable[[Any, list[Any]], Any]]


def _inverted(chance: random.Random, bad: dict[Place, str]) -> Parts:
    """Where each number is: the values of a key in the order of the input, with no reducefn."""
    modulus = chance.choice([1, 3, 20])

    def mapfn(key: int, value: tuple[int, str]) -> Iterator[tuple[int, tuple[int, str]]]:
        _meet_fate(bad, "map", key)
        for step in range(1 + key % 3):
            yield (value[0] + step) % modulus, (key, value[1])
        _meet_fate(bad, "map", key, has_emitted=True)

    return mapfn, None, None, lambda key, values: values


def _counted(chance: random.Random, bad: dict[Place, str]) -> Parts:
    """How often each word is there: the compiled way, with a combiner."""
    modulus = chance.choice([2, 10])

    def mapfn(key: int, value: tuple[int, str]) -> Iterator[tuple[str, int]]:
        _meet_fate(bad, "map", key)
        yield f"word {value[0] % modulus}", 1
        yield "all", 1
        _meet_fate(bad, "map", key, has_emitted=True)

    return mapfn, reducers.sum, reducers.sum, lambda key, values: sum(values)


def _joined(chance: random.Random, bad: dict[Place, str]) -> Parts:
    """A reducefn that sees order and number of its values."""
    modulus = chance.choice([4, 30])

    def mapfn(key: int, value: tuple[int, str]) -> list[tuple[str, str]]:
        _meet_fate(bad, "map", key)
        _meet_fate(bad, "map", key, has_emitted=True)
        return [(f"k{value[0] % modulus}", f"{key}{value[1]}"), (f"k{key % modulus}", str(key))]

    def reducefn(key: str, values: Any) -> str:
        _meet_fate(bad, "reduce", key)
        _meet_fate(bad, "reduce", key, has_emitted=True)
        return ",".join(values)

    return mapfn, None, reducefn, lambda key, values: ",".join(values)


def _whimsical(chance: random.Random, bad: dict[Place, str]) -> Parts:
    """Each attempt gives something else, for two keys of each record: both must be of the same one in the end."""

    def mapfn(key: int, value: tuple[int, str]) -> list[tuple[str, int]]:
        _meet_fate(bad, "map", key)
        return [(f"a{key}", FATE.version), (f"b{key}", FATE.version)]

    return mapfn, None, None, lambda key, values: values


def _oracle(
    records: dict[int, Any],
    plain: Callable[[Any, list[Any]], Any],
    mapfn: Callable[..., Any],
    aside: Container[Place],
) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = {}
    for key, value in records.items():
        if ("map", repr(key)) not in aside:
            for emitted, it in mapfn(key, value):
                groups.setdefault(emitted, []).append(it)
    return {key: plain(key, values) for key, values in groups.items() if ("reduce", repr(key)) not in aside}
