"""Files as datasources: ``text``, ``lines`` and ``files``, the faces that users call.

Decides: their parameters and defaults. Knows nothing of how files are found, cut and read: filesource.py does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.sources.base import Source

if TYPE_CHECKING:
    from mincemeat.sources.decode import CsvForm
    from mincemeat.sources.paths import Paths


def text(
    paths: Paths,
    *,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    encoding: str = "utf-8",
    errors: str = "replace",
    exclude: Iterable[str] = (),
) -> Source:
    """Text in large portions: the fastest way to feed a mapfn that splits it up itself.

    Shape: ``((path, offset), str)``, the text whole lines with their line ends, about ``split_bytes`` of them;
    ``offset`` is where the text starts in the (decompressed) file, in bytes. Of an empty file there is no record.
    ``paths``: one path or several: files, directories, patterns with ``*`` and ``**``, ``-`` for stdin; ``.gz``,
    ``.bz2`` and ``.xz`` are decompressed. Files that a directory happens to contain are left out if they look binary.
    ``split_bytes``: how much of the files a map task reads, in bytes; a line is never cut, so a split can be longer.
    ``encoding``, ``errors``: as of ``bytes.decode``; a byte order mark at the start is dropped.
    ``exclude``: patterns; files and directories of such names are passed over where a directory or ``**`` is walked.
    Raises: InvalidJob if an input is not there or cannot be read.
    """
    return file_source(paths, "text", encoding, errors, split_bytes, exclude)


def lines(
    paths: Paths,
    *,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    encoding: str = "utf-8",
    errors: str = "replace",
    exclude: Iterable[str] = (),
) -> Source:
    """A record for every line.

    Shape: ``((path, offset), str)``, the line without its line end (``\\n`` or ``\\r\\n``); ``offset`` is where it
    starts in the (decompressed) file, in bytes, so the first line of a file has offset 0. Parameters and errors as of
    ``text``.
    """
    return file_source(paths, "lines", encoding, errors, split_bytes, exclude)


def files(
    paths: Paths,
    *,
    split_bytes: int = limits.FILE_SPLIT_BYTES,
    encoding: str | None = "utf-8",
    errors: str = "replace",
    exclude: Iterable[str] = (),
) -> Source:
    """A record for every file.

    Shape: ``(path, content)``, a str, or bytes if ``encoding`` is ``None`` (then nothing is left out as binary).
    Memory: a slot holds the whole of one file. ``split_bytes``: small files share a map task up to this size.
    The other parameters and errors as of ``text``.
    """
    return file_source(paths, "files", encoding, errors, split_bytes, exclude)


def file_source(
    paths: Paths,
    form: str,
    encoding: str | None,
    errors: str,
    split_bytes: int,
    exclude: Iterable[str],
    csv: CsvForm | None = None,
) -> Source:
    """The source of ``paths``, its records of ``form``, a word of decode.py. Raises: InvalidJob, as ``text`` says."""
    # Here and not above: a job over a dict starts faster without these modules.
    import codecs

    from mincemeat.sources.decode import Reading, normal_encoding
    from mincemeat.sources.filesource import FileSource

    if split_bytes < 1:
        raise InvalidJob(f"split_bytes is a number of bytes from 1 up, not {split_bytes!r}")
    try:
        if encoding is not None:
            encoding = normal_encoding(encoding)
        codecs.lookup_error(errors)
    except LookupError as error:
        raise InvalidJob(f"the input cannot be decoded: {error}") from error
    return FileSource(paths, Reading(form, encoding, errors, split_bytes, csv), exclude)
