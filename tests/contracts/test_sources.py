"""The contract of ``Source``, over every source and against the plainest reading of the same data."""

from __future__ import annotations

import bz2
import csv as plain_csv
import gzip
import io
import json
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
from mincemeat.errors import UserCodeError
from mincemeat.sources import compression, pieces, rows, spool
from mincemeat.sources.base import Source, as_source, open_split
from mincemeat.sources.tables import csv, jsonl, parquet
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
            patch.setattr(limits, "SAMPLE_PIECE_BYTES", request.param)
            patch.setattr(pieces, "BLOCK_BYTES", request.param)
            patch.setattr(pieces, "_PROBE_BYTES", request.param)
            patch.setattr(compression, "BLOCK_BYTES", request.param)
            patch.setattr(spool, "_READ_BYTES", request.param)
            patch.setattr(rows, "_ROWS_PER_BATCH", request.param)
            patch.setattr(limits, "REMOTE_FETCH_BYTES", request.param)
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


def check_contract(source: Source, expected: list[Record], wishes: list[int], *, is_text: bool = False) -> None:
    try:
        if len(expected) % 2:  # what follows is the same whether a sample was asked for or not
            check_sample(source, expected, is_text)
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


def check_sample(source: Source, expected: list[Record], is_text: bool) -> None:
    payloads = source.sample(3)
    assert len(payloads) <= 3
    for key, value in [record for payload in payloads for record in _read(payload)]:
        if is_text:  # in smaller portions
            assert value in "".join(portion for _, portion in expected)
        else:
            assert (key, value) in expected


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
        check_contract(text(name, split_bytes=split_bytes), records, [1], is_text=True)


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


@_quick
@given(st.sampled_from(["", ".gz"]), _content, st.integers(1, 12))
def test_files_behind_urls_keep_the_contract(ending: str, data: bytes, split_bytes: int) -> None:
    fsspec: Any = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    name = "memory://contract/a.txt" + ending
    fs.pipe(name, _PACK[ending](data))
    try:
        check_contract(lines(name, split_bytes=split_bytes), list(_plain_lines(name, data)), [1])
        check_contract(files(name, split_bytes=split_bytes), [(name, _plain_text(data))], [1])
        records = list(_plain_lines(name, b"n\n" + data.replace(b"\r", b"").replace(b"\xef\xbb\xbf", b"")))
        fs.pipe(name, _PACK[ending](b"n\n" + data.replace(b"\r", b"").replace(b"\xef\xbb\xbf", b"")))
        expected = [(key, {"n": line}) for key, line in records[1:] if line]
        check_contract(csv(name, split_bytes=split_bytes), expected, [1])
    finally:
        fs.rm(name)


# -- tables ----------------------------------------------------------------------------------------------

_field = st.text(alphabet='a",; é\u2028\x0c\ufeff', max_size=4)
_long_field = st.text(alphabet='a",\r\n', max_size=4)


def _csv_rows(data: list[list[str]], line_end: str, delimiter: str) -> Iterator[tuple[int, bytes, list[str]]]:
    """Each row with its offset, as the csv module writes and reads it."""
    offset = 0
    for row in data:
        written = io.StringIO(newline="")
        writer = plain_csv.writer(written, delimiter=delimiter, lineterminator=line_end)
        if any("\r" in field or "\n" in field for field in row):
            writer = plain_csv.writer(
                written, delimiter=delimiter, lineterminator=line_end, quoting=plain_csv.QUOTE_ALL
            )
        writer.writerow(row)
        encoded = written.getvalue().encode()
        read = list(plain_csv.reader(io.StringIO(written.getvalue(), newline=""), delimiter=delimiter))
        assert read == [row]
        yield offset, encoded, row
        offset += len(encoded)


@_quick
@given(
    st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(_field, min_size=width, max_size=width), max_size=12)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;\t"),
    st.sampled_from([("", None), ("", b""), (".gz", None)]),
    st.integers(1, 40),
    _wishes,
)
def test_csv_at_any_split_size_is_what_the_csv_module_reads(
    data: list[list[str]],
    line_end: str,
    delimiter: str,
    packed: tuple[str, bytes | None],
    split_bytes: int,
    wishes: list[int],
) -> None:
    names = ["é", 'b"', "c"][: len(data[0]) if data else 1]
    ending, cut = packed
    given_rows = list(_csv_rows([names, *data], line_end, delimiter))
    content = b"".join(encoded for _, encoded, _ in given_rows)
    if cut is not None:
        content = content.removesuffix(line_end.encode())
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.csv" + ending, _PACK[ending](content))
        expected = [((name, offset), dict(zip(names, row, strict=True))) for offset, _, row in given_rows[1:]]
        check_contract(csv(name, delimiter=delimiter, split_bytes=split_bytes), expected, wishes)
        as_lists = [((name, offset), row) for offset, _, row in given_rows]
        check_contract(csv(name, header=False, delimiter=delimiter, split_bytes=split_bytes), as_lists, wishes)


@_quick
@given(st.lists(st.lists(_field | _long_field, min_size=2, max_size=2), max_size=8), st.integers(1, 40))
def test_csv_of_many_lines_a_row_is_what_the_csv_module_reads(data: list[list[str]], split_bytes: int) -> None:
    given_rows = list(_csv_rows([["a\nb", "c"], *data], "\r\n", ","))
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.csv", b"".join(encoded for _, encoded, _ in given_rows))
        expected = [((name, offset), {"a\nb": row[0], "c": row[1]}) for offset, _, row in given_rows[1:]]
        check_contract(csv(name, multiline=True, split_bytes=split_bytes), expected, [1])


@_quick
@given(st.lists(st.lists(_field | _long_field, min_size=2, max_size=2), max_size=8), st.integers(1, 40))
def test_csv_without_multiline_never_gives_wrong_rows_of_a_file_that_needs_it(
    data: list[list[str]], split_bytes: int
) -> None:
    given_rows = list(_csv_rows([["a", "b"], *data], "\n", ","))
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.csv", b"".join(encoded for _, encoded, _ in given_rows))
        source = csv(name, split_bytes=split_bytes)
        needs_multiline = any("\n" in field for row in data for field in row)
        failures = 0
        for index in _cut(source, [1]):
            try:
                _read(source.payload(index))
            except UserCodeError:
                failures += 1
        assert bool(failures) == needs_multiline


@_quick
@given(_content, st.integers(1, 12))
def test_stdin_with_a_header_is_cut_like_a_file(data: bytes, split_bytes: int) -> None:
    content = b"name\n" + data.replace(b"\r", b"").replace(b"\xef\xbb\xbf", b"")
    expected = [(key, {"name": line}) for key, line in _plain_lines("-", content) if key[1] and line]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        check_contract(csv("-", split_bytes=split_bytes), expected, [1])


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@_quick
@given(
    st.lists(_json | st.none().map(lambda _: ...), max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-16"]),
    st.integers(1, 40),
)
def test_jsonl_at_any_split_size_is_what_the_json_module_reads(
    values: list[Any], ascii_only: bool, line_end: str, encoding: str, split_bytes: int
) -> None:
    dumped = [
        (" " if value is ... else json.dumps(value, ensure_ascii=ascii_only)).encode(encoding, "surrogatepass")
        for value in values
    ]
    mark = len("".encode(encoding))
    content = "".encode(encoding) + b"".join(line[mark:] + line_end.encode(encoding)[mark:] for line in dumped)
    expected, offset = [], 0
    with tempfile.TemporaryDirectory() as directory:
        name = _written(directory, "a.jsonl", content)
        for value, line in zip(values, dumped, strict=True):
            if value is not ...:
                expected.append(((name, offset and offset + mark), value))
            offset += len(line) - mark + len(line_end.encode(encoding)) - mark
        check_contract(jsonl(name, encoding=encoding, errors="surrogatepass", split_bytes=split_bytes), expected, [1])


@_quick
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.none() | st.text(max_size=3)), max_size=9),
    st.integers(1, 4),
    st.integers(1, 600),
    _wishes,
)
def test_parquet_of_any_row_groups_at_any_split_size_keeps_the_contract(
    data: list[tuple[int, str | None]], group_rows: int, split_bytes: int, wishes: list[int]
) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    writing: Any = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"n": [n for n, _ in data], "s": pyarrow.array([s for _, s in data], pyarrow.string())})
    with tempfile.TemporaryDirectory() as directory:
        name = str(Path(directory, "a.parquet"))
        writing.write_table(table, name, row_group_size=group_rows)
        expected = [((name, row), {"n": n, "s": s}) for row, (n, s) in enumerate(data)]
        check_contract(parquet(name, split_bytes=split_bytes), expected, wishes)
        tables = [
            ((name, number), table.slice(start, group_rows))
            for number, start in enumerate(range(0, len(data), group_rows))
        ]
        check_contract(parquet(name, batches=True, split_bytes=split_bytes), tables, wishes)


def _written(directory: str, name: str, data: bytes) -> str:
    path = Path(directory, name)
    path.write_bytes(data)
    return str(path)
