"""One record of a split, found again: what has to be kept of the input so that it can be run again after the job.

Decides: how much of a split is kept. Knows nothing of why a record is wanted, or of where it is kept.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from mincemeat import limits
from mincemeat.errors import InvalidJob, MincemeatError, UserCodeError
from mincemeat.sources.base import FILES_TAG, RECORDS_TAG, Source, open_split
from mincemeat.sources.records import encode_record, split_head


class Kept(NamedTuple):
    """A payload as of ``Source.payload``, and which of its records is meant."""

    payload: bytes
    record: int


def kept_record(data: bytes) -> Kept:
    """What holds one record, which is there as a pickle."""
    return Kept(split_head(1) + data, 0)


def find_record(source: Source, split: int, record: int) -> Kept | None:
    """What has to be kept of record ``record`` of ``split``; None if nothing of a reasonable size does.

    Of files on disk it is the description of the split; of a dict-like object, of which ``ds[key]`` may be asked again,
    and of what came through a pipe, it is the record. Cost: reads the split up to it. Raises nothing.
    """
    try:
        payload = source.payload(split)
        if payload[:1] not in (RECORDS_TAG, FILES_TAG) or _are_files_that_stay(payload):
            return Kept(payload, record)
        key, value = _nth(payload, record)
        data = encode_record(key, value)
    except Exception:  # noqa: BLE001 - the user's datasource and classes may raise anything; then it is not kept
        return None
    return kept_record(data) if len(data) <= limits.KEPT_RECORD_BYTES_MAX else None


def read_record(kept: Kept) -> tuple[Any, Any]:
    """Key and value. Raises: InvalidJob in one sentence, for input that is gone, changed or cannot be read here."""
    try:
        return _nth(kept.payload, kept.record)
    except (MincemeatError, UserCodeError) as error:
        raise InvalidJob(f"the record cannot be read again: {error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError) as error:
        raise InvalidJob(f"the record is damaged where it was kept: {error}") from error


def _nth(payload: bytes, record: int) -> tuple[Any, Any]:
    with io.BytesIO(payload) as stream:
        records: Iterator[tuple[Any, Any]] = open_split(stream)
        found = next(islice(records, record, None), None)
    if found is None:
        raise InvalidJob(f"its split has no record {record} any more")
    return found


def _are_files_that_stay(payload: bytes) -> bool:
    """Not so what came through a pipe and was laid down in a temporary file: its size is not known (``Piece``)."""
    if payload[:1] != FILES_TAG:
        return False
    _, pieces = json.loads(payload[1:])
    return all(size >= 0 for _, _, _, _, size, *_ in pieces)
