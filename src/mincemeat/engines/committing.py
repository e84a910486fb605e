"""From a slot's word that an attempt is done to the scheduler's knowing it, in a job on this machine.

Decides: in which order. Results must be whole; the journal, if there is one, has the commit on the disk before ledger
or sink hear of it; the scheduler is last, by the event that is given back. Does not know: slots, or whether the
scheduler still wants the attempt: it always does, for here whoever is cancelled is ended at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mincemeat.engines.bookkeeping import Ledger, ResultDrain
from mincemeat.model import AttemptId, Job, MapReport, Phase
from mincemeat.result_file import damage_of_results
from mincemeat.scheduler import events
from mincemeat.scheduler.digests import parse_digests
from mincemeat.scheduler.machine import Machine
from mincemeat.set_aside import SetAside, decode_report
from mincemeat.shuffle.store import JobStore

if TYPE_CHECKING:
    from mincemeat.journal.journal import Journal


class LocalCommitter:
    """Commits the attempts of ``job``, all of which ``worker`` carries out.

    ``is_planned``: ``journal`` knows the plan of the reduce phase already, from an earlier life.
    """

    def __init__(
        self,
        job: Job,
        worker: str,
        ledger: Ledger,
        *,
        machine: Machine,
        store: JobStore,
        drain: ResultDrain,
        set_aside: SetAside,
        journal: Journal | None,
        is_planned: bool,
    ) -> None:
        self._job = job
        self._worker = worker
        self._ledger = ledger
        self._machine = machine
        self._store = store
        self._drain = drain
        self._set_aside = set_aside
        self._journal = journal
        self._is_planned = is_planned

    def splits_cut(self, splits: range | None) -> None:
        """The next splits of the input, or that there are none, before the scheduler knows."""
        if self._journal is not None and splits is not None:
            self._journal.splits_cut(self._ledger.group_of(splits))
        elif self._journal is not None:
            self._journal.input_exhausted(self._ledger.splits_cut)  # the machine is not told of all of them yet

    def _note_commit(self, attempt: AttemptId, report: MapReport | None, skipped: int = 0, set_aside: str = "") -> None:
        """An attempt's output is whole: from here on nobody has to make it again, not even after a power cut."""
        journal = self._journal
        if journal is None:
            return
        if report is not None:
            from mincemeat.journal.history import MapCommit

            journal.map_committed(MapCommit(attempt, len(self._machine.splits_of(attempt)), self._worker, report))
        else:
            if not self._is_planned:
                journal.planned(self._machine.plan)
                self._is_planned = True
            journal.reduce_committed(attempt, self._store.path(attempt), skipped, set_aside)
        journal.sync()

    def committed(self, attempt: AttemptId, report: dict[str, Any]) -> events.Event:
        """A slot has carried out ``attempt``; what the scheduler is to be told of it."""
        skipped: int = report["skipped"]
        first = next(iter(decode_report(report["set_aside"])), None) if skipped else None
        if attempt.task.phase is Phase.REDUCE:
            damage = damage_of_results(self._store.path(attempt), self._job.functions.output)
            if damage:
                self._store.drop(attempt)
                return events.AttemptLost(self._worker, attempt, damage)
            self._set_aside.committed(attempt, report["set_aside"])
            self._note_commit(attempt, None, skipped, report["set_aside"])
            self._drain.add(attempt.task.index, self._store.path(attempt))
            return events.AttemptDone(self._worker, attempt, (), skipped, first)
        done = MapReport(**{**report, "partition_bytes": tuple(report["partition_bytes"])})
        self._set_aside.committed(attempt, done.set_aside)
        self._note_commit(attempt, done)
        self._ledger.map_done(self._machine.splits_of(attempt), done)
        digests = parse_digests(done.digests, self._job.partitions)
        return events.AttemptDone(self._worker, attempt, done.partition_bytes, skipped, first, digests)

    def take_back(self, attempt: AttemptId) -> None:
        """The results of ``attempt``, which were committed, do not count any more."""
        if self._journal is not None:
            self._journal.void(attempt)
        self._drain.take_back(attempt.task.index)
