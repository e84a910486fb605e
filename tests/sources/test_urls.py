from __future__ import annotations

import gzip
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.sources.base import Source, SplitUnreadable
from mincemeat.sources.paths import Paths, expand
from mincemeat.sources.tables import csv
from mincemeat.sources.text import files, lines
from tests.kit.web import WebServer, serving_files
from tests.sources.reading import records_of_payload, records_of_source, split_indices

fsspec: Any = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.fixture
def web() -> Iterator[WebServer]:
    pytest.importorskip("aiohttp")
    with serving_files({"a.txt": b"one\ntwo\nthree\nfour\n", "b.txt.gz": gzip.compress(b"five\n")}) as server:
        yield server


def _put(fs: Any, *names: str, content: bytes = b"x\n") -> None:
    for name in names:
        fs.pipe(name, content)


def _names(given: Paths, exclude: tuple[str, ...] = ()) -> list[str]:
    return [file.name for file in expand(given, exclude)]


def _values(source: Source) -> list[Any]:
    return [value for _, value in records_of_source(source)]


# -- what a URL stands for ---------------------------------------------------------------------------------


def test_url_is_a_file_a_directory_or_a_pattern(memory: Any) -> None:
    _put(memory, "/d/b.txt", "/d/a/z.csv", "/d/.hidden", "/d/__pycache__/x", "/d/a.csv", "/d/skip/y")
    assert _names("memory://d/b.txt") == ["memory://d/b.txt"]
    assert _names("memory://d", ("skip",)) == ["memory://d/a.csv", "memory://d/a/z.csv", "memory://d/b.txt"]
    assert _names("memory://d/", ("skip",)) == _names("memory://d", ("skip",))
    assert _names("memory://d/*.csv") == ["memory://d/a.csv"]
    assert _names("memory://d/**/*.csv") == ["memory://d/a.csv", "memory://d/a/z.csv"]
    assert _names("memory://d/a*") == ["memory://d/a/z.csv", "memory://d/a.csv"]
    assert _names("memory://d/.h*") == ["memory://d/.hidden"]
    assert _names(["memory://d/a/*", "memory://d/b.txt"]) == ["memory://d/a/z.csv", "memory://d/b.txt"]


def test_root_of_a_store_is_a_directory_like_any_other(memory: Any) -> None:
    _put(memory, "/a", "/d/b")
    assert _names("memory://") == ["memory:///a", "memory:///d/b"]
    assert _values(lines("memory://")) == ["x", "x"]


def test_found_files_have_urls_that_open_them_again(memory: Any, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_bytes(b"in a file\n")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("in/a.txt", "in a zip\n")
        archive.writestr("in/b.csv", "n\n1\n")
    base = tmp_path.as_posix()
    for url, expected in (
        (f"file://{base}/d/*", "in a file"),
        (f"file://{base}/d", "in a file"),
        (f"local://{base}/d/a.txt", "in a file"),
        (f"zip://in/*.txt::file://{base}/z.zip", "in a zip"),
        (f"zip://**/a.txt::{base}/z.zip", "in a zip"),
        (f"dir://*.txt::file://{base}/d", "in a file"),
    ):
        ((key, line),) = records_of_source(lines(url))
        assert line == expected
        assert records_of_source(lines(key[0])) == [(key, expected)]
    assert _values(csv(f"zip://::file://{base}/z.zip", exclude="*.txt", split_bytes=1)) == [{"n": "1"}]


def test_file_of_a_name_like_a_url_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("memory:").mkdir()
    Path("memory:/a").write_bytes(b"here\n")
    assert _values(lines("memory://a")) == ["here"]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://nowhere", "no such file or directory: 'memory://nowhere'"),
        ("memory://*.csv", "'memory://\\*.csv' stands for no file"),
        ("klingon://x", "cannot read 'klingon://x': Protocol not known: klingon"),
        ("http://127.0.0.1:1/x", "cannot read|no such file"),
    ],
)
def test_url_that_cannot_be_an_input_is_told(memory: Any, url: str, sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        expand(url)


def test_missing_fsspec_is_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InvalidJob, match=r"'s3://b/k' needs the package fsspec, .*Install mincemeat\[files\]\."):
        lines("s3://b/k")


# -- reading -----------------------------------------------------------------------------------------------


def test_cut_csv_and_compressed_files_are_read_by_url(memory: Any) -> None:
    _put(memory, "/a.csv", content=b"n\n" + b"".join(b"%d\n" % number for number in range(100)))
    _put(memory, "/b.txt.gz", content=gzip.compress(b"x\ny\n"))
    source = csv("memory://a.csv", split_bytes=50)
    indices = split_indices(source)
    assert len(indices) > 5
    rows = [row for index in indices for _, row in records_of_payload(source.payload(index))]
    assert rows == [{"n": str(number)} for number in range(100)]
    assert [row for index in indices for _, row in records_of_payload(source.data_chunks(index))] == rows
    assert records_of_source(lines("memory://b.txt.gz")) == [
        (("memory://b.txt.gz", 0), "x"),
        (("memory://b.txt.gz", 2), "y"),
    ]


def test_two_readers_of_one_file_in_memory_do_not_disturb_each_other(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REMOTE_FETCH_BYTES", 4)
    monkeypatch.setattr(limits, "CHUNK_BYTES", 4)
    monkeypatch.setattr("mincemeat.sources.pieces.BLOCK_BYTES", 4)
    _put(memory, "/a", content=b"one\ntwo\nsix\nten\n" * 3)
    source = lines("memory://a")
    split_indices(source)
    both = list(zip(source.data_chunks(0), source.data_chunks(0), strict=True))
    for chunks in zip(*both, strict=True):
        assert len(records_of_payload(chunks)) == 12


def test_changed_or_lost_file_behind_a_url_is_unreadable(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(memory, "/a", content=b"before")
    source = lines("memory://a")
    split_indices(source)
    payload, data = source.payload(0), b"".join(source.data_chunks(0))
    assert b"memory://a" in data
    _put(memory, "/a", content=b"behind")
    with pytest.raises(SplitUnreadable, match="is not the file that the job was planned with"):
        records_of_payload(payload)
    memory.rm("/a")
    with pytest.raises(SplitUnreadable, match="cannot be opened here"):
        records_of_payload(payload)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SplitUnreadable, match="cannot be opened here"):
        records_of_payload(payload)
    assert records_of_payload(data) == [(("memory://a", 0), "before")]


def test_binary_files_of_a_store_are_passed_over_when_walked_to(memory: Any) -> None:
    _put(memory, "/d/a", content=b"\0\n" * 100)
    _put(memory, "/d/b", content=b"text\n")
    assert _values(lines("memory://d", split_bytes=20)) == ["text"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("inline", {}),
        ("processes", {"workers": 2}),
        ("cluster", {"workers": 1, "password": "p", "host": "127.0.0.1", "port": 0}),
    ],
)
def test_jobs_read_what_slots_see_and_workers_are_sent_what_they_do_not(
    memory: Any, tmp_path: Path, engine: str, options: dict[str, Any]
) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n" * 50)
    _put(memory, "/b.txt", content=b"two\nthree\n" * 50)
    # What is in the memory of this process is behind no URL of another, and slots of this machine are sent nothing.
    second = f"file://{tmp_path.as_posix()}/a.txt" if engine == "processes" else "memory://b.txt"

    def mapfn(key: tuple[str, int], line: str) -> Any:
        yield line, 1

    def reducefn(word: str, counts: list[int]) -> int:
        return sum(counts)

    inputs = lines([f"file://{tmp_path.as_posix()}/*.txt", second], split_bytes=100)
    counts = mincemeat.run(inputs, mapfn, reducefn, engine=engine, **options)
    assert counts == ({"one": 100, "two": 100} if engine == "processes" else {"one": 50, "two": 100, "three": 50})


# -- web servers -------------------------------------------------------------------------------------------


def test_ranges_are_asked_of_a_web_server_and_little_else(web: WebServer) -> None:
    web.contents["a.txt"] = content = b"a line of text\n" * 10_000
    source = lines(web.url("a.txt"), split_bytes=50_000)
    indices = split_indices(source)
    assert len(indices) == 3
    web.bytes_sent = 0
    records = [record for index in indices for record in records_of_payload(source.payload(index))]
    assert [line for _, line in records] == ["a line of text"] * 10_000
    assert web.bytes_sent < len(content) + 3 * 10_000


@pytest.mark.parametrize("sends_sizes", [True, False])
def test_web_server_without_ranges_gives_whole_files(web: WebServer, sends_sizes: bool) -> None:
    web.sends_ranges, web.sends_sizes = False, sends_sizes
    source = lines(web.url("a.txt"), split_bytes=4)
    assert len(split_indices(source)) == 1
    for data in (source.payload(0), source.data_chunks(0)):
        assert [line for _, line in records_of_payload(data)] == ["one", "two", "three", "four"]
    assert source.input_bytes_total == (19 if sends_sizes else None)


def test_archive_behind_a_query_is_decompressed(web: WebServer) -> None:
    assert _values(lines(web.url("b.txt.gz?token=1"))) == ["five"]
    assert _values(files(web.url("b.txt.gz"))) == ["five\n"]


def test_etag_tells_a_changed_file_of_the_same_size(web: WebServer) -> None:
    source = lines(web.url("a.txt"))
    split_indices(source)
    web.etag = '"2"'
    with pytest.raises(SplitUnreadable, match="is not the file that the job was planned with"):
        records_of_payload(source.payload(0))


def test_page_that_is_not_there_is_told(web: WebServer) -> None:
    with pytest.raises(InvalidJob, match="no such file or directory: 'http"):
        lines(web.url("nothing"))
    source = lines(web.url("a.txt"))
    split_indices(source)
    web.contents.clear()
    with pytest.raises(SplitUnreadable, match="cannot be opened here"):
        list(source.data_chunks(0))
