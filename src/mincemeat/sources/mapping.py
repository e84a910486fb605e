"""Splits of anything dict-like, by ``iter(ds)`` and ``ds[key]`` alone.

Decides: where a split ends, and what is kept of it. Keys are kept for the life of the job, so that a split can be made
again; values only until the split is released. Nothing is read ahead of the split being cut, because a datasource may
be a queue, a set of open files, or larger than memory; a few records apart, if a sample is asked for, which are kept
for the first splits. Knows nothing of files and of who reads the splits.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any
from zlib import crc32

from mincemeat import limits
from mincemeat.errors import UserCodeError
from mincemeat.model import describe_key, without_addresses
from mincemeat.sources.base import Source, SplitInfo, evenly
from mincemeat.sources.records import encode_record, split_head
from mincemeat.sources.values_at_hand import MAPPINGS, SEQUENCES, digest_of_values


class ByIndex:
    """A sequence seen as a mapping of index to element."""

    def __init__(self, elements: Sequence[Any]) -> None:
        self._elements = elements

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._elements)))

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int) -> Any:
        return self._elements[index]

    @property
    def is_at_hand(self) -> bool:
        """Whether elements can be looked at without any code of the user's."""
        return type(self._elements) in SEQUENCES


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
        self._early: deque[tuple[Any, bytes]] = deque()  # pulled for the sample, and due first
        self._early_failure: UserCodeError | None = None  # due behind them

    def next_split(self, records_wanted: int) -> SplitInfo | None:
        if records_wanted < 1:
            raise ValueError(f"a split has at least one record, and {records_wanted} were wanted")
        if self._failure is not None:
            raise self._failure
        try:
            keys, payload = _packed(islice(self._iter_records(), records_wanted), limits.SPLIT_BYTES_MAX)
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
        return _packed(map(self._record_of, self._keys[index]), None)[1]

    def cut_again(self, records: int | None) -> SplitInfo | None:
        """As the contract says: only keys are asked for."""
        keys = list(islice(self._pending_keys, records))
        if not keys:
            return None
        self._keys.append(keys)
        return SplitInfo(len(self._keys) - 1, len(keys), None)

    def fingerprint(self, index: int) -> int:
        """As the contract says: of keys, and of values where they are at hand; others are not asked for."""
        keys = self._keys[index]
        names = without_addresses(repr(list(map(_whole_name, keys))))
        digest = crc32(names.encode("utf-8", "replace"))
        return digest_of_values(list(map(self._value_of, keys)), digest) if self._is_at_hand else digest

    def data_chunks(self, index: int) -> Iterator[bytes]:
        payload = self.payload(index)
        for start in range(0, len(payload), limits.CHUNK_BYTES):
            yield payload[start : start + limits.CHUNK_BYTES]

    def sample(self, places: int) -> list[bytes]:
        """As the contract says. A list, tuple or other sequence and a plain dict are looked at all over; of anything
        else the first records are pulled, at most ``limits.SAMPLE_RECORDS`` and for about 0.2 seconds."""
        datasource = self._datasource
        if not isinstance(datasource, ByIndex) and type(datasource) is not dict:
            return self._pulled_early(places)
        chosen: Iterable[Any] = evenly(len(datasource), limits.SAMPLE_RECORDS)
        if type(datasource) is dict:
            chosen = list(datasource)[:: len(datasource) // limits.SAMPLE_RECORDS + 1]
        give_up_at = time.monotonic() + limits.SAMPLE_PULL_SECONDS
        records: list[tuple[Any, bytes]] = []
        for key in chosen:
            with contextlib.suppress(UserCodeError):  # next_split comes to it
                records.append(self._record_of(key))
            if time.monotonic() >= give_up_at:
                break
        return _payloads_of(records, places)

    def release(self, index: int) -> None:
        self._payloads.pop(index, None)

    def close(self) -> None:
        self._pending_keys.close()
        self._early.clear()
        self._keys.clear()
        self._payloads.clear()

    def _iter_keys(self) -> Generator[Any, None, None]:
        try:
            # Not `yield from`, which would call a close() that the user's iterator happens to have.
            for key in iter(self._datasource):  # noqa: UP028
                yield key
        except Exception as error:
            raise _told("while its keys were iterated", "", error) from error

    def _iter_records(self) -> Iterator[tuple[Any, bytes]]:
        """What no split has had yet, each with its key."""
        rest = map(self._record_of, self._pending_keys)
        return chain(self._iter_early(), rest) if self._early or self._early_failure else rest

    def _iter_early(self) -> Iterator[tuple[Any, bytes]]:
        while self._early:
            yield self._early.popleft()
        if self._early_failure is not None:
            raise self._early_failure

    def _record_of(self, key: Any) -> tuple[Any, bytes]:
        return key, encode_record(key, self._value_of(key))

    def _value_of(self, key: Any) -> Any:
        try:
            return self._datasource[key]
        except Exception as error:
            name = describe_key(key)
            raise _told(f"for key {name}", name, error) from error

    @property
    def _is_at_hand(self) -> bool:
        datasource = self._datasource
        return datasource.is_at_hand if isinstance(datasource, ByIndex) else type(datasource) in MAPPINGS

    def _pulled_early(self, places: int) -> list[bytes]:
        give_up_at = time.monotonic() + limits.SAMPLE_PULL_SECONDS
        pulled = 0
        try:
            for record in map(self._record_of, islice(self._pending_keys, limits.SAMPLE_RECORDS)):
                self._early.append(record)
                pulled += len(record[1])
                if pulled > limits.SPLIT_BYTES_MAX or time.monotonic() >= give_up_at:
                    break
        except UserCodeError as error:
            self._early_failure = error
        return _payloads_of(list(self._early), places)


def _whole_name(key: Any) -> str:
    """What tells ``key`` from others; of a text all of it, which may be long where only its end differs."""
    return repr(key) if isinstance(key, str | bytes | int) else describe_key(key)


def _packed(records: Iterable[tuple[Any, bytes]], bytes_max: int | None) -> tuple[list[Any], bytes]:
    """The keys of ``records``, and these as a payload, up to the one with which it passes ``bytes_max``."""
    packed: list[Any] = []
    payload = bytearray(split_head(0))
    for key, record in records:
        payload += record
        packed.append(key)
        if bytes_max is not None and len(payload) > bytes_max:
            break
    head = split_head(len(packed))
    payload[: len(head)] = head
    return packed, bytes(payload)


def _payloads_of(records: list[tuple[Any, bytes]], places: int) -> list[bytes]:
    """``records`` in at most ``places`` payloads."""
    each = -(-len(records) // places)
    return [_packed(records[start : start + each], None)[1] for start in range(0, len(records), each or 1)]


def _told(where: str, key: str, error: Exception) -> UserCodeError:
    return UserCodeError(f"the datasource raised {describe_key(error)} {where}", function="datasource", key=key)
