"""Whole attempts with the compiled table and without it, over the same records: the same results, to the byte."""

from __future__ import annotations

import math
import operator
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mincemeat
from mincemeat import reducers
from mincemeat.attempt import run_map, run_reduce
from mincemeat.errors import UserCodeError
from mincemeat.model import AttemptId, Phase, TaskId, UserFunctions
from mincemeat.result_file import iter_results
from mincemeat.shuffle import texttable
from mincemeat.shuffle.block import CODEC_LISTS, CODEC_TEXT, iter_blocks
from mincemeat.shuffle.store import JobStore
from mincemeat.sinks.parts import PartFacts, take_facts
from tests.kit.ways import only_compiled as each_way  # noqa: F401 - instead of the room's

PARTITIONS = 4
REDUCE = AttemptId(TaskId(Phase.REDUCE, 0), 0)
AMPLE = 2**20

Emission = list[Any]

texts = st.one_of(
    st.sampled_from(
        ["", "a", "b", "ab", "a b", "prefixed 1", "prefixed 2", "é", "\udcff", 'q"', "tab\t", "line\n", "\r"]
    ),
    st.text(max_size=4),
    st.integers(0, 300).map(str),
)
wholes = st.one_of(st.integers(-2, 9), st.sampled_from([2**31, 2**63 - 1, -(2**63), 2**64]))
# Mostly what a table takes: what it does not is met somewhere in the middle.
others = st.one_of(
    st.tuples(st.one_of(st.integers(0, 3), st.tuples(texts), st.binary(max_size=2)), wholes),
    st.tuples(texts, st.one_of(st.floats(allow_nan=False), st.booleans(), st.fractions(max_denominator=3))),
)


def emissions(values: st.SearchStrategy[Any], *, odd: bool) -> st.SearchStrategy[list[list[Emission]]]:
    """For each map attempt its records, each with what is emitted for it."""
    plain = st.tuples(texts, values)
    one = st.one_of(plain, plain, plain, others) if odd else plain
    many = st.lists(plain, max_size=30)
    batch = st.one_of(
        many.map(lambda pairs: mincemeat.Pairs([key for key, _ in pairs], [value for _, value in pairs])),
        many.map(dict),
    )
    emitted = st.one_of(
        st.lists(one, max_size=20), st.lists(one, min_size=30, max_size=60), st.lists(batch, max_size=2)
    )
    return st.lists(st.lists(emitted, max_size=4), min_size=1, max_size=3)


def emit(_key: int, emitted: Emission) -> Iterator[Any]:
    yield from emitted


def joined(_key: Any, values: Any) -> str:
    return " ".join(f"{type(value).__name__}{value!r}" for value in values)


def in_all(_key: Any, values: list[Any]) -> Any:
    """Not understood, so that the reduce side makes lists of what is in tables."""
    return sum(values) + 0


def carried_out(functions: UserFunctions, maps: list[list[Emission]], directory: Path, memory_bytes: int) -> Any:
    """Results, and for a job with an output what became of it; or which exception ended the job."""
    store = JobStore(directory)
    spans = []
    try:
        for index, records in enumerate(maps):
            attempt = AttemptId(TaskId(Phase.MAP, index), 0)
            run_map(functions, enumerate(records), store, attempt, partitions=PARTITIONS, memory_bytes=memory_bytes)
            spans += store.spans(attempt, range(PARTITIONS))
        run_reduce(functions, spans, range(PARTITIONS), store, REDUCE, memory_bytes=memory_bytes)
        if not functions.output:
            return [(key, type(value), value) for key, value in iter_results(store.path(REDUCE))]
        facts = take_facts(store.path(REDUCE))
        return facts, Path(store.path(REDUCE)).read_bytes()
    except UserCodeError as error:
        return type(error.__cause__), str(error.__cause__)
    finally:
        store.clear()


def both_ways(
    functions: UserFunctions, maps: list[list[Emission]], directory: Path, memory_bytes: int
) -> tuple[Any, Any]:
    compiled = carried_out(functions, maps, directory, memory_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texttable, "compiled", None)
        return compiled, carried_out(functions, maps, directory, memory_bytes)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ways")


FOLDED: list[tuple[Any, Any]] = [
    (sum, sum), (len, reducers.sum), (min, min), (max, max), (None, reducers.count), (None, max), (None, sum),
    (None, reducers.sum), (None, operator.add), (sum, in_all),
]  # fmt: skip
# What these give depends on how often values were combined, so on the budget.
COMBINED: list[tuple[Any, Any]] = [(sum, None), (sum, reducers.collect), (len, reducers.unique)]
budgets = st.sampled_from([300, 3000, AMPLE])


@pytest.mark.parametrize("output", ["", "txt", "tsv", "csv/", "jsonl"])
@pytest.mark.parametrize(("collectfn", "reducefn"), FOLDED)
@settings(max_examples=15)
@given(maps=emissions(wholes, odd=False), budget=budgets, sort=st.booleans())
def test_counts_and_sums_of_text_agree(
    collectfn: Any, reducefn: Any, output: str, maps: Any, budget: int, sort: bool, directory: Path
) -> None:
    splitters = ("b", "prefixed 2", "é") if sort else ()
    functions = UserFunctions(emit, reducefn, collectfn, sort=sort, splitters=splitters, output=output)
    check_alike(*both_ways(functions, maps, directory, budget), in_order=sort or budget == AMPLE)


@pytest.mark.parametrize(("collectfn", "reducefn"), COMBINED)
@settings(max_examples=15)
@given(maps=emissions(wholes, odd=False))
def test_lists_of_what_was_combined_agree(collectfn: Any, reducefn: Any, maps: Any, directory: Path) -> None:
    functions = UserFunctions(emit, reducefn, collectfn)
    check_alike(*both_ways(functions, maps, directory, AMPLE), in_order=True)


@pytest.mark.parametrize("output", ["", "txt", "jsonl"])
@pytest.mark.parametrize("reducefn", [None, joined, len])
@settings(max_examples=30)
@given(
    maps=st.one_of(emissions(texts, odd=False), emissions(st.one_of(texts, wholes), odd=True)),
    budget=budgets,
    sort=st.booleans(),
)
def test_lists_of_values_agree(reducefn: Any, output: str, maps: Any, budget: int, sort: bool, directory: Path) -> None:
    sort = sort and not any(type(key) is not str for key in emitted_keys(maps))
    splitters = ("b", "prefixed 2", "é") if sort else ()
    functions = UserFunctions(emit, reducefn, sort=sort, splitters=splitters, output=output)
    check_alike(*both_ways(functions, maps, directory, budget), in_order=sort)


def emitted_pairs(maps: list[list[Emission]]) -> Iterator[tuple[Any, Any]]:
    for element in (element for records in maps for emitted in records for element in emitted):
        if isinstance(element, dict):
            yield from element.items()
        elif isinstance(element, mincemeat.Pairs):
            yield from zip(element.keys, element.values, strict=True)
        else:
            yield element


def emitted_keys(maps: list[list[Emission]]) -> Iterator[Any]:
    return (key for key, _ in emitted_pairs(maps))


def rounding(maps: list[list[Emission]]) -> float:
    """What a sum of these may differ by when it was added up in another order; 0 without floats."""
    values = [value for _, value in emitted_pairs(maps)]
    if not any(isinstance(value, float) for value in values):
        return 0.0
    return len(values) * sys.float_info.epsilon * sum(abs(float(value)) for value in values)


@pytest.mark.parametrize("reducefn", [joined, None])
@pytest.mark.parametrize("value", [lambda number: number, lambda number: f"value {number}", lambda _number: "same"])
def test_a_key_with_more_values_than_memory_is_the_same_both_ways(value: Any, reducefn: Any, directory: Path) -> None:
    maps = [[[("many", value(part * 4000 + number)) for number in range(4000)], [("few", "one")]] for part in range(3)]
    functions = UserFunctions(emit, reducefn)
    compiled, plain = both_ways(functions, maps, directory, 50_000)
    check_alike(compiled, plain, in_order=False)


@pytest.mark.parametrize(("collectfn", "reducefn"), FOLDED)
@settings(max_examples=50)
@given(maps=emissions(wholes, odd=True), budget=budgets)
def test_what_a_table_cannot_take_changes_nothing(
    collectfn: Any, reducefn: Any, maps: Any, budget: int, directory: Path
) -> None:
    functions = UserFunctions(emit, reducefn, collectfn)
    # Where a bufferful ends, and with it a partial sum, depends on the way; the digits of floats may, too.
    check_alike(*both_ways(functions, maps, directory, budget), in_order=False, tolerance=rounding(maps))


@pytest.mark.parametrize("output", ["", "txt", "tsv", "jsonl"])
@pytest.mark.parametrize("sort", [True, False])
@settings(max_examples=30)
@given(
    maps=st.one_of(emissions(st.none(), odd=False), emissions(st.one_of(st.none(), st.none(), wholes), odd=False)),
    budget=budgets,
)
def test_sorts_of_text_agree(sort: bool, output: str, maps: Any, budget: int, directory: Path) -> None:
    splitters = ("b", "prefixed 2", "é") if sort else ()
    functions = UserFunctions(emit, sort=sort, splitters=splitters, output=output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mincemeat.limits.UNREPEATED_AMONG_PAIRS", 4)  # so that a table is tried
        patch.setattr("mincemeat.limits.UNREPEATED_SHARE", 0.1)
        found = both_ways(functions, maps, directory, budget)
    check_alike(*found, in_order=sort)


def check_alike(compiled: Any, plain: Any, *, in_order: bool, tolerance: float = 0.0) -> None:
    """Where a partition was dealt out again, the order of keys may depend on how large they are in memory."""
    if in_order:
        assert compiled == plain
    elif isinstance(compiled, list):
        found, expected = (sorted(results, key=repr) for results in (compiled, plain))
        assert [result[:2] for result in found] == [result[:2] for result in expected]
        for (key, _, one), (_, _, other) in zip(found, expected, strict=True):
            is_near = isinstance(one, float) and (
                math.isclose(one, other, rel_tol=0, abs_tol=tolerance) or one != one != other
            )
            assert one == other or (tolerance and is_near), f"{key!r}: {one!r} and {other!r}"
    elif not isinstance(compiled[0], PartFacts):
        assert compiled[0] is plain[0], f"{compiled} and {plain}"  # and which key is met first, and named, is open
    else:
        (facts, data), (plain_facts, plain_data) = compiled, plain
        assert sorted(data.splitlines()) == sorted(plain_data.splitlines())
        assert facts._replace(first=None, last=None, crc32=0) == plain_facts._replace(first=None, last=None, crc32=0)


def test_a_word_count_goes_through_the_table_from_end_to_end(directory: Path) -> None:
    """Or the tests above would compare the plain way with itself."""
    codecs = []
    store = JobStore(directory)
    functions = UserFunctions(emit, sum, sum)
    attempt = AttemptId(TaskId(Phase.MAP, 0), 0)
    run_map(functions, [(0, [("a", 1), ("b", 2)])], store, attempt, partitions=1, memory_bytes=AMPLE)
    spans = store.spans(attempt, range(1))
    run_reduce(functions, spans, range(1), store, REDUCE, memory_bytes=AMPLE)
    for span in [*spans, *store.spans(REDUCE, range(1))]:
        codecs += [block.codec for block in iter_blocks(span)]
    store.clear()
    assert codecs == [CODEC_TEXT, CODEC_TEXT]


def test_an_inverted_index_is_written_as_lists(directory: Path) -> None:
    store = JobStore(directory)
    attempt = AttemptId(TaskId(Phase.MAP, 0), 0)
    pairs = [(f"word {number % 7}", f"file {number // 7}") for number in range(70)]
    run_map(UserFunctions(emit, joined), [(0, pairs)], store, attempt, partitions=1, memory_bytes=AMPLE)
    (block,) = iter_blocks(store.spans(attempt, range(1))[0])
    store.clear()
    assert (block.codec, block.single, block.keys, block.pairs) == (CODEC_LISTS, False, 7, 70)
    assert len(block.payload) < 36 + 7 * (6 + 2) + 70 + 10 * (6 + 4) + 1  # each file's name once


@pytest.mark.parametrize(("value", "memory_bytes", "least", "most"), [(1, 500_000, 8, 13), (None, 4_000_000, 1, 2)])
def test_tables_spill_with_the_budgets_worth_of_bytes(
    value: Any, memory_bytes: int, least: int, most: int, directory: Path
) -> None:
    """40,000 keys of 100 bytes, for each of which a table needs a header and a place in its index and order."""
    store = JobStore(directory)
    attempt = AttemptId(TaskId(Phase.MAP, 0), 0)
    pairs = [(f"{number:0100}", value) for number in range(40_000)]
    functions = UserFunctions(emit, collectfn=sum if value else None)
    report = run_map(functions, [(0, pairs)], store, attempt, partitions=1, memory_bytes=memory_bytes)
    store.clear()
    assert least <= report.spills <= most


def mapped(functions: UserFunctions, records: Any, directory: Path, memory_bytes: int) -> Any:
    """The report of a map attempt, and how many bytes it held at most beyond what it was given."""
    store = JobStore(directory)
    tracemalloc.start()
    try:
        attempt = AttemptId(TaskId(Phase.MAP, 0), 0)
        report = run_map(functions, records, store, attempt, partitions=1, memory_bytes=memory_bytes)
        return report, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        store.clear()


def large_keys(count: int, size: int) -> Iterator[tuple[str, int]]:
    for number in range(count):
        yield f"{number:0{size}}", 1


@pytest.mark.parametrize("together", [False, True])
def test_large_keys_stay_near_the_budget(together: bool, directory: Path) -> None:
    """Look-ups were gathered 32 at a time, and 512 of a batch, before anybody looked at bytes."""
    budget, size = 4 * 2**20, 2**19

    def emit_all(_key: int, _value: None) -> Any:
        return mincemeat.Pairs(*zip(*large_keys(32, size), strict=True)) if together else large_keys(64, size)

    given = 32 * size if together else 0  # what is yielded at once is in memory at once, beside the budget
    report, peak = mapped(UserFunctions(emit_all, sum, sum), [(0, None)], directory, budget)
    assert report.spills >= 3
    assert peak < given + 3 * budget


@pytest.mark.parametrize("sort", [True, False])
def test_sorting_and_dealing_out_are_in_the_budget(sort: bool, directory: Path) -> None:
    """Short keys, for which the scratch of a sort is as much as what is sorted."""
    budget = 8 * 2**20
    functions = UserFunctions(lambda _key, _value: large_keys(400_000, 8), sum, sum, sort=sort)
    report, peak = mapped(functions, [(0, None)], directory, budget)
    assert report.spills >= 2
    assert peak < 1.75 * budget  # a block is pickled beside it


def test_a_table_is_full_when_its_numbers_are_used_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a larger budget the attempt had failed with MemoryError, or keys beyond 32 GiB were not found again."""
    monkeypatch.setattr("mincemeat.limits.TABLE_BYTES_MAX", 100_000)
    maps = [[[(f"{number % 3000:032}", 1) for number in range(6000)]] for _ in range(3)]
    for functions in (UserFunctions(emit, sum, sum), UserFunctions(emit, sum, sum, sort=True)):
        compiled, plain = both_ways(functions, maps, directory, AMPLE)
        check_alike(compiled, plain, in_order=functions.sort)
        assert len(compiled) == 3000
    report, _ = mapped(UserFunctions(emit, sum, sum), enumerate(maps[0]), directory, AMPLE)
    assert report.spills >= 3


def test_a_sum_that_outgrows_a_full_table_is_finished_elsewhere(directory: Path) -> None:
    many = [(f"key {number:06}", 1) for number in range(3000)]
    maps = [[[*many, ("zzz", 2**63 - 1)]], [[("aaa", 1), ("zzz", 2**63 - 1), ("zzzz", 1)]]]
    for collectfn in (sum, None):
        functions = UserFunctions(emit, sum, collectfn, sort=True)
        compiled, plain = both_ways(functions, maps, directory, 600_000)
        assert compiled == plain
        assert ("zzz", int, 2**64 - 2) in compiled


@pytest.mark.parametrize("odd", [1.5, 2**70])
def test_values_are_counted_across_a_change_of_ways(odd: Any, directory: Path) -> None:
    store = JobStore(directory)
    spans = []
    for index, pairs in enumerate([[("a", 1)], [("a", 1)], [("a", 1)], [("b", odd)]]):
        attempt = AttemptId(TaskId(Phase.MAP, index), 0)
        run_map(UserFunctions(emit, max, max), [(0, pairs)], store, attempt, partitions=1, memory_bytes=AMPLE)
        spans += store.spans(attempt, range(1))
    report = run_reduce(UserFunctions(emit, max, max), spans, range(1), store, REDUCE, memory_bytes=AMPLE)
    store.clear()
    assert (report.keys, report.values) == (2, 4)
