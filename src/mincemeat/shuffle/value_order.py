"""Decides how sort_values= sorts the values of a key: a list where it is, what is on disk by merging sorted runs.

It knows nothing of the order of keys or of who reduces. Sorting is stable, as ``list.sort`` is: values that compare
equal stay in input order. Runs are consecutive stretches of the input, and merging favours the earlier one.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from mincemeat import limits
from mincemeat.errors import MincemeatError
from mincemeat.interrupts import passing
from mincemeat.model import Key, Value
from mincemeat.shuffle.blame import encode_or_blame, user_code_error
from mincemeat.shuffle.sizes import sampled_size
from mincemeat.shuffle.store import RegroupFiles
from mincemeat.shuffle.values import StoredValues

SortBy = Callable[[Value], Any]

_SAMPLES = 32


def sort_lists(groups: Mapping[Key, list[Value]], by: SortBy | None) -> None:
    """Sort each list by what ``by`` gives for its values, None being the values themselves.

    Raises: UserCodeError naming the key, from what ``by`` or a comparison raised.
    """
    key = None
    try:
        for key, values in groups.items():  # noqa: B007 - the key is for what may be raised
            if len(values) > 1:
                values.sort(key=by)
    except passing(MemoryError):
        raise
    except BaseException as error:
        raise user_code_error("sort_values", key, error) from error


@contextlib.contextmanager
def sorted_values(
    values: StoredValues, by: SortBy | None, files: RegroupFiles, memory_bytes: int
) -> Iterator[StoredValues]:
    """``values`` in order, in a file of their own that is gone when the block ends.

    Memory: about ``memory_bytes``. Cost: all values are written once sorted in runs and once merged, and once more for
    each time that there are more runs than can be merged at a time.
    Raises: UserCodeError naming the key, from what ``by`` or a comparison raised; BlockCorrupt; SpillSpaceExhausted.
    """
    sorting = _Sorting(values.key, by, files, memory_bytes)
    try:
        merged = sorting.merged(sorting.runs(values))
    except passing(MemoryError, MincemeatError):
        raise  # of the job's directory each file is removed with it
    except BaseException as error:
        raise user_code_error("sort_values", values.key, error) from error
    yield merged
    merged.close()
    files.drop(merged.path)


class _Sorting:
    def __init__(self, key: Key, by: SortBy | None, files: RegroupFiles, memory_bytes: int) -> None:
        self._key = key
        self._by = by
        self._files = files
        self._run_bytes = memory_bytes / 2  # what sorting needs beside the values: their keys
        self._block_bytes = max(1, min(limits.STORED_BLOCK_BYTES, memory_bytes // limits.STORED_BLOCKS_MIN))
        self._runs_at_a_time = max(limits.STORED_BLOCKS_MIN, memory_bytes // self._block_bytes)

    def runs(self, values: StoredValues) -> list[StoredValues]:
        """Consecutive stretches of ``values`` that memory can hold, each in order."""
        runs: list[StoredValues] = []
        held: list[Value] = []
        held_bytes = 0.0
        for block in values.blocks():
            held += block
            held_bytes += _weight(block)
            if held_bytes >= self._run_bytes:
                runs.append(self._sorted_run(held))
                held, held_bytes = [], 0.0
        if held:
            runs.append(self._sorted_run(held))
        return runs

    def merged(self, runs: list[StoredValues]) -> StoredValues:
        """All of ``runs`` as one; they are gone afterwards."""
        while len(runs) > 1:
            together = [runs[at : at + self._runs_at_a_time] for at in range(0, len(runs), self._runs_at_a_time)]
            runs = [self._merged_at_once(several) for several in together]
        return runs[0]

    def _sorted_run(self, held: list[Value]) -> StoredValues:
        held.sort(key=self._by)
        return self._laid_down(held)

    def _merged_at_once(self, runs: list[StoredValues]) -> StoredValues:
        if len(runs) == 1:
            return runs[0]
        merged = self._laid_down(heapq.merge(*runs, key=self._by))
        for run in runs:
            self._files.drop(run.path)
        return merged

    def _laid_down(self, values: Iterable[Value]) -> StoredValues:
        """``values`` in a new file, in blocks of which each is sized by the one before."""
        pending = iter(values)
        room = 1
        with self._files.writing() as (path, writer):
            stored = StoredValues(self._key, path)
            while several := list(islice(pending, room)):
                single = len(several) == 1
                column = several if single else [several]
                payload = encode_or_blame([self._key], column, single=single, function="mapfn", stays_here=True)
                writer.append(0, payload, keys=1, pairs=len(several), single=single)
                entry = writer.entries[-1]
                stored.append(entry.offset, entry.length, len(several))
                room = max(1, min(2 * room, int(self._block_bytes * len(several) / _weight(several))))
        return stored


def _weight(values: list[Value]) -> float:
    return sampled_size(values, _SAMPLES) + limits.GROUP_VALUE_BYTES * len(values)
