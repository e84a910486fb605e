from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import threading
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.errors import InvalidJob, SpillSpaceExhausted, UserCodeError
from mincemeat.scratch import ScratchDirectory
from mincemeat.sources import spool
from mincemeat.sources.base import SplitUnreadable
from mincemeat.sources.text import files, lines, text
from tests.sources.reading import records_of_payload, records_of_source, split_indices


def test_lines_have_the_offset_of_their_first_byte(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    Path(path).write_bytes("é\r\n\n\ufeffx\x0cy\nlast\r".encode())
    expected = [((path, 0), "é"), ((path, 4), ""), ((path, 5), "\ufeffx\x0cy"), ((path, 12), "last\r")]
    assert records_of_source(lines(path)) == expected


def test_first_line_behind_a_byte_order_mark_has_offset_0(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        Path(path).write_bytes("one\ntwo\n".encode(encoding))
        (first, second) = records_of_source(lines(path, encoding=encoding))
        assert first == ((path, 0), "one")
        assert Path(path).read_bytes()[second[0][1] :].decode(encoding.replace("16", "16-le").replace("32", "32-le"))


def test_text_keeps_line_ends_and_cuts_behind_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    Path(path).write_bytes(b"one\r\ntwo\nthree\n")
    assert records_of_source(text(path, split_bytes=6)) == [((path, 0), "one\r\n"), ((path, 5), "two\nthree\n")]


def test_huge_line_is_read_by_one_split_only(tmp_path: Path) -> None:
    path = str(tmp_path / "a.txt")
    Path(path).write_bytes(b"x" * 300_000 + b"\nend")
    source = lines(path, split_bytes=1000)
    counts = [len(records_of_payload(source.payload(index))) for index in split_indices(source)]
    assert sum(counts) == 2
    assert (counts[0], counts[-1]) == (1, 1)


def test_equal_pieces_instead_of_full_ones_and_a_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\n" * 505)
    source = lines(path, split_bytes=1000)
    sizes = []
    while (info := source.next_split(1)) is not None:
        sizes.append(info.bytes)
    assert sizes == [505, 505]
    assert source.input_bytes_total == 1010


def test_small_files_share_a_split_up_to_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILES_PER_SPLIT_MAX", 3)
    for number in range(5):
        (tmp_path / f"{number}.txt").write_bytes(b"x" * (10 if number < 4 else 100))
    (tmp_path / "5.txt.gz").write_bytes(gzip.compress(b"y"))
    source = lines(tmp_path, split_bytes=100)
    counts = [len(records_of_payload(source.payload(index))) for index in split_indices(source)]
    assert counts == [3, 1, 1, 1]


def test_binary_file_is_passed_over_when_walked_to_and_read_when_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "b.bin").write_bytes(b"\0\1\n" * 10)
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"\0\1\n"))
    for make in (lines, text, files):
        source = make(tmp_path)
        (index,) = split_indices(source) if make is files else split_indices(source)[:1]
        assert len(records_of_payload(source.payload(index))) == 1
        assert records_of_payload(source.data_chunks(index)) == records_of_payload(source.payload(index))
        assert len(records_of_source(make(tmp_path))) == 1
    assert len(records_of_source(lines(tmp_path / "b.bin"))) == 10
    assert len(records_of_source(files(tmp_path, encoding=None))) == 3


def test_archive_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\n") + b"\0" * 100)
    other = tmp_path / "b.xz"
    other.write_bytes(lzma.compress(b"three\n"))
    assert [line for _, line in records_of_source(lines([path, other]))] == ["one", "two", "three"]
    source = files([path, other])
    split_indices(source)
    assert [content for _, content in records_of_payload(source.data_chunks(0))] == ["one\ntwo\n", "three\n"]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("content", [b"not an archive at all", b""], ids=["no archive", "empty"])
def test_damaged_archive_is_told_by_name(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(content or gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(UserCodeError, match=r"the input '.*a\.\w+' cannot be decompressed as") as caught:
        records_of_source(lines(path))
    assert isinstance(caught.value.__cause__, InvalidJob)


def test_compressed_text_is_cut_into_records_on_its_way(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a line of text\n" * 100_000))
    records = records_of_source(text(path, split_bytes=200_000))
    assert len(records) > 5
    assert "".join(value for _, value in records) == "a line of text\n" * 100_000
    assert all(key[1] % 15 == 0 for key, _ in records)


def test_strict_decoding_error_names_the_line_and_comes_behind_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nb\xffad\ngood\n")
    source = lines(path, errors="strict")
    split_indices(source)
    with pytest.raises(UserCodeError, match="is not utf-8") as caught:
        records_of_payload(source.payload(0))
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    assert caught.value.key.endswith("a.txt', 5)")


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gb18030", "shift_jis", "cp1252", "utf-7", "cp037"])
def test_offsets_are_those_of_the_bytes_in_any_encoding(tmp_path: Path, encoding: str, errors: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\nzwölf\nend".encode(encoding, "replace"))
    ((_, one), (second, _), (third, end)) = records_of_source(
        lines(path, encoding=encoding, errors=errors, split_bytes=4)
    )
    assert (one, end) == ("one", "end")
    assert path.read_bytes()[second[1] :].decode(encoding).startswith("zw")
    assert path.read_bytes()[third[1] :].decode(encoding) == "end"


@pytest.mark.parametrize("change", [b"longer than before", b"other"], ids=["size", "time"])
def test_changed_file_is_unreadable_and_so_is_one_that_is_gone(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"first")
    source = lines(path)
    split_indices(source)
    path.write_bytes(change)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SplitUnreadable, match="is not the file that the job was planned with"):
        records_of_payload(source.payload(0))
    with pytest.raises(SplitUnreadable, match="is not the file that the job was planned with"):
        list(source.data_chunks(0))
    path.unlink()
    with pytest.raises(SplitUnreadable, match="cannot be opened here"):
        records_of_payload(source.payload(0))


def test_data_tells_nothing_of_where_files_lie_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("x")
    source = lines("a.txt")
    split_indices(source)
    data = b"".join(source.data_chunks(0))
    assert os.fsencode(tmp_path) not in data
    assert records_of_payload(data) == [(("a.txt", 0), "x")]


def test_data_that_ends_too_early_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("line\n" * 10)
    source = lines(tmp_path)
    split_indices(source)
    data = b"".join(source.data_chunks(0))
    for length in range(1, len(data)):
        with pytest.raises(SplitUnreadable):
            records_of_payload(data[:length])


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are always text there")
def test_name_that_is_no_text_survives_the_way_to_the_slot(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt")
    Path(os.fsdecode(path)).write_text("x")
    assert records_of_source(lines(path)) == [((os.fsdecode(path), 0), "x")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split_bytes": 0}, "from 1 up, not 0"),
        ({"encoding": "klingon"}, "unknown encoding: klingon"),
        ({"encoding": "rot13"}, "not a text encoding"),
        ({"errors": "hope"}, "unknown error handler name 'hope'"),
    ],
)
def test_options_that_cannot_be_meant_are_told(tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    (tmp_path / "a").touch()
    for make in (text, lines, files):
        with pytest.raises(InvalidJob, match=sentence):
            make(tmp_path, **options)  # type: ignore[arg-type]


# -- what can be read only once ----------------------------------------------------------------------------


def test_stdin_is_read_no_further_than_splits_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.BytesIO(b"line\n" * 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
    source = lines("-", split_bytes=100)
    assert stdin.tell() == 0
    assert source.input_bytes_total is None
    source.next_split(1)
    assert stdin.tell() == 100
    assert len(records_of_payload(source.payload(0))) == 20
    assert records_of_payload(source.data_chunks(0)) == records_of_payload(source.payload(0))
    source.close()


def test_stdin_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    source = lines("-")
    for _ in range(2):
        with pytest.raises(InvalidJob, match="this process has none"):
            source.next_split(1)
    source.close()


def test_temporary_file_goes_with_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = lines("-")
    split_indices(source)
    assert len(list(tmp_path.iterdir())) == 1
    source.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_an_input_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"one\ntwo\n",))
    writer.start()
    assert records_of_source(lines(path)) == [((str(path), 0), "one"), ((str(path), 4), "two")]
    writer.join()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_under_a_spool_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    directory = ScratchDirectory()
    monkeypatch.setattr("mincemeat.scratch.ScratchDirectory", lambda: directory)
    path = os.path.join(directory.path, "input")
    os.symlink("/dev/full", path)
    full = spool.Spool("-")
    with pytest.raises(SpillSpaceExhausted, match=f"the disk that holds {path} is full: 1 more bytes") as caught:
        full.cut(1)
    assert (caught.value.path, caught.value.bytes_needed) == (path, 1)
    full.close()
    assert not os.path.exists(directory.path)
