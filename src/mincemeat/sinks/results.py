"""Results that were written to files, as a mapping that reads them when it is asked.

Decides: in which part a key is looked for. What comes back is what the format can say: its own file has the types.
"""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_left
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from mincemeat.errors import BlockCorrupt, InvalidJob, MincemeatError
from mincemeat.model import Pair
from mincemeat.shuffle.partition import Partitioner
from mincemeat.sinks.base import format_name, layout_of
from mincemeat.sinks.directory import read_manifest
from mincemeat.sinks.formats import Format, Stretch
from mincemeat.sinks.parts import BY_HASH, BY_ORDER, checksum, format_called
from mincemeat.sinks.target import Identity, identity_of

if TYPE_CHECKING:
    from mincemeat.set_aside import RecordFailure


class Results(Mapping[Any, Any]):
    """The results of a job in the files of ``path``: a read-only mapping, in the order of the files.

    A key is found by its form: where keys come back as text, ``results[5]`` is ``results["5"]``. Results of two keys
    of one form (5 and "5" in a .csv) are both counted and iterated, and the first is found.

    Memory: one block of results. Cost: ``len`` nothing, if the job was this program's or in a directory, else a look
    through the file; a key a look into one part if keys were dealt out by hash or are in order, else into all of them.
    Raises: BlockCorrupt for files that are damaged; MincemeatError for files that another job has replaced.
    """

    def __init__(
        self,
        path: str,
        fmt: Format,
        stretches: list[Stretch],
        partitions: int | None,
        count: int | None,
        identity: Identity | None,
    ) -> None:
        """``identity``: of the one file that the stretches are of, when they were found; None for part files."""
        self.path = path
        # Of the job of this program that wrote it; nothing of them stands in the files.
        self.failures: tuple[RecordFailure, ...] = ()
        self._format = fmt
        self._stretches = stretches
        self._count = count
        self._files = tuple(dict.fromkeys(stretch.path for stretch in stretches))
        # Part files have names of their own; one file has the name that the next job's will have.
        self._identity = identity
        self._finder = _Finder(fmt, stretches, partitions)
        self._ahead = _ReadAhead(self._pairs)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files with results, in their order."""
        return self._files

    def __len__(self) -> int:
        if self._count is None:
            with self._reading():
                self._count = sum(map(self._format.count, self._stretches))
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._pairs())

    def __getitem__(self, key: Any) -> Any:
        pair = self._ahead.take(key)
        if pair is not None:
            return pair[1]
        with self._reading():
            for stretch in self._finder.candidates(key):
                try:
                    return self._format.find(stretch, key)
                except KeyError:
                    continue
                except (TypeError, ValueError, RecursionError):  # it has no form, so it cannot have been written
                    break
        raise KeyError(key)

    def items(self) -> ItemsView[Any, Any]:
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        return _Values(self)

    def verify(self) -> None:
        """Read everything, and compare it with what was noted when it was written, as far as it was.

        Raises: BlockCorrupt, naming the file.
        """
        with self._reading(whatever_is_there=True):
            for stretch in self._stretches:
                if stretch.facts is not None:
                    _compare(stretch)
        with self._reading():
            found = sum(1 for _ in self._pairs())
        if found != len(self):
            text = f"{self.path!r} has {found} results, and {len(self)} were written"
            raise BlockCorrupt(text, path=self.path)

    def __repr__(self) -> str:
        files = f"{len(self._files)} file" + ("" if len(self._files) == 1 else "s")
        count = "" if self._count is None else f"{self._count} results in "
        return f"<Results {count}{self.path!r}, {files}>"

    def _pairs(self) -> Iterator[Pair]:
        for stretch in self._stretches:
            with self._reading():
                pairs = self._format.pairs(stretch)
                first = next(pairs, None)
                self._check_identity()  # now that the file is open: what is read is what was found
                if first is not None:
                    yield first
                    yield from pairs

    @contextlib.contextmanager
    def _reading(self, *, whatever_is_there: bool = False) -> Iterator[None]:
        """Around whatever opens the files. They may be replaced at any moment, so what is read is believed if they
        were the same behind it as before it."""
        try:
            if not whatever_is_there:
                self._check_identity()
            yield
            if not whatever_is_there:
                self._check_identity()
        except BlockCorrupt:
            if not whatever_is_there:
                self._check_identity()  # cut, because it is another one
            raise
        except FileNotFoundError as error:
            if error.filename not in self._files:
                raise
            raise MincemeatError(
                f"the results in {self.path!r} are gone or were replaced, for {error.filename!r} is missing: "
                "open them again",
                path=error.filename,
            ) from error

    def _check_identity(self) -> None:
        """Raises: MincemeatError if there is another file now, or a changed one; FileNotFoundError if there is none."""
        if self._identity is not None and identity_of(self._files[0]) != self._identity:
            raise MincemeatError(
                f"the results in {self.path!r} were replaced or changed since: open them again",
                path=self._files[0],
            )


class _Items(ItemsView[Any, Any]):
    """Reads the files once, where the usual one looks every key up."""

    _mapping: Results

    def __iter__(self) -> Iterator[Pair]:
        return self._mapping._pairs()


class _Values(ValuesView[Any]):
    _mapping: Results

    def __iter__(self) -> Iterator[Any]:
        return (result for _, result in self._mapping._pairs())


class _ReadAhead:
    """For who asks for all keys in order, as ``dict(results)`` does: to find each anew would take squared time."""

    def __init__(self, pairs: Callable[[], Iterator[Pair]]) -> None:
        self._pairs = pairs
        self._first: Pair | None = None
        self._is_empty = False
        # Open only from the first key on, and only as long as it is what is asked for.
        self._rest: Iterator[Pair] | None = None
        self._next: Pair | None = None
        self._lock = threading.Lock()

    def take(self, key: Any) -> Pair | None:
        """The pair of ``key``, if that is the next one, or the first. Raises: as reading does."""
        if not self._lock.acquire(blocking=False):
            return None  # another thread is at it
        try:
            if self._next is not None and _is_same(key, self._next[0]):
                return self._advance()
            self._rest = self._next = None
            if self._first is None and not self._is_empty:
                self._first = next(self._pairs(), None)
                self._is_empty = self._first is None
            if self._first is None or not _is_same(key, self._first[0]):
                return None
            self._rest = self._pairs()
            self._next = next(self._rest, None)
            return self._advance()
        finally:
            self._lock.release()

    def _advance(self) -> Pair | None:
        found = self._next
        assert self._rest is not None
        self._next = next(self._rest, None)
        return found


def _is_same(key: Any, other: Any) -> bool:
    return type(key) is type(other) and key == other


class _Finder:
    """Which stretches a key may be in."""

    def __init__(self, fmt: Format, stretches: list[Stretch], partitions: int | None) -> None:
        self._format = fmt
        self._stretches = [stretch for stretch in stretches if stretch.facts is None or stretch.facts.results]
        facts = [stretch.facts for stretch in self._stretches if stretch.facts is not None]
        self._types = {name for each in facts for name in each.key_types}
        dealt = {each.dealt for each in facts}
        is_known = len(facts) == len(self._stretches) > 1
        self._partitioner = Partitioner(partitions) if is_known and dealt == {BY_HASH} and partitions else None
        # Only of keys that JSON can tell: all str or all int.
        self._lasts = (
            [each.last for each in facts] if is_known and dealt == {BY_ORDER} and len(self._types) == 1 else []
        )
        if None in self._lasts:
            self._lasts = []

    def candidates(self, key: Any) -> list[Stretch]:
        if self._partitioner is None and not self._lasts:
            return self._stretches
        originals = self._format.originals(key, self._types)
        if originals is None:
            return self._stretches
        found = [self._places(original) for original in originals]
        return [stretch for index, stretch in enumerate(self._stretches) if any(index in places for places in found)]

    def _places(self, key: Any) -> range:
        if self._partitioner is not None:
            partition = self._partitioner(key)
            for index, stretch in enumerate(self._stretches):
                assert stretch.facts is not None
                first, stop = stretch.facts.partitions
                if first <= partition < stop:
                    return range(index, index + 1)
            return range(0)
        try:
            index = bisect_left(self._lasts, key)
        except TypeError:  # a str among ints
            return range(0)
        return range(index, min(index + 1, len(self._lasts)))


def open_results(path: str | os.PathLike[str]) -> Results:
    """The results that a job has written to ``path``, a file or a directory of part files.

    Raises: InvalidJob if there are none, or the ending is unknown; BlockCorrupt for a damaged manifest.
    """
    shown, _ = layout_of(path)
    if os.path.isdir(shown):
        manifest = read_manifest(shown)
        fmt = format_called(manifest.format)
        count = sum(facts.results for _, facts in manifest.parts)
        return Results(shown, fmt, manifest.stretches(os.path.realpath(shown), fmt), manifest.partitions, count, None)
    fmt = format_called(format_name(shown))
    path = os.path.realpath(shown)
    try:
        identity = identity_of(path)  # before anything is found in it
        fmt.check_file(shown)
        return Results(shown, fmt, [fmt.whole(path)], None, None, identity)
    except FileNotFoundError:
        raise InvalidJob(f"there are no results at {shown!r}: no such file or directory") from None
    except ValueError as error:
        raise InvalidJob(f"{shown!r} holds no results of mincemeat's: {error}") from error


def _compare(stretch: Stretch) -> None:
    assert stretch.facts is not None
    start = stretch.offset + stretch.length - stretch.facts.bytes  # before the header, where the part has one
    found = checksum(stretch.path, start, stretch.facts.bytes)
    if found != (stretch.facts.bytes, stretch.facts.crc32):
        raise BlockCorrupt(
            f"{stretch.path} at byte {start}: checksum mismatch (expected {stretch.facts.bytes} bytes with CRC-32 "
            f"{stretch.facts.crc32:08x}, found {found[0]} with {found[1]:08x})",
            path=stretch.path,
            offset=start,
        )
