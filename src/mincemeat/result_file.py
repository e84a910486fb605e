"""The file of results that a reduce attempt leaves: written by portions, read again, and looked at for damage.

Decides: how many results are written at once, and in which form: blocks for the caller, or a part of the job's output.
Does not know: how results come about, or where the file goes from here.
"""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.errors import BlockCorrupt, InvalidEmission, UserCodeError
from mincemeat.model import AttemptId, Key, Span, UserFunctions
from mincemeat.shuffle.blame import encode_or_blame
from mincemeat.shuffle.block import (
    FILE_HEADER,
    BlockWriter,
    decode_columns,
    encode_text,
    iter_blocks,
    read_index,
)
from mincemeat.shuffle.damage import is_damage
from mincemeat.shuffle.deflate import Deflating
from mincemeat.shuffle.store import JobStore
from mincemeat.shuffle.texttable import TextColumns
from mincemeat.shuffle.ungrouped import grouped

if TYPE_CHECKING:
    from mincemeat.sinks.parts import PartWriter


@contextlib.contextmanager
def writing_results(
    functions: UserFunctions,
    partitions: range,
    store: JobStore,
    attempt: AttemptId,
    memory_bytes: int,
    coding: Coding,
    is_near: bool,
) -> Iterator[ResultWriter]:
    """The attempt's file, in the form that the job wants: whole when the block ends, and gone if it raises."""
    if not functions.output:
        with store.writing(attempt) as writer:
            yield _BlockWriter(writer, memory_bytes, coding, functions.stays_here, is_near)
        return
    from mincemeat.sinks import parts

    with store.writing_file(attempt) as path, contextlib.closing(parts.open_part(functions.output, path)) as part:
        trial_path = f"{path}.trial"

        def open_trial() -> PartWriter:
            return parts.open_part(functions.output, trial_path)

        results = _PartWriter(part, memory_bytes, open_trial)
        try:
            yield results
        finally:
            results.close_trial()
            with contextlib.suppress(OSError):
                os.unlink(trial_path)
        dealt = parts.BY_ORDER if functions.sort else parts.BY_HASH
        part.finish(partitions, parts.ANYWHERE if functions.partitionfn is not None else dealt)


class ResultWriter(abc.ABC):
    """Results on their way to disk by portions, sized by the one before: a result may be larger than what it is of."""

    def __init__(self, memory_bytes: int) -> None:
        self.keys: list[Key] = []
        self.results: list[Any] = []
        self.written = 0
        self.room = limits.RESULTS_PER_FIRST_BLOCK
        self._portion_bytes = min(limits.RESULT_BLOCK_BYTES, memory_bytes * limits.BATCH_BUDGET_SHARE)

    def write_columns(self, partition: int, keys: list[Key], results: Sequence[Any]) -> None:
        """Append all of these, which are of ``partition``, after which nothing is left to be written."""
        start = 0
        while start < len(keys):
            stop = start + self.room
            self.keys += keys[start:stop]
            self.results += results[start:stop]
            start = stop
            self.write(partition)

    def write_text(self, partition: int, columns: TextColumns) -> int:
        """As ``write_columns``, for a table's columns in which equal keys are neighbours. Returns: how many keys."""
        keys = 0
        for portion in columns.portions(self._portion_bytes):
            distinct = portion.distinct()
            if not self._append_text(partition, portion, distinct):
                self.write_columns(partition, *_lists_of(portion))
            keys += distinct
        return keys

    def write(self, partition: int) -> None:
        """Append what there is, all of it of ``partition``."""
        count = len(self.keys)
        if not count:
            return
        affordable = int(self._portion_bytes * count / max(1, self._append(partition)))
        self.written += count
        self.keys.clear()
        self.results.clear()
        self.room = max(1, min(affordable, 2 * self.room, limits.RESULTS_PER_BLOCK))

    @abc.abstractmethod
    def check(self, key: Key, result: Any) -> None:
        """Raises: UserCodeError if this result could not be written. Nothing is."""

    @abc.abstractmethod
    def _append(self, partition: int) -> int:
        """Append ``keys`` and ``results``; how many bytes they take. Raises: UserCodeError, SpillSpaceExhausted."""

    @abc.abstractmethod
    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        """Append columns with so many different keys as they are. False: it has to be done by keys and results."""


class _BlockWriter(ResultWriter):
    """As blocks, for the caller."""

    def __init__(self, writer: BlockWriter, memory_bytes: int, coding: Coding, stays_here: bool, is_near: bool) -> None:
        super().__init__(memory_bytes)
        self._writer = writer
        self._dumps = coding.dumps
        self._stays_here = stays_here
        self._deflating = Deflating(stays_here=stays_here or is_near)

    def check(self, key: Key, result: Any) -> None:
        encode_or_blame([key], [result], self._dumps, single=True, function="reducefn", stays_here=self._stays_here)

    def _append(self, partition: int) -> int:
        count = len(self.keys)
        payload = encode_or_blame(
            self.keys, self.results, self._dumps, single=True, function="reducefn", stays_here=self._stays_here
        )
        self._writer.append(partition, self._deflating.packed(payload), keys=count, pairs=count, single=True)
        return len(payload.data)

    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        if not columns.folds:
            return False
        payload, _ = encode_text(columns)
        self._writer.append(partition, self._deflating.packed(payload), keys=keys, pairs=keys, single=True)
        return True


class _PartWriter(ResultWriter):
    """In the bytes of the output."""

    def __init__(self, part: PartWriter, memory_bytes: int, open_trial: Callable[[], PartWriter]) -> None:
        super().__init__(memory_bytes)
        self._part = part
        self._open_trial = open_trial
        self._trial: PartWriter | None = None

    def check(self, key: Key, result: Any) -> None:
        """Writes it to a part beside it: what a format has no form for, none of them can tell without writing it."""
        if self._trial is None:
            self._trial = self._open_trial()
        try:
            _write_part(self._trial, [key], [result])
        except UserCodeError:
            self.close_trial()
            raise

    def close_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def write(self, partition: int) -> None:
        self.close_trial()  # so that it takes no more of the disk than a portion
        super().write(partition)

    def _append(self, partition: int) -> int:
        return _write_part(self._part, self.keys, self.results)

    def _append_text(self, partition: int, columns: TextColumns, keys: int) -> bool:
        return self._part.write_text(columns, keys)


def _write_part(part: PartWriter, keys: list[Key], results: list[Any]) -> int:
    try:
        return part.write(keys, results)
    except InvalidEmission as error:
        raise UserCodeError(str(error), function="reducefn", key=getattr(error, "key", "")) from error


def _lists_of(columns: TextColumns) -> tuple[list[Key], Sequence[Any]]:
    """Keys and results of a table: what values come to, or where nothing was folded the list of them."""
    keys, values = columns.lists()
    return (keys, values) if columns.folds else grouped(keys, values)


def iter_results(path: str, *, coding: Coding = PLAIN, stays_here: bool = False) -> Iterator[tuple[Key, Any]]:
    """The results in a committed file of ``run_reduce``, in its order: each key once.

    ``coding`` reads them. ``stays_here``: this build of Python on this machine wrote the file; see ``decode_columns``.
    Memory: one block at a time. The file is opened at the first ``next`` and closed at the end.
    Raises: BlockCorrupt, results before the damage having been yielded; InvalidEmission for results that cannot be
    unpickled; OSError if there is no such file.
    """
    for block in iter_blocks(_all_blocks(path)):
        keys, results = decode_columns(block, coding.loads, stays_here=stays_here)
        yield from zip(keys, results, strict=True)


def damage_of_results(path: str, form: str) -> str:
    """What is wrong with a committed file of ``run_reduce`` in the form of ``UserFunctions.output``, "" for nothing.

    Every checksum in it is compared, and nothing decoded. Memory: one block at a time. Raises: OSError, unless it says
    that the file is gone or cannot be read.
    """
    try:
        if form:
            from mincemeat.sinks.parts import check_part

            check_part(path)
        else:
            for _ in iter_blocks(_all_blocks(path)):
                pass
    except (BlockCorrupt, OSError) as error:
        if not is_damage(error):
            raise
        return f"its results were damaged on their way: {error}"
    return ""


def _all_blocks(path: str) -> Span:
    """Raises: BlockCorrupt; OSError."""
    return Span(path, FILE_HEADER.size, sum(entry.length for entry in read_index(path)))
