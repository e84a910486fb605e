"""A look at the input before the job: all over it, without losing or doubling what splits are cut from."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.errors import InvalidJob, UserCodeError
from mincemeat.sources.base import Source, as_source, evenly
from mincemeat.sources.mapping import MappingSource
from mincemeat.sources.tables import csv, parquet
from mincemeat.sources.text import files, lines, text
from tests.sources.reading import records_of_payload, records_of_source


def sampled(source: Source, places: int = 32) -> list[tuple[Any, Any]]:
    return [record for payload in source.sample(places) for record in records_of_payload(payload)]


def test_evenly_spread_numbers() -> None:
    assert evenly(100, 4) == [12, 37, 62, 87]
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(0, 5) == []


# -- dict-like -------------------------------------------------------------------------------------------


def test_sequence_is_looked_at_all_over() -> None:
    source = as_source(range(10_000, 20_000))
    found = sampled(source)
    assert len(found) == limits.SAMPLE_RECORDS
    assert found[0][0] < 50
    assert found[-1][0] > 9_950
    assert all(value == 10_000 + key for key, value in found)
    assert len(records_of_source(source)) == 10_000


def test_plain_dict_is_looked_at_all_over() -> None:
    source = as_source({f"k{number}": number for number in range(1000)})
    found = sampled(source)
    assert 100 < len(found) <= limits.SAMPLE_RECORDS
    assert found[-1][1] > 990
    assert len(records_of_source(source)) == 1000


class Queue:
    """Gives each record once, and notes which have been asked for."""

    def __init__(self, records: int, *, fail_at: int = -1) -> None:
        self.asked: list[int] = []
        self._records = records
        self._fail_at = fail_at

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._records))

    def __getitem__(self, key: int) -> str:
        if key == self._fail_at:
            raise OSError("no such record")
        self.asked.append(key)
        return f"value {key}"


@pytest.mark.parametrize("wishes", [1, 7, 300])
def test_queue_is_asked_for_each_record_once_and_in_order(wishes: int) -> None:
    queue = Queue(600)
    source = MappingSource(queue)
    found = sampled(source)
    assert queue.asked == list(range(limits.SAMPLE_RECORDS))
    assert [key for key, _ in found] == queue.asked
    splits: list[list[Any]] = []
    while (info := source.next_split(wishes)) is not None:
        splits.append(records_of_payload(source.payload(info.index)))
        assert len(queue.asked) <= max(limits.SAMPLE_RECORDS, wishes * len(splits))
    assert [record for split in splits for record in split] == [(key, f"value {key}") for key in range(600)]
    assert {len(split) for split in splits[:-1]} <= {wishes}
    assert queue.asked == list(range(600))


def test_slow_queue_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=limits.SAMPLE_PULL_SECONDS / 3)
    monkeypatch.setattr("mincemeat.sources.mapping.time.monotonic", lambda: next(ticks))
    queue = Queue(100)
    assert len(sampled(MappingSource(queue))) == 3
    assert queue.asked == [0, 1, 2]


def test_failure_of_a_queue_comes_behind_the_records_before_it() -> None:
    source = MappingSource(Queue(100, fail_at=5))
    assert len(sampled(source)) == 5
    info = source.next_split(5)
    assert info is not None
    assert len(records_of_payload(source.payload(info.index))) == 5
    for _ in range(2):
        with pytest.raises(UserCodeError, match="no such record"):
            source.next_split(5)


def test_what_a_sequence_raises_is_left_to_the_job() -> None:
    class Holes(list[int]):
        def __getitem__(self, index: Any) -> Any:
            if index % 2:
                raise KeyError(index)
            return index

    assert [key for key, _ in sampled(as_source(Holes(range(10))))] == [0, 2, 4, 6, 8]


# -- files -----------------------------------------------------------------------------------------------


def numbered_lines(path: Path, count: int) -> str:
    path.write_text("".join(f"line {number:07} of {path.name}\n" for number in range(count)))
    return str(path)


def test_files_are_looked_at_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_PIECE_BYTES", 1000)
    names = [numbered_lines(tmp_path / "a", 100), numbered_lines(tmp_path / "b", 900)]
    source = lines(names)
    found = sampled(source, 10)
    assert len(source.sample(10)) == 10
    by_file = [sum(name == key[0] for key, _ in found) for name in names]
    assert 5 < by_file[1] / by_file[0] < 14
    assert max(key[1] for key, _ in found) > 14_000
    expected = records_of_source(lines(names))
    assert set(found) < set(expected)
    assert records_of_source(source) == expected


def test_small_file_is_looked_at_once(tmp_path: Path) -> None:
    name = numbered_lines(tmp_path / "a", 100)
    assert sampled(text(name)) == records_of_source(text(name))
    (tmp_path / "empty").touch()
    assert sampled(lines(str(tmp_path / "empty"))) == []


def test_pieces_of_csv_know_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_PIECE_BYTES", 100)
    (tmp_path / "a.csv").write_text("n,m\n" + "".join(f"{number},{number * 2}\n" for number in range(1000)))
    found = sampled(csv(str(tmp_path / "a.csv")))
    assert len(found) > 100
    assert all(int(row["m"]) == 2 * int(row["n"]) for _, row in found)


def test_archives_are_looked_at_from_their_beginning_and_a_few_only(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.gz").write_bytes(gzip.compress(b"a\nb\n"))
    found = sampled(lines(str(tmp_path)))
    assert len(found) == 2 * limits.SAMPLE_PLACES_DEAR
    assert {key[1] for key, _ in found} == {0, 2}


def test_whole_files_are_looked_at_if_they_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_FILE_BYTES_MAX", 10)
    for number in range(100):
        (tmp_path / f"{number:02}").write_text("x" * (11 if number % 2 else 10))
    found = sampled(files(str(tmp_path)), 5)
    assert len(found) == 5
    assert {len(content) for _, content in found} == {10}


def test_pipe_is_read_to_the_end_of_its_first_split_which_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(b"".join(b"line %04d\n" % number for number in range(200)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    monkeypatch.setattr(limits, "SAMPLE_PIECE_BYTES", 100)
    source = lines("-", split_bytes=1000)
    found = sampled(source, 4)
    assert given.tell() <= 1100
    assert 20 < len(found) < 60
    assert [value for _, value in records_of_source(source)] == [f"line {number:04}" for number in range(200)]


def test_pipe_that_cannot_be_read_fails_the_job_and_not_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    source = lines("-")
    assert source.sample(4) == []
    with pytest.raises(InvalidJob, match="standard input"):
        source.next_split(1)


def test_file_that_is_gone_is_left_to_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAMPLE_PIECE_BYTES", 100)
    source = csv(numbered_lines(tmp_path / "a", 1000))
    os.unlink(tmp_path / "a")
    assert source.sample(4) == []


def test_row_groups_of_parquet_are_looked_at_all_over(tmp_path: Path) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    writing: Any = pytest.importorskip("pyarrow.parquet")
    for number in range(3):
        table = pyarrow.table({"n": list(range(number * 100, number * 100 + 100))})
        writing.write_table(table, str(tmp_path / f"{number}.parquet"), row_group_size=10)
    (tmp_path / "3.parquet").write_bytes(b"PAR1 damaged")
    found = sampled(parquet(sorted(map(str, tmp_path.iterdir()))))
    assert {row["n"] // 100 for _, row in found} == {0, 1, 2}
    assert 30 <= len(found) <= 10 * limits.SAMPLE_PLACES_DEAR
