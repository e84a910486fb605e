"""What data of the standard library is written as where its own pickle names more than data needs.

Decides: the form of each, and what is made of it again. The functions whose names end in ``_of`` are what pickles name;
they take anything that a lying worker may send, and make nothing large of what was small. Plain pickle finds them, too.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

from mincemeat.errors import RefusedAsData

Reducer = Callable[[Any], "tuple[Any, ...] | str"]

_FACTORIES: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset)
}
_ZONE: Final = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")


def counter_of(counts: dict[Any, Any]) -> Counter[Any]:
    """Counter would count whatever it is given, ``range(10**12)`` included."""
    _expect(type(counts) is dict, "a Counter is made of a dict")
    return Counter(counts)


def deque_of(maxlen: int | None) -> deque[Any]:
    """An empty one; its elements follow."""
    _expect(maxlen is None or type(maxlen) is int, "the length of a deque is a number")
    return deque(maxlen=maxlen)


def list_of() -> list[Any]:
    """An empty one; its elements follow. What reads like a list is sent as one (shuffle/values.py)."""
    return []


def default_dict_of(factory: str | None) -> defaultdict[Any, Any]:
    """An empty one; its entries follow."""
    _expect(factory is None or (type(factory) is str and factory in _FACTORIES), "a defaultdict of what?")
    return defaultdict(None if factory is None else _FACTORIES[factory])


def fraction_of(numerator: int, denominator: int) -> Any:
    """Of text, Fraction would raise ten to any power."""
    from fractions import Fraction

    _expect(type(numerator) is int and type(denominator) is int, "a Fraction is made of two whole numbers")
    return Fraction(numerator, denominator)


def zone_of(key: str) -> Any:
    """A time zone by its name, as ``Europe/Berlin``; its file is looked for where time zones are."""
    from zoneinfo import ZoneInfo

    _expect(type(key) is str and len(key) < 100 and _ZONE.fullmatch(key) is not None, "a zone has another name")
    return ZoneInfo(key)


def _expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise RefusedAsData(what)


# -- written ---------------------------------------------------------------------------------------------


def _reduce_counter(counter: Counter[Any]) -> tuple[Any, ...]:
    return counter_of, (dict(counter),)


def _reduce_deque(elements: deque[Any]) -> tuple[Any, ...]:
    return deque_of, (elements.maxlen,), None, iter(elements)


def _reduce_default_dict(entries: defaultdict[Any, Any]) -> tuple[Any, ...]:
    factory = entries.default_factory
    name = getattr(factory, "__name__", "") if factory is not None else None
    if factory is not None and _FACTORIES.get(str(name)) is not factory:
        raise RefusedAsData(
            f"the factory of a collections.defaultdict is {factory!r}, and only {', '.join(_FACTORIES)} are data"
        )
    return default_dict_of, (name,), None, None, iter(entries.items())


def _reduce_fraction(fraction: Any) -> tuple[Any, ...]:
    return fraction_of, (fraction.numerator, fraction.denominator)


def _reduce_zone(zone: Any) -> tuple[Any, ...]:
    if zone.key is None:
        raise RefusedAsData("a time zone that was read from a file has no name")
    return zone_of, (zone.key,)


_PLAIN: Final[dict[type, Reducer]] = {
    Counter: _reduce_counter,
    deque: _reduce_deque,
    defaultdict: _reduce_default_dict,
}
# Module -> what is written otherwise if somebody has imported it; nobody can have values of its types before.
_SOURCES: Final[dict[str, Callable[[Any], dict[type, Reducer]]]] = {
    "fractions": lambda module: {module.Fraction: _reduce_fraction},
    "zoneinfo": lambda module: {module.ZoneInfo: _reduce_zone},
    "numpy": lambda module: _arrays(module),
    "pandas": lambda module: _frames(module),
}
_known: dict[str, dict[type, Reducer]] = {}


def _arrays(numpy: Any) -> dict[type, Reducer]:
    from mincemeat.decoding.arrays import reducers

    return reducers(numpy)


def _frames(pandas: Any) -> dict[type, Reducer]:
    from mincemeat.decoding.frames import reducers

    return reducers(pandas)


def reducers() -> dict[type, Reducer]:
    """Type -> how it is written, for a pickler's ``dispatch_table``."""
    for name, source in _SOURCES.items():
        if name not in _known and (module := sys.modules.get(name)) is not None:
            try:
                _known[name] = source(module)
            except AttributeError:  # it is being imported, in another thread
                continue
    found = dict(_PLAIN)
    for table in _known.values():
        found.update(table)
    return found
