"""What the records of a journal amount to."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mincemeat.journal.history import History, HistoryImpossible, MapCommit, ReduceCommit, SplitGroup, plan_record
from mincemeat.journal.log import Record
from mincemeat.model import AttemptId, MapReport

HEAD: Record = {"journal": 1, "job": "j"}


def group(first: int, count: int) -> Record:
    return SplitGroup(first, (5,) * count, (None,) * count, tuple(range(count))).to_record()


def mapped(name: str, splits: int = 1, worker: str = "A") -> MapCommit:
    return MapCommit(AttemptId.parse(name), splits, worker, MapReport(5, 10, 0.5, 0, (1, 2), digests="+" + "0f" * 16))


def reduced(name: str) -> ReduceCommit:
    return ReduceCommit(AttemptId.parse(name), f"{name}.result", 100, worker="A")


def history(*records: Record) -> History:
    found = History.of([HEAD, *json.loads(json.dumps(records))])
    assert found is not None
    return found


def test_nothing_has_no_history() -> None:
    assert History.of([]) is None


def test_values_travel_through_records() -> None:
    commits = [mapped("m-00000.0", 2), mapped("m-00002.3")]
    results = [reduced("r-00001.0")]
    plan = [range(1), range(1, 64)]
    found = history(
        group(0, 2),
        group(2, 1),
        {"input": 3},
        *(commit.to_record() for commit in commits),
        plan_record(plan),
        *(result.to_record() for result in results),
    )
    assert list(found.map_commits()) == commits
    assert found.reduce_commits() == results
    assert found.plan == plan
    assert found.is_input_exhausted
    assert [each.splits for each in found.groups] == [range(2), range(2, 3)]
    assert found.lives == 1


def test_each_life_is_counted() -> None:
    assert history({"life": 1}, {"life": 2}).lives == 3


def test_a_later_output_of_a_task_counts() -> None:
    found = history(group(0, 1), mapped("m-00000.0").to_record(), mapped("m-00000.1", worker="B").to_record())
    assert [commit.worker for commit in found.map_commits()] == ["B"]


def test_what_was_voided_does_not_count() -> None:
    found = history(
        group(0, 2),
        mapped("m-00000.0", 2).to_record(),
        mapped("m-00000.1", 2).to_record(),
        {"void": "m-00000.1"},
        plan_record([range(64)]),
        reduced("r-00000.0").to_record(),
        {"void": "r-00000.0"},
    )
    assert [str(commit.attempt) for commit in found.map_commits()] == ["m-00000.0"]
    assert found.reduce_commits() == []


def test_an_output_of_several_splits_counts_while_none_of_them_was_attempted_again() -> None:
    records = [group(0, 3), mapped("m-00000.0", 3).to_record()]
    assert [commit.splits for commit in history(*records).map_commits()] == [3]
    records.append(mapped("m-00001.1").to_record())
    assert [str(commit.attempt) for commit in history(*records).map_commits()] == ["m-00001.1"]


def test_no_split_is_in_two_outputs_whatever_was_recorded() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        records, splits = [], 0
        for _ in range(chance.randrange(1, 6)):
            count = chance.randrange(1, 4)
            records.append(group(splits, count))
            splits += count
        for number in range(chance.randrange(12)):
            first = chance.randrange(splits)
            records.append(mapped(f"m-{first:05d}.{number}", chance.randrange(1, splits - first + 1)).to_record())
            if chance.random() < 0.2:
                records.append({"void": f"m-{first:05d}.{chance.randrange(number + 1)}"})
        taken = [
            index
            for commit in history(*records).map_commits()
            for index in range(commit.attempt.task.index, commit.attempt.task.index + commit.splits)
        ]
        assert taken == sorted(set(taken)), f"seed {seed}"


WRONG_IN_MAP: dict[str, tuple[Any, ...]] = {
    "map": (5, None),
    "splits": ("1", 1.0, True),
    "worker": (5, None),
    "report": (5, ["a", 1, 1, 1], [1, 1, "a", 1]),
    "bytes": (5, ["x"], {}, "ab"),
    "skipped": ("1", -1),
    "aside": (5, "nonsense"),
    "digests": (5, "nonsense", "+00"),
}
WRONG_IN_REDUCE: dict[str, tuple[Any, ...]] = {
    "reduce": (5,),
    "file": (5, None),
    "size": ("1", -1),
    "skipped": (None,),
    "aside": (5, "nonsense"),
    "worker": (5,),
}


@pytest.mark.parametrize(
    "records",
    [
        [{"unknown": 1}],
        [group(1, 1)],
        [group(0, 1), group(2, 1)],
        [group(0, 1), {"input": 2}],
        [mapped("m-00000.0").to_record()],
        [group(0, 1), {**mapped("m-00000.0").to_record(), "map": "r-00000.0"}],
        [group(0, 1), {**mapped("m-00000.0").to_record(), "report": [1]}],
        [reduced("r-00000.0").to_record()],
        [{"void": "nonsense"}],
        [{"plan": "abc"}],
        [{"plan": [5, 3]}],
        [{"plan": [0]}],
        [{"plan": {}}],
        [{}],
        [{"life": float("inf")}],
        [{"life": "1"}],
        [{"input": 0.0}],
        [{"void": 5}],
        [{**group(0, 2), "prints": [1]}],
        [{**group(0, 1), "splits": 0.0}],
        *([{**group(0, 1), name: value}] for name in ("records", "bytes", "prints") for value in (5, "x", ["x"], [-1])),
        *(
            [group(0, 1), {**mapped("m-00000.0").to_record(), name: value}]
            for name, values in WRONG_IN_MAP.items()
            for value in values
        ),
        *(
            [{"plan": [0, 64]}, {**reduced("r-00000.0").to_record(), name: value}]
            for name, values in WRONG_IN_REDUCE.items()
            for value in values
        ),
    ],
)
def test_records_that_cannot_have_come_about_are_refused(records: list[Record]) -> None:
    with pytest.raises(HistoryImpossible):
        history(*records)


def with_digests(commit: MapCommit, digests: str) -> MapCommit:
    return commit._replace(report=commit.report._replace(digests=digests))


def test_a_result_is_outdated_when_an_output_that_it_read_was_made_again_and_differs_in_its_partitions() -> None:
    """A coordinator that died in between, or failed the job for it, left a result of what is no more."""
    same, other = "+" + "0f" * 8 + "01" * 8, "+" + "0f" * 8 + "02" * 8
    first, again = with_digests(mapped("m-00000.0"), same), with_digests(mapped("m-00000.1"), other)
    plan = plan_record([range(1), range(1, 2)])
    results = reduced("r-00000.0"), reduced("r-00001.0")
    records = [group(0, 1), first.to_record(), plan, *(result.to_record() for result in results)]
    assert [history(*records).is_outdated(result) for result in results] == [False, False]
    records.append(again.to_record())
    assert [history(*records).is_outdated(result) for result in results] == [False, True]
    # Back to what it was, and made of the new one.
    assert not history(*records, with_digests(mapped("m-00000.2"), same).to_record()).is_outdated(results[1])
    newer = reduced("r-00001.1")
    assert not history(*records, newer.to_record()).is_outdated(newer)


def test_what_is_not_known_outdates_no_result() -> None:
    first, again = with_digests(mapped("m-00000.0"), ""), with_digests(mapped("m-00000.1"), "")
    result = reduced("r-00000.0")
    plan = plan_record([range(2)])
    records = [group(0, 1), first.to_record(), plan, result.to_record(), again.to_record()]
    assert not history(*records).is_outdated(result)
