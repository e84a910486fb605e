"""The default engine: slots on this machine, driven from the calling thread.

Decides: how many slots there may be, and that the first of them boots while this process imports the rest: a small job
is over in the time that two interpreters need to start, if they start at the same time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mincemeat.engines.base import Engine, Observer
from mincemeat.model import Job
from mincemeat.slots import SlotProcess

if TYPE_CHECKING:
    from mincemeat.engines.resuming import Resumable
    from mincemeat.set_aside import RecordFailure
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source


def available_cores() -> int:
    """How many processors this process may use, at least one."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


class ProcessesEngine(Engine):
    """Child processes of this one; a function that crashes its process costs one attempt.

    Args:
        workers: slots, at least 1; default: the cores this process may use.
        split: records per split of a dict-like datasource; default: adaptive.
        journal: the file from which the job goes on if this process dies; map outputs lie beside it then.
    """

    name = "processes"

    def __init__(
        self,
        workers: int | None = None,
        split: int | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        self._journal = journal
        self._resumable: Resumable | None = None
        self._workers = self.local_slots = workers if workers is not None else available_cores()
        self._split = split
        self._first: SlotProcess | None = None

    def warm_up(self) -> None:
        if self._first is None:
            self._first = SlotProcess()

    def _end_first(self) -> None:
        if self._first is not None:
            self._first.kill()
            self._first = None

    def close(self) -> None:
        self._end_first()
        if self._resumable is not None:
            self._resumable.close()
            self._resumable = None

    def results_are_safe(self) -> None:
        if self._resumable is not None:
            self._resumable.journal.remove()

    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> tuple[RecordFailure, ...]:
        self.warm_up()
        try:
            from mincemeat.engines.local_run import carry_out

            if self._journal is not None:
                from mincemeat.engines.resuming import Resumable

                self._resumable = Resumable.open(self._journal, job, source, sink, self._split)
            assert self._first is not None
            return carry_out(
                job,
                source,
                sink,
                observe,
                slots=self._workers,
                first=self._first,
                split=self._split,
                resumable=self._resumable,
            )
        finally:
            self._end_first()
