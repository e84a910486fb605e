"""--top and the count of results: sinks that stand before another sink.

Decides: which results go on and in which order. Does not know: where they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter

from mincemeat.errors import InvalidJob
from mincemeat.model import Job, Pair
from mincemeat.sinks.base import Sink

_key, _value = itemgetter(0), itemgetter(1)


class CountingSink(Sink):
    """Passes everything on to ``inner`` and counts it in ``results``."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self.results = 0

    @property
    def form(self) -> str:  # type: ignore[override]  # it is the inner one's, whenever it is asked for
        return self._inner.form

    @property
    def target(self) -> str:  # type: ignore[override]
        return self._inner.target

    def prepare(self, job: Job) -> None:
        self._inner.prepare(job)

    def take_part(self, path: str, *, keep: bool = False) -> int:
        results = self._inner.take_part(path, keep=keep)
        self.results += results
        return results

    def write(self, pairs: Iterable[Pair]) -> None:
        self._inner.write(self._counted(pairs))

    def _counted(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        for pair in pairs:
            self.results += 1
            yield pair

    def commit(self) -> None:
        self._inner.commit()

    def abort(self) -> None:
        self._inner.abort()


class TopSink(Sink):
    """Passes the ``count`` pairs of largest value on, those of equal value by key: largest first, or ``by_key``.

    Memory: about twice ``count`` pairs. Raises: InvalidJob from write or commit when values cannot be compared, from
    commit when keys cannot and the order is to be theirs.
    """

    def __init__(self, inner: Sink, count: int, *, by_key: bool = False) -> None:
        self._inner = inner
        self._by_key = by_key
        self._count = count
        self._best: list[Pair] = []
        self._ended = False

    @property
    def target(self) -> str:  # type: ignore[override]
        return self._inner.target

    def write(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self._best.append(pair)
            # Sorting a list that is half sorted is nearly linear, and ties keep the order that is promised.
            if len(self._best) >= 2 * self._count + 1000:
                self._cut()

    def commit(self) -> None:
        if not self._ended:
            self._cut()
            if self._by_key:
                self._sort()
            self._inner.write(self._best)
            self._inner.commit()
            self._ended = True

    def abort(self) -> None:
        self._ended = True
        self._inner.abort()

    def _cut(self) -> None:
        try:
            self._best.sort(key=_key)
        except (TypeError, ValueError):  # keys of several types: any order will do that is always the same
            self._best.sort(key=_type_and_repr)
        try:
            self._best.sort(key=_value, reverse=True)
        except (TypeError, ValueError) as error:
            raise InvalidJob(f"--top needs results that can be compared with each other: {error}") from error
        del self._best[self._count :]

    def _sort(self) -> None:
        try:
            self._best.sort(key=_key)
        except (TypeError, ValueError) as error:
            raise InvalidJob(f"--sort needs keys that can be compared with each other: {error}") from error


def _type_and_repr(pair: Pair) -> tuple[str, str]:
    return type(pair[0]).__name__, repr(pair[0])
