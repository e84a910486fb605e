"""Inputs behind URLs, by way of fsspec: s3://, gs://, http://, zip://...::file://..., whatever it knows.

Decides: what a URL stands for, what of a listing tells whether a file is still the same, and how much is fetched at a
time. Knows nothing of records and pieces. Credentials are fsspec's affair: each machine has its own, and a worker that
has none, or no fsspec, is sent the data by the coordinator.
"""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, cast

from mincemeat import limits
from mincemeat.errors import InvalidJob, MincemeatError
from mincemeat.sources.base import SplitUnreadable
from mincemeat.sources.extras import imported
from mincemeat.sources.paths import InputFile, Names, is_any, is_pattern

# What stores call the thing that changes with a file, the most telling first.
_VERSION_FIELDS: Final = ("ETag", "etag", "CRC", "mtime", "LastModified", "last_modified", "Last-Modified", "updated",
                          "created")  # fmt: skip


# -- in the caller's process -----------------------------------------------------------------------------


def expand_url(url: str, passed_over: Names) -> list[InputFile]:
    """The files that ``url`` stands for: a file, a directory or a pattern, as of ``paths.expand``, sorted by path.

    Cost: a few requests; one more a file where listings have no sizes (http). Raises: InvalidJob.
    """
    fsspec = imported("fsspec", extra="files", subject=f"the input {url!r}")
    try:
        files = list(_iter_found(fsspec, url, passed_over))
    except MincemeatError:
        raise
    except FileNotFoundError as error:
        raise InvalidJob(f"no such file or directory: {url!r}") from error
    except Exception as error:  # each store has its own exceptions
        raise InvalidJob(f"cannot read {url!r}: {_reason(error)}") from error
    if not files:
        raise InvalidJob(f"{url!r} stands for no file (passed over: {', '.join(passed_over)})")
    return files


def can_be_cut(url: str) -> bool:
    """Whether reading may start anywhere in the file: not in archives, not if a web server always sends the whole."""
    import fsspec  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from fsspec.archive import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        AbstractArchiveFileSystem,
    )

    fs, path = fsspec.url_to_fs(url)
    if isinstance(fs, AbstractArchiveFileSystem):
        return False  # each piece would unpack all that is before it
    if not _is_http(fs):
        return True
    try:
        with fs.open(path, "rb", cache_type="none") as file:
            file.seek(1)
            return bool(file.read(1))
    except Exception:  # noqa: BLE001 - whatever it is, reading from the start may do better, or will tell
        return False


def _iter_found(fsspec: Any, url: str, passed_over: Names) -> Iterator[InputFile]:
    fs, path = fsspec.url_to_fs(url)
    # What was listed once is listed again for the next job, and when it is looked at whether a file has changed.
    fs.invalidate_cache()
    try:
        info = fs.info(path)
    except Exception:
        if not is_pattern(path):
            raise
    else:
        if info["type"] == "directory":
            yield from _iter_below(fs, url, path, path, passed_over)
        else:
            yield _input_file(fs, url, path, info, walked=False)
        return
    for found, info in sorted(fs.glob(path, detail=True).items()):
        if not _is_visible(found, path, passed_over):
            continue
        if info["type"] != "directory":
            yield _input_file(fs, _url_of(fs, url, path, found), found, info, walked="**" in path)
        elif "**" not in path:
            yield from _iter_below(fs, url, path, found, passed_over)


def _iter_below(fs: Any, url: str, path: str, root: str, passed_over: Names) -> Iterator[InputFile]:
    for found, info in sorted(fs.find(root, detail=True).items()):
        below = found[len(root) :].strip("/").split("/")
        if not any(is_any(part, passed_over) for part in below):
            yield _input_file(fs, _url_of(fs, url, path, found), found, info, walked=True)


def _is_visible(found: str, pattern: str, passed_over: Names) -> bool:
    """Whether no part of ``found`` is to be passed over, those apart that the pattern writes out (``.*``, ``.log``)."""
    written = [part for part in pattern.split("/") if not part.startswith("*")]
    return not any(
        is_any(part, passed_over) and not any(fnmatch.fnmatchcase(part, other) for other in written)
        for part in found.split("/")
    )


def _url_of(fs: Any, url: str, path: str, found: str) -> str:
    """The URL of ``found``, which was found when ``url``, whose path is ``path``, was looked at."""
    links = url.split("::")
    at = next(number for number, link in enumerate(links) if "://" in link)
    link = links[at]
    if path.strip("/"):
        link, path = link.rstrip("/"), path.rstrip("/")
    # What stands before the path: a scheme, with hosts and users where the path does not tell them.
    links[at] = link.removesuffix(path) + found if link.endswith(path) else fs.unstrip_protocol(found)
    return "::".join(links)


def _input_file(fs: Any, url: str, path: str, info: Mapping[str, Any], *, walked: bool) -> InputFile:
    if info.get("size") is None:
        info = fs.info(path)
    size = info.get("size")
    return InputFile(url, url, -1 if size is None else size, 0, walked, stream=False, version=_version(info))


def _version(info: Mapping[str, Any]) -> dict[str, str]:
    return {field: _as_text(info[field]) for field in _VERSION_FIELDS if info.get(field)}


def _as_text(value: Any) -> str:
    """Alike for a listing and for a look at one file: stores give a number here and a datetime there, or quotes."""
    if hasattr(value, "timestamp"):
        value = value.timestamp()
    return f"{value:.6f}" if isinstance(value, int | float) else str(value).removeprefix("W/").strip('"')


def _is_http(fs: Any) -> bool:
    protocol = fs.protocol
    return "http" in ((protocol,) if isinstance(protocol, str) else protocol)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


# -- wherever it is read ---------------------------------------------------------------------------------


def open_url(name: str, url: str, size: int, version: Mapping[str, str], start: int, stop: int | None) -> BinaryIO:
    """The file of ``url``, of which ``[start, stop)`` will be read and a little around it; ``None``: all of it.

    ``size`` and ``version`` are what was planned with; -1 is a size that nobody knew. The caller closes it.
    Raises: SplitUnreadable, also from ``read``.
    """
    fs, path = _looked_up(name, url, size, version)
    # Without blocks, the whole of a file from a web server is one request.
    options = {"block_size": 0} if stop is None and _is_http(fs) else {}
    file = _opened(fs, path, name, cache_type="none", **options)
    return cast(BinaryIO, _RemoteFile(fs, file, name, start, stop))


def open_seekable_url(name: str, url: str, size: int, version: Mapping[str, str]) -> BinaryIO:
    """The file of ``url`` with fsspec's own buffers. Raises: SplitUnreadable as ``open_url``, but not from ``read``."""
    fs, path = _looked_up(name, url, size, version)
    file = _opened(fs, path, name)
    file.mincemeat_keeps = fs  # an archive closes its files when nobody needs it any more
    return cast(BinaryIO, file)


def _looked_up(name: str, url: str, size: int, version: Mapping[str, str]) -> tuple[Any, str]:
    """The file system and the path of ``url``, if it is the file that was planned. Raises: SplitUnreadable."""
    try:
        import fsspec

        fs, path = fsspec.url_to_fs(url)
        info = fs.info(path)
        here = -1 if info.get("size") is None else info["size"]
    except Exception as error:
        raise SplitUnreadable(f"the input {name!r} cannot be opened here: {_reason(error)}") from error
    if here != size or not _is_same(version, _version(info)):
        raise SplitUnreadable(
            f"the input {name!r} is not the file that the job was planned with: {here} bytes, {_version(info)}; "
            f"expected {size} bytes, {dict(version)}"
        )
    return fs, path


def _opened(fs: Any, path: str, name: str, **options: Any) -> Any:
    try:
        file = fs.open(path, "rb", **options)
    except Exception as error:
        raise SplitUnreadable(f"the input {name!r} cannot be opened here: {_reason(error)}") from error
    # memory:// gives every reader the same object, with one position for all.
    return io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else file


def _is_same(planned: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """By the most telling of what both know: a listing knows other things than a look at one file."""
    return next((planned[field] == here[field] for field in planned if field in here), True)


class _RemoteFile(io.RawIOBase):
    """A file of which one stretch is read from its start to its end, in few requests that ask for no more than that."""

    def __init__(self, fs: Any, file: Any, name: str, start: int, stop: int | None) -> None:
        self._fs = fs  # an archive closes its files when nobody needs it any more
        self._file = file
        self._name = name
        self._start = max(start - 1, 0)  # the byte before tells whether a line starts at `start`
        self._stop = stop
        self._buffer = b""
        self._buffer_start = 0
        self._position = 0
        self._file_position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """At least one byte and at most ``size``, none at the end of the file."""
        if size < 0:
            return self.readall()
        at = self._position - self._buffer_start
        if not 0 <= at < len(self._buffer):
            self._fetch(size)
            at = 0
        data = self._buffer[at : at + size]
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _fetch(self, size: int) -> None:
        wanted = size
        if self._stop is None:
            wanted = max(size, limits.REMOTE_FETCH_BYTES)
        elif self._start <= self._position < self._stop:
            wanted = max(size, min(limits.REMOTE_FETCH_BYTES, self._stop - self._position))
        try:
            if self._file_position != self._position:
                self._file.seek(self._position)
            self._buffer = self._file.read(wanted)
        except Exception as error:
            raise SplitUnreadable(f"the input {self._name!r} cannot be read here: {_reason(error)}") from error
        self._buffer_start = self._position
        self._file_position = self._position + len(self._buffer)
