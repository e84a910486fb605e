"""Attempts from records to results: the plain dict as oracle, order, and nothing left behind."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.attempt import run_map, run_reduce
from mincemeat.errors import BlockCorrupt, SpillSpaceExhausted, UserCodeError
from mincemeat.model import AttemptId, Phase, Span, TaskId, UserFunctions
from mincemeat.result_file import iter_results
from mincemeat.shuffle.partition import partition_hash
from mincemeat.shuffle.store import JobStore

Records = Sequence[tuple[Any, Any]]


def map_attempt(index: int) -> AttemptId:
    return AttemptId(TaskId(Phase.MAP, index), 0)


def reduce_attempt(index: int) -> AttemptId:
    return AttemptId(TaskId(Phase.REDUCE, index), 0)


def run_job(
    store: JobStore,
    functions: UserFunctions,
    splits: Sequence[Records],
    *,
    partitions: int = 8,
    memory_bytes: int = limits.MEMORY_BYTES,
    width: int = 3,
) -> list[tuple[Any, Any]]:
    """All results in order: one map attempt per split, one reduce attempt per ``width`` partitions."""
    for index, records in enumerate(splits):
        run_map(functions, records, store, map_attempt(index), partitions=partitions, memory_bytes=memory_bytes)
    results: list[tuple[Any, Any]] = []
    for index, first in enumerate(range(0, partitions, width)):
        span_range = range(first, min(first + width, partitions))
        spans = [span for task in range(len(splits)) for span in store.spans(map_attempt(task), span_range)]
        run_reduce(functions, spans, span_range, store, reduce_attempt(index), memory_bytes=memory_bytes)
        results += iter_results(store.path(reduce_attempt(index)))
    return results


def oracle(splits: Sequence[Records], functions: UserFunctions) -> dict[Any, Any]:
    groups: defaultdict[Any, list[Any]] = defaultdict(list)
    for records in splits:
        for key, value in records:
            for emitted_key, emitted in functions.mapfn(key, value) if functions.mapfn else [(key, value)]:
                groups[emitted_key].append(emitted)
    reducefn = functions.reducefn or (lambda _key, values: values)
    return {key: reducefn(key, values) for key, values in groups.items()}


keys = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "b", (), (1, None), b"x", 1.0])
)
values = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
splits_of = st.lists(st.lists(st.tuples(keys, values), max_size=12), max_size=5)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(splits=splits_of, memory_bytes=st.sampled_from([1, 64, 400, 2000, 2**20]), partitions=st.integers(1, 9))
def test_results_are_those_of_a_plain_dict_whatever_the_budget(
    splits: list[list[tuple[Any, Any]]],
    memory_bytes: int,
    partitions: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def mapfn(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
        yield key, value
        yield type(value).__name__, key

    store = JobStore(tmp_path_factory.mktemp("job"))
    for functions in (UserFunctions(), UserFunctions(mapfn=mapfn, reducefn=lambda key, group: (key, group))):
        results = run_job(store, functions, splits, partitions=partitions, memory_bytes=memory_bytes)
        assert len(dict(results)) == len(results)
        assert dict(results) == oracle(splits, functions)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    splits=st.lists(st.lists(st.tuples(st.integers(), st.text("ab ", max_size=20)), max_size=8), max_size=4),
    memory_bytes=st.sampled_from([1, 500, 2**20]),
)
def test_combiner_changes_nothing_about_a_sum(
    splits: list[list[tuple[int, str]]], memory_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def mapfn(_key: int, text: str) -> Iterator[tuple[str, int]]:
        for word in text.split():
            yield word, 1

    def total(_key: str, ones: list[int]) -> int:
        return sum(ones)

    store = JobStore(tmp_path_factory.mktemp("job"))
    combined = UserFunctions(mapfn=mapfn, reducefn=total, collectfn=total)
    results = run_job(store, combined, splits, memory_bytes=memory_bytes)
    assert dict(results) == oracle(splits, combined)


def test_keys_stand_by_ascending_partition_then_by_first_appearance(tmp_path: Path) -> None:
    words = [f"w{n % 40}" for n in range(100)]
    splits = [[(n, word)] for n, word in enumerate(words)]
    functions = UserFunctions(mapfn=lambda key, word: [(word, key)])
    results = run_job(JobStore(tmp_path), functions, splits)
    first = {word: words.index(word) for word in words}
    assert [key for key, _ in results] == sorted(first, key=lambda word: (partition_hash(word) % 8, first[word]))
    assert dict(results)["w7"] == [7, 47, 87]


def test_reducefn_gets_a_real_list_for_one_value_too(tmp_path: Path) -> None:
    seen: list[Any] = []

    def reducefn(_key: Any, group: Any) -> None:
        seen.append((type(group), group))

    results = run_job(JobStore(tmp_path), UserFunctions(reducefn=reducefn), [[("a", None)]])
    assert seen == [(list, [None])]
    assert results == [("a", None)]


def test_lists_given_to_reducefn_are_its_own(tmp_path: Path) -> None:
    functions = UserFunctions(reducefn=lambda _key, group: [group.pop() for _ in range(len(group))])
    results = run_job(JobStore(tmp_path), functions, [[("a", 1), ("b", 2)], [("a", 3)]])
    assert dict(results) == {"a": [3, 1], "b": [2]}


def test_more_results_than_one_block_holds(tmp_path: Path) -> None:
    count = 2 * limits.RESULTS_PER_BLOCK + 1
    store = JobStore(tmp_path)
    results = run_job(
        store, UserFunctions(reducefn=lambda _k, group: group[0]), [[(n, -n) for n in range(count)]], partitions=1
    )
    assert results == [(n, -n) for n in range(count)]


def test_job_without_records_commits_empty_files(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    assert run_job(store, UserFunctions(), [[]]) == []
    assert store.size(map_attempt(0)) > 0


def test_reports_count_what_was_done(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    functions = UserFunctions(mapfn=lambda key, _value: [("a", key), (key, 1)], collectfn=lambda _k, group: len(group))
    report = run_map(functions, [(n, None) for n in range(5)], store, map_attempt(0), partitions=3, memory_bytes=2**20)
    assert (report.records, report.pairs, report.spills) == (5, 10, 0)
    assert len(report.partition_bytes) == 3
    for partition, size in enumerate(report.partition_bytes):
        spans = store.spans(map_attempt(0), range(partition, partition + 1))
        assert sum(span.length for span in spans) == size
    reduced = run_reduce(
        functions, store.spans(map_attempt(0), range(3)), range(3), store, reduce_attempt(0), memory_bytes=2**20
    )
    assert (reduced.keys, reduced.values) == (6, 6)
    assert reduced.output_bytes == store.size(reduce_attempt(0))
    assert min(report.seconds, reduced.seconds) >= 0


def test_records_are_asked_for_one_at_a_time(tmp_path: Path) -> None:
    log: list[str] = []

    def records() -> Iterator[tuple[int, None]]:
        for n in range(3):
            log.append(f"read {n}")
            yield n, None

    def mapfn(key: int, _value: None) -> list[tuple[int, int]]:
        log.append(f"map {key}")
        return []

    run_map(UserFunctions(mapfn=mapfn), records(), JobStore(tmp_path), map_attempt(0), partitions=1, memory_bytes=1)
    assert log == ["read 0", "map 0", "read 1", "map 1", "read 2", "map 2"]


# -- failed attempts -------------------------------------------------------------------------------------


class SourceBroke(Exception):
    pass


class BrokenRecords:
    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield 1, 1
        raise SourceBroke


def throwing(error: type[BaseException]) -> Callable[[Any, Any], Any]:
    def function(_key: Any, _value: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("functions", "records", "raised"),
    [
        (UserFunctions(mapfn=throwing(ValueError)), [(1, 1)], UserCodeError),
        (UserFunctions(mapfn=throwing(SystemExit)), [(1, 1)], UserCodeError),
        (UserFunctions(mapfn=throwing(KeyboardInterrupt)), [(1, 1)], KeyboardInterrupt),
        (UserFunctions(collectfn=throwing(ValueError)), [(1, 1)], UserCodeError),
        (UserFunctions(), [(1, lambda: None)], UserCodeError),
        (UserFunctions(), BrokenRecords(), SourceBroke),
    ],
)
def test_failed_map_attempt_leaves_no_file(
    tmp_path: Path, functions: UserFunctions, records: Any, raised: type[BaseException]
) -> None:
    with pytest.raises(raised):
        run_map(functions, records, JobStore(tmp_path), map_attempt(0), partitions=2, memory_bytes=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("reducefn", "raised"),
    [
        (throwing(ValueError), UserCodeError),
        (throwing(SystemExit), UserCodeError),
        (throwing(KeyboardInterrupt), KeyboardInterrupt),
        (lambda _key, values: (value for value in values), UserCodeError),
    ],
)
def test_failed_reduce_attempt_leaves_no_file(tmp_path: Path, reducefn: Any, raised: type[BaseException]) -> None:
    store = JobStore(tmp_path)
    run_map(UserFunctions(), [("a", 1)], store, map_attempt(0), partitions=1, memory_bytes=2**20)
    before = os.listdir(tmp_path)
    with pytest.raises(raised):
        run_reduce(
            UserFunctions(reducefn=reducefn),
            store.spans(map_attempt(0), range(1)),
            range(1),
            store,
            reduce_attempt(0),
            memory_bytes=2**20,
        )
    assert os.listdir(tmp_path) == before


def test_result_that_cannot_be_pickled_is_blamed_on_reducefn(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    run_map(UserFunctions(), [("a", 1)], store, map_attempt(0), partitions=1, memory_bytes=2**20)
    functions = UserFunctions(reducefn=lambda _key, values: iter(lambda: values, None))
    with pytest.raises(UserCodeError) as caught:
        run_reduce(
            functions, store.spans(map_attempt(0), range(1)), range(1), store, reduce_attempt(0), memory_bytes=2**20
        )
    assert (caught.value.function, caught.value.key) == ("reducefn", "'a'")
    assert str(caught.value.__cause__).startswith("reducefn gave for key 'a' a result of type 'callable_iterator'")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_full_disk_ends_the_attempt_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "m-00000.0.blocks.part").symlink_to("/dev/full")
    with pytest.raises(SpillSpaceExhausted):
        run_map(UserFunctions(), [(1, 1)], JobStore(tmp_path), map_attempt(0), partitions=1, memory_bytes=64)
    assert os.listdir(tmp_path) == []


def test_damaged_input_of_a_reduce_attempt_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    run_map(UserFunctions(), [("a", 1)], store, map_attempt(0), partitions=1, memory_bytes=2**20)
    (span,) = store.spans(map_attempt(0), range(1))
    with pytest.raises(BlockCorrupt):
        run_reduce(
            UserFunctions(),
            [span, Span(span.path, span.offset + 1, 50)],
            range(1),
            store,
            reduce_attempt(0),
            memory_bytes=2**20,
        )
    assert os.listdir(tmp_path) == ["m-00000.0.blocks"]


def test_attempt_can_be_run_again_over_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / "m-00000.0.blocks.part").write_bytes(b"half a block")
    store = JobStore(tmp_path)
    assert run_job(store, UserFunctions(), [[("a", 1)]]) == [("a", [1])]
