"""What a driver asks of a source, and how a slot opens what the driver sent it.

Decides: the contract (splits are cut here, in the caller's process; a split travels as a payload or as a stream of
data), the first byte that tells payloads apart, and which source a user's datasource becomes. Knows nothing of who
attempts a split, how often, or where.

      driver (caller's process)                         slot
      next_split(n) -> SplitInfo(index, ...)
      payload(index)      -- a few bytes or the records --> open_split(stream) -> records
           if the slot says SplitUnreadable (it does not see our files):
      data_chunks(index)  -- the same split, data inside -> open_split(stream) -> the same records
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple
from zlib import crc32

from mincemeat.errors import InvalidJob, MincemeatError

# The first byte of a payload.
RECORDS_TAG: Final = b"R"  # the records themselves, pickled one by one
FILES_TAG: Final = b"F"  # which pieces of which files to read
DATA_TAG: Final = b"D"  # the same pieces, their bytes following
ROW_GROUPS_TAG: Final = b"P"  # which row groups of which Parquet files to read
ARROW_TAG: Final = b"A"  # the same row groups, their columns following


class SplitUnreadable(MincemeatError):
    """A split cannot be read here: a file is not visible on this machine, is not the same file, or bytes are missing.

    From ``open_split`` of a payload: the driver sends the data instead. From ``data_chunks``: the input itself is gone
    or was changed while the job ran, and no other attempt will fare better.
    """


class SplitInfo(NamedTuple):
    """A split that was cut: its index, and its number of records and size in bytes as far as they are known."""

    index: int  # type: ignore[assignment]  # a split's index is called index everywhere; nobody searches this tuple
    records: int | None
    bytes: int | None


class Source(abc.ABC):
    """Yields the splits of one datasource. Used by one thread at a time, in the caller's process.

    Order: the records of split 0, 1, 2, ... one after the other are the records of the datasource in its order.
    Life: whoever made the source closes it, after the last attempt has ended.
    """

    @abc.abstractmethod
    def next_split(self, records_wanted: int) -> SplitInfo | None:
        """Cut the next consecutive split; ``None`` when the datasource is exhausted. Indices are 0, 1, 2, ...

        ``records_wanted`` (at least 1) is a wish that only sources which pull records one by one can honour.
        Cost: runs the user's code (``iter(ds)``, ``ds[key]``), or reads a pipe until it has a split's worth.
        Raises: UserCodeError with the user's exception as cause; the source then raises it again for ever, because
        going on behind it would lose the records of the split that was being cut.
        """

    @abc.abstractmethod
    def payload(self, index: int) -> bytes:
        """What a slot that may see our files needs to read split ``index``; may be asked for any number of times."""

    @abc.abstractmethod
    def data_chunks(self, index: int) -> Iterator[bytes]:
        """Split ``index`` with its data inside, for a slot that cannot see our files.

        Shape: chunks of 1 to ``limits.CHUNK_BYTES`` bytes; concatenated they are what ``open_split`` reads.
        Memory: a few chunks, however large the split. Raises: SplitUnreadable, see there.
        """

    def sample(self, places: int) -> list[bytes]:
        """Payloads of small pieces of the input, for ``open_split``: up to ``places``, evenly spread, in input order.

        Does not move what ``next_split`` cuts; asked for before it, if at all. None: nothing can be said beforehand.
        Cost: little to make, and little to read the beginning of each. Raises nothing: what is wrong with the input is
        told by ``next_split``.
        """
        return []

    # -- cutting the same splits in another life of the job ----------------------------------------------

    @property
    def can_be_cut_again(self) -> bool:
        """Whether another process that is started with the same datasource finds the same records: a pipe is empty."""
        return True

    def cut_again(self, records: int | None) -> SplitInfo | None:
        """As ``next_split``, for a split that had so many ``records`` in an earlier life of the job.

        Cost: as little as it takes; most such splits are committed and will not be read.
        """
        return self.next_split(records or 1)

    def fingerprint(self, index: int) -> int:
        """A number of 32 bits that tells split ``index`` from what it would be if the input had changed.

        Of a file that means its name, its size and when it was written; of anything dict-like, its keys; of
        Python's own dicts and lists the values, too.
        """
        return crc32(self.payload(index))

    # ----------------------------------------------------------------------------------------------------

    @property
    def is_readable_in_any_thread(self) -> bool:
        """Whether ``data_chunks`` may be called in another thread beside the other methods: no user code runs there."""
        return False

    @property
    def input_bytes_total(self) -> int | None:
        """The size of the whole input in bytes, compressed files as they lie on disk; ``None`` if nobody knows."""
        return None

    def reads(self, path: str) -> bool:
        """Whether the file ``path`` is part of the input, as far as that is known without reading anything."""
        return False

    def release(self, index: int) -> None:  # noqa: B027 - optional: most sources cache nothing
        """Split ``index`` is committed: what is cached for it may go. ``payload`` must still work later."""

    def close(self) -> None:  # noqa: B027 - optional: most sources hold nothing
        """Let go of everything. Idempotent; no other method may be called afterwards."""


def as_source(datasource: object) -> Source:
    """The source for what the user gave as ``datasource``.

    Shape: a ``Source`` is returned as it is; a sequence (list, tuple, range, deque, ...) gives the records
    ``(index, element)``; anything else that has ``__iter__`` and ``__getitem__`` gives ``(key, ds[key])``.
    Cost: no method of the datasource is called. Raises: InvalidJob for anything else, strings included.
    """
    if isinstance(datasource, Source):
        return datasource
    if datasource is None:
        raise InvalidJob(
            "the job has no datasource: give it a dict, a list, an object with __iter__ and __getitem__, "
            "or files by mincemeat.text(...), lines(...) or files(...)"
        )
    if isinstance(datasource, str | bytes | bytearray | memoryview):
        kind = type(datasource).__name__
        raise InvalidJob(f"the datasource is a {kind}, not something dict-like: did you mean mincemeat.text(...)?")
    for method in ("__iter__", "__getitem__"):
        # Looked up on the type, as iter() and [] do; None is how a class says "not me".
        if getattr(type(datasource), method, None) is None:
            hint = "; list(...) makes records (index, element) of it" if method == "__getitem__" else ""
            raise InvalidJob(
                f"a datasource needs __iter__ and __getitem__, as a dict has them, "
                f"and a {type(datasource).__name__} has no {method}{hint}"
            )
    from mincemeat.sources.mapping import ByIndex, MappingSource

    return MappingSource(ByIndex(datasource) if isinstance(datasource, Sequence) else datasource)


def open_split(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records of the split that ``stream`` holds, in a slot: a payload, or the concatenated data chunks.

    Shape: ``(key, value)`` in the order of the datasource, one-shot and lazy. The caller closes ``stream``.
    Memory: about one block of a file beyond the record being yielded.
    Raises: SplitUnreadable (now or while iterating); UserCodeError with ``function="datasource"`` if the data itself is
    at fault: text that does not decode, a damaged archive, a pickle whose module is missing here (its cause tells).
    """
    tag = stream.read(1)
    if tag == RECORDS_TAG:
        from mincemeat.sources.records import read_records

        return read_records(stream)
    if tag == FILES_TAG:
        from mincemeat.sources.pieces import read_files

        return read_files(stream)
    if tag == DATA_TAG:
        from mincemeat.sources.pieces import read_data

        return read_data(stream)
    if tag == ROW_GROUPS_TAG:
        from mincemeat.sources.parquet import read_row_groups

        return read_row_groups(stream)
    if tag == ARROW_TAG:
        from mincemeat.sources.parquet import read_arrow

        return read_arrow(stream)
    raise SplitUnreadable(f"a split starts with one of the bytes R, F, D, P and A, and this one with {tag!r}")


def evenly(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers below ``count``, evenly spread."""
    chosen = min(count, wanted)
    return [(2 * number + 1) * count // (2 * chosen) for number in range(chosen)]


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """``size`` bytes from ``stream``, however small its portions. Raises: SplitUnreadable if it ends before."""
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise SplitUnreadable(f"the split ends too early: {size} bytes expected, {len(data)} there")
        data += more
    return data
