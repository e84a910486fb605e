"""Blocks that may cross a network are deflated while that pays, and a reader inflates no more than it was promised."""

from __future__ import annotations

import io
import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.errors import BlockCorrupt
from mincemeat.model import Span, UserFunctions
from mincemeat.shuffle.block import (
    CODEC_PICKLE,
    FLAG_DEFLATED,
    INFLATED_LENGTH,
    Block,
    BlockWriter,
    Payload,
    decode_columns,
    encode_columns,
    iter_blocks,
)
from mincemeat.shuffle.deflate import Deflating
from mincemeat.shuffle.group import GroupBuffer

SHRINKS = Payload(b"the same again " * 1000, CODEC_PICKLE)
DOES_NOT = Payload(random.Random(0).randbytes(15_000), CODEC_PICKLE)


def found_in(payload: Payload, keys: int = 1, pairs: int = 1) -> Block:
    return Block(0, payload.codec, payload.flags, pairs, keys, payload.data, "file", 8)


def bomb(announced: int, inflated: int) -> Payload:
    return Payload(INFLATED_LENGTH.pack(announced) + zlib.compress(bytes(inflated), 9), CODEC_PICKLE, FLAG_DEFLATED)


@given(st.lists(st.tuples(st.text(), st.integers())))
def test_what_was_deflated_is_read_as_it_was(rows: list[Any]) -> None:
    keys = [f"a key that is always much the same, and has the number {n}" for n in range(200)] + [
        key for key, _ in rows
    ]
    values = [*range(200), *(value for _, value in rows)]
    packed = Deflating(stays_here=False).packed(encode_columns(keys, [[value] for value in values]))
    assert packed.flags == FLAG_DEFLATED
    assert decode_columns(found_in(packed, len(keys), len(keys))) == (keys, [[value] for value in values])


def test_nothing_is_deflated_that_stays_here() -> None:
    assert Deflating(stays_here=True).packed(SHRINKS) is SHRINKS


def test_one_block_that_does_not_shrink_ends_it_for_the_attempt() -> None:
    deflating = Deflating(stays_here=False)
    assert deflating.packed(SHRINKS).flags == FLAG_DEFLATED
    assert deflating.packed(DOES_NOT) is DOES_NOT
    assert deflating.packed(SHRINKS) is SHRINKS


def test_of_a_large_first_block_only_the_ends_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that shrink and values that do not, and the other way round: it is the whole that counts."""
    tried: list[int] = []
    compress = zlib.compress

    def counting(data: bytes, level: int) -> bytes:
        tried.append(len(data))
        return compress(data, level)

    monkeypatch.setattr(zlib, "compress", counting)
    noise = random.Random(0).randbytes(2**20)
    assert Deflating(stays_here=False).packed(Payload(noise, CODEC_PICKLE)).flags == 0
    assert tried == [limits.DEFLATE_TRIED_BYTES]
    for ends in (bytes(2**20) + noise, noise + bytes(2**20)):
        tried.clear()
        assert Deflating(stays_here=False).packed(Payload(ends, CODEC_PICKLE)).flags == 0
        assert len(tried) <= 2


@pytest.mark.parametrize("size", [limits.DEFLATE_BYTES_MIN - 1, limits.INFLATED_BYTES_MAX + 1])
def test_blocks_out_of_proportion_are_left_alone_and_tell_nothing(size: int) -> None:
    deflating = Deflating(stays_here=False)
    odd = Payload(bytes(size), CODEC_PICKLE)
    assert deflating.packed(odd) is odd
    assert deflating.packed(SHRINKS).flags == FLAG_DEFLATED


@pytest.mark.parametrize("is_near", [True, False])
@pytest.mark.parametrize("stays_here", [True, False])
def test_map_output_is_deflated_if_it_may_travel(stays_here: bool, is_near: bool, tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = BlockWriter(file)
    functions = UserFunctions(stays_here=stays_here)
    pairs = {f"the key number {n}": n for n in range(2000)}
    buffer = GroupBuffer(functions, 2, 2**20, writer, is_near=is_near)
    buffer.drain(pairs.items())
    buffer.finish()
    (tmp_path / "file").write_bytes(file.getvalue())
    back: dict[str, int] = {}
    for entry in writer.entries:
        (block,) = iter_blocks(Span(str(tmp_path / "file"), entry.offset, entry.length))
        assert bool(block.flags & FLAG_DEFLATED) is not (stays_here or is_near)
        for key, value in zip(*decode_columns(block, stays_here=stays_here), strict=True):
            back[key] = value if block.single else value[0]
    assert back == pairs


# -- bombs and damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [1000, 2**20, limits.INFLATED_BYTES_MAX + 1, 2**63])
def test_bomb_is_refused_before_it_goes_off(announced: int) -> None:
    payload = bomb(announced, 2 * limits.INFLATED_BYTES_MAX)
    tracemalloc.start()
    try:
        with pytest.raises(BlockCorrupt, match=r"block file at byte 8: (bad inflated length|payload does not inflate)"):
            decode_columns(found_in(payload))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "bad inflated length (expected 1 to 67108864 bytes, found -1)"),
        (INFLATED_LENGTH.pack(0), "bad inflated length (expected 1 to 67108864 bytes, found 0)"),
        (INFLATED_LENGTH.pack(9) + b"no zlib", "payload cannot be inflated (expected 9 bytes, found Error -3"),
        (bomb(101, 100).data, "payload does not inflate to its length (expected 101, found 100)"),
        (bomb(99, 100).data, "payload does not inflate to its length (expected 99, found 99)"),
        (bomb(100, 100).data[:-1], "payload does not inflate to its length (expected 100, found 100)"),
    ],
)
def test_each_damage_of_a_deflated_payload_has_its_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BlockCorrupt) as caught:
        decode_columns(found_in(Payload(data, CODEC_PICKLE, FLAG_DEFLATED)))
    assert sentence in str(caught.value)
