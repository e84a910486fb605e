"""The contract of ``Source``, over every source and against the plainest reading of the same data."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.sources import compression, pieces, spool
from mincemeat.sources.base import Source, as_source, open_split
from mincemeat.sources.text import files, lines, text

pytestmark = pytest.mark.slow

Record = tuple[Any, Any]
_PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}

# Everything that has ever split a line wrongly: both line ends and halves of them, characters that only str.splitlines
# takes for line ends, characters of several bytes, bytes that are no UTF-8, the byte order mark.
_content = st.lists(
    st.sampled_from(
        [b"a", b"bc", b"\n", b"\r\n", b"\r", b"\x0c", "é".encode(), "\u2028".encode(), b"\xff", b"\xef\xbb\xbf"]
    )
).map(b"".join)
_wishes = st.lists(st.integers(1, 5), min_size=1, max_size=8)
_quick = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module", autouse=True, params=[None, 3], ids=["real blocks", "blocks of 3 bytes"])
def _block_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    """The faults of readers are at the seams of their blocks, which tiny files never reach unless blocks are tinier."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param is not None:
            patch.setattr(limits, "CHUNK_BYTES", request.param)
            patch.setattr(pieces, "BLOCK_BYTES", request.param)
            patch.setattr(pieces, "_PROBE_BYTES", request.param)
            patch.setattr(compression, "BLOCK_BYTES", request.param)
            patch.setattr(spool, "_READ_BYTES", request.param)
        yield


def _cut(source: Source, wishes: list[int]) -> list[int]:
    """The indices of all splits, cut with the wishes in turn."""
    indices: list[int] = []
    while (info := source.next_split(wishes[len(indices) % len(wishes)])) is not None:
        indices.append(info.index)
    return indices


def _read(payload: bytes) -> list[Record]:
    with io.BytesIO(payload) as stream:
        return list(open_split(stream))


def check_contract(source: Source, expected: list[Record], wishes: list[int]) -> None:
    try:
        indices = _cut(source, wishes)
        assert indices == list(range(len(indices)))
        assert source.next_split(1) is None
        payloads = [source.payload(index) for index in indices]
        assert [source.payload(index) for index in indices] == payloads
        assert [record for payload in payloads for record in _read(payload)] == expected
        for index, payload in zip(indices, payloads, strict=True):
            chunks = list(source.data_chunks(index))
            assert all(0 < len(chunk) <= limits.CHUNK_BYTES for chunk in chunks)
            assert _read(b"".join(chunks)) == _read(payload)
            source.release(index)
            assert source.payload(index) == payload
    finally:
        source.close()
        source.close()


# -- the plain readings ----------------------------------------------------------------------------------


def _plain_lines(name: str, data: bytes) -> Iterator[Record]:
    offset = 0
    for line in data.split(b"\n"):
        start, offset = offset, offset + len(line) + 1
        if start == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if offset <= len(data):
            line = line.removesuffix(b"\r")
        elif not line:
            return
        yield (name, start), line.decode("utf-8", "replace")


def _plain_text(data: bytes) -> str:
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


# -- dict-like -------------------------------------------------------------------------------------------

_values = st.recursive(st.none() | st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner, max_size=3))


@_quick
@given(st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), _values), _wishes)
def test_dict_keeps_the_contract(datasource: dict[Any, Any], wishes: list[int]) -> None:
    check_contract(as_source(datasource), list(datasource.items()), wishes)


@_quick
@given(st.lists(_values) | st.lists(_values).map(tuple) | st.builds(range, st.integers(0, 20)), _wishes)
def test_sequence_keeps_the_contract(datasource: Any, wishes: list[int]) -> None:
    check_contract(as_source(datasource), list(enumerate(datasource)), wishes)


# -- files -----------------------------------------------------------------------------------------------


@_quick
@given(st.lists(_content, min_size=1, max_size=4), st.integers(1, 12), _wishes)
def test_lines_of_any_files_at_any_split_size_keep_the_contract(
    contents: list[bytes], split_bytes: int, wishes: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        names = [_written(directory, f"{number}.txt", data) for number, data in enumerate(contents)]
        expected = [record for name, data in zip(names, contents, strict=True) for record in _plain_lines(name, data)]
        check_contract(lines(names, split_bytes=split_bytes), expected, wishes)


@_quick
@given(_content, st.integers(1, 12))
def test_text_at_any_split_size_is_the_file_in_whole_lines(data: bytes, split_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.txt", data)
        source = text(name, split_bytes=split_bytes)
        records = [record for index in _cut(source, [1]) for record in _read(source.payload(index))]
        assert "".join(value for _, value in records) == _plain_text(data)
        starts = {key for key, _ in _plain_lines(name, data)}
        assert all(key in starts and value for key, value in records)
        check_contract(text(name, split_bytes=split_bytes), records, [1])


@_quick
@given(st.sampled_from(sorted(_PACK)), _content, st.integers(1, 12))
def test_compressed_files_read_as_their_content(ending: str, data: bytes, split_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.txt" + ending, _PACK[ending](data))
        check_contract(lines(name, split_bytes=split_bytes), list(_plain_lines(name, data)), [1])
        check_contract(files(name, split_bytes=split_bytes), [(name, _plain_text(data))], [1])


@_quick
@given(st.lists(_content, max_size=6), st.integers(1, 40))
def test_files_of_bytes_keep_the_contract(contents: list[bytes], split_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        names = [_written(directory, f"{number}.bin", data) for number, data in enumerate([b"", *contents])]
        expected = list(zip(names, [b"", *contents], strict=True))
        check_contract(files(directory, encoding=None, split_bytes=split_bytes), expected, [1])


@_quick
@given(
    st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    st.text(alphabet="a\n\rĊ\u0a0aé\U0001f600", max_size=30),
    st.integers(1, 12),
)
def test_wide_encodings_have_exact_offsets_and_are_not_cut_at_half_characters(
    encoding: str, data: str, split_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.txt", data.encode(encoding))
        mark = len("".encode(encoding))
        expected, offset = [], 0
        for number, line in enumerate(data.split("\n")):
            is_last = number == data.count("\n")
            if not is_last or line:
                expected.append(((name, offset and offset + mark), line if is_last else line.removesuffix("\r")))
            offset += len((line + "\n").encode(encoding)) - mark
        check_contract(lines(name, split_bytes=split_bytes, encoding=encoding), expected, [1])
        source = text(name, split_bytes=split_bytes, encoding=encoding)
        records = [record for index in _cut(source, [1]) for record in _read(source.payload(index))]
        assert "".join(value for _, value in records) == data


@_quick
@given(_content, st.integers(1, 12))
def test_stdin_keeps_the_contract(data: bytes, split_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for make, expected in ((lines, list(_plain_lines("-", data))), (files, [("-", _plain_text(data))])):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            check_contract(make("-", split_bytes=split_bytes), expected, [1])


def _written(directory: str, name: str, data: bytes) -> str:
    path = Path(directory, name)
    path.write_bytes(data)
    return str(path)
