"""Jobs whose records say themselves what is emitted, for comparing engines. They travel to slots as this file.

A record's value is a list of pairs; the value of a pair is a tuple, so that values can be joined in any number of steps
without losing their order: a combiner that is associative and not commutative.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

Pairs = list[tuple[Any, tuple[Any, ...]]]


def emit(key: Any, pairs: Pairs) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    yield from pairs


def joined(key: Any, values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(part for value in values for part in value)


def joined_unless_one(key: int, values: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    if key == 1:
        raise ZeroDivisionError("no use for one")
    return joined(key, values)


def kind_and_list(key: Any, values: Iterable[tuple[Any, ...]]) -> tuple[str, list[tuple[Any, ...]]]:
    """The values come back as they were given, which makes a list of them wherever they were."""
    return type(values).__name__, values  # type: ignore[return-value]


def raise_at_length(key: Any, length: int) -> Pairs:
    raise OverflowError("too much " * (length // 9))


class Plain:
    """A key without a portable hash of its own; needs a ``partitionfn``."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)


def number_of(key: Plain) -> int:
    return key.number


def itself(key: int) -> int:
    return key


def parity(key: int) -> int:
    return key % 2


def random_pair(chance: random.Random) -> tuple[Any, tuple[Any, ...]]:
    return _random_key(chance), (_random_value(chance),)


def _random_key(chance: random.Random, depth: int = 0) -> Any:
    """Few enough different ones that they meet, of every kind that needs no class of its own."""
    kind = chance.randrange(9 if depth == 0 else 7)
    number = chance.randrange(6)
    match kind:
        case 0:
            return f"word{number}"
        case 1:
            return f"wört{number}".encode()
        case 2:
            return number
        case 3:
            return float(number)
        case 4:
            return bool(number % 2)
        case 5:
            return None
        case 6:
            return ""
        case 7:
            return tuple(_random_key(chance, 1) for _ in range(number % 3))
        case _:
            return frozenset({number})


def _random_value(chance: random.Random) -> Any:
    number = chance.randrange(1000)
    return chance.choice([number, f"value {number}", [number], {"n": number}, None, "long " * number])
