"""The group buffer: the budget, the order, the combiner, and the culprit named for each fault."""

from __future__ import annotations

import gc
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.errors import BlockCorrupt, InvalidEmission, UserCodeError
from mincemeat.model import Span, UserFunctions
from mincemeat.shuffle.block import BlockWriter, decode_columns, iter_blocks
from mincemeat.shuffle.group import GroupBuffer
from mincemeat.shuffle.grouping import read_groups
from mincemeat.shuffle.store import RegroupFiles
from tests.kit.ways import in_a_dict


class Spilled:
    """What a group buffer dealt out, block by block, in memory."""

    def __init__(self, functions: UserFunctions, partitions: int = 4, memory_bytes: int = 2**20) -> None:
        self.file = io.BytesIO()
        self.writer = BlockWriter(self.file)
        self.buffer = GroupBuffer(functions, partitions, memory_bytes, self.writer)

    def run(self, records: Iterable[tuple[Any, Any]]) -> Spilled:
        self.buffer.drain(records)
        self.buffer.finish()
        return self

    def span(self, path: Any) -> Span:
        path.write_bytes(self.file.getvalue())
        entries = self.writer.entries
        return Span(str(path), entries[0].offset, sum(entry.length for entry in entries))


def grouped(spans: list[Span], partitions: range) -> list[tuple[int, dict[Any, Any]]]:
    found = read_groups(spans, partitions, RegroupFiles("/nowhere"), memory_bytes=2**20)
    return [(partition, in_a_dict(groups)) for partition, groups in found]


def emit(pairs: Any) -> UserFunctions:
    return UserFunctions(mapfn=lambda _key, _value: pairs)


def fail(functions: UserFunctions, records: Iterable[tuple[Any, Any]] = ((3, "x"),), **options: Any) -> UserCodeError:
    with pytest.raises(UserCodeError) as caught:
        Spilled(functions, **options).run(records)
    return caught.value


# -- budget ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_bytes", [100, 3000, 40_000, 300_000])
def test_budget_is_overshot_by_an_eighth_at_most(value_bytes: int) -> None:
    budget = 2**20

    def mapfn(key: int, _value: None) -> Iterator[tuple[int, bytes]]:
        for n in range(4 * budget // value_bytes // 4):
            yield key * 1_000_000 + n, bytes(value_bytes)

    # stays_here: what is written is as long as what was held, and not deflated.
    spilled = Spilled(UserFunctions(mapfn=mapfn, stays_here=True), partitions=1, memory_bytes=budget)
    spilled.run((key, None) for key in range(4))
    assert spilled.buffer.spills >= 3
    largest = max(entry.length for entry in spilled.writer.entries)
    assert largest <= max(budget * 9 / 8, budget + value_bytes)
    assert spilled.writer.entries[0].length >= budget * (0.25 if value_bytes < 1000 else 0.7)


def test_one_long_record_is_drained_in_batches_and_not_read_at_once() -> None:
    spilled = Spilled(UserFunctions(), memory_bytes=50_000)
    ahead = []

    def mapfn(_key: Any, _value: Any) -> Iterator[tuple[int, str]]:
        for n in range(5000):
            ahead.append(n - spilled.buffer.pairs)
            yield n, "some text"

    spilled.buffer._mapfn = mapfn
    spilled.run([(1, None)])
    assert spilled.buffer.pairs == 5000
    assert max(ahead) <= limits.BATCH_PAIRS_MAX


def test_everything_that_fits_is_one_block_per_partition_and_no_spill() -> None:
    spilled = Spilled(emit([("a", 1), ("b", 2), ("d", 3), ("a", 4)]), partitions=2).run([(1, None), (2, None)])
    assert (spilled.buffer.records, spilled.buffer.pairs, spilled.buffer.spills) == (2, 8, 0)
    assert [entry.partition for entry in spilled.writer.entries] == [0, 1]


def test_an_object_emitted_again_and_again_is_weighed_once_a_sample() -> None:
    shared = "p" * 100_000
    spilled = Spilled(UserFunctions(mapfn=lambda _k, _v: ((n, shared) for n in range(256 * 8))), memory_bytes=2**26)
    spilled.run([(1, None)])
    assert spilled.buffer.spills == 0


def test_nothing_relies_on_the_cyclic_collector() -> None:
    class Value:
        pass

    gc.collect()
    gc.disable()
    try:
        spilled = Spilled(UserFunctions(mapfn=lambda key, _v: [(key, key)], collectfn=lambda _k, values: len(values)))
        spilled.run((n, None) for n in range(1000))
        del spilled
        assert gc.collect() < 100
    finally:
        gc.enable()


# -- grouping --------------------------------------------------------------------------------------------


def test_collectfn_is_called_once_per_key_and_spill_and_its_result_is_one_value(tmp_path: Any) -> None:
    calls: Counter[str] = Counter()

    def collectfn(key: str, values: list[int]) -> list[int]:
        assert type(values) is list
        calls[key] += 1
        return [sum(values), len(values)]

    functions = UserFunctions(mapfn=lambda _k, _v: [("a", 1), ("b", 1), ("a", 1)], collectfn=collectfn)
    spilled = Spilled(functions, partitions=1)
    for _ in range(2):
        spilled.run([(1, None)])
    assert calls == {"a": 2, "b": 2}
    ((_partition, groups),) = grouped([spilled.span(tmp_path / "f")], range(1))
    assert groups == {"a": [[2, 2], [2, 2]], "b": [[1, 1], [1, 1]]}


def test_values_of_a_key_keep_the_order_of_spills_and_spans(tmp_path: Any) -> None:
    spans = []
    for task in range(3):
        functions = UserFunctions(mapfn=lambda key, value: [("x", (key, value)), (key, 0)])
        spilled = Spilled(functions, partitions=1, memory_bytes=1)
        spilled.run((f"{task}{n}", n) for n in range(3))
        assert spilled.buffer.spills > 1
        spans.append(spilled.span(tmp_path / f"{task}"))
    ((_partition, groups),) = grouped(spans, range(1))
    assert list(groups) == ["x", "00", "01", "02", "10", "11", "12", "20", "21", "22"]
    assert groups["x"] == [(f"{task}{n}", n) for task in range(3) for n in range(3)]


def test_every_key_with_one_value_is_stored_flat(tmp_path: Any) -> None:
    spilled = Spilled(emit([("a", [1]), ("b", [])]), partitions=1).run([(1, None)])
    (block,) = iter_blocks(spilled.span(tmp_path / "f"))
    assert block.single
    assert decode_columns(block) == (["a", "b"], [[1], []])
    ((_partition, groups),) = grouped([spilled.span(tmp_path / "f")], range(1))
    assert groups == {"a": [[1]], "b": [[]]}


def test_block_of_another_partition_is_damage(tmp_path: Any) -> None:
    spilled = Spilled(emit([("a", 1)]), partitions=1).run([(1, None)])
    with pytest.raises(BlockCorrupt, match=r"wrong partition \(expected one of 3 to 4, found 0\)"):
        grouped([spilled.span(tmp_path / "f")], range(3, 5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: [("a", 1), ("b", 2)],
        lambda: [["a", 1], ["b", 2]],
        lambda: {("a", 1): None, ("b", 2): None},
        lambda: (pair for pair in [("a", 1), ("b", 2)]),
        lambda: zip("ab", [1, 2], strict=True),
        lambda: [map(str, "a1"), iter("b2")],
    ],
    ids=["tuples", "lists", "dict", "generator", "zip", "iterators"],
)
def test_mapfn_may_return_any_iterable_of_two_part_things(make: Callable[[], Any]) -> None:
    spilled = Spilled(emit(make())).run([(1, None)])
    assert spilled.buffer.pairs == 2


# -- culprits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "None"), (7, r"7 \(int\)"), (len, r"<built-in function len> \(builtin_function_or_method\)")],
)
def test_mapfn_that_gives_nothing_to_iterate_over_is_told(given: Any, shown: str) -> None:
    error = fail(emit(given))
    assert (error.function, error.key) == ("mapfn", "3")
    assert isinstance(error.__cause__, InvalidEmission)
    with pytest.raises(
        InvalidEmission,
        match=rf"mapfn must return or yield \(key, value\) pairs; for the record with key 3 it gave {shown}$",
    ):
        raise error.__cause__


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        ("abc", "'abc' (str)"),
        ("ab", "'ab' (str)"),
        (b"ab", "b'ab' (bytes)"),
        (5, "5 (int)"),
        (None, "None"),
        (("a", 1, 2), "('a', 1, 2) (tuple)"),
        (("a",), "('a',) (tuple)"),
        ({"a"}, "{'a'} (set)"),
    ],
)
def test_element_that_is_no_pair_is_told_with_its_record(element: Any, shown: str) -> None:
    error = fail(emit([element]))
    assert str(error.__cause__) == f"mapfn must give (key, value) pairs; for the record with key 3 it gave {shown}"
    assert isinstance(error.__cause__, InvalidEmission)
    assert (error.function, error.key) == ("mapfn", "3")


@pytest.mark.parametrize("culprit", [0, 1, 2, 100, 255, 256, 257, 700, 999])
@pytest.mark.parametrize("per_record", [1, 3, 400])
def test_record_of_a_bad_element_is_named_wherever_in_a_batch_it_stands(culprit: int, per_record: int) -> None:
    def mapfn(key: int, _value: None) -> Iterator[Any]:
        for n in range(key * per_record, (key + 1) * per_record):
            yield ("k", n) if n != culprit else (["unhashable"], n)

    error = fail(UserFunctions(mapfn=mapfn), ((key, None) for key in range(1000)))
    record = culprit // per_record
    assert str(error.__cause__) == (
        f"mapfn must give hashable keys; for the record with key {record} it gave the key ['unhashable'] (list)"
    )
    assert error.key == str(record)


class RaisesWhenHashed:
    def __hash__(self) -> int:
        raise ValueError("hash it yourself")


def test_exception_of_a_keys_own_hash_is_the_users() -> None:
    error = fail(emit([(RaisesWhenHashed(), 1)]))
    assert isinstance(error.__cause__, ValueError)
    assert (error.function, error.key) == ("mapfn", "3")


def raising(error: BaseException) -> Iterator[Any]:
    yield "a", 1
    raise error


@pytest.mark.parametrize("raised", [ValueError("x"), StopIteration(), SystemExit(1), RecursionError(), MemoryError()])
def test_exception_of_mapfn_is_carried_with_its_record(raised: BaseException) -> None:
    def mapfn(_key: Any, _value: Any) -> Any:
        raise raised

    error = fail(UserFunctions(mapfn=mapfn))
    assert error.__cause__ is raised
    assert (error.function, error.key) == ("mapfn", "3")


@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(1), RecursionError(), MemoryError()])
def test_exception_in_the_middle_of_an_iterable_is_carried_with_its_record(raised: BaseException) -> None:
    error = fail(emit(raising(raised)))
    assert error.__cause__ is raised
    assert (error.function, error.key) == ("mapfn", "3")


def test_exception_of_collectfn_is_carried_with_the_groups_key() -> None:
    def collectfn(key: str, _values: Any) -> int:
        return 1 // (key != "b")

    error = fail(UserFunctions(mapfn=lambda _k, _v: [("a", 1), ("b", 1)], collectfn=collectfn))
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert (error.function, error.key) == ("collectfn", "'b'")


@pytest.mark.parametrize("place", ["mapfn", "generator", "collectfn", "partitionfn"])
def test_keyboard_interrupt_passes_unwrapped(place: str) -> None:
    def interrupt(*_args: Any) -> Any:
        raise KeyboardInterrupt

    functions = {
        "mapfn": UserFunctions(mapfn=interrupt),
        "generator": emit(raising(KeyboardInterrupt())),
        "collectfn": UserFunctions(collectfn=interrupt),
        "partitionfn": UserFunctions(partitionfn=interrupt),
    }[place]
    with pytest.raises(KeyboardInterrupt):
        Spilled(functions).run([(1, 2)])


def test_exception_of_the_records_themselves_passes_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError):
        Spilled(UserFunctions()).run((1 // n, n) for n in (2, 1, 0))


def test_value_that_cannot_be_pickled_is_told_with_its_key_and_type() -> None:
    error = fail(emit([("w", 1), ("x", 2), ("x", threading.Lock())]), partitions=1)
    assert isinstance(error.__cause__, InvalidEmission)
    assert str(error.__cause__) == (
        "mapfn gave for key 'x' a value of type 'lock' that cannot be pickled: cannot pickle '_thread.lock' object"
    )
    assert (error.function, error.key) == ("mapfn", "'x'")


def test_value_of_collectfn_that_cannot_be_pickled_is_blamed_on_it() -> None:
    error = fail(UserFunctions(collectfn=lambda _k, _v: threading.Lock()))
    assert str(error.__cause__).startswith("collectfn gave for key 3 a value of type 'lock' that cannot be pickled")
    assert error.function == "collectfn"


def test_key_that_cannot_be_pickled_is_told() -> None:
    local_lambda = lambda: None  # noqa: E731
    functions = UserFunctions(mapfn=lambda _k, _v: [(local_lambda, 1)], partitionfn=lambda _key: 0)
    error = fail(functions)
    assert "mapfn gave the key <function" in str(error.__cause__)
    assert "of type 'function' that cannot be pickled" in str(error.__cause__)


class ExitsWhenPickled:
    def __reduce__(self) -> Any:
        raise SystemExit(1)


def test_exit_inside_pickling_is_a_failure_like_any_other() -> None:
    assert "'ExitsWhenPickled' that cannot be pickled" in str(fail(emit([("a", ExitsWhenPickled())])).__cause__)


def test_key_of_a_type_that_cannot_be_dealt_is_told() -> None:
    error = fail(emit([("a", 1), (range(3), 1)]))
    assert "a key of type 'range' cannot be partitioned" in str(error.__cause__)
    assert (error.function, error.key) == ("mapfn", "range(0, 3)")


# -- sort=True -------------------------------------------------------------------------------------------


def blocks_in_order(spilled: Spilled, path: Any) -> list[tuple[int, list[Any], list[Any]]]:
    return [(block.partition, *decode_columns(block)) for block in iter_blocks(spilled.span(path))]


@pytest.mark.parametrize("collectfn", [None, sum, lambda _key, values: sum(values)], ids=["lists", "folded", "called"])
def test_blocks_of_a_sorted_job_are_ranges_in_order(collectfn: Any, tmp_path: Any) -> None:
    functions = UserFunctions(collectfn=collectfn, sort=True, splitters=("f", "k", "kk", "x"))
    spilled = Spilled(functions, partitions=9).run((key, 1) for key in "ykzkafbklejd")
    assert [(partition, keys) for partition, keys, _ in blocks_in_order(spilled, tmp_path / "file")] == [
        (0, ["a", "b", "d", "e"]),
        (1, ["f", "j"]),
        (2, ["k"]),
        (3, ["l"]),
        (4, ["y", "z"]),
    ]
    assert spilled.buffer.pairs == 12


def test_blocks_of_a_sorted_job_that_was_not_sampled_are_one_range(tmp_path: Any) -> None:
    spilled = Spilled(UserFunctions(sort=True), memory_bytes=2000).run(
        (number * 37 % 101, "x" * 9) for number in range(101)
    )
    assert spilled.buffer.spills > 1
    blocks = blocks_in_order(spilled, tmp_path / "file")
    assert {partition for partition, _, _ in blocks} == {0}
    assert all(keys == sorted(keys) for _, keys, _ in blocks)
    assert len(blocks) == spilled.buffer.spills + 1


def test_partitionfn_decides_and_keys_are_in_order_within_its_partitions(tmp_path: Any) -> None:
    functions = UserFunctions(partitionfn=lambda key: key % 3, sort=True, splitters=(4,))
    spilled = Spilled(functions).run((key, None) for key in (8, 1, 5, 3, 7, 0))
    assert [(partition, keys) for partition, keys, _ in blocks_in_order(spilled, tmp_path / "file")] == [
        (0, [0, 3]),
        (1, [1, 7]),
        (2, [5, 8]),
    ]


def test_keys_without_an_order_fail_a_sorted_job() -> None:
    error = fail(UserFunctions(sort=True), [(1, None), ("a", None)])
    assert isinstance(error.__cause__, InvalidEmission)
    assert error.function == "mapfn"
    assert "sort=True needs keys that can be compared" in str(error.__cause__)
