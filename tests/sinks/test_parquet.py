"""Columns of Parquet: their types depend on all results, and on nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.sinks.base import sink_for_path
from tests.kit.outputs import read_files, written_in_parts

parquet = pytest.importorskip("pyarrow.parquet")


def schema(path: str | Path) -> list[str]:
    return [str(field.type) for field in parquet.read_schema(path)]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([None, None], "null", [None, None]),
        ([1, None, -(2**63)], "int64", [1, None, -(2**63)]),
        ([True, False], "bool", [True, False]),
        ([1.5, float("inf")], "double", [1.5, float("inf")]),
        ([1, 1.5, None], "double", [1.0, 1.5, None]),
        ([2**60, 0.5], "string", [str(2**60), "0.5"]),
        ([2**70, 1], "string", [str(2**70), "1"]),
        (["a", None, ""], "string", ["a", None, ""]),
        ([b"\0", b""], "binary", [b"\0", b""]),
        ([b"\0", "a"], "string", ['{"base64": "AA=="}', "a"]),
        ([1, 5.0, True, "a"], "string", ["1", "5", "true", "a"]),
        ([[1, 2], {"a": 1}], "string", ["[1, 2]", '{"a": 1}']),
        (["caf\udce9"], "string", ["caf\\udce9"]),
    ],
)
@pytest.mark.parametrize("batch", [1, 10])
def test_a_column_has_the_narrowest_type_that_holds_all(
    tmp_path: Path, values: list[Any], kind: str, read: list[Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mincemeat.sinks.parquet._GROUP_ROWS", 1)  # so that something has been written
    path = tmp_path / "r.parquet"
    pairs = list(enumerate(values))
    for order in (pairs, pairs[::-1]):
        with sink_for_path(path) as sink:
            for start in range(0, len(order), batch):
                sink.write(order[start : start + batch])
        assert schema(path) == ["int64", kind]
        assert dict(read_files(path)) == dict(enumerate(read))
        assert [entry.name for entry in tmp_path.iterdir()] == ["r.parquet"]


numbers = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False)
values = st.none() | st.booleans() | numbers | st.text("ab") | st.binary()


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(results=st.dictionaries(st.text("abc"), values, max_size=12))
def test_how_results_lie_in_parts_does_not_show(results: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        one = written_in_parts(f"{directory}/one.parquet", results, parts=1)
        found = {}
        for parts in (2, 4):
            for slash in ("", "/"):
                path = f"{directory}/r{parts}{len(slash)}.parquet"
                written = written_in_parts(path + slash, results, parts=parts)
                found[parts, slash] = dict(written)
                assert {str(schema(file)) for file in written.files} == {str(schema(one.files[0]))}
                written.verify()
        assert all(each == dict(one) for each in found.values())


def test_a_directory_is_one_table(tmp_path: Path) -> None:
    halves = {str(number): number / 2 if number % 9 else 1 for number in range(99)}
    results = written_in_parts(f"{tmp_path}/r.parquet/", halves)
    assert parquet.read_table(list(results.files)).num_rows == 99


def test_large_results_are_in_row_groups_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    with sink_for_path(path) as sink:
        for start in range(0, 500, 50):
            sink.write((number, "x" * 100_000) for number in range(start, start + 50))
    assert parquet.ParquetFile(path).num_row_groups >= 2
    assert sum(1 for _ in sink.results.items()) == 500
