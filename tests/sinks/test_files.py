from __future__ import annotations

import json
import math
import os
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import InvalidEmission, InvalidJob
from mincemeat.sinks.base import ENDINGS, sink_for_path

_posix_only = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")


def _written(path: Path, *pairs: tuple[Any, Any]) -> str:
    with sink_for_path(path) as sink:
        sink.write(pairs)
    return path.read_bytes().decode("utf-8")


def test_jsonl_is_one_object_a_line(tmp_path: Path) -> None:
    text = _written(tmp_path / "r.jsonl", ("ä", 1), ((1, b"x"), None), (None, {"k": 1.5}))
    assert text.split("\n") == [
        '{"key": "ä", "value": 1}',
        '{"key": [1, {"base64": "eA=="}], "value": null}',
        '{"key": null, "value": {"k": 1.5}}',
        "",
    ]


def test_jsonl_keeps_names_that_are_no_text(tmp_path: Path) -> None:
    assert json.loads(_written(tmp_path / "r.jsonl", ("caf\udce9", 1)))["key"] == "caf\udce9"


def test_csv_quotes_what_needs_it_and_tells_none_from_the_empty_text(tmp_path: Path) -> None:
    text = _written(
        tmp_path / "r.csv", ("a,b", 'say "x"'), ("", None), (("t", 1), 0.5), ("\r", True), ("tab\t", "c\udce9")
    )
    assert text == 'key,value\n"a,b","say ""x"""\n"",\n"[""t"", 1]",0.5\n"\r",true\ntab\t,c\\udce9\n'


def test_tsv_is_cut_at_tabs(tmp_path: Path) -> None:
    assert _written(tmp_path / "r.TSV", ("a,b", "c\td")) == 'key\tvalue\na,b\t"c\td"\n'


def test_sqlite_keeps_native_types_and_indexes_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    values = [None, True, -(2**63), 2**63, 1.5, math.inf, math.nan, "x", b"\0", bytearray(b"\1"), (1, "a"), "c\udce9"]
    with sink_for_path(path) as sink:
        sink.write(enumerate(values))
    with closing(sqlite3.connect(path)) as database:
        rows = [value for (value,) in database.execute("SELECT value FROM results ORDER BY key")]
        plan = str(database.execute("EXPLAIN QUERY PLAN SELECT value FROM results WHERE key = 3").fetchall())
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert rows == [None, 1, -(2**63), str(2**63), 1.5, math.inf, "NaN", "x", b"\0", b"\1", '[1, "a"]', "c\\udce9"]
    assert "results_key" in plan


@pytest.mark.parametrize("companion", ["-wal", "-journal"])
def test_database_in_use_is_not_replaced(tmp_path: Path, companion: str) -> None:
    (tmp_path / f"r.db{companion}").touch()
    with pytest.raises(InvalidJob, match=f"r.db{companion}' says that the database there is in use"):
        sink_for_path(tmp_path / "r.db")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("ending", ["jsonl", "csv", "sqlite"])
@pytest.mark.parametrize("value", [object(), {1: 2, "1": 3}, 10**5000], ids=["type", "collision", "digits"])
def test_result_without_a_form_is_told_with_its_key_and_nothing_is_left(
    tmp_path: Path, ending: str, value: Any
) -> None:
    sink = sink_for_path(tmp_path / f"r.{ending}")
    with pytest.raises(InvalidEmission, match="the result for key 'bad' holds"):
        sink.write([("good", 1), ("bad", value)])
    assert list(tmp_path.iterdir()) == []


def test_result_that_contains_itself_is_told(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    sink = sink_for_path(tmp_path / "r.jsonl")
    with pytest.raises(InvalidEmission, match="'loop' holds something that contains itself"):
        sink.write([("loop", endless)])


@pytest.mark.parametrize(("name", "what"), [("r.xlsx", "the ending '.xlsx'"), ("results", "without an ending")])
def test_unknown_ending_is_told_with_the_known_ones(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(InvalidJob, match=what) as caught:
        sink_for_path(tmp_path / name)
    assert all(ending in str(caught.value) for ending in ENDINGS)


# -- the file beneath --------------------------------------------------------------------------------------


@_posix_only
def test_file_has_the_usual_mode_and_a_replaced_one_keeps_its_own(tmp_path: Path) -> None:
    path, usual = tmp_path / "r.csv", tmp_path / "usual"
    usual.touch()
    _written(path, ("a", 1))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o640)
    _written(path, ("a", 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@_posix_only
def test_what_a_link_points_at_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "r.csv"
    link.symlink_to(tmp_path / "real" / "r.csv")
    _written(link, ("a", 1))
    assert link.is_symlink()
    assert (tmp_path / "real" / "r.csv").read_bytes() == b"key,value\na,1\n"


@_posix_only
def test_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.csv")
    with pytest.raises(InvalidJob, match="it is no ordinary file"):
        sink_for_path(tmp_path / "r.csv")


def test_write_protected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.csv").touch()
    # By patch, because a superuser may write everything.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InvalidJob, match="it is write-protected"):
        sink_for_path(tmp_path / "r.csv")


def test_directory_that_takes_no_files_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int, mode: int = 0) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(InvalidJob, match=r"cannot write results to '.*r\.csv': Permission denied"):
        sink_for_path(tmp_path / "r.csv")


def test_failed_rename_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"earlier")

    def refuse(source: str, destination: str) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(PermissionError), sink_for_path(path):
        pass
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"earlier"]
