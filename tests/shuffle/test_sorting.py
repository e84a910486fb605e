"""Keys and values in order on the reduce side, whatever the budget, compared with ``sorted``."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import BlockCorrupt, InvalidEmission, MincemeatError, UserCodeError
from mincemeat.model import Span
from mincemeat.shuffle.block import encode_columns
from mincemeat.shuffle.grouping import read_groups
from mincemeat.shuffle.regroup import ByRange
from mincemeat.shuffle.store import JobStore
from mincemeat.shuffle.value_order import sorted_values
from mincemeat.shuffle.values import StoredValues
from tests.kit.ways import in_a_dict
from tests.shuffle.test_grouping import (
    MAP,
    REDUCE,
    Block,
    blocks_of_one_partition,
    plain,
    some_blocks,
    write_blocks,
)

Group = tuple[int, Any, list[Any]]


def sorted_groups(
    store: JobStore,
    spans: list[Span],
    memory_bytes: int,
    *,
    sort: bool = True,
    sort_values: bool | Callable[[Any], Any] = False,
    seen: Callable[[Any], object] = lambda values: None,
) -> list[Group]:
    """Partition, key and values as a list, in the order they come; checks that nothing is left on disk."""
    found = []
    with store.regrouping(REDUCE) as files:
        for partition, groups in read_groups(
            spans, range(4), files, memory_bytes=memory_bytes, sort=sort, sort_values=sort_values
        ):
            for key, values in in_a_dict(groups).items():
                seen(values)
                found.append((partition, key, list(values)))
    assert os.listdir(store.directory) == [os.path.basename(store.path(MAP))]
    return found


keys = st.one_of(st.integers(0, 60), st.sampled_from([1.0, True, 2.5]))
blocks_of = some_blocks(keys, st.lists(st.integers(0, 9), min_size=1, max_size=30))


@pytest.mark.slow
@settings(deadline=None, max_examples=120)
@given(
    blocks=blocks_of,
    memory_bytes=st.sampled_from([1, 64, 300, 1000, 5000, 2**20]),
    sort_values=st.sampled_from([False, True, lambda value: -value // 3]),
)
def test_groups_are_in_order_whatever_the_budget(
    blocks: list[Block], memory_bytes: int, sort_values: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = JobStore(tmp_path_factory.mktemp("job"))
    found = sorted_groups(store, write_blocks(store, blocks), memory_bytes, sort_values=sort_values)

    def in_order(values: list[Any]) -> list[Any]:
        return values if sort_values is False else sorted(values, key=None if sort_values is True else sort_values)

    expected = plain(blocks)
    # By repr, because 1, 1.0 and True are one key, and the first that appeared is the one to be kept.
    assert repr(found) == repr(
        [(part, key, in_order(expected[part][key])) for part in sorted(expected) for key in sorted(expected[part])]
    )


@pytest.mark.parametrize("arrival", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("memory_bytes", [300, 3000, 30_000])
def test_many_keys_are_in_order_however_they_arrive(tmp_path: Path, arrival: str, memory_bytes: int) -> None:
    names = [f"key {number:04}" for number in range(1500)]
    if arrival == "descending":
        names.reverse()
    elif arrival == "shuffled":
        random.Random(5).shuffle(names)
    blocks: list[Block] = [(0, [(name, [name]) for name in names[at : at + 50]]) for at in range(0, 1500, 50)]
    store = JobStore(tmp_path)
    found = sorted_groups(store, write_blocks(store, blocks), memory_bytes)
    assert found == [(0, name, [name]) for name in sorted(names)]


def test_input_in_order_is_dealt_out_evenly_and_not_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends taken from what was read first would leave all the rest in the last part, at each level again."""
    made: list[int] = []
    original = ByRange.__init__

    def noting(self: ByRange, splitters: Any) -> None:
        original(self, splitters)
        made.append(self.parts)

    monkeypatch.setattr(ByRange, "__init__", noting)
    blocks: list[Block] = [(0, [(at + n, ["x" * 100]) for n in range(50)]) for at in range(0, 5000, 50)]
    store = JobStore(tmp_path)
    found = sorted_groups(store, write_blocks(store, blocks), 100_000)
    assert [key for _, key, _ in found] == list(range(5000))
    assert made[0] > 8
    assert len(made) <= 3


def test_key_with_a_place_of_its_own_comes_between_the_others(tmp_path: Path) -> None:
    stored = []
    blocks: list[Block] = [
        (0, [("b", ["b" * 50]), ("m", [f"{turn} {n}" for n in range(300)]), ("x", ["x" * 50])]) for turn in range(10)
    ]
    blocks += [(0, [("n", [1]), ("l", [2]), ("a", [3])])]
    store = JobStore(tmp_path)
    found = sorted_groups(
        store, write_blocks(store, blocks), 10_000, seen=lambda values: stored.append(isinstance(values, StoredValues))
    )
    expected = plain(blocks)[0]
    assert found == [(0, key, expected[key]) for key in ["a", "b", "l", "m", "n", "x"]]
    assert stored == [False, False, False, True, False, False]


def test_keys_of_different_blocks_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, [(0, [(1, ["x"] * 50), (2, ["x"] * 50)]), (0, [("a", ["x"] * 50)])])
    for memory_bytes in (100, 2**20):
        with pytest.raises(UserCodeError, match="sort=True needs keys .*mapfn gave the keys 'a' and 2") as raised:
            sorted_groups(store, spans, memory_bytes)
        assert isinstance(raised.value.__cause__, InvalidEmission)


# -- values --------------------------------------------------------------------------------------------------


def shuffled_pairs(count: int) -> list[tuple[int, int]]:
    """Values of which many are equal to ``first``, and whose second part tells their place."""
    chance = random.Random(11)
    return [(chance.randrange(40), place) for place in range(count)]


def first(value: tuple[int, int]) -> int:
    return value[0]


@pytest.mark.parametrize("memory_bytes", [200, 2000, 20_000])
def test_values_on_disk_are_sorted_stably_over_their_runs(tmp_path: Path, memory_bytes: int) -> None:
    values = shuffled_pairs(4000)
    blocks: list[Block] = [(0, [("k", list(values[at : at + 100]))]) for at in range(0, 4000, 100)]
    store = JobStore(tmp_path)
    kinds: list[type] = []
    found = sorted_groups(
        store,
        write_blocks(store, blocks),
        memory_bytes,
        sort_values=first,
        seen=lambda values: kinds.append(type(values)),
    )
    assert kinds == [StoredValues]
    assert found == [(0, "k", sorted(values, key=first))]


def test_sorting_values_on_disk_stays_within_the_budget(tmp_path: Path) -> None:
    chance = random.Random(3)
    store = JobStore(tmp_path)
    values = StoredValues("k", store.path(MAP))
    with store.writing(MAP) as writer:
        for _ in range(300):
            several = [chance.randbytes(100) for _ in range(60)]
            writer.append(0, encode_columns(["k"], [several]), keys=1, pairs=60, single=False)
            values.append(writer.entries[-1].offset, writer.entries[-1].length, 60)
    store.commit(MAP)
    budget = 200_000  # of 2.4 MB
    with store.regrouping(REDUCE) as files:
        tracemalloc.start()
        try:
            with sorted_values(values, None, files, budget) as found:
                last, count = b"", 0
                for value in found:
                    assert value >= last
                    last, count = value, count + 1
                assert count == 18_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2 * budget


def test_sorted_values_are_there_until_the_next_group(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition(["k"], 20, each=20))
    with store.regrouping(REDUCE) as files:
        groups = read_groups(spans, range(4), files, memory_bytes=1000, sort_values=True)
        _, found = next(groups)
        values = in_a_dict(found)["k"]
        assert values[0] == "k 0 0"
        assert values[-1] == "k 9 9"
        assert list(groups) == []
        with pytest.raises(MincemeatError, match="gone since reducefn"):
            values[0]


@pytest.mark.parametrize("memory_bytes", [300, 2**20])
def test_what_sorting_values_raises_names_the_key(tmp_path: Path, memory_bytes: int) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, [(0, [("k", [n] * 30)]) for n in range(9)] + [(0, [("k", ["text"] * 30)])])
    with pytest.raises(UserCodeError) as raised:
        sorted_groups(store, spans, memory_bytes, sort=False, sort_values=True)
    assert (raised.value.function, raised.value.key) == ("sort_values", "'k'")
    assert isinstance(raised.value.__cause__, TypeError)
    with pytest.raises(UserCodeError) as raised:
        sorted_groups(store, spans, memory_bytes, sort=False, sort_values=lambda value: 1 / (value != 3))
    assert (raised.value.function, raised.value.key) == ("sort_values", "'k'")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_damage_met_while_sorting_is_not_the_users(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition(["k", "l"], 20, each=20))
    with open(store.path(MAP), "r+b") as file:
        file.seek(spans[15].offset + spans[15].length - 3)
        file.write(b"\xff\xff")
    for sort in (True, False):
        with pytest.raises(BlockCorrupt):
            sorted_groups(store, spans, 1000, sort=sort, sort_values=True)
