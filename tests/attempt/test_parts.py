"""Reduce attempts that write results in the form of the output."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat.attempt import run_map, run_reduce
from mincemeat.describing import describe_failure
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.model import AttemptId, FailureKind, Phase, ReduceReport, TaskId, UserFunctions
from mincemeat.shuffle.store import JobStore
from mincemeat.sinks.parts import ANYWHERE, BY_HASH, BY_ORDER, FORMATS, PartFacts, take_facts

MAP = AttemptId(TaskId(Phase.MAP, 0), 0)
REDUCE = AttemptId(TaskId(Phase.REDUCE, 0), 0)
PARTITIONS = 4


def words(_key: Any, count: int) -> Iterator[tuple[str, int]]:
    for number in range(count):
        yield f"w{number:05d}", number


def first(_key: Any, values: list[int]) -> int:
    return values[0]


def reduced(store: JobStore, functions: UserFunctions, count: int = 5000, memory_bytes: int = 2**20) -> ReduceReport:
    everything = range(PARTITIONS)
    run_map(functions, [(0, count)], store, MAP, partitions=PARTITIONS, memory_bytes=2**24)
    return run_reduce(functions, store.spans(MAP, everything), everything, store, REDUCE, memory_bytes=memory_bytes)


def facts_of(tmp_path: Path, functions: UserFunctions, **options: int) -> tuple[PartFacts, bytes]:
    store = JobStore(tmp_path / "blocks")
    report = reduced(store, functions, **options)
    path = store.path(REDUCE)
    assert report.output_bytes == os.path.getsize(path)
    facts = take_facts(path)
    assert report.keys == facts.results
    return facts, Path(path).read_bytes()


@pytest.mark.parametrize("memory_bytes", [2**24, 20_000], ids=["in memory", "dealt out again"])
def test_a_part_is_the_committed_file_of_its_attempt(tmp_path: Path, memory_bytes: int) -> None:
    facts, data = facts_of(tmp_path, UserFunctions(words, first, output="txt"), memory_bytes=memory_bytes)
    assert sorted(data.splitlines()) == [b"w%05d\t%d" % (number, number) for number in range(5000)]
    assert (facts.partitions, facts.dealt, facts.results) == ((0, PARTITIONS), BY_HASH, 5000)


def test_a_part_knows_how_its_keys_were_dealt_out(tmp_path: Path) -> None:
    facts, data = facts_of(tmp_path, UserFunctions(words, first, sort=True, splitters=("w02",), output="txt"))
    assert facts.dealt == BY_ORDER
    assert (facts.first, facts.last) == ("w00000", "w04999")
    assert data.splitlines() == sorted(data.splitlines())
    facts, _ = facts_of(tmp_path, UserFunctions(words, first, partitionfn=len, output="txt"))
    assert facts.dealt == ANYWHERE


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("slash", ["", "/"])
def test_nothing_is_left_of_a_part_that_could_not_be_written(tmp_path: Path, form: str, slash: str) -> None:
    def odd(key: str, values: list[int]) -> Any:
        return (value for value in values) if key == "w00042" else values

    store = JobStore(tmp_path / "blocks")
    with pytest.raises(UserCodeError) as caught:
        reduced(store, UserFunctions(words, odd, output=form + slash), count=100)
    assert os.listdir(store.directory) == [f"{MAP}.blocks"]
    failure = describe_failure(caught.value)
    assert (failure.kind, failure.function, failure.key) == (FailureKind.USER, "reducefn", "'w00042'")
    assert failure.message.startswith("the result for key 'w00042' holds a generator")
    assert isinstance(pickle.loads(failure.exception), InvalidEmission)


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(key: str, values: list[int]) -> Any:
        if key == "w00050":
            raise KeyboardInterrupt
        return values

    store = JobStore(tmp_path / "blocks")
    for form in sorted(FORMATS):
        with pytest.raises(KeyboardInterrupt):
            reduced(store, UserFunctions(words, interrupted, output=form), count=100)
        assert os.listdir(store.directory) == [f"{MAP}.blocks"]
