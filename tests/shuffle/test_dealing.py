"""Where keys go, and in which order: jobs with sort=True, by range and by partitionfn."""

from __future__ import annotations

from typing import Any

import pytest

from mincemeat.errors import InvalidEmission
from mincemeat.model import UserFunctions
from mincemeat.shuffle.block import decode_columns, iter_blocks
from tests.kit.spilled import Spilled, fail


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
