"""The group buffer: the budget, the order, and the combiner."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.errors import BlockCorrupt
from mincemeat.model import Span, UserFunctions
from mincemeat.shuffle.block import decode_columns, iter_blocks
from mincemeat.shuffle.grouping import read_groups
from mincemeat.shuffle.store import RegroupFiles
from tests.kit.spilled import Spilled, emit
from tests.kit.ways import in_a_dict


def grouped(spans: list[Span], partitions: range) -> list[tuple[int, dict[Any, Any]]]:
    found = read_groups(spans, partitions, RegroupFiles("/nowhere"), memory_bytes=2**20)
    return [(partition, in_a_dict(groups)) for partition, groups in found]


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
