"""Results as Parquet: two columns, ``key`` and ``value``.

Decides: the type of a column, which is found out while it is written. A column of one type of None, bool, int, float,
str and bytes has Arrow's type for it (ints and floats together are doubles where that loses nothing); everything else
makes it text, as plain.py writes it, or JSON text. When a later value needs a wider type, what has been written is
written again, so the type depends on all results and not on where parts or batches ended. For the same reason a number
in a column of text is the same text whether it was an int or a float: 5 and 5.0 are "5".
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Format, Joint, Stretch, check_size, equal_keys
from mincemeat.sinks.lines import blaming
from mincemeat.sinks.parts import PartFacts, PartWriter, checksum, is_utf8
from mincemeat.sinks.plain import json_text, plain
from mincemeat.sources.extras import imported

# Rows of a row group, and the bytes at which a smaller one is written: what a reader holds at a time.
_GROUP_ROWS: Final = 128 * 2**10
_GROUP_BYTES: Final = 16 * 2**20
_PAIRS_PER_BATCH: Final = 4096

_NULL, _BOOL, _DOUBLE, _STRING, _BINARY = "null", "bool", "double", "string", "binary"
# Ints that a double can hold, and the others of 64 bits.
_INT, _LONG = "int", "long"
_EXACT: Final = 2**53

_Kinds = tuple[str, str]


def _arrow() -> Any:
    return imported("pyarrow", extra="parquet", subject="writing or reading results as .parquet")


def _type_of(kind: str) -> Any:
    arrow = _arrow()
    types = {_BOOL: arrow.bool_, _INT: arrow.int64, _LONG: arrow.int64, _DOUBLE: arrow.float64}
    return {**types, _NULL: arrow.null, _STRING: arrow.string, _BINARY: arrow.binary}[kind]()


def _join(one: str, other: str) -> str:
    """The narrowest kind that holds both."""
    kinds = {one, other} - {_NULL}
    if len(kinds) < 2:
        return kinds.pop() if kinds else _NULL
    if kinds == {_INT, _LONG}:
        return _LONG
    return _DOUBLE if kinds == {_INT, _DOUBLE} else _STRING


def _flat(value: Any) -> bool | int | float | str | bytes | None:
    """``value`` as one of the types that a column may have. Raises: as ``plain``."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, float):
        return float(value)
    form = value if type(value) is str else plain(value)
    if isinstance(form, list | dict):
        return json_text(form)
    # What has no UTF-8 (lone surrogates, as in names of files that are no text) is written as \udcff.
    return form.encode("utf-8", "backslashreplace").decode() if isinstance(form, str) else form


def _text(value: Any) -> str | None:
    """What stands for a flat ``value`` in a column of text."""
    if value is None or type(value) is str:
        return value
    if type(value) is float and math.isfinite(value) and value == int(value) and abs(value) <= _EXACT:
        return repr(int(value))
    form = plain(value)
    return form if isinstance(form, str) else json_text(form)


def _column(values: Sequence[Any]) -> tuple[Any, str]:
    """A column as an Arrow array, and its kind."""
    kinds = set(map(type, values))
    if kinds not in ({int}, {float}) and not (kinds == {str} and is_utf8(values)):
        values = list(map(_flat, values))
        kinds = set(map(type, values)) - {type(None)}
    kind = _NULL
    for cls in kinds:
        kind = _join(kind, _kind_of_ints(values) if cls is int else _KINDS[cls])
    if kind == _STRING and kinds != {str}:
        values = list(map(_text, values))
    return _arrow().array(values, _type_of(kind)), kind


def _kind_of_ints(values: Sequence[Any]) -> str:
    ints = [value for value in values if type(value) is int]
    least, most = min(ints), max(ints)
    if not -(2**63) <= least <= most < 2**63:
        return _STRING
    return _INT if least >= -_EXACT and most <= _EXACT else _LONG


_KINDS: Final = {bool: _BOOL, float: _DOUBLE, str: _STRING, bytes: _BINARY}


def _widened(array: Any, kind: str) -> Any:
    """``array`` as a column of ``kind``, which is no narrower."""
    arrow_type = _type_of(kind)
    if array.type == arrow_type:
        return array
    if kind == _STRING:
        return _arrow().array(list(map(_text, array.to_pylist())), arrow_type)
    return array.cast(arrow_type)


class _Table:
    """A Parquet file that grows, and whose columns widen."""

    def __init__(self, path: str) -> None:
        self._parquet = imported("pyarrow.parquet", extra="parquet", subject="writing results as .parquet")
        self._path = path
        self._writer: Any = None
        self._waiting: list[tuple[Any, Any]] = []
        self._rows = self._bytes = 0
        self.kinds: _Kinds = (_NULL, _NULL)

    def append(self, keys: Any, results: Any, kinds: _Kinds) -> None:
        """Append two Arrow arrays."""
        self.widen((_join(self.kinds[0], kinds[0]), _join(self.kinds[1], kinds[1])))
        self._waiting.append((_widened(keys, self.kinds[0]), _widened(results, self.kinds[1])))
        self._rows += len(keys)
        self._bytes += keys.nbytes + results.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._write_group()

    def append_file(self, path: str, kinds: _Kinds) -> None:
        """Append the row groups of a file of these ``kinds``."""
        for keys, results in _groups(path):
            self.append(keys, results, kinds)

    def widen(self, kinds: _Kinds) -> None:
        """Make columns of these ``kinds``, which are no narrower, writing again what has been written."""
        old, self.kinds = self.kinds, kinds
        if tuple(map(_type_of, kinds)) == tuple(map(_type_of, old)):
            return
        self._waiting = [tuple(map(_widened, pair, kinds)) for pair in self._waiting]
        if self._writer is None:
            return
        self._close_writer()
        narrow = f"{self._path}.narrow"
        os.replace(self._path, narrow)
        try:
            for keys, results in _groups(narrow):
                self._write([(_widened(keys, kinds[0]), _widened(results, kinds[1]))])
        finally:
            os.unlink(narrow)

    def finish(self) -> None:
        self._write_group()
        if self._writer is None:
            self._write([])
        self._close_writer()

    def close(self) -> None:
        try:
            self._close_writer()
        except OSError:  # closing writes a footer, which need not fit
            pass

    def _write_group(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._rows = self._bytes = 0
        if waiting:
            self._write(waiting)

    def _write(self, columns: list[tuple[Any, Any]]) -> None:
        arrow = _arrow()
        schema = arrow.schema([("key", _type_of(self.kinds[0])), ("value", _type_of(self.kinds[1]))])
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._path, schema)
        batches = [arrow.record_batch(list(pair), schema=schema) for pair in columns]
        if batches:
            self._writer.write_table(arrow.Table.from_batches(batches, schema), row_group_size=_GROUP_ROWS)

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _groups(path: str) -> Iterator[tuple[Any, Any]]:
    """The row groups of a file, each as two arrays."""
    parquet = imported("pyarrow.parquet", extra="parquet", subject="reading results as .parquet")
    with parquet.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            group = file.read_row_group(index).combine_chunks()
            yield tuple(_one_array(group.column(column)) for column in (0, 1))


def _one_array(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks else _arrow().array([], column.type)


class ParquetWriter(PartWriter):
    """A part is a Parquet file of its own, whether or not it stays one."""

    def __init__(self, path: str, *, alone: bool) -> None:
        super().__init__(path, alone=alone)
        self._table = _Table(path)

    def _append(self, keys: Sequence[Key], results: Sequence[Any]) -> int:
        try:
            (key_array, key_kind), (result_array, result_kind) = _column(keys), _column(results)
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, lambda value: _text(_flat(value)), error) from error
        self._table.append(key_array, result_array, (key_kind, result_kind))
        return int(key_array.nbytes + result_array.nbytes)

    def _finish(self) -> tuple[int, int]:
        self._table.finish()
        return checksum(self.path)

    def _notes(self) -> dict[str, Any]:
        return {"kinds": self._table.kinds}

    def close(self) -> None:
        self._table.close()


class ParquetJoint(Joint):
    """Copies row groups, small ones together."""

    def __init__(self, path: str) -> None:
        self._table = _Table(path)

    def add(self, path: str, facts: PartFacts) -> None:
        self._table.append_file(path, _kinds_in(facts))

    def finish(self) -> None:
        self._table.finish()

    def close(self) -> None:
        self._table.close()


class ParquetFormat(Format):
    """Keys and results come back as what the column's type says."""

    # A column of anything else may have become text.
    exact_keys: ClassVar[frozenset[str]] = frozenset({"str"})

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return ParquetWriter(path, alone=alone)

    def joint(self, path: str) -> Joint:
        return ParquetJoint(path)

    def even_out(self, parts: list[tuple[str, PartFacts]]) -> list[PartFacts]:
        """All parts of a directory have columns of the same types, so that they can be read as one table."""
        kinds: _Kinds = (_NULL, _NULL)
        for _, facts in parts:
            key_kind, result_kind = _kinds_in(facts)
            kinds = _join(kinds[0], key_kind), _join(kinds[1], result_kind)
        return [facts if _kinds_in(facts) == kinds else _rewritten(path, facts, kinds) for path, facts in parts]

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        with _readable(stretch) as file:
            for batch in file.iter_batches(batch_size=_PAIRS_PER_BATCH):
                yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)

    def find(self, stretch: Stretch, key: Any) -> Any:
        compute = imported("pyarrow.compute", extra="parquet", subject="reading results as .parquet")
        with _readable(stretch) as file:
            wanted = _scalars(key, file.schema_arrow.field(0).type)
            for index in range(file.num_row_groups):
                keys = file.read_row_group(index, columns=["key"]).column(0)
                for scalar in wanted:
                    column, value = (keys, scalar) if scalar.is_valid else (compute.is_null(keys), True)
                    row = compute.index(column, value).as_py()
                    if row >= 0:
                        return file.read_row_group(index, columns=["value"]).column(0)[row].as_py()
        raise KeyError(key)

    def count(self, stretch: Stretch) -> int:
        with _readable(stretch) as file:
            return int(file.metadata.num_rows)

    def check_file(self, path: str) -> None:
        with open(path, "rb") as file:
            if file.read(4) != b"PAR1":
                raise ValueError("it is no Parquet file")


def _readable(stretch: Stretch) -> Any:
    parquet = imported("pyarrow.parquet", extra="parquet", subject="reading results as .parquet")
    check_size(stretch)
    try:
        return parquet.ParquetFile(stretch.path)
    except _arrow().ArrowInvalid as error:
        raise BlockCorrupt(f"the results in {stretch.path} cannot be read: {error}", path=stretch.path) from error


def _scalars(key: Any, arrow_type: Any) -> list[Any]:
    """What may stand for ``key`` in a column of ``arrow_type``."""
    arrow = _arrow()
    found = []
    for same in map(_flat, equal_keys(key)):
        value = _text(same) if arrow_type == arrow.string() else same
        try:
            scalar = arrow.scalar(value, arrow_type)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, TypeError, OverflowError):
            continue
        if scalar.as_py() == value:
            found.append(scalar)
    return found


def _kinds_in(facts: PartFacts) -> _Kinds:
    key_kind, result_kind = facts.notes["kinds"]
    return key_kind, result_kind


def _rewritten(path: str, facts: PartFacts, kinds: _Kinds) -> PartFacts:
    narrow = f"{path}.narrow"
    os.replace(path, narrow)
    table = _Table(path)
    try:
        table.widen(kinds)
        table.append_file(narrow, _kinds_in(facts))
        table.finish()
        with open(path, "r+b") as file:
            os.fsync(file.fileno())
    finally:
        table.close()
        os.unlink(narrow)
    size, crc = checksum(path)
    return facts._replace(bytes=size, crc32=crc, notes={"kinds": kinds})


FORMATS: Final = {"parquet": ParquetFormat()}
