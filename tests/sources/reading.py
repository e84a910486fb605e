"""Helpers: a source read the way a driver and its slots read it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from mincemeat.sources.base import Source, open_split


def split_indices(source: Source, records_wanted: int = 1) -> list[int]:
    indices = []
    while (info := source.next_split(records_wanted)) is not None:
        indices.append(info.index)
    return indices


def records_of_payload(payload: bytes | Iterable[bytes]) -> list[tuple[Any, Any]]:
    with io.BytesIO(payload if isinstance(payload, bytes) else b"".join(payload)) as stream:
        return list(open_split(stream))


def records_of_source(source: Source) -> list[tuple[Any, Any]]:
    """All records by payloads. Closes the source."""
    try:
        indices = split_indices(source)
        return [record for index in indices for record in records_of_payload(source.payload(index))]
    finally:
        source.close()
