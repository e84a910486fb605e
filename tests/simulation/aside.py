"""Which records a job with on_error="skip" may set aside, which it has to, and that it did.

Decides: nothing; it notes what became of attempts where they were carried out, and compares that with what the user is
told. What is claimed is what docs/options.md promises: a record on which a function raises in the attempt that counts
is set aside, one that took its process along only after two careful attempts at it, and nothing else ever.
"""

from __future__ import annotations

import pickle
from collections import Counter
from typing import TYPE_CHECKING

from mincemeat.errors import InvalidJob
from mincemeat.model import AttemptId, FailureKind
from mincemeat.set_aside import RecordFailure
from tests.simulation import jobs
from tests.simulation.broken import claim
from tests.simulation.jobs import Fate, Place
from tests.simulation.plan import BAD_HANGS, BAD_KEY, BAD_KILLS, BAD_RAISES, EXCESS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mincemeat.model import Failure
    from tests.simulation.jobs import SimJob
    from tests.simulation.plan import Plan

_KINDS = {jobs.RAISES: BAD_RAISES, jobs.RAISES_LATE: BAD_RAISES, jobs.KILLS: BAD_KILLS, jobs.HANGS: BAD_HANGS}
# What is told of a record that ended its process, and what it did then.
_LOST = {"": jobs.KILLS, "TimeoutError": jobs.HANGS}
# What makes attempts fail without a record's doing, or keeps those that should find a record from getting so far.
_OTHER_TROUBLE = (
    "slot killed",
    "slot hangs",
    "function raises",
    "function raises on one worker",
    "code missing",
    "disk full",
    "worker slow",
)
# A record at which processes were lost in so many careful attempts is not run any more.
_LOST_TIMES = 2


class AsideBook:
    """What happened to records, over all lives of the coordinator."""

    def __init__(self, plan: Plan, job: SimJob, happened: Counter[str]) -> None:
        self._plan = plan
        self._job = job
        self._happened = happened
        self._raised: dict[AttemptId, dict[Place, None]] = {}
        # How careful attempts ended at a place. One that hangs is noted at once, though it may be cancelled.
        self._lost_at: dict[Place, dict[AttemptId, str]] = {}

    def note(self, attempt: AttemptId, fate: Fate, *, is_careful: bool) -> None:
        """``attempt`` was carried out, or it was not any more from some record on."""
        if fate.stopped_at is not None:
            if is_careful:
                self._lost_at.setdefault(fate.stopped_at, {})[attempt] = fate.stopped
        elif fate.raised and is_careful:
            self._raised[attempt] = dict(fate.raised)

    def is_suspect(self, place: Place) -> bool:
        """Whether ``place`` may rightly be taken for what ended processes."""
        return len(self._lost_at.get(place, ())) >= _LOST_TIMES

    @property
    def is_steady(self) -> bool:
        """Whether all attempts at a task had to set aside the same: else what is made again may differ."""
        return self._set_aside_at_all() <= self._job.bad.keys()

    def _set_aside_at_all(self) -> set[Place]:
        """All that may have been set aside by any attempt."""
        raised = {place for places in self._raised.values() for place in places}
        return raised | set(filter(self.is_suspect, self._lost_at))

    # -- the job was answered ----------------------------------------------------------------------------

    def check(self, failures: Iterable[RecordFailure], committed: Iterable[AttemptId]) -> dict[Place, None]:
        """That ``failures`` are what they should be, where these attempts are ``committed``; which they are."""
        listed: dict[Place, None] = {}
        for failure in failures:
            place = failure.phase, failure.key
            claim(place not in listed, f"{failure} is listed twice")
            listed[place] = None
            self._check_failure(failure, place)
        must = {place for attempt in committed for place in self._raised.get(attempt, ())} | self._bad_met(listed)
        missing = sorted(must - listed.keys())
        claim(not missing, f"{missing} cannot be done, and are not told among what was set aside")
        more = sorted(place for place in listed.keys() - must if not self.is_suspect(place))
        claim(not more, f"{more} were set aside, and nothing was wrong with them")
        if self._plan.max_skipped is not None:
            claim(len(listed) <= self._plan.max_skipped, f"{len(listed)} were set aside: more than may be")
        for place in listed.keys() & self._job.bad.keys():
            self._happened[_KINDS[self._job.bad[place]]] += 1
            self._happened[BAD_KEY] += place[0] == "reduce"
        return listed

    def _bad_met(self, listed: dict[Place, None]) -> set[Place]:
        """The bad ones that are run at all: a key is not if all records that emit it were set aside."""
        without = {place for place in [*listed, *self._job.bad] if place[0] == "map"}
        keys = {("reduce", repr(key)) for key in self._job.answer_without(without)}
        return {place for place in self._job.bad if place[0] == "map" or place in keys}

    def _check_failure(self, failure: RecordFailure, place: Place) -> None:
        trouble = self._job.bad.get(place, "")
        how = _LOST.get(failure.exception_type)
        claim(
            failure.function == ("mapfn" if place[0] == "map" else "reducefn"),
            f"{failure} of {place[0]} is told as one of {failure.function!r}",
        )
        if how is None:
            claim(failure.exception_type.endswith("Unlucky"), f"{failure} raised {failure.exception_type}")
            claim(isinstance(failure.exception, jobs.Unlucky), f"{failure} has the exception {failure.exception!r}")
            raises = trouble in (jobs.RAISES, jobs.RAISES_LATE)
            claim(raises or any(place in places for places in self._raised.values()), f"{failure} raised nothing")
        else:
            claim(self.is_suspect(place), f"{failure} is told to have ended processes, and did not do so twice")
            claim(how in self._lost_at[place].values(), f"{failure} did otherwise: {self._lost_at[place]}")
        if place[0] == "map" and failure.data:
            key = pickle.loads(failure.data)[0]
            claim(repr(key) == failure.key, f"{failure} comes with the record of key {key}")
            claim(pickle.loads(failure.data) == (key, self._job.records[key]), f"{failure} comes with another record")

    # -- the job failed ----------------------------------------------------------------------------------

    def check_excess(self, error: BaseException, failure: Failure | None) -> bool:
        """Whether the job failed because too much was set aside. Raises: Broken if there was not so much."""
        is_refused = isinstance(error, InvalidJob)  # a coordinator that goes on finds more than it may
        if not self._plan.skips or not (is_refused or (failure and failure.kind is FailureKind.EXCESS)):
            return False
        may = self._set_aside_at_all()
        most = self._plan.max_skipped
        claim(most is not None and len(may) > most, f"{sorted(may)} may have been set aside, and that was too much")
        self._happened[EXCESS] += 1
        return True

    @property
    def may_spend_attempts(self) -> bool:
        """Whether a task may have failed too often although bad records are set aside."""
        return not self._plan.skips or any(self._happened[kind] for kind in _OTHER_TROUBLE)
