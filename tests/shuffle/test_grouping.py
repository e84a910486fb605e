"""Grouping within a budget, compared with a plain dict; regrouping, its end, and what it leaves on disk."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.errors import BlockCorrupt, InvalidEmission
from mincemeat.model import AttemptId, Phase, Span, TaskId
from mincemeat.shuffle.block import encode_columns
from mincemeat.shuffle.grouping import read_groups
from mincemeat.shuffle.partition import partition_hash
from mincemeat.shuffle.regroup import ByHash, ByOrdinal, ByPartition, next_rule
from mincemeat.shuffle.store import JobStore
from mincemeat.shuffle.values import StoredValues
from tests.kit.ways import in_a_dict

Block = tuple[int, list[tuple[Any, list[Any]]]]  # a partition, and keys with their values

MAP = AttemptId(TaskId(Phase.MAP, 0), 0)
REDUCE = AttemptId(TaskId(Phase.REDUCE, 0), 0)


def write_blocks(store: JobStore, blocks: Iterable[Block]) -> list[Span]:
    with store.writing(MAP) as writer:
        for partition, groups in blocks:
            keys, lists = [key for key, _ in groups], [values for _, values in groups]
            pairs = sum(map(len, lists))
            single = pairs == len(keys)
            columns: list[Any] = [value for (value,) in lists] if single else lists
            writer.append(partition, encode_columns(keys, columns), keys=len(keys), pairs=pairs, single=single)
        entries = writer.entries
    store.commit(MAP)
    return [Span(store.path(MAP), entry.offset, entry.length) for entry in entries]


def plain(blocks: Iterable[Block]) -> dict[int, dict[Any, list[Any]]]:
    found: defaultdict[int, dict[Any, list[Any]]] = defaultdict(dict)
    for partition, groups in blocks:
        for key, values in groups:
            found[partition].setdefault(key, []).extend(values)
    return dict(found)


def grouped(store: JobStore, spans: list[Span], memory_bytes: int, partitions: int = 4) -> list[tuple[int, Any, Any]]:
    """Partition, key and values as a list, in the order they come; checks that nothing is left on disk."""
    found = []
    with store.regrouping(REDUCE) as files:
        for partition, groups in read_groups(spans, range(partitions), files, memory_bytes=memory_bytes):
            for key, values in in_a_dict(groups).items():
                assert type(values) in (list, StoredValues)
                found.append((partition, key, list(values)))
    assert os.listdir(store.directory) == [os.path.basename(store.path(MAP))]
    return found


keys = st.one_of(st.integers(0, 30), st.sampled_from(["", "a", "b", None, (1, "x"), b"y", 1.0, True]))
some_values = st.lists(st.one_of(st.integers(), st.text(max_size=40), st.lists(st.integers(), max_size=3)), min_size=1)


def some_blocks(keys: st.SearchStrategy[Any], values: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Block]]:
    """Blocks of four partitions, with each key once in a block."""
    groups = st.lists(st.tuples(keys, values), min_size=1, max_size=12, unique_by=lambda group: group[0])
    return st.lists(st.tuples(st.integers(0, 3), groups), max_size=14)


blocks_of = some_blocks(keys, some_values)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(blocks=blocks_of, memory_bytes=st.sampled_from([1, 64, 300, 1000, 5000, 2**20]))
def test_groups_are_those_of_a_plain_dict_whatever_the_budget(
    blocks: list[Block], memory_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = JobStore(tmp_path_factory.mktemp("job"))
    found = grouped(store, write_blocks(store, blocks), memory_bytes)
    expected = plain(blocks)
    assert [partition for partition, _, _ in found] == sorted(
        partition for partition, groups in expected.items() for _ in groups
    )
    assert len({(partition, key) for partition, key, _ in found}) == len(found)
    assert {(partition, key): values for partition, key, values in found} == {
        (partition, key): values for partition, groups in expected.items() for key, values in groups.items()
    }
    # Of keys that are one to a dict (1, 1.0 and True), the first that appeared is kept.
    assert sorted(repr((partition, key)) for partition, key, _ in found) == sorted(
        repr((partition, key)) for partition, groups in expected.items() for key in groups
    )
    assert found == grouped(store, write_blocks(store, blocks), memory_bytes)
    if memory_bytes == 2**20:
        assert [key for _, key, _ in found] == [key for partition in sorted(expected) for key in expected[partition]]


def blocks_of_one_partition(keys: list[Any], rounds: int, each: int = 1) -> list[Block]:
    return [(0, [(key, [f"{key} {turn} {n}" for n in range(each)]) for key in keys]) for turn in range(rounds)]


def test_a_large_partition_is_dealt_out_more_than_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With so small a budget, 64 parts are not enough, and the parts are dealt out again."""
    rules = []
    original = ByHash.__init__

    def noting(self: ByHash, used: int, bits: int) -> None:
        original(self, used, bits)
        rules.append((self.used, self.bits))

    monkeypatch.setattr(ByHash, "__init__", noting)
    store = JobStore(tmp_path)
    blocks = [(0, [(f"key {n}", [turn])]) for turn in range(4) for n in range(500)]
    found = grouped(store, write_blocks(store, blocks), 1000)
    assert {key: values for _, key, values in found} == plain(blocks)[0]
    assert {used for used, _ in rules} >= {0, 6}


def test_keys_with_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mincemeat.shuffle.regroup.partition_hashes", lambda keys: [0x1234] * len(keys))
    store = JobStore(tmp_path)
    blocks = blocks_of_one_partition([f"key {n}" for n in range(40)], rounds=5)
    found = grouped(store, write_blocks(store, blocks), 500)
    assert {key: values for _, key, values in found} == plain(blocks)[0]


class Opaque:
    """Equal by its number, and without a hash that every machine agrees on: it comes with a partitionfn."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.number == self.number

    def __hash__(self) -> int:
        return 7


@pytest.mark.parametrize("first_opaque", [0, 15])
def test_keys_without_a_portable_hash_are_told_apart(tmp_path: Path, first_opaque: int) -> None:
    store = JobStore(tmp_path)
    keys = [n if n < first_opaque else Opaque(n) for n in range(30)]
    blocks: list[Block] = [(0, [(key, [turn])]) for turn in range(3) for key in keys]
    found = grouped(store, write_blocks(store, blocks), 700)
    assert {key: values for _, key, values in found} == plain(blocks)[0]


def test_a_key_larger_than_the_budget_is_read_from_disk_and_the_others_are_lists(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    blocks: list[Block] = [
        (0, [("many", list(range(turn * 200, turn * 200 + 200))), (f"few {turn % 5}", [turn])]) for turn in range(20)
    ]
    kinds = {}
    with store.regrouping(REDUCE) as files:
        for _, groups in read_groups(write_blocks(store, blocks), range(1), files, memory_bytes=10_000):
            for key, values in in_a_dict(groups).items():
                kinds[key] = type(values)
                if isinstance(values, StoredValues):
                    assert values == list(range(4000))
                    assert values[-1] == 3999
                    assert max(values._lengths) < 2 * 10_000 / limits.STORED_BLOCKS_MIN
    assert kinds == {"many": StoredValues, **{f"few {n}": list for n in range(5)}}


@pytest.mark.slow
def test_what_was_dealt_out_is_let_go(tmp_path: Path) -> None:
    """The list of a block's values, which grouping takes over and extends, was held by who had read the block."""
    store = JobStore(tmp_path)
    budget = 500_000
    spans = write_blocks(store, [(0, [("many", list(range(n * 1000, n * 1000 + 1000)))]) for n in range(200)])
    tracemalloc.start()
    try:
        with store.regrouping(REDUCE) as files:
            ((_, groups),) = read_groups(spans, range(2), files, memory_bytes=budget)
            assert type(in_a_dict(groups)["many"]) is StoredValues  # of 8 MB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * budget


def test_what_fits_is_not_dealt_out(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition(["a", "b"], rounds=2))
    with store.regrouping(REDUCE) as files:
        groups = list(read_groups(spans, range(1), files, memory_bytes=2**20))
        assert not os.path.exists(store.directory + f"/{REDUCE}.regroup")
    assert groups == [(0, {"a": ["a 0 0", "a 1 0"], "b": ["b 0 0", "b 1 0"]})]


def test_damage_in_a_later_block_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition(["a", "b"], rounds=10, each=20))
    path = Path(store.path(MAP))
    data = bytearray(path.read_bytes())
    data[spans[7].offset + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(BlockCorrupt, match="checksum mismatch") as caught:
        grouped(store, spans, 500)
    assert caught.value.offset == spans[7].offset
    assert os.listdir(tmp_path) == [path.name]


def test_damage_of_a_part_is_told(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition([f"key {n}" for n in range(50)], rounds=10))
    with store.regrouping(REDUCE) as files:
        steps = read_groups(spans, range(1), files, memory_bytes=3000)
        next(steps)
        for path in Path(store.directory, f"{REDUCE}.regroup").iterdir():
            path.write_bytes(b"\0" * path.stat().st_size)
        with pytest.raises(BlockCorrupt, match="no block starts here"):
            list(steps)
    assert os.listdir(tmp_path) == [f"{MAP}.blocks"]


def test_values_that_cannot_be_unpickled_are_not_taken_for_keys_without_hash(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    spans = write_blocks(store, blocks_of_one_partition(["a", "b"], rounds=5, each=20))
    calls = []

    def loads(data: bytes) -> Any:
        calls.append(data)
        if len(calls) == 4:
            raise AttributeError("no such class")
        return pickle.loads(data)

    with store.regrouping(REDUCE) as files, pytest.raises(InvalidEmission, match="cannot be unpickled"):
        list(read_groups(spans, range(1), files, memory_bytes=500, loads=loads))


@pytest.mark.parametrize(
    ("partitions", "dealt_by", "fraction", "rule"),
    [
        (2, None, 0.5, ByPartition()),
        (1, None, 0.5, ByHash(0, 2)),
        (1, ByPartition(), 0.9, ByHash(0, 1)),
        (1, None, 0.0001, ByHash(0, 6)),
        (1, ByHash(0, 6), 0.1, ByHash(6, 5)),
        (1, ByHash(30, 2), 0.1, ByOrdinal(32)),
        (1, ByOrdinal(2), 0.1, ByOrdinal(32)),
    ],
)
def test_the_rule_depends_on_what_was_held_and_what_was_used(
    partitions: int, dealt_by: Any, fraction: float, rule: Any
) -> None:
    found = next_rule(range(partitions), dealt_by, fraction_held=fraction)
    assert type(found) is type(rule)
    assert vars(found) == vars(rule)


def test_further_bits_take_keys_of_one_partition_apart() -> None:
    """All of one partition of 64: the bits that put them there are the same, and the rule's places are even."""
    keys = [f"key {n}" for n in range(200_000) if partition_hash(f"key {n}") % 64 == 5]
    places = ByHash(0, 5).places(keys)
    counts = [places.count(place) for place in range(32)]
    assert min(counts) > len(keys) / 32 * 0.6
    assert max(counts) < len(keys) / 32 * 1.4
    later = ByHash(5, 5).places([key for key, place in zip(keys, places, strict=True) if place == 3])
    assert len(set(later)) > 25
