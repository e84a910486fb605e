"""What the records of a journal say: how far the job had come.

Decides: the kinds of records, and what they amount to. Does not know: files, or who goes on with the job.

    {"journal": 1, ...}                the first record: whose journal it is (journal.py)
    {"life": 1}                        a coordinator went on with the job: the second was life 1
    {"splits": 7, ...}                 splits were cut for one attempt: the first of them, and what each looked like
    {"input": 12}                      the input is exhausted after so many
    {"map": "m-00007.0", ...}          the output of this map attempt is whole, and lies with that worker
    {"plan": [0, 16, 64]}              which partitions each reduce task has
    {"reduce": "r-00000.0", ...}       the results of this reduce attempt are whole, in that file of the journal's
    {"void": "m-00007.1"}              what was said of this attempt counts no more

A record says a fact about an attempt. Of several of one task the latest counts that was not voided: what came before
was lost, or is just as good.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from mincemeat.errors import MincemeatError, ProtocolError
from mincemeat.journal.log import Record
from mincemeat.model import AttemptId, MapReport, Phase
from mincemeat.scheduler.digests import differing, overlap, parse_digests
from mincemeat.set_aside import decode_report


class SplitGroup(NamedTuple):
    """Splits that were cut for one attempt, from ``first`` on: records and bytes of each (None: unknown), and what
    ``Source.fingerprint`` said."""

    first: int
    records: tuple[int | None, ...]
    bytes: tuple[int | None, ...]
    fingerprints: tuple[int, ...]

    @property
    def splits(self) -> range:
        return range(self.first, self.first + len(self.records))

    def to_record(self) -> Record:
        return {"splits": self.first, "records": self.records, "bytes": self.bytes, "prints": self.fingerprints}


class MapCommit(NamedTuple):
    """The output of ``attempt``, which took so many ``splits``, is whole on ``worker``."""

    attempt: AttemptId
    splits: int
    worker: str
    report: MapReport

    def to_record(self) -> Record:
        report = self.report
        return {
            "map": str(self.attempt),
            "splits": self.splits,
            "worker": self.worker,
            "report": [report.records, report.pairs, report.seconds, report.spills],
            "bytes": report.partition_bytes,
            "skipped": report.skipped,
            "aside": report.set_aside,
            "digests": report.digests,
        }


class ReduceCommit(NamedTuple):
    """The results of ``attempt`` on ``worker`` are the file called ``file``, of ``size`` bytes.

    ``skipped`` and ``set_aside`` as in ``MapReport``.
    """

    attempt: AttemptId
    file: str
    size: int
    skipped: int = 0
    set_aside: str = ""
    worker: str = ""

    def to_record(self) -> Record:
        return {
            "reduce": str(self.attempt),
            "file": self.file,
            "size": self.size,
            "worker": self.worker,
            "skipped": self.skipped,
            "aside": self.set_aside,
        }


class HistoryImpossible(MincemeatError):
    """Records that cannot have come about: written by another program, or by hand."""


@dataclass
class History:
    """How far a job had come when its last coordinator died. ``lives`` is how many coordinators it has had."""

    head: Record
    lives: int = 1
    groups: list[SplitGroup] = field(default_factory=list)
    is_input_exhausted: bool = False
    plan: list[range] = field(default_factory=list)
    _maps: dict[int, list[MapCommit]] = field(default_factory=dict)
    _reduces: dict[int, list[ReduceCommit]] = field(default_factory=dict)
    # By attempt, how many commits had been recorded before.
    _places: dict[AttemptId, int] = field(default_factory=dict)

    @property
    def splits(self) -> int:
        return self.groups[-1].splits.stop if self.groups else 0

    def map_commits(self) -> Iterator[MapCommit]:
        """The committed map outputs in the order of their splits, no split twice."""
        taken = -1
        for index in sorted(self._maps):
            commit = self._maps[index][-1]
            if commit.attempt.task.index == index and index > taken:
                members = range(index, index + commit.splits)
                # A split of it may have been attempted again alone since.
                if all(self._maps[member][-1] is commit for member in members):
                    yield commit
                    taken = members[-1]

    def reduce_commits(self) -> list[ReduceCommit]:
        """The committed results in the order of their tasks."""
        return [self._reduces[index][-1] for index in sorted(self._reduces)]

    def is_outdated(self, result: ReduceCommit) -> bool:
        """Whether it was made of a map output that was made again since, and differs in what it read.

        The coordinator that wrote this down may have died before it could say what follows from that, or failed the
        job for it.
        """
        place = self._places[result.attempt]
        partitions = self.plan[result.attempt.task.index]
        read = [
            next((commit for commit in reversed(commits) if self._places[commit.attempt] < place), None)
            for commits in self._maps.values()
            if self._places[commits[-1].attempt] > place
        ]
        return any(overlap(partitions, self._changes(before)) for before in read if before is not None)

    def _changes(self, before: MapCommit) -> list[range]:
        """The partitions in which what counts now of the splits of ``before`` differs from it, as far as is known."""
        first = before.attempt.task.index
        splits = range(first, first + before.splits)
        now = {self._maps[index][-1].attempt: self._maps[index][-1] for index in splits if index in self._maps}
        count = len(before.report.partition_bytes)
        was = parse_digests(before.report.digests, count)
        is_of_these = all(
            commit.attempt.task.index in splits and commit.attempt.task.index + commit.splits <= splits.stop
            for commit in now.values()
        )
        if was is None or not is_of_these or sum(commit.splits for commit in now.values()) != before.splits:
            return []
        return differing(was, [parse_digests(commit.report.digests, count) for commit in now.values()], count)

    # -- from records ------------------------------------------------------------------------------------

    @classmethod
    def of(cls, records: Iterable[Record]) -> History | None:
        """What ``records`` amount to; None if there is none. Raises: HistoryImpossible."""
        history: History | None = None
        for record in records:
            if history is None:
                history = cls(record)
                continue
            try:
                history._add(record)
            except (KeyError, TypeError, ValueError, IndexError, ProtocolError) as error:
                # Its checksum is right, so somebody else wrote it.
                raise HistoryImpossible(f"a record cannot be meant: {str(record)[:200]}") from error
        return history

    def _add(self, record: Record) -> None:
        kind = next(iter(record), "")
        _ADDERS[kind](self, record)

    def _add_life(self, record: Record) -> None:
        self.lives = _count(record["life"]) + 1

    def _add_splits(self, record: Record) -> None:
        records, sizes = (tuple(map(_count_if_known, record[name])) for name in ("records", "bytes"))
        group = SplitGroup(_count(record["splits"]), records, sizes, _counts(record["prints"]))
        if group.first != self.splits or not group.records:
            raise ValueError("a gap between splits")
        if not len(records) == len(sizes) == len(group.fingerprints):
            raise ValueError("not all is said of all splits")
        self.groups.append(group)

    def _add_input(self, record: Record) -> None:
        if _count(record["input"]) != self.splits:
            raise ValueError("not the number of splits that there are")
        self.is_input_exhausted = True

    def _add_map(self, record: Record) -> None:
        attempt = _attempt(record["map"], Phase.MAP)
        records, pairs, seconds, spills = record["report"]
        if type(seconds) not in (int, float):
            raise TypeError("seconds are a number")
        report = MapReport(
            *(_count(records), _count(pairs), seconds, _count(spills)),
            _counts(record["bytes"]),
            _count(record["skipped"]),
            _report(record["aside"]),
            _text(record["digests"]),
        )
        parse_digests(report.digests, len(report.partition_bytes))  # raises
        commit = MapCommit(attempt, _count(record["splits"]), _text(record["worker"]), report)
        first = attempt.task.index
        self._places[attempt] = len(self._places)
        if commit.splits < 1 or first + commit.splits > self.splits:
            raise ValueError("splits that there are not")
        for index in range(first, first + commit.splits):
            self._maps.setdefault(index, []).append(commit)

    def _add_plan(self, record: Record) -> None:
        bounds = _counts(record["plan"])
        if len(bounds) < 2 or list(bounds) != sorted(set(bounds)):
            raise ValueError("bounds that do not ascend")
        self.plan = [range(start, stop) for start, stop in itertools.pairwise(bounds)]

    def _add_reduce(self, record: Record) -> None:
        attempt = _attempt(record["reduce"], Phase.REDUCE)
        self.plan[attempt.task.index]  # raises for one that is not planned
        commit = ReduceCommit(
            attempt,
            _text(record["file"]),
            _count(record["size"]),
            _count(record["skipped"]),
            _report(record["aside"]),
            _text(record["worker"]),
        )
        self._places[attempt] = len(self._places)
        self._reduces.setdefault(attempt.task.index, []).append(commit)

    def _add_void(self, record: Record) -> None:
        attempt = AttemptId.parse(_text(record["void"]))
        commits: dict[int, list[Any]] = self._maps if attempt.task.phase is Phase.MAP else self._reduces
        index = attempt.task.index
        while any(commit.attempt == attempt for commit in commits.get(index, ())):
            commits[index] = [commit for commit in commits[index] if commit.attempt != attempt]
            if not commits[index]:
                del commits[index]
            index += 1


def _attempt(text: Any, phase: Phase) -> AttemptId:
    attempt = AttemptId.parse(_text(text))
    if attempt.task.phase is not phase:
        raise ValueError("an attempt of the other phase")
    return attempt


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is no text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no count")
    return value


def _count_if_known(value: Any) -> int | None:
    return None if value is None else _count(value)


def _counts(values: Any) -> tuple[int, ...]:
    if type(values) is not list or not set(map(type, values)) <= {int} or (values and min(values) < 0):
        raise TypeError("no list of counts")
    return tuple(values)


def _report(text: Any) -> str:
    """What an attempt tells of what it set aside. Read once here: else it would fail the job at its very end."""
    decode_report(_text(text))
    return _text(text)


def plan_record(plan: list[range]) -> Record:
    return {"plan": [plan[0].start, *(partitions.stop for partitions in plan)]}


_ADDERS: Final = {
    "life": History._add_life,
    "splits": History._add_splits,
    "input": History._add_input,
    "map": History._add_map,
    "plan": History._add_plan,
    "reduce": History._add_reduce,
    "void": History._add_void,
}
