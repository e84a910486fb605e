"""Splits of anything dict-like, by ``iter(ds)`` and ``ds[key]`` alone.

Decides: where a split ends, and what is kept of it. Keys are kept for the life of the job, so that a split can be made
again; values only until the split is released. Nothing is read ahead of the split being cut, because a datasource may
be a queue, a set of open files, or larger than memory. Knows nothing of files and of who reads the splits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any

from mincemeat import limits
from mincemeat.errors import UserCodeError
from mincemeat.model import describe_key
from mincemeat.sources.base import Source, SplitInfo
from mincemeat.sources.records import encode_record, split_head


class ByIndex:
    """A sequence seen as a mapping of index to element."""

    def __init__(self, elements: Sequence[Any]) -> None:
        self._elements = elements

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._elements)))

    def __getitem__(self, index: int) -> Any:
        return self._elements[index]


class MappingSource(Source):
    """The source of a dict-like object.

    A split ends at the number of records wanted, or behind the record with which its serialised size passes
    ``limits.SPLIT_BYTES_MAX``. A single record may be larger.
    Memory: all keys, and the payloads of the splits that are not released.
    """

    def __init__(self, datasource: Any) -> None:
        self._datasource = datasource
        self._pending_keys = self._iter_keys()
        self._keys: list[list[Any]] = []
        self._payloads: dict[int, bytes] = {}
        self._failure: UserCodeError | None = None

    def next_split(self, records_wanted: int) -> SplitInfo | None:
        if records_wanted < 1:
            raise ValueError(f"a split has at least one record, and {records_wanted} were wanted")
        if self._failure is not None:
            raise self._failure
        try:
            keys, payload = self._pack(islice(self._pending_keys, records_wanted), limits.SPLIT_BYTES_MAX)
        except UserCodeError as error:
            self._failure = error
            raise
        if not keys:
            return None
        index = len(self._keys)
        self._keys.append(keys)
        self._payloads[index] = payload
        return SplitInfo(index, len(keys), len(payload))

    def payload(self, index: int) -> bytes:
        """As the contract says. Raises: UserCodeError if ``ds[key]``, asked again after a release, now raises."""
        cached = self._payloads.get(index)
        if cached is not None:
            return cached
        return self._pack(iter(self._keys[index]), None)[1]

    def data_chunks(self, index: int) -> Iterator[bytes]:
        payload = self.payload(index)
        for start in range(0, len(payload), limits.CHUNK_BYTES):
            yield payload[start : start + limits.CHUNK_BYTES]

    def release(self, index: int) -> None:
        self._payloads.pop(index, None)

    def close(self) -> None:
        self._pending_keys.close()
        self._keys.clear()
        self._payloads.clear()

    def _iter_keys(self) -> Generator[Any, None, None]:
        try:
            # Not `yield from`, which would call a close() that the user's iterator happens to have.
            for key in iter(self._datasource):  # noqa: UP028
                yield key
        except Exception as error:
            raise _told("while its keys were iterated", "", error) from error

    def _pack(self, keys: Iterator[Any], bytes_max: int | None) -> tuple[list[Any], bytes]:
        """The records of ``keys`` as a payload, up to the one with which it passes ``bytes_max``; and their keys."""
        packed: list[Any] = []
        payload = bytearray(split_head(0))
        for key in keys:
            try:
                value = self._datasource[key]
            except Exception as error:
                name = describe_key(key)
                raise _told(f"for key {name}", name, error) from error
            payload += encode_record(key, value)
            packed.append(key)
            if bytes_max is not None and len(payload) > bytes_max:
                break
        head = split_head(len(packed))
        payload[: len(head)] = head
        return packed, bytes(payload)


def _told(where: str, key: str, error: Exception) -> UserCodeError:
    return UserCodeError(f"the datasource raised {describe_key(error)} {where}", function="datasource", key=key)
