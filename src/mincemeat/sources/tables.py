"""Files with structure as datasources: ``csv``, ``jsonl`` and ``parquet``, the faces that users call.

Decides: their parameters and defaults. Knows nothing of how files are found, cut and read: filesource.py and
parquet.py do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.sources.base import Source
from mincemeat.sources.text import file_source

if TYPE_CHECKING:
    from mincemeat.sources.paths import Paths


def csv(
    paths: Paths,
    *,
    header: bool | Iterable[str] = True,
    delimiter: str = ",",
    multiline: bool = False,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    encoding: str = "utf-8",
    errors: str = "replace",
    exclude: Iterable[str] = (),
) -> Source:
    r"""A record for every row of CSV files (RFC 4180, as Python's ``csv`` module reads it).

    Shape: ``((path, offset), {name: field})``, names and fields str; ``offset`` is where the row starts in the
    (decompressed) file, in bytes. Blank lines are passed over.
    ``header``: True: the first line of each file names its columns. A list of names: the files have no such line, every
    line is a row. False: likewise, and the value is a list of fields, of any number.
    ``delimiter``: one character, ``"\t"`` for tab-separated files.
    ``multiline``: whether quoted fields may hold line ends. Such a file cannot be cut at its line ends, so each file is
    one map task. Without it a quoted field that goes on in the next line fails the job.
    The other parameters as of ``text``.
    Raises: InvalidJob if an input is not there or cannot be read; the job fails with InvalidJob, which names path and
    offset, at a row whose number of fields is not that of the header, at quotes that are not closed, and at a header
    that gives two columns one name.
    """
    from mincemeat.sources.decode import CSV, CsvForm

    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidJob(f"delimiter is one character, neither a quote nor a line end, not {delimiter!r}")
    form = CsvForm(delimiter, _checked_header(header), bool(multiline))
    return file_source(paths, CSV, encoding, errors, split_bytes, exclude, form)


def jsonl(
    paths: Paths,
    *,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    encoding: str = "utf-8",
    errors: str = "replace",
    exclude: Iterable[str] = (),
) -> Source:
    """A record for every line of files with one JSON value a line.

    Shape: ``((path, offset), value)``, the value as of ``json.loads``; ``offset`` is where the line starts in the
    (decompressed) file, in bytes. Blank lines are passed over. Parameters as of ``text``.
    Raises: InvalidJob if an input is not there or cannot be read; the job fails with InvalidJob, which names path and
    offset, at a line that is not JSON.
    """
    from mincemeat.sources.decode import JSONL

    return file_source(paths, JSONL, encoding, errors, split_bytes, exclude)


def parquet(
    paths: Paths,
    *,
    columns: Iterable[str] | None = None,
    batches: bool = False,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    exclude: Iterable[str] = (),
) -> Source:
    """A record for every row of Parquet files, or for every row group. Needs the extra ``mincemeat[parquet]``.

    Shape: ``((path, row), {column: value})``, rows counted from 0 in each file, values as of Arrow's ``to_pylist``.
    With ``batches``: ``((path, row_group), pyarrow.Table)``, for those who compute with columns.
    ``columns``: only these are read. ``split_bytes``: a map task reads one row group or several, up to this size of
    file; a row group is never cut. ``paths``, ``exclude``: as of ``text``, standard input and pipes apart; files that
    a directory happens to contain are left out if they are not Parquet.
    Memory: a slot holds some thousand rows at a time, and of the file what pyarrow does; with ``batches`` a row group.
    Raises: InvalidJob if pyarrow is missing, or an input is not there or cannot be read or lacks a column (the files
    are opened one by one as the job comes to them).
    """
    from mincemeat.sources.parquet import ParquetSource

    if split_bytes < 1:
        raise InvalidJob(f"split_bytes is a number of bytes from 1 up, not {split_bytes!r}")
    if isinstance(columns, str | bytes):
        raise InvalidJob(f"columns is a list of names, not {columns!r}")
    names = None if columns is None else list(columns)
    if names is not None and (not names or not all(isinstance(name, str) for name in names)):
        raise InvalidJob(f"columns is a list of names, at least one, not {names!r}")
    return ParquetSource(paths, names, batches=bool(batches), split_bytes=split_bytes, exclude=exclude)


def _checked_header(header: bool | Iterable[str]) -> bool | list[str]:
    if isinstance(header, bool):
        return header
    if header is None or isinstance(header, str | bytes):
        raise InvalidJob(f"header is True, False or a list of names, not {header!r}")
    names = list(header)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InvalidJob(f"header is True, False or a list of names, all different and at least one, not {names!r}")
    return names
