"""Results as a dict in the caller's process.

Decides: nothing but that. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mincemeat.model import Pair
from mincemeat.sinks.base import Sink

if TYPE_CHECKING:
    from mincemeat.set_aside import RecordFailure


class ResultDict(dict[Any, Any]):
    """The results of a job: a dict, and ``failures``, the records that were set aside with on_error="skip"."""

    failures: tuple[RecordFailure, ...] = ()


class MemorySink(Sink):
    """Collects everything into ``results``, a dict, in the order of writing; empty again after an abort."""

    def __init__(self) -> None:
        self.results = ResultDict()
        self._is_committed = False

    def write(self, pairs: Iterable[Pair]) -> None:
        self.results.update(pairs)

    def commit(self) -> None:
        self._is_committed = True

    def abort(self) -> None:
        if not self._is_committed:
            self.results.clear()
