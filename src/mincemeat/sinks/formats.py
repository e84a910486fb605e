"""What the room asks of a format: to write parts, to make one file of them, and to read them again.

Decides: that, and which stretch of which file is read. Knows no format. A reader is told what its writer noted, and
does without where nobody remembers.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Pair
from mincemeat.sinks.parts import PLAIN_KEYS, PartFacts, PartWriter


class Stretch(NamedTuple):
    """Results one after the other in a file, ``length`` bytes from ``offset``; ``facts``: None if nobody remembers."""

    path: str
    offset: int
    length: int
    facts: PartFacts | None = None


class Joint(abc.ABC):
    """Makes one file of parts. Raises: OSError, ENOSPC where the disk is full. Ended by ``finish`` or ``close``."""

    # Whether ``add`` reads the part alone, where its facts are still behind it.
    passes_over_facts: ClassVar[bool] = False

    @abc.abstractmethod
    def add(self, path: str, facts: PartFacts) -> None:
        """Append the part at ``path``, whose facts are cut off. It is not needed afterwards, and not changed."""

    @abc.abstractmethod
    def finish(self) -> list[tuple[int, PartFacts]] | None:
        """Complete the file and close it; where in it the parts begin. None: they are no stretches of its bytes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the file, wherever it stands. Raises nothing, and may be called again."""


class Format(abc.ABC):
    """One way to write results. Stateless."""

    header: ClassVar[bytes] = b""
    # Types of keys (``PartFacts.key_types``) that come back as they were.
    exact_keys: ClassVar[frozenset[str]] = frozenset()
    # Of a database that is in use, or was when its program died: names that end so.
    companions: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def writer(self, path: str, *, alone: bool) -> PartWriter:
        """See ``open_part``."""

    @abc.abstractmethod
    def joint(self, path: str) -> Joint:
        """What makes one file of parts at ``path``, which is there and empty."""

    def even_out(self, parts: list[tuple[str, PartFacts]]) -> list[PartFacts]:
        """Rewrite those of ``parts`` that are not like the others, and sync them; the facts of all then."""
        return [facts for _, facts in parts]

    def originals(self, key: Any, types: set[str]) -> list[Any] | None:
        """What ``key`` may have been in a job whose keys were of ``types``; None: that cannot be told."""
        return [key] if types <= self.exact_keys and type(key).__name__ in PLAIN_KEYS else None

    @abc.abstractmethod
    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        """All results in their order. Memory: a block of them. Raises: BlockCorrupt for what cannot be read."""

    @abc.abstractmethod
    def find(self, stretch: Stretch, key: Any) -> Any:
        """The result of ``key``. Raises: KeyError if it is not there; BlockCorrupt."""

    def count(self, stretch: Stretch) -> int:
        """How many results there are, for a stretch that nobody remembers anything of."""
        return sum(1 for _ in self.pairs(stretch))

    def check_file(self, path: str) -> None:
        """Raises: ValueError, saying why, if the file at ``path`` does not begin as one of this format does."""
        with open(path, "rb") as file:
            if file.read(len(self.header)) != self.header:
                raise ValueError(f"it does not begin with {self.header.decode()!r}")

    def whole(self, path: str, facts: PartFacts | None = None) -> Stretch:
        """All that is in the file at ``path``."""
        size = os.path.getsize(path) if facts is None else facts.bytes
        return Stretch(path, len(self.header), size - len(self.header), facts)


def check_size(stretch: Stretch) -> None:
    """Raises: BlockCorrupt if the file ends before the stretch does; FileNotFoundError, with its path."""
    missing = stretch.offset + stretch.length - os.stat(stretch.path).st_size
    if missing > 0:
        raise cut(stretch, missing)


def cut(stretch: Stretch, missing: int) -> BlockCorrupt:
    """What to raise over a stretch at whose end so many bytes are missing."""
    end = stretch.offset + stretch.length - missing
    text = f"the results in {stretch.path} are cut at byte {end}: {missing} bytes are missing"
    return BlockCorrupt(text, path=stretch.path, offset=end)


def equal_keys(key: Any) -> Iterable[Any]:
    """``key`` and what a dict takes for the same: 1, 1.0 and True have different texts."""
    yield key
    if isinstance(key, int | float):
        for kind in (bool, int, float):
            if type(key) is kind:
                continue
            try:
                same = kind(key)
            except (OverflowError, ValueError):  # of an infinity, or of an int that is larger than every float
                continue
            if same == key:
                yield same
