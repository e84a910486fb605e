"""The contract of ``Sink``, over every sink: nothing before commit, everything after it, nothing after abort."""

from __future__ import annotations

import csv
import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import InvalidJob, MincemeatError
from mincemeat.sinks.base import Sink, sink_for_path
from mincemeat.sinks.memory import MemorySink

Rows = list[tuple[Any, Any]]


def _read_jsonl(path: Path) -> Rows:
    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    return [(row["key"], row["value"]) for row in map(json.loads, lines)]


def _read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t", strict=True)
    assert header == ["key", "value"]
    return [(key, int(value)) for key, value in rows]


def _read_sqlite(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT key, value FROM results ORDER BY rowid").fetchall()


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".sqlite": _read_sqlite,
    ".db": _read_sqlite,
}
_ENDINGS = sorted(_READERS)
_BATCHES: list[Rows] = [[("one", 1), ("", 2)], [], [('zwölf, "quoted"\t\r\n\u2028', 3)]]
_ALL = [pair for batch in _BATCHES for pair in batch]


@pytest.fixture(params=_ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"results{request.param}"


def _write_all(sink: Sink) -> None:
    for batch in _BATCHES:
        sink.write(iter(batch))


def test_commit_is_whole_and_leaves_nothing_else(path: Path) -> None:
    sink = sink_for_path(path)
    _write_all(sink)
    assert not path.exists()
    sink.commit()
    assert _READERS[path.suffix](path) == _ALL
    assert list(path.parent.iterdir()) == [path]


def test_results_of_nothing_are_a_file_of_no_rows(path: Path) -> None:
    with sink_for_path(path):
        pass
    assert _READERS[path.suffix](path) == []


def test_abort_leaves_nothing(path: Path) -> None:
    sink = sink_for_path(path)
    _write_all(sink)
    sink.abort()
    assert list(path.parent.iterdir()) == []


def test_existing_file_is_untouched_until_commit(path: Path) -> None:
    path.write_bytes(b"earlier")
    sink = sink_for_path(path)
    _write_all(sink)
    assert path.read_bytes() == b"earlier"
    sink.abort()
    assert path.read_bytes() == b"earlier"
    with sink_for_path(path) as again:
        _write_all(again)
        assert path.read_bytes() == b"earlier"
    assert _READERS[path.suffix](path) == _ALL
    assert list(path.parent.iterdir()) == [path]


def test_error_in_the_body_aborts(path: Path) -> None:
    def interrupted() -> None:
        with sink_for_path(path) as sink:
            _write_all(sink)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(path.parent.iterdir()) == []


def test_error_while_results_are_iterated_aborts_and_nothing_can_be_committed(path: Path) -> None:
    def pairs() -> Any:
        yield "one", 1
        raise ZeroDivisionError

    sink = sink_for_path(path)
    with pytest.raises(ZeroDivisionError):
        sink.write(pairs())
    sink.commit()
    assert list(path.parent.iterdir()) == []


def test_ending_a_sink_again_does_nothing(path: Path) -> None:
    with sink_for_path(path) as sink:
        _write_all(sink)
        sink.commit()
        sink.abort()
    assert _READERS[path.suffix](path) == _ALL
    with sink_for_path(path) as sink:
        sink.abort()
        sink.commit()
    assert _READERS[path.suffix](path) == _ALL


def test_writing_to_an_ended_sink_is_an_error(path: Path) -> None:
    sink = sink_for_path(path)
    sink.commit()
    with pytest.raises(MincemeatError, match="after its commit or abort"):
        sink.write([("one", 1)])


def test_two_sinks_for_one_path_do_not_meet(path: Path) -> None:
    with sink_for_path(path) as first, sink_for_path(path) as second:
        second.write([("second", 2)])
        first.write([("first", 1)])
    assert _READERS[path.suffix](path) == [("first", 1)]


def test_place_where_nothing_can_be_written_is_told_at_once(path: Path) -> None:
    with pytest.raises(InvalidJob, match="there is no directory '.*nowhere'"):
        sink_for_path(path.parent / "nowhere" / path.name)
    path.mkdir()
    with pytest.raises(InvalidJob, match="it is a directory"):
        sink_for_path(path)


@settings(max_examples=25, deadline=None)
@pytest.mark.slow
@given(st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1)))
def test_any_words_and_counts_are_read_back_as_they_were(results: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for ending, read in _READERS.items():
            path = Path(directory, "results" + ending)
            with sink_for_path(path) as sink:
                sink.write(results.items())
            assert dict(read(path)) == results


# -- memory ----------------------------------------------------------------------------------------------


def test_memory_gives_a_plain_dict_in_the_order_of_writing() -> None:
    with MemorySink() as sink:
        _write_all(sink)
    sink.abort()
    assert type(sink.results) is dict
    assert list(sink.results.items()) == _ALL


def test_memory_is_empty_after_abort() -> None:
    sink = MemorySink()
    _write_all(sink)
    sink.abort()
    assert sink.results == {}
