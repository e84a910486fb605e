"""Which stretches are to blame when some cannot be read."""

from __future__ import annotations

import errno
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import BlockCorrupt, SpillSpaceExhausted
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle import block
from mincemeat.shuffle.block import encode_columns
from mincemeat.shuffle.damage import damaged_spans, is_damage, is_whole
from mincemeat.shuffle.store import JobStore


def outputs(directory: Path, count: int = 3) -> list[Span]:
    """The spans of so many map outputs of two blocks each, one span an output."""
    store = JobStore(directory)
    spans: list[Span] = []
    for index in range(count):
        attempt = AttemptId.parse(f"m-{index:05d}.0")
        with store.writing(attempt) as writer:
            for partition in range(2):
                payload = encode_columns([index], [[partition]])
                writer.append(partition, payload, keys=1, pairs=1, single=False)
        store.commit(attempt)
        spans += store.spans(attempt, range(2))
    assert len(spans) == count
    return spans


def flip(path: str, position: int, bit: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def read(spans: list[Span]) -> BaseException:
    """What reading ``spans`` raises."""
    with pytest.raises((BlockCorrupt, OSError)) as caught:
        list(chain.from_iterable(map(block.iter_blocks, spans)))
    return caught.value


def test_a_bit_flipped_anywhere_in_the_blocks_is_found_and_named(tmp_path: Path) -> None:
    spans = outputs(tmp_path)
    _, culprit, _ = spans
    for position in range(culprit.offset, culprit.offset + culprit.length):
        flip(culprit.path, position, position % 8)
        assert damaged_spans(spans, read(spans)) == [1], position
        flip(culprit.path, position, position % 8)
    assert all(map(is_whole, spans))


def test_a_bit_flipped_anywhere_in_the_footer_is_damage(tmp_path: Path) -> None:
    [span] = outputs(tmp_path, 1)
    store, attempt = JobStore(tmp_path), AttemptId.parse("m-00000.0")
    for position in range(span.offset + span.length, store.size(attempt)):
        flip(span.path, position, position % 8)
        with pytest.raises(BlockCorrupt):
            store.spans(attempt, range(2))
        flip(span.path, position, position % 8)


def test_all_that_is_damaged_is_named_at_once(tmp_path: Path) -> None:
    spans = outputs(tmp_path, 5)
    Path(spans[1].path).unlink()
    flip(spans[2].path, spans[2].offset + spans[2].length - 1)
    with open(spans[4].path, "r+b") as file:
        file.truncate(spans[4].offset + 50)
    assert damaged_spans(spans, read(spans)) == [1, 2, 4]


def test_what_was_damaged_when_it_was_read_is_named_although_it_is_whole_now(tmp_path: Path) -> None:
    """A bit that flips in memory is in no file; the attempt should still not fail for it again and again."""
    spans = outputs(tmp_path)
    inside = BlockCorrupt("checksum mismatch", path=spans[2].path, offset=spans[2].offset)
    assert damaged_spans(spans, inside) == [2]


def test_a_file_of_the_attempt_s_own_is_not_blamed_on_map_outputs(tmp_path: Path) -> None:
    spans = outputs(tmp_path)
    assert damaged_spans(spans, BlockCorrupt("checksum mismatch", path=str(tmp_path / "regroup"), offset=8)) == []


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), True),
        (OSError(errno.EIO, "the disk does not answer"), True),
        (OSError(errno.EMFILE, "too many open files"), False),
        (SpillSpaceExhausted("full"), False),
        (ValueError("something else"), False),
    ],
)
def test_errors_that_say_nothing_of_the_file_are_no_damage(error: Exception, is_so: bool) -> None:
    assert is_damage(error) is is_so


def test_a_disk_that_fails_under_one_file_is_that_file_s_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = outputs(tmp_path)
    real = block._read_block

    def failing(file: Any, path: str, *rest: Any) -> Any:
        if path == spans[1].path:
            raise OSError(errno.EIO, "Input/output error")
        return real(file, path, *rest)

    monkeypatch.setattr(block, "_read_block", failing)
    assert damaged_spans(spans, read(spans)) == [1]
