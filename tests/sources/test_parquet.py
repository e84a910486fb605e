from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.errors import InvalidJob, UserCodeError
from mincemeat.sources.base import Source, SplitUnreadable
from mincemeat.sources.tables import parquet
from tests.sources.reading import records_of_payload, records_of_source, split_indices

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")

ROWS = [{"n": number, "s": "xyz"[number % 3], "l": [number, None]} for number in range(10)]


def _file(tmp_path: Path, name: str = "a.parquet", rows: list[dict[str, Any]] = ROWS, group: int = 4) -> str:
    table = pa.Table.from_pylist(rows, schema=pa.schema({"n": pa.int64(), "s": pa.string(), "l": pa.list_(pa.int64())}))
    # Dictionaries differ between row groups, which a stream of batches has to carry.
    table = table.set_column(1, "s", table["s"].dictionary_encode())
    pq.write_table(table, tmp_path / name, row_group_size=group)
    return str(tmp_path / name)


def _check_contract(make: Any, expected: list[tuple[Any, Any]], splits: int) -> None:
    source: Source = make()
    indices = split_indices(source)
    assert len(indices) == splits
    payloads = [source.payload(index) for index in indices]
    assert [source.payload(index) for index in indices] == payloads
    assert [record for payload in payloads for record in records_of_payload(payload)] == expected
    sent = [b"".join(source.data_chunks(index)) for index in indices]
    assert [record for data in sent for record in records_of_payload(data)] == expected
    source.close()
    source.close()


@pytest.mark.parametrize(("split_bytes", "splits"), [(1, 3), (10**6, 1)])
def test_rows_are_dicts_with_their_numbers_at_any_split_size(tmp_path: Path, split_bytes: int, splits: int) -> None:
    path = _file(tmp_path)
    expected = [((path, number), row) for number, row in enumerate(ROWS)]
    _check_contract(lambda: parquet(path, split_bytes=split_bytes), expected, splits)


def test_row_groups_are_tables(tmp_path: Path) -> None:
    path = _file(tmp_path)
    whole = pq.ParquetFile(path)
    expected = [((path, number), whole.read_row_group(number, columns=["s", "n"])) for number in range(3)]
    _check_contract(lambda: parquet(path, columns=["s", "n"], batches=True, split_bytes=1), expected, 3)


def test_only_wanted_columns_are_there(tmp_path: Path) -> None:
    assert records_of_source(parquet(_file(tmp_path), columns=["n"]))[3][1] == {"n": 3}


def test_files_share_a_split_and_empty_ones_have_no_records(tmp_path: Path) -> None:
    one, two, three = _file(tmp_path), _file(tmp_path, "b.parquet", []), _file(tmp_path, "c.parquet", ROWS[:2])
    expected = [((one, number), row) for number, row in enumerate(ROWS)]
    expected += [((three, number), row) for number, row in enumerate(ROWS[:2])]
    _check_contract(lambda: parquet([one, two, three]), expected, 1)


def test_split_tells_its_records_and_bytes(tmp_path: Path) -> None:
    path = _file(tmp_path)
    infos = []
    source = parquet(path, split_bytes=1)
    while (info := source.next_split(1)) is not None:
        infos.append(info)
    assert [info.records for info in infos] == [4, 4, 2]
    assert sum(info.bytes or 0 for info in infos) == source.input_bytes_total == Path(path).stat().st_size


def test_other_files_are_passed_over_when_walked_to_and_told_when_named(tmp_path: Path) -> None:
    _file(tmp_path)
    (tmp_path / "readme.txt").write_text("no parquet")
    assert len(records_of_source(parquet(tmp_path))) == 10
    source = parquet(tmp_path / "readme.txt")
    for _ in range(2):
        with pytest.raises(InvalidJob, match=r"readme.txt' cannot be read as Parquet"):
            source.next_split(1)


def test_damaged_row_group_is_told_by_name(tmp_path: Path) -> None:
    path = Path(_file(tmp_path))
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    source = parquet(path)
    split_indices(source)
    with pytest.raises(UserCodeError, match=r"the row group \('.*a.parquet', 0\) cannot be read"):
        records_of_payload(source.payload(0))
    with pytest.raises(SplitUnreadable, match="cannot be read"):
        list(source.data_chunks(0))


def test_changed_file_is_unreadable_and_data_does_not_need_it(tmp_path: Path) -> None:
    path = Path(_file(tmp_path))
    source = parquet(path)
    split_indices(source)
    data = b"".join(source.data_chunks(0))
    path.write_bytes(b"something else")
    with pytest.raises(SplitUnreadable, match="is not the file that the job was planned with"):
        records_of_payload(source.payload(0))
    assert [row for _, row in records_of_payload(data)] == ROWS


def test_data_that_ends_too_early_is_unreadable(tmp_path: Path) -> None:
    source = parquet(_file(tmp_path))
    split_indices(source)
    data = b"".join(source.data_chunks(0))
    for length in range(1, len(data), 7):
        with pytest.raises(SplitUnreadable):
            records_of_payload(data[:length])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"columns": "n"}, "columns is a list of names, not 'n'"),
        ({"columns": []}, "at least one, not"),
        ({"columns": [1]}, "at least one, not"),
        ({"split_bytes": 0}, "from 1 up"),
    ],
)
def test_options_that_cannot_be_meant_are_told(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        parquet(_file(tmp_path), **options)


def test_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="has no column 'm'; it has n, s, l"):
        parquet(_file(tmp_path), columns=["n", "m"]).next_split(1)


def test_stdin_is_refused() -> None:
    with pytest.raises(InvalidJob, match="'-' can only be read from start to end"):
        parquet("-")


def test_missing_pyarrow_is_one_sentence_that_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = parquet(_file(tmp_path))
    split_indices(source)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    for ask in (lambda: parquet(tmp_path), lambda: records_of_payload(source.payload(0))):
        with pytest.raises(InvalidJob, match=r"mincemeat\.parquet needs the package pyarrow, .*mincemeat\[parquet\]\."):
            ask()


def test_parquet_behind_a_url_is_read(tmp_path: Path) -> None:
    fsspec: Any = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    fs.pipe("/parquet/a", Path(_file(tmp_path)).read_bytes())
    try:
        expected = [(("memory://parquet/a", number), row) for number, row in enumerate(ROWS)]
        _check_contract(lambda: parquet("memory://parquet", split_bytes=1), expected, 3)
        local = f"file://{tmp_path.as_posix()}/a.parquet"
        assert [row for _, row in records_of_source(parquet(local))] == ROWS
    finally:
        fs.rm("/parquet", recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_jobs_read_parquet(tmp_path: Path, engine: str) -> None:
    def mapfn(key: tuple[str, int], row: dict[str, Any]) -> Any:
        yield row["s"], row["n"]

    def reducefn(key: str, values: Any) -> int:
        return sum(values)

    options: dict[str, Any] = {} if engine == "inline" else {"workers": 2}
    source = parquet(_file(tmp_path), split_bytes=1)
    assert mincemeat.run(source, mapfn, reducefn, engine=engine, **options) == {"x": 18, "y": 12, "z": 15}
