"""The contract of ``output=``: every format, in both layouts, from every engine, is the dict that the job gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidEmission, InvalidJob
from mincemeat.api import make_engine
from mincemeat.model import Job, UserFunctions
from mincemeat.sinks import Results, open_results, sink_for_path
from mincemeat.sinks.base import ENDINGS
from mincemeat.sinks.parts import open_part
from mincemeat.sources.base import as_source
from tests.kit import jobs, odd_results
from tests.kit.clusters import LOOPBACK
from tests.kit.outputs import TEXTUAL, read_files

pytestmark = pytest.mark.slow

ENGINES = ["inline", "processes", "cluster"]
DATA = {number: f'word{number} word{number % 7} ä, "quoted"' for number in range(40)}
EXPECTED = jobs.count_words(DATA)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    yield
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("slash", ["", "/"], ids=["file", "directory"])
@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_a_part_that_is_kept_is_as_it_was(tmp_path: Path, ending: str, slash: str) -> None:
    """A job that goes on after kill -9 needs it again."""
    parts = []
    with sink_for_path(f"{tmp_path}/out{ending}{slash}") as sink:
        for number in range(3):
            part = open_part(sink.form, str(tmp_path / f"part{number}"))
            part.write([f"key{number}a", f"key{number}b"], [number, number + 1])
            part.finish()
            parts.append((Path(part.path), Path(part.path).read_bytes()))
            assert sink.take_part(part.path, keep=True) == 2
    for path, content in parts:
        assert path.read_bytes() == content
    assert len(sink.results) == 6
    assert sorted(sink.results) == sorted(f"key{number}{letter}" for number in range(3) for letter in "ab")


def run_in_parts(path: str, engine: str, functions: UserFunctions, datasource: Any) -> None:
    """A job whose reduce tasks have a partition each, so that there are many parts."""
    options: dict[str, Any] = {"password": "x", "host": LOOPBACK, "port": 0} if engine == "cluster" else {}
    if engine != "inline":
        options["workers"] = 2
    made = make_engine(engine, **options)
    with sink_for_path(path) as sink:
        job = Job("job", functions._replace(output=sink.form), partitions=8, reduce_task_bytes=1)
        sink.prepare(job)
        source = as_source(datasource)
        try:
            made.run(job, source, sink)
        finally:
            source.close()
            made.close()
    assert len(sink.results) == len(EXPECTED)


@pytest.mark.parametrize("slash", ["", "/"], ids=["file", "directory"])
@pytest.mark.parametrize("ending", sorted(ENDINGS))
@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_what_is_written_is_what_the_job_gives(tmp_path: Path, engine: str, ending: str, slash: str) -> None:
    path = tmp_path / f"r{ending}"
    run_in_parts(f"{path}{slash}", engine, UserFunctions(jobs.words, jobs.total), DATA)
    rows = read_files(path)
    results = open_results(path)
    textual = ENDINGS[ending] in TEXTUAL
    assert len(rows) == len(results) == len(EXPECTED)
    assert {key: int(value) for key, value in rows} == EXPECTED
    assert dict(results) == {key: str(value) if textual else value for key, value in EXPECTED.items()}
    assert list(results) == [key for key, _ in rows]
    assert {name for name in os.listdir(tmp_path) if name != "scratch"} == {path.name}
    assert (len(results.files) > 3) == bool(slash)
    results.verify()
    for key, value in EXPECTED.items():
        assert results[key] == (str(value) if textual else value)
    assert "nowhere" not in results


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("slash", ["", "/"], ids=["file", "directory"])
def test_every_engine_writes_the_same_bytes(tmp_path: Path, engine: str, slash: str) -> None:
    functions = UserFunctions(jobs.words, jobs.total)
    run_in_parts(f"{tmp_path}/inline.jsonl{slash}", "inline", functions, DATA)
    run_in_parts(f"{tmp_path}/other.jsonl{slash}", engine, functions, DATA)
    expected, found = open_results(tmp_path / "inline.jsonl"), open_results(tmp_path / "other.jsonl")
    assert [Path(file).read_bytes() for file in found.files] == [Path(file).read_bytes() for file in expected.files]


@pytest.mark.parametrize("slash", ["", "/"], ids=["file", "directory"])
@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_an_empty_job_gives_no_rows(tmp_path: Path, ending: str, slash: str) -> None:
    path = tmp_path / f"r{ending}"
    results = mincemeat.run({}, jobs.words, jobs.total, engine="inline", output=f"{path}{slash}", progress=False)
    assert (len(results), dict(results), read_files(path)) == (0, {}, [])
    again = open_results(path)
    assert (len(again), list(again.items()), again.get("x")) == (0, [], None)
    again.verify()


@pytest.mark.parametrize("engine", ENGINES)
def test_sorted_results_are_one_order_over_all_parts(tmp_path: Path, engine: str) -> None:
    functions = UserFunctions(jobs.words, jobs.total, sort=True)
    run_in_parts(f"{tmp_path}/r.tsv/", engine, functions, DATA)
    results = open_results(tmp_path / "r.tsv")
    assert list(results) == sorted(EXPECTED)
    assert '"order": "sorted"' in (tmp_path / "r.tsv" / "manifest.json").read_text()
    assert {key: int(results[key]) for key in EXPECTED} == EXPECTED


def test_a_server_writes_what_it_is_told_to(tmp_path: Path) -> None:
    server = mincemeat.Server(DATA, jobs.words, jobs.total, output=f"{tmp_path}/r.sqlite", progress=False)
    results = server.run_server(password="x", port=0, host=LOOPBACK, workers=1)
    assert dict(results) == EXPECTED
    assert isinstance(results, Results)
    assert results.path == f"{tmp_path}/r.sqlite"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ending", ["tsv", "txt", "sqlite", "parquet", "pickle"])
def test_a_result_without_a_form_fails_the_job_in_the_users_terms(tmp_path: Path, engine: str, ending: str) -> None:
    options: dict[str, Any] = {"password": "x", "host": LOOPBACK, "port": 0} if engine == "cluster" else {}
    with pytest.raises(InvalidEmission) as caught:
        mincemeat.run(
            {0: "fine bad"},
            jobs.words,
            odd_results.without_a_form,
            engine=engine,
            workers=None if engine == "inline" else 1,
            output=f"{tmp_path}/r.{ending}",
            progress=False,
            **options,
        )
    # Pickles of a cluster's are written by the caller, so there a block says it.
    is_sent = (engine, ending) == ("cluster", "pickle")
    told = "reducefn gave for key 'bad' a result of type 'Lock'" if is_sent else "the result for key 'bad' holds a "
    assert told in str(caught.value)
    story = caught.value.__cause__
    assert isinstance(story, mincemeat.JobFailed)
    assert (story.function, story.key, story.exception_type) == ("reducefn", "'bad'", "InvalidEmission")
    assert os.listdir(tmp_path) == ["scratch"]


@pytest.mark.parametrize("name", ["in.txt", "link.txt"])
def test_an_input_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.txt").write_text("a\nb\n")
    (tmp_path / "link.txt").symlink_to("in.txt")
    with pytest.raises(InvalidJob, match="is an input of this job; name another file for the results"):
        mincemeat.run(mincemeat.lines(str(tmp_path / "in.txt")), engine="inline", output=str(tmp_path / name))
    assert (tmp_path / "in.txt").read_text() == "a\nb\n"
    assert sorted(os.listdir(tmp_path)) == ["in.txt", "link.txt", "scratch"]
