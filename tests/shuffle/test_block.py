"""The attempt file format: golden bytes, round trips, and an answer for each kind of damage."""

from __future__ import annotations

import array
import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import BlockCorrupt, InvalidEmission
from mincemeat.model import Span
from mincemeat.shuffle import block
from mincemeat.shuffle.block import (
    CODEC_MARSHAL,
    CODEC_PICKLE,
    BlockWriter,
    Payload,
    decode_columns,
    encode_columns,
    iter_blocks,
    read_index,
)

GOLDEN = Path(__file__).parent.parent / "vectors" / "attempt-v1.blocks"
GOLDEN_BLOCKS: list[tuple[int, list[Any], list[Any], bool]] = [
    (0, ["humpty", "dumpty"], [[1, 1], [1]], False),
    (3, [None, ("wall", 2)], ["sat", None], True),
    (0, ["humpty"], [["fall"]], False),
]


def write(path: Path, blocks: list[tuple[int, list[Any], list[Any], bool]]) -> None:
    with open(path, "wb") as file:
        writer = BlockWriter(file)
        for partition, keys, values, single in blocks:
            pairs = len(keys) if single else sum(map(len, values))
            writer.append(partition, encode_columns(keys, values), keys=len(keys), pairs=pairs, single=single)
        writer.finish()


def read(path: Path) -> list[tuple[int, list[Any], list[Any], bool]]:
    entries = read_index(str(path))
    span = Span(str(path), block.FILE_HEADER.size, sum(entry.length for entry in entries))
    return [(found.partition, *decode_columns(found), found.single) for found in iter_blocks(span)]


def test_golden_file_is_read() -> None:
    assert read(GOLDEN) == GOLDEN_BLOCKS


def test_golden_file_is_written_byte_for_byte() -> None:
    """The payloads are taken from the file: Python versions may pickle the same columns in different bytes."""
    file = io.BytesIO()
    writer = BlockWriter(file)
    entries = read_index(str(GOLDEN))
    for found in iter_blocks(Span(str(GOLDEN), entries[0].offset, sum(entry.length for entry in entries))):
        payload = Payload(found.payload, found.codec)
        writer.append(found.partition, payload, keys=found.keys, pairs=found.pairs, single=found.single)
    size = writer.finish()
    assert file.getvalue() == GOLDEN.read_bytes()
    assert size == GOLDEN.stat().st_size


def test_sizes_of_the_fixed_parts_are_those_of_the_specification() -> None:
    assert [part.size for part in (block.FILE_HEADER, block.BLOCK_HEADER, block.INDEX_ENTRY, block.TRAILER)] == [
        8,
        40,
        28,
        16,
    ]


columns = st.one_of(
    st.lists(st.tuples(st.text(), st.lists(st.integers() | st.none(), min_size=1))).map(
        lambda rows: ([row[0] for row in rows], [row[1] for row in rows], False)
    ),
    st.lists(st.tuples(st.text() | st.none(), st.integers())).map(
        lambda rows: ([row[0] for row in rows], [row[1] for row in rows], True)
    ),
)


@pytest.mark.slow
@settings(max_examples=40)
@given(blocks=st.lists(st.tuples(st.integers(0, 2**32 - 1), columns), max_size=5))
def test_what_was_written_is_read(blocks: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("blocks") / "file"
    flat = [(partition, *rest) for partition, rest in blocks]
    write(path, flat)
    assert read(path) == flat


def test_file_without_blocks_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "empty", [])
    assert read(tmp_path / "empty") == []


def test_single_block_is_found_by_its_index_entry() -> None:
    entry = read_index(str(GOLDEN))[1]
    (found,) = iter_blocks(Span(str(GOLDEN), entry.offset, entry.length))
    assert (found.partition, entry.pairs, decode_columns(found)) == (3, 2, ([None, ("wall", 2)], ["sat", None]))


# -- damage ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    whole = GOLDEN.read_bytes()
    path = tmp_path / "flipped"
    for position in range(len(whole)):
        for mask in (0x01, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            with pytest.raises(BlockCorrupt) as caught:
                read(path)
            assert caught.value.path == str(path)
            assert 0 <= caught.value.offset <= len(whole)


def test_every_cut_is_found(tmp_path: Path) -> None:
    whole = GOLDEN.read_bytes()
    path = tmp_path / "cut"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BlockCorrupt):
            read(path)


def test_every_cut_of_a_stretch_is_found_and_blocks_before_it_are_right(tmp_path: Path) -> None:
    whole = GOLDEN.read_bytes()
    entries = read_index(str(GOLDEN))
    start, end = entries[0].offset, entries[-1].offset + entries[-1].length
    path = tmp_path / "stretch"
    for length in range(end - start):
        path.write_bytes(whole[start : start + length])
        seen: list[Any] = []
        blocks = iter_blocks(Span(str(path), 0, end - start))
        with pytest.raises(BlockCorrupt):
            seen.extend((found.partition, *decode_columns(found), found.single) for found in blocks)
        assert seen == GOLDEN_BLOCKS[: len(seen)]


def test_appended_bytes_are_found(tmp_path: Path) -> None:
    (tmp_path / "longer").write_bytes(GOLDEN.read_bytes() + b"\0")
    with pytest.raises(BlockCorrupt, match="footer is missing or cut"):
        read(tmp_path / "longer")


def first_block(tmp_path: Path, **changes: Any) -> Span:
    """A stretch of one block whose header fields are changed; ``crc`` is right unless it is given."""
    fields = {"magic": block.BLOCK_MAGIC, "partition": 0, "codec": 0, "flags": 0, "zero": 0, "pairs": 2, "keys": 1}
    payload = changes.pop("payload", encode_columns(["a"], [[1, 2]]).data)
    fields |= {"length": len(payload)} | changes
    crc = fields.pop("crc", None)
    header = block.BLOCK_HEADER.pack(*fields.values(), 0)
    crc = block._block_crc(header, payload) if crc is None else crc
    data = block.BLOCK_HEADER.pack(*fields.values(), crc) + payload
    path = tmp_path / "one"
    path.write_bytes(data)
    return Span(str(path), 0, len(data))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"magic": b"XBLK"}, r"no block starts here \(expected b'MBLK', found b'XBLK'\)"),
        ({"crc": 0}, r"checksum mismatch \(expected 00000000, found [0-9a-f]{8}\)"),
        (
            {"codec": 7},
            r"unknown codec 7 \(expected 0 \(pickle\), 1 \(marshal\), 2 \(text columns\), 3 \(text lists\), found 7\)",
        ),
        ({"flags": 4}, r"unknown flags \(expected 00000003, found 00000004\)"),
        ({"zero": 1}, r"unknown flags"),
        ({"length": 2**60}, r"bad length \(expected at most \d+ bytes of payload, found 1152921504606846976\)"),
        ({"keys": 2}, r"does not match its header \(expected 2 keys with 2 values, found 1 keys with 2 values\)"),
        ({"pairs": 3}, r"does not match its header"),
        ({"payload": pickle.dumps("no columns")}, r"payload is not two columns"),
        ({"payload": pickle.dumps((["a"], [3]))}, r"payload is not lists of values"),
    ],
)
def test_each_damage_of_a_block_has_its_sentence(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    span = first_block(tmp_path, **changes)
    with pytest.raises(BlockCorrupt, match=rf"block .* at byte 0: .*{sentence}") as caught:
        [decode_columns(found) for found in iter_blocks(span)]
    assert (caught.value.path, caught.value.offset) == (span.path, 0)


def test_cut_header_and_cut_payload_are_told_apart(tmp_path: Path) -> None:
    span = first_block(tmp_path)
    whole = Path(span.path).read_bytes()
    Path(span.path).write_bytes(whole[:39])
    with pytest.raises(BlockCorrupt, match=r"block header is cut \(expected 40 bytes, found 39\)"):
        list(iter_blocks(span))
    Path(span.path).write_bytes(whole[:-1])
    with pytest.raises(
        BlockCorrupt, match=rf"payload is cut \(expected {len(whole) - 40} bytes, found {len(whole) - 41}\)"
    ):
        list(iter_blocks(span))


def test_stretch_that_ends_inside_a_block_is_a_bad_length(tmp_path: Path) -> None:
    span = first_block(tmp_path)
    with pytest.raises(BlockCorrupt, match="bad length"):
        list(iter_blocks(span._replace(length=span.length - 1)))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", r"file header is cut \(expected 8 bytes, found 0\)"),
        (b"PK\3\4 something", "not an attempt file"),
        (b"MCMEAT\x02\x00" + bytes(20), r"unknown format version \(expected 1, found 2\)"),
        (b"MCMEAT\x01\x00", "footer is missing"),
        (b"MCMEAT\x01\x00" + bytes(40), "footer is missing or cut"),
        (
            b"MCMEAT\x01\x00" + block.TRAILER.pack(9, 0, b"MEND"),
            r"footer is cut \(expected 9 entries, found room for 0\)",
        ),
        (b"MCMEAT\x01\x00" + block.TRAILER.pack(0, 0, b"MEND"), "checksum mismatch in the footer"),
    ],
)
def test_each_damage_of_header_and_footer_has_its_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(BlockCorrupt, match=sentence):
        read_index(str(path))


def test_footer_that_skips_a_part_of_the_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    index = block.INDEX_ENTRY.pack(0, 9, 40, 1)
    trailer = block.TRAILER.pack(1, block._index_crc(index, 1), block.END_MAGIC)
    path.write_bytes(b"MCMEAT\x01\x00" + bytes(41) + index + trailer)
    with pytest.raises(BlockCorrupt, match="footer has a gap"):
        read_index(str(path))


class Explodes:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_class_that_cannot_be_unpickled_is_no_damage(tmp_path: Path) -> None:
    span = first_block(tmp_path, payload=pickle.dumps((["a"], [[Explodes(), 2]])))
    (found,) = iter_blocks(span)
    with pytest.raises(InvalidEmission, match="cannot be unpickled: ValueError: invalid literal"):
        decode_columns(found)


def test_payload_goes_through_the_loads_that_is_handed_in(tmp_path: Path) -> None:
    (found,) = iter_blocks(first_block(tmp_path))
    seen: list[bytes] = []

    def loads(data: bytes) -> Any:
        seen.append(data)
        return ["a"], [[3, 4]]

    assert decode_columns(found, loads) == (["a"], [[3, 4]])
    assert seen == [found.payload]


# -- plain data that stays on this machine ----------------------------------------------------------------


class Text(str):
    pass


class Whole(int):
    pass


class Point(NamedTuple):
    x: int
    y: int


class Oddity(type):
    def __hash__(cls) -> int:
        raise TypeError("a class without a hash")


class Odd(metaclass=Oddity):
    pass


FLAT = st.one_of(
    st.text(st.characters(exclude_categories=())),  # lone surrogates, too
    st.binary(),
    st.integers(),
    st.integers(2**64, 2**4000),
    st.floats(),
    st.booleans(),
    st.none(),
)
PLAIN = st.one_of(FLAT, st.lists(FLAT, max_size=3), st.lists(FLAT, max_size=3).map(tuple))
OTHER = st.sampled_from(
    [
        Text("t"),
        Whole(7),
        Point(1, 2),
        bytearray(b"b"),
        array.array("i", [1]),
        numpy.int64(3),
        numpy.float64(0.5),
        numpy.arange(3),
        ((1,),),
        ([Text("t")],),
        [bytearray(b"in a list")],
        (numpy.int64(3), 1),
        {"a": 1},
        {1},
        1j,
        ...,
        Odd,
    ]
)


def alike(one: Any, other: Any) -> bool:
    """Whether both are of the same types throughout, with the same contents; NaN is NaN, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    return repr(one) == repr(other)


def carried(tmp_path_factory: Any, keys: list[Any], values: list[Any], *, single: bool) -> tuple[int, Any]:
    """The codec that was chosen, and what came back."""
    path = tmp_path_factory.getbasetemp() / "carried"
    with open(path, "wb") as file:
        writer = BlockWriter(file)
        payload = encode_columns(keys, values, single=single, stays_here=True)
        pairs = len(keys) if single else sum(map(len, values))
        writer.append(0, payload, keys=len(keys), pairs=pairs, single=single)
        writer.finish()
    (entry,) = read_index(str(path))
    (found,) = iter_blocks(Span(str(path), entry.offset, entry.length))
    return found.codec, decode_columns(found, stays_here=True)


@settings(max_examples=100)
@given(rows=st.lists(st.tuples(FLAT | st.lists(FLAT, max_size=3).map(tuple), st.lists(PLAIN, min_size=1))))
def test_plain_data_is_marshalled_and_comes_back_as_it_was(rows: Any, tmp_path_factory: Any) -> None:
    keys, lists = [key for key, _ in rows], [values for _, values in rows]
    assert alike(carried(tmp_path_factory, keys, lists, single=False), (CODEC_MARSHAL, (keys, lists)))
    firsts = [values[0] for values in lists]
    assert alike(carried(tmp_path_factory, keys, firsts, single=True), (CODEC_MARSHAL, (keys, firsts)))


@pytest.mark.parametrize(
    "keys",
    [
        [""],
        ["", ""],
        ["a"],
        ["a", "b"],
        ["\0"],
        ["a\0", "b"],
        ["", "\0"],
        ["\0", ""],
        ["\u00e4", "b"],
        ["\ud800"],
        ["\U0001f600", ""],
    ],
)
def test_text_as_keys_comes_back_as_it_was(keys: list[str], tmp_path_factory: Any) -> None:
    values = list(range(len(keys)))
    assert alike(carried(tmp_path_factory, keys, values, single=True), (CODEC_MARSHAL, (keys, values)))


@settings(max_examples=100)
@given(keys=st.lists(st.text("a\0\u00e4b"), min_size=1))
def test_any_text_as_keys_comes_back_as_it_was(keys: list[str], tmp_path_factory: Any) -> None:
    values = list(range(len(keys)))
    assert alike(carried(tmp_path_factory, keys, values, single=True), (CODEC_MARSHAL, (keys, values)))


@settings(max_examples=100)
@given(plain=st.lists(PLAIN, max_size=4), other=OTHER, place=st.integers(0, 4))
def test_anything_else_among_plain_data_is_pickled(plain: Any, other: Any, place: int, tmp_path_factory: Any) -> None:
    values = [*plain[:place], other, *plain[place:]]
    keys = list(range(len(values)))
    codec, back = carried(tmp_path_factory, keys, values, single=True)
    assert codec == CODEC_PICKLE
    assert alike(back, (keys, values))
    assert carried(tmp_path_factory, [0], [values], single=False)[0] == CODEC_PICKLE
    assert encode_columns(values, keys, single=True, stays_here=True).codec == CODEC_PICKLE


def test_nothing_is_marshalled_unless_it_stays_here() -> None:
    assert encode_columns(["a"], [1], single=True).codec == CODEC_PICKLE


def test_what_occurs_often_is_one_object_after_marshalling(tmp_path_factory: Any) -> None:
    name = "".join(["a/rather/long/", "name.of.a.file"])
    _, (_, (values,)) = carried(tmp_path_factory, ["k"], [[name] * 1000], single=False)
    assert len(set(map(id, values))) == 1
    assert len(encode_columns(["k"], [[name] * 1000], stays_here=True).data) < 6 * 1000


def test_marshalled_block_of_a_peer_is_refused(tmp_path: Path) -> None:
    """Bytes that another machine made up can crash marshal, and with it the process."""
    payload = encode_columns(["a"], [[1, 2]], stays_here=True)
    (found,) = iter_blocks(first_block(tmp_path, codec=CODEC_MARSHAL, payload=payload.data))
    with pytest.raises(
        BlockCorrupt, match=r"marshalled, which is read only where it was written \(expected 0, found 1\)"
    ):
        decode_columns(found)
    assert decode_columns(found, stays_here=True) == (["a"], [[1, 2]])


@pytest.mark.parametrize("payload", [b"", b"[", b"(\x05\x00\x00\x00", b"\x00"])
def test_marshalled_payload_that_is_none_is_damage(tmp_path: Path, payload: bytes) -> None:
    (found,) = iter_blocks(first_block(tmp_path, codec=CODEC_MARSHAL, payload=payload))
    with pytest.raises(BlockCorrupt, match="payload cannot be unmarshalled"):
        decode_columns(found, stays_here=True)
