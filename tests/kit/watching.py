"""A source and a sink that remember what an engine did with them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from mincemeat.model import Pair
from mincemeat.sinks.base import Sink
from mincemeat.sources.base import Source, SplitInfo, as_source


class RecordingSink(Sink):
    """Keeps every pair as it was written, and how it was ended. ``full_after``: raises at that pair."""

    def __init__(self, full_after: int | None = None) -> None:
        self.pairs: list[Pair] = []
        self.threads: set[int] = set()
        self.is_committed = False
        self._full_after = full_after

    def write(self, pairs: Iterable[Pair]) -> None:
        self.threads.add(threading.get_ident())
        for pair in pairs:
            if len(self.pairs) == self._full_after:
                raise OSError("the sink is full")
            self.pairs.append(pair)

    def commit(self) -> None:
        self.is_committed = True

    def abort(self) -> None:
        if not self.is_committed:
            self.pairs.clear()


class WatchedSource(Source):
    """Notes in which threads the user's objects are touched, and what is still wanted after the end."""

    def __init__(self, datasource: Any) -> None:
        self._inner = as_source(datasource)
        self.threads: set[int] = set()
        self.released: list[int] = []

    def next_split(self, records_wanted: int) -> SplitInfo | None:
        self.threads.add(threading.get_ident())
        return self._inner.next_split(records_wanted)

    def payload(self, index: int) -> bytes:
        self.threads.add(threading.get_ident())
        return self._inner.payload(index)

    def data_chunks(self, index: int) -> Iterator[bytes]:
        raise AssertionError("these splits hold their data")

    def release(self, index: int) -> None:
        self.threads.add(threading.get_ident())
        self.released.append(index)
        self._inner.release(index)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self._inner.close()
