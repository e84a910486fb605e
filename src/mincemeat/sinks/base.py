"""What a driver asks of a sink, and which sink a path stands for.

Decides: the contract (nothing can be seen before ``commit``, nothing is left after ``abort``) and the known endings.
Knows nothing of where results come from.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from mincemeat.errors import InvalidJob
from mincemeat.model import Pair


class Sink(abc.ABC):
    """Stores results. Used by one thread at a time; made before the job starts, so that it can refuse in time.

    As a context manager it aborts if the body raises and commits if it does not; a body that has ended the sink itself
    is fine, because ending a sink again does nothing.
    """

    @abc.abstractmethod
    def write(self, pairs: Iterable[Pair]) -> None:
        """Take some results, each key of the job once over all calls; they are iterated once, during the call."""

    @abc.abstractmethod
    def commit(self) -> None:
        """Make everything that was written visible, at once. Does nothing after a commit or an abort."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Leave nothing behind. Does nothing after a commit or an abort."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
        else:
            self.abort()


def sink_for_path(path: str | os.PathLike[str]) -> Sink:
    """The sink that writes the format which the ending of ``path`` names, whatever its case.

    Raises: InvalidJob if the ending is unknown, or nothing can be written there.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending == ".jsonl":
        from mincemeat.sinks.jsonl import JsonLinesSink

        return JsonLinesSink(path)
    if ending in (".csv", ".tsv"):
        from mincemeat.sinks.csv import CsvSink

        return CsvSink(path, delimiter="," if ending == ".csv" else "\t")
    if ending in (".sqlite", ".db"):
        from mincemeat.sinks.sqlite import SqliteSink

        return SqliteSink(path)
    known = ".jsonl, .csv, .tsv, .sqlite and .db"
    what = f"the ending {ending!r}" if ending else "a name without an ending"
    raise InvalidJob(f"cannot tell from {what} how to write {os.fspath(path)!r}: the known endings are {known}")
