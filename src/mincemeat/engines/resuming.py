"""How an engine begins a job that has a journal, or goes on with one.

Decides: what of a journal is told to the scheduler, and that the datasource must still be what it was. Does not know:
how a job is carried out.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mincemeat.errors import InvalidJob
from mincemeat.journal.identity import describe_job
from mincemeat.journal.journal import BLOCKS, RESULTS, WORKER, Journal
from mincemeat.result_file import damage_of_results
from mincemeat.scheduler.digests import parse_digests
from mincemeat.scheduler.events import JobRestored, RestoredOutput
from mincemeat.scheduler.policy import is_excess

if TYPE_CHECKING:
    from mincemeat.engines.bookkeeping import Ledger
    from mincemeat.journal.history import MapCommit, ReduceCommit
    from mincemeat.model import AttemptId, Job
    from mincemeat.set_aside import SetAside
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

log = logging.getLogger("mincemeat")


class Resumable:
    """One job with its journal. Use: ``open``, then ``begin`` if it ``is_new``, else ``ledger.cut_again`` and so on.

    ``results``: the reduce attempts that are done, and where their results are.
    """

    def __init__(self, job: Job, journal: Journal, identity: dict[str, str]) -> None:
        self.journal = journal
        self._identity = identity
        self.is_new = journal.history is None
        # Whether the journal has the plan of the reduce phase.
        self.is_planned = journal.history is not None and bool(journal.history.plan)
        self.results: list[tuple[AttemptId, str]] = []
        self._reduces: list[ReduceCommit] = []
        if journal.history is not None:
            # What the user's own classes are must be known before keys of theirs are read; they are, in this process.
            functions = job.functions._replace(splitters=journal.splitters)
            job = job._replace(job_id=journal.job_id, functions=functions)
            self._check_set_aside(job)
            journal.go_on()
            self._take_results(job)
            self._tell()
        self.job = job

    @staticmethod
    @contextlib.contextmanager
    def collector_off() -> Iterator[None]:
        """While a hundred thousand records are read: none of them forms a cycle, and looking takes half of the time."""
        was_on = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_on:
                gc.enable()

    @classmethod
    def open(cls, path: str | os.PathLike[str], job: Job, source: Source, sink: Sink, split: int | None) -> Resumable:
        """Open the journal at ``path`` for ``job``. Raises: InvalidJob."""
        # The journal is removed at the end, and what has taken its place meanwhile would go with it.
        if sink.target and os.path.realpath(sink.target) == os.path.realpath(path):
            raise InvalidJob(f"{sink.target!r} is where the results go; name another file for the journal")
        if source.reads(os.fspath(path)):
            raise InvalidJob(f"{os.fspath(path)!r} is an input of this job; name another file for the journal")
        if not source.can_be_cut_again:
            raise InvalidJob(
                "the input comes through a pipe, and a job that goes on could not read it again: put it into a file, "
                "or leave out the journal"
            )
        identity = describe_job(job, source, split)
        with cls.collector_off():
            journal = Journal.open(path, identity)
            try:
                return cls(job, journal, identity)
            except BaseException:
                journal.close()  # else it is in use for as long as somebody looks at the error
                raise

    def close(self) -> None:
        """Let go of the journal, and say what it is good for if it stays."""
        if self.journal.is_kept:
            log.warning(
                "the journal %s keeps what was done so far: start the same job again to go on", self.journal.path
            )
        self.journal.close()

    def password(self, generated: str) -> str:
        """What workers of an earlier life know, if it was generated then; else ``generated``, kept for the next one.

        Call it before ``begin``.
        """
        kept = self.journal.password()
        if kept:
            return kept
        if not self.is_new:
            log.warning(
                "no generated password is kept with the journal %s: workers of the job's earlier server cannot come "
                "back, unless this one is started with the password that it had",
                self.journal.path,
            )
        self.journal.keep_password(generated)
        return generated

    def begin(self, job: Job) -> None:
        """Write down that ``job``, which has its splitters now, has begun."""
        self.journal.begin(job.job_id, self._identity, job.functions.splitters)
        self.job = job

    def cut_again(self, ledger: Ledger) -> None:
        """Have the source cut what it cut before. Raises: InvalidJob if it has other records now; what it raises."""
        history = self.journal.history
        for group in () if history is None else history.groups:
            for index, expected in zip(group.splits, group.fingerprints, strict=True):
                if ledger.cut_again(index, group.records[index - group.first]) != expected:
                    raise self._does_not_fit(f"what was split {index} has changed")
        if history is not None and history.is_input_exhausted and not ledger.is_input_exhausted():
            raise self._does_not_fit("more records have come behind its last one")
        for commit in self.map_commits():
            first = commit.attempt.task.index
            ledger.map_done(range(first, first + commit.splits), commit.report)

    def _does_not_fit(self, what: str) -> InvalidJob:
        return InvalidJob(
            f"the journal {self.journal.path} does not fit the input: since it was begun, {what}. To begin anew, "
            f"remove the journal and {self.journal.directory}"
        )

    def results_directory(self) -> Path:
        """Where results come in. What an earlier life had not committed of them is removed."""
        directory = Path(self.journal.room(RESULTS))
        kept = {path for _, path in self.results}
        for path in directory.iterdir():
            if str(path) not in kept:
                path.unlink()
        return directory

    def blocks_directory(self) -> str:
        """Where slots of this very process keep what they make."""
        return self.journal.room(BLOCKS)

    def workers_directory(self) -> str:
        """What the names of directories begin with in which workers beside the server keep what they made."""
        return os.path.join(self.journal.directory, WORKER)

    def map_commits(self) -> list[MapCommit]:
        history = self.journal.history
        return [] if history is None else list(history.map_commits())

    def tell_set_aside(self, set_aside: SetAside, *, named: bool) -> None:
        """What committed attempts set aside stays aside. ``named``: their workers have names that a user knows."""
        for commit in self.map_commits():
            set_aside.committed(commit.attempt, commit.report.set_aside, commit.worker if named else "")
        for reduce in self._reduces:
            set_aside.committed(reduce.attempt, reduce.set_aside, reduce.worker if named else "")

    def restored(self, outputs: list[MapCommit]) -> JobRestored:
        """What the scheduler should know, ``outputs`` being those that are still to be had somewhere.

        Asked last, and once: the journal forgets its history.
        """
        history = self.journal.history
        assert history is not None
        self.journal.forget_history()
        return JobRestored(
            groups=tuple(len(group.splits) for group in history.groups),
            is_input_exhausted=history.is_input_exhausted,
            outputs=tuple(
                RestoredOutput(
                    commit.attempt,
                    commit.splits,
                    f"{commit.worker} (before)",
                    commit.report.partition_bytes,
                    parse_digests(commit.report.digests, len(commit.report.partition_bytes)),
                )
                for commit in outputs
            ),
            plan=tuple(history.plan),
            reduced=tuple(attempt for attempt, _ in self.results),
            skipped=(
                *((commit.attempt, commit.report.skipped) for commit in outputs if commit.report.skipped),
                *((commit.attempt, commit.skipped) for commit in self._reduces if commit.skipped),
            ),
        )

    def _check_set_aside(self, job: Job) -> None:
        """Raises: InvalidJob if more records are set aside already than this job may, which does not look at them."""
        history = self.journal.history
        assert history is not None
        count = sum(commit.report.skipped for commit in history.map_commits())
        count += sum(commit.skipped for commit in history.reduce_commits())
        allowed = "on_error='raise' allows none" if not job.skips else f"max_skipped={job.max_skipped} allows no more"
        if count and (not job.skips or is_excess(count, job.max_skipped)):
            raise InvalidJob(
                f"the job of the journal {self.journal.path} has set {count} records aside, and {allowed}. Allow "
                "more, or name another journal"
            )

    def _take_results(self, job: Job) -> None:
        history = self.journal.history
        assert history is not None
        for commit in history.reduce_commits():
            path = self.journal.result_path(commit)
            if path is None or damage_of_results(path, job.functions.output):
                log.warning("the results of %s are not as they were written, and are made again", commit.attempt)
                continue
            if history.is_outdated(commit):
                log.warning(
                    "%s is carried out again: a map output that it read was made again, and differs", commit.attempt
                )
                continue
            self.results.append((commit.attempt, path))
            self._reduces.append(commit)

    def _tell(self) -> None:
        history = self.journal.history
        assert history is not None
        if self.journal.torn_bytes:
            log.warning(
                "the journal %s ends in the middle of a record: its last %d bytes are dropped, and the job goes on "
                "from what is before them",
                self.journal.path,
                self.journal.torn_bytes,
            )
        maps = sum(commit.splits for commit in history.map_commits())
        log.warning(
            "going on with the job of the journal %s: %d of %d map tasks%s and %d reduce tasks are done",
            self.journal.path,
            maps,
            history.splits,
            "" if history.is_input_exhausted else " known so far",
            len(self.results),
        )
