"""The source of Parquet files, by way of pyarrow: planned by row groups, read by slots.

Decides: which row groups make a split, how their columns travel to a slot that does not see the file, and what keys
rows and row groups have. Knows nothing of the format itself.

    P  JSON                                the row groups to read
    A  length JSON ((length block)* 0)*    the same, then for each row group its batches as an Arrow IPC stream
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple

from mincemeat import limits
from mincemeat.errors import InvalidJob, MincemeatError, UserCodeError
from mincemeat.model import describe_key
from mincemeat.sources.base import (
    ARROW_TAG,
    ROW_GROUPS_TAG,
    Source,
    SplitInfo,
    SplitUnreadable,
    evenly,
    read_exactly,
)
from mincemeat.sources.compression import BlockReader
from mincemeat.sources.extras import imported
from mincemeat.sources.paths import InputFile, Paths, expand, is_among
from mincemeat.sources.pieces import LENGTH, Piece, open_seekable, read_length, received_blocks, rechunked

_MAGIC: Final = b"PAR1"
# Rows that are made into dicts at a time.
_ROWS_PER_BATCH: Final = 4096


class _Reading(NamedTuple):
    """What records to make: of ``columns`` (``None``: all), a record per row, or with ``batches`` per row group."""

    columns: list[str] | None
    batches: bool


class _Group(NamedTuple):
    """Row group ``index`` of ``file``, whose first row is ``first_row`` of the file; ``bytes`` is its share of it."""

    file: Piece
    index: int  # type: ignore[assignment]  # nobody searches this tuple
    first_row: int
    rows: int
    bytes: int


class ParquetSource(Source):
    """The row groups of the files that ``paths`` names; its users call ``mincemeat.parquet``.

    Memory: some hundred bytes a row group. Raises: InvalidJob if pyarrow is missing or an input is not there, and from
    ``next_split`` for a file that is not Parquet or lacks a column.
    """

    def __init__(
        self, paths: Paths, columns: list[str] | None, *, batches: bool, split_bytes: int, exclude: Iterable[str]
    ) -> None:
        _pyarrow()
        self._inputs = expand(paths, exclude)
        for file in self._inputs:
            if file.stream or file.size < 0:
                raise InvalidJob(
                    f"{file.name!r} can only be read from start to end, and Parquet has its plan at the end"
                )
        self._reading = _Reading(columns, batches)
        self._split_bytes = split_bytes
        self._splits: list[list[_Group]] = []
        self._plan = self._iter_splits()
        self._failure: MincemeatError | None = None

    def next_split(self, records_wanted: int) -> SplitInfo | None:
        if self._failure is not None:
            raise self._failure
        try:
            groups = next(self._plan, None)
        except MincemeatError as error:
            self._failure = error
            raise
        if groups is None:
            return None
        self._splits.append(groups)
        records = len(groups) if self._reading.batches else sum(group.rows for group in groups)
        return SplitInfo(len(self._splits) - 1, records, sum(group.bytes for group in groups))

    def payload(self, index: int) -> bytes:
        return ROW_GROUPS_TAG + _as_json(self._reading, self._splits[index])

    def data_chunks(self, index: int) -> Iterator[bytes]:
        return rechunked(_data_parts(self._reading, self._splits[index]))

    def sample(self, places: int) -> list[bytes]:
        """As the contract says, of a few row groups of a few files: each has to be opened to know of its row groups."""
        places = min(places, limits.SAMPLE_PLACES_DEAR)
        files = [self._inputs[at] for at in evenly(len(self._inputs), places)]
        payloads: list[bytes] = []
        for file in files:
            with contextlib.suppress(MincemeatError):
                groups = list(self._groups_of(file))
                chosen = [groups[at] for at in evenly(len(groups), places // len(files))]
                payloads += [ROW_GROUPS_TAG + _as_json(self._reading, [group]) for group in chosen]
        return payloads

    def reads(self, path: str) -> bool:
        return is_among(path, self._inputs)

    @property
    def is_readable_in_any_thread(self) -> bool:
        return True

    @property
    def input_bytes_total(self) -> int | None:
        return sum(file.size for file in self._inputs)

    def _iter_splits(self) -> Iterator[list[_Group]]:
        batch: list[_Group] = []
        weight = 0
        for group in chain.from_iterable(map(self._groups_of, self._inputs)):
            if batch and (weight + group.bytes > self._split_bytes or len(batch) == limits.FILES_PER_SPLIT_MAX):
                yield batch
                batch, weight = [], 0
            batch.append(group)
            weight += group.bytes
        if batch:
            yield batch

    def _groups_of(self, file: InputFile) -> Iterator[_Group]:
        piece = Piece(file.name, file.path, 0, None, file.size, file.mtime_ns, "", False, version=file.version)
        with open_seekable(piece) as stream:
            if file.walked and stream.read(len(_MAGIC)) != _MAGIC:
                return
            parquet = _opened(stream, file.name)
            facts = parquet.metadata
            self._check_columns(file.name, parquet.schema_arrow.names)
            groups = [facts.row_group(index) for index in range(facts.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        first_row, before, total = 0, 0, max(sum(size for _, size in sizes), 1)
        for index, (rows, size) in enumerate(sizes):
            start, stop = before * file.size // total, (before + size) * file.size // total
            yield _Group(piece, index, first_row, rows, stop - start)
            first_row, before = first_row + rows, before + size

    def _check_columns(self, name: str, there: list[str]) -> None:
        for column in self._reading.columns or ():
            # A dot leads into a struct; pyarrow itself passes over what is not there.
            if column not in there and column.partition(".")[0] not in there:
                raise InvalidJob(f"the input {name!r} has no column {column!r}; it has {', '.join(there)}")


# -- on the way ------------------------------------------------------------------------------------------


def _as_json(reading: _Reading, groups: list[_Group]) -> bytes:
    return json.dumps([reading, groups], separators=(",", ":")).encode("ascii")


def _from_json(text: bytes) -> tuple[_Reading, list[_Group]]:
    reading, groups = json.loads(text)
    return _Reading(*reading), [_Group(Piece(*piece), *facts) for piece, *facts in groups]


def _data_parts(reading: _Reading, groups: list[_Group]) -> Iterator[bytes]:
    """The split with its data inside. Raises: SplitUnreadable."""
    head = _as_json(reading, [group._replace(file=_without_whereabouts(group.file)) for group in groups])
    yield ARROW_TAG + LENGTH.pack(len(head)) + head
    ipc = _pyarrow().ipc
    for group in groups:
        written = _Written()
        writer = None
        try:
            for batch in _read_batches(group, reading):
                if writer is None:
                    writer = ipc.new_stream(written, batch.schema)
                writer.write_batch(batch)
                yield from written.taken()
        except UserCodeError as error:
            raise SplitUnreadable(str(error)) from error
        if writer is not None:
            writer.close()
        yield from written.taken()
        yield LENGTH.pack(0)


def _without_whereabouts(piece: Piece) -> Piece:
    return piece._replace(path="", size=-1, mtime_ns=0, version={})


class _Written(io.RawIOBase):
    """What is written to it, to be taken away as blocks with their lengths."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def taken(self) -> Iterator[bytes]:
        block = b"".join(self._parts)
        self._parts.clear()
        if block:
            yield LENGTH.pack(len(block))
            yield block


# -- in a slot -------------------------------------------------------------------------------------------


def read_row_groups(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records of a payload behind its tag. Raises: SplitUnreadable; InvalidJob if pyarrow is missing here."""
    reading, groups = _from_json(stream.read())
    _pyarrow()
    return chain.from_iterable(
        chain.from_iterable(_records(group, reading, _read_batches(group, reading)) for group in groups)
    )


def read_arrow(stream: BinaryIO) -> Iterator[tuple[Any, Any]]:
    """The records of ``_data_parts`` behind its tag. Raises: SplitUnreadable if the stream ends before its end."""
    reading, groups = _from_json(read_exactly(stream, read_length(stream)))
    ipc = _pyarrow().ipc

    def received(blocks: Iterator[bytes]) -> Iterator[Any]:
        first = next(blocks, None)
        if first is None:
            return  # a row group without rows
        with io.BufferedReader(BlockReader(chain([first], blocks))) as file, ipc.open_stream(file) as batches:
            yield from batches
        for _ in blocks:
            pass

    return chain.from_iterable(
        chain.from_iterable(_records(group, reading, received(received_blocks(stream))) for group in groups)
    )


def _records(group: _Group, reading: _Reading, batches: Iterator[Any]) -> Iterator[Iterable[tuple[Any, Any]]]:
    name, row = group.file.name, group.first_row
    if reading.batches:
        whole = list(batches)
        if whole:
            yield [((name, group.index), _pyarrow().Table.from_batches(whole))]
        return
    for batch in batches:
        keys = [(name, number) for number in range(row, row + batch.num_rows)]
        yield zip(keys, batch.to_pylist(), strict=True)
        row += batch.num_rows


def _read_batches(group: _Group, reading: _Reading) -> Iterator[Any]:
    """The batches of a row group. Raises: SplitUnreadable; UserCodeError from InvalidJob if the file is damaged."""
    options: dict[str, Any] = {"row_groups": [group.index], "columns": reading.columns, "use_threads": False}
    if not reading.batches:
        options["batch_size"] = _ROWS_PER_BATCH
    with open_seekable(group.file) as stream:
        batches = _opened(stream, group.file.name).iter_batches(**options)
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # noqa: BLE001 - ArrowException, OSError, what fsspec raises
                key = describe_key((group.file.name, group.index))
                damage = InvalidJob(f"the row group {key} cannot be read: {error}")
                raise UserCodeError(str(damage), function="datasource", key=key) from damage
            if batch is None:
                return
            yield batch


def _opened(stream: BinaryIO, name: str) -> Any:
    parquet = imported("pyarrow.parquet", extra="parquet", subject="mincemeat.parquet")
    try:
        return parquet.ParquetFile(stream)
    except Exception as error:
        raise InvalidJob(f"the input {name!r} cannot be read as Parquet: {error}") from error


def _pyarrow() -> Any:
    imported("pyarrow.ipc", extra="parquet", subject="mincemeat.parquet")
    return imported("pyarrow", extra="parquet", subject="mincemeat.parquet")
