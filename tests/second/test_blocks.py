"""Blocks that the program writes are read by the second implementation, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat.attempt import run_map
from mincemeat.model import AttemptId, Span, UserFunctions
from mincemeat.shuffle import texttable
from mincemeat.shuffle.block import decode_columns as decode_columns_of_the_program
from mincemeat.shuffle.block import iter_blocks, read_index
from mincemeat.shuffle.store import JobStore
from tests.second import peer

PARTITIONS = 3
GOLDEN = Path(__file__).parents[1] / "vectors" / "attempt-v1.blocks"

RECORDS = [(number, f"größe {number % 700} of many\0 words {number // 3}") for number in range(3_000)]


def counted(key: int, text: str) -> Iterator[tuple[str, int]]:
    return ((word, 1) for word in text.split(" "))


def measured(key: int, text: str) -> Iterator[tuple[str, float]]:
    return ((word, key / 3) for word in text.split(" "))


def indexed(key: int, text: str) -> Iterator[tuple[str, str]]:
    return ((word, f"file-{key % 10}") for word in text.split(" "))


def mixed(key: int, text: str) -> Iterator[tuple[str, Any]]:
    return ((word, -key if key % 2 else f"file-{key % 10}") for word in text.split(" "))


def groups_of(mapfn: Callable[[int, str], Iterator[tuple[str, Any]]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for record in RECORDS:
        for word, value in mapfn(*record):
            groups.setdefault(word, []).append(value)
    return groups


def summed(key: str, values: list[int]) -> int:
    return sum(values)


@pytest.mark.parametrize(
    ("mapfn", "collectfn", "codec"),
    [(counted, None, 3), (counted, summed, 2), (measured, None, 0), (indexed, None, 3), (mixed, None, 3)],
)
def test_what_a_map_attempt_writes_is_read(mapfn: Any, collectfn: Any, codec: int, tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    attempt = AttemptId.parse("m-00000.0")
    functions = UserFunctions(mapfn, None, collectfn)
    report = run_map(functions, RECORDS, store, attempt, partitions=PARTITIONS, memory_bytes=2**25, with_digest=True)
    read: dict[str, list[Any]] = {}
    deflated = 0
    for partition in range(PARTITIONS):
        for span in store.spans(attempt, range(partition, partition + 1)):
            stretch = Path(span.path).read_bytes()[span.offset : span.offset + span.length]
            assert stretch[8] == (codec if texttable.compiled else 0)
            deflated += bool(stretch[9] & peer.DEFLATED)
            for key, values in peer.read_stretch(stretch, range(partition, partition + 1)):
                assert peer.partition_of(key, PARTITIONS) == partition
                read.setdefault(key, []).extend(values)
    expected = groups_of(mapfn)
    if mapfn is not measured and collectfn is None:
        dealt: list[dict[str, list[Any]]] = [{} for _ in range(PARTITIONS)]
        for key, values in expected.items():
            dealt[peer.partition_of(key, PARTITIONS)][key] = values
        assert peer.make_digests(dealt) == report.digests
    assert deflated or mapfn is counted  # whose blocks are small
    assert read == ({key: [sum(values)] for key, values in expected.items()} if collectfn else expected)


def test_the_golden_file_is_read() -> None:
    golden = GOLDEN.read_bytes()
    stretch = golden[8 : golden.index(peer.ENTRY.pack(0, 8, peer.BLOCK.unpack_from(golden, 8)[7] + 40, 3))]
    assert list(peer.read_stretch(stretch, range(4))) == [
        *(("humpty", [1, 1]), ("dumpty", [1]), (None, ["sat"]), (("wall", 2), [None]), ("humpty", ["fall"]))
    ]


def test_what_it_writes_is_read_by_the_program(tmp_path: Path) -> None:
    path = tmp_path / "results"
    blocks = [
        (1, 3, peer.make_block(1, ["a", "b"], [[1, 2], ["x"]])),
        (4, 1, peer.make_block(4, ["größe"], [{"any": "value"}], single=True)),
    ]
    path.write_bytes(peer.make_file(blocks))
    entries = read_index(str(path))
    assert [(entry.partition, entry.pairs) for entry in entries] == [(1, 3), (4, 1)]
    span = Span(str(path), 8, sum(entry.length for entry in entries))
    assert [decode_columns_of_the_program(block) for block in iter_blocks(span)] == [
        (["a", "b"], [[1, 2], ["x"]]),
        (["größe"], [{"any": "value"}]),
    ]


def test_a_damaged_block_is_refused_and_no_object_made() -> None:
    block = bytearray(peer.make_block(0, ["a"], [[1]]))
    assert list(peer.read_stretch(bytes(block), range(1))) == [("a", [1])]
    for place in range(4, len(block)):
        damaged = bytes(block[:place]) + bytes([block[place] ^ 1]) + bytes(block[place + 1 :])
        with pytest.raises(Exception):
            list(peer.read_stretch(damaged, range(1)))
    with pytest.raises(peer.Refused, match="posix.system"):
        list(peer.read_stretch(peer.make_block(0, ["a"], [[__import__("os").system]]), range(1)))
