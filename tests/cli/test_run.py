"""``mincemeat run`` in this process, over the inline engine where nothing depends on another."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from mincemeat import cli
from mincemeat.api import JobEnd
from mincemeat.model import Snapshot
from mincemeat.sinks import open_results
from tests.cli.command import EXAMPLES
from tests.cli.conftest import Run

WORDCOUNT = """
def mapfn(key, line):
    for word in line.split():
        yield word, 1

def reducefn(word, counts):
    return sum(counts)
"""
RHYME = "Humpty Dumpty sat on a wall\nHumpty Dumpty had a great fall\n"
TOP_2 = "Dumpty\t2\nHumpty\t2\n"


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "job.py"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def wordcount(job: Callable[[str], Path]) -> Path:
    return job(WORDCOUNT)


@pytest.fixture
def rhyme(tmp_path: Path) -> Path:
    directory = tmp_path / "input"
    directory.mkdir()
    path = directory / "rhyme.txt"
    path.write_text(RHYME, "utf-8")
    return path


def pretend_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a terminal of 60 columns. For a test's body: capsys replaces streams after the fixtures."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


# -- inputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz"])
def test_inputs_may_be_compressed(run: Run, wordcount: Path, tmp_path: Path, ending: str) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path = tmp_path / f"rhyme.txt{ending}"
    path.write_bytes(pack.get(ending, bytes)(RHYME.encode()))
    assert run(wordcount, path, "--top", "2") == (0, TOP_2, "")


@pytest.mark.parametrize("name", ["rhyme.txt", "", "*.txt", "**"])
def test_inputs_are_files_directories_and_globs(run: Run, wordcount: Path, rhyme: Path, name: str) -> None:
    assert run(wordcount, rhyme.parent / name, "--top", "2") == (0, TOP_2, "")


def test_several_inputs_are_one_input(run: Run, wordcount: Path, rhyme: Path) -> None:
    assert run(wordcount, rhyme, "--top", "1", rhyme) == (0, "Dumpty\t4\n", "")


def test_a_record_of_an_input_is_a_line_with_path_and_offset(run: Run, job: Callable[[str], Path], rhyme: Path) -> None:
    reader = job("def mapfn(key, value):\n    yield key, value\n\ndef reducefn(key, values):\n    return values[0]\n")
    expected = f"('{rhyme}', 0)\tHumpty Dumpty sat on a wall\n('{rhyme}', 28)\tHumpty Dumpty had a great fall\n"
    assert run(reader, "--sort", rhyme) == (0, expected, "")


def test_a_job_file_may_bring_its_own_datasource(run: Run, job: Callable[[str], Path]) -> None:
    assert run(job(WORDCOUNT + "datasource = {0: 'a b', 1: 'a'}"), "--sort") == (0, "a\t2\nb\t1\n", "")


def test_a_datasource_that_is_a_function_is_called_with_the_inputs(run: Run, job: Callable[[str], Path]) -> None:
    path = job(WORDCOUNT + "def datasource(inputs):\n    return dict(enumerate(inputs))")
    assert run(path, "b a", "--sort", "a") == (0, "a\t2\nb\t1\n", "")
    assert run(path) == (0, "", "")


# -- results ---------------------------------------------------------------------------------------------


def test_sort_orders_by_key(run: Run, wordcount: Path, rhyme: Path) -> None:
    code, output, _ = run(wordcount, rhyme, "--sort")
    keys = [line.split("\t")[0] for line in output.splitlines()]
    assert code == 0
    assert keys == sorted(set(RHYME.split()))


def test_a_terminal_gets_a_table(run: Run, wordcount: Path, rhyme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_terminal(monkeypatch)
    assert run(wordcount, rhyme, "--top", "2") == (
        0,
        "key     value\n------  -----\nDumpty      2\nHumpty      2\n",
        "",
    )


def test_a_long_table_tells_how_to_see_the_rest(
    run: Run, job: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_terminal(monkeypatch)
    numbers = job(
        "mapfn = lambda key, value: [(key, value)]\nreducefn = lambda key, values: values[0]\n"
        "datasource = {n: n for n in range(1234)}"
    )
    _, output, _ = run(numbers)
    assert output.endswith("\n... and 1,184 more (use -o FILE for all of them, --top N for the largest)\n")
    _, output, _ = run(numbers, "--top", "100")
    assert len(output.splitlines()) == 102


def test_results_are_written_by_the_job_and_counted(run: Run, wordcount: Path, rhyme: Path, tmp_path: Path) -> None:
    code, output, said = run(wordcount, rhyme, "-o", tmp_path / "out.tsv", "--sort", "--progress")
    assert (code, output) == (0, "")
    assert said.endswith(f"9 results from 2 records in 0:00, in {tmp_path / 'out.tsv'}\n")
    header, *lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert header == "key\tvalue"
    assert [line.split("\t")[0] for line in lines] == sorted(set(RHYME.split()))


def test_a_slash_means_a_directory_of_parts(run: Run, wordcount: Path, rhyme: Path, tmp_path: Path) -> None:
    assert run(wordcount, rhyme, "-o", f"{tmp_path / 'out.jsonl'}/")[0] == 0
    assert len(open_results(tmp_path / "out.jsonl")) == 9


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "sqlite"])
def test_the_ending_chooses_the_format_of_the_file(
    run: Run, wordcount: Path, rhyme: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"out.{ending}"
    assert run(wordcount, rhyme, "-o", output, "--top", "2") == (0, "", "")
    if ending == "sqlite":
        connection = sqlite3.connect(output)
        table = connection.execute("select name from sqlite_master where type = 'table'").fetchone()[0]
        rows = connection.execute(f"select * from {table}").fetchall()
        connection.close()
        assert [row[-2:] for row in rows] == [("Dumpty", 2), ("Humpty", 2)]
        return
    text = output.read_text("utf-8")
    assert all(word in text for word in ("Dumpty", "Humpty"))
    assert "wall" not in text
    if ending == "jsonl":
        assert len([json.loads(line) for line in text.splitlines()]) == 2


def test_keys_that_the_terminal_cannot_show_do_not_cost_the_results(run: Run, job: Callable[[str], Path]) -> None:
    path = job("datasource = {'\\udcff': 1}\nreducefn = lambda key, values: len(values)")
    assert run(path) == (0, "\\udcff\t1\n", "")


def test_the_closing_line_tells_results_records_and_time(run: Run, wordcount: Path, rhyme: Path) -> None:
    code, _, said = run(wordcount, rhyme, "--progress")
    assert code == 0
    assert said.endswith("9 results from 2 records in 0:00\n")


def test_the_closing_line_names_the_file(run: Run, wordcount: Path, rhyme: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert run(wordcount, rhyme, "--progress", "-o", output)[2].endswith(f" in 0:00, in {output}\n")


def test_a_terminal_for_errors_gets_the_closing_line_unless_told_otherwise(
    run: Run, wordcount: Path, rhyme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(wordcount, rhyme)[2].endswith("9 results from 2 records in 0:00\n")
    assert run(wordcount, rhyme, "--no-progress")[2] == ""


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        (WORDCOUNT, [], "no input: {job} has no datasource, so name files or directories, or - for standard input"),
        (WORDCOUNT, ["nowhere.txt"], "no such file or directory: 'nowhere.txt'"),
        (WORDCOUNT + "datasource = {}", ["more.txt"], "{job} has a datasource of its own"),
        (WORDCOUNT + "datasource = {}", ["--exclude", "x"], "{job} has a datasource of its own, so --exclude x"),
        (WORDCOUNT + "datasource = 7", [], "needs __iter__ and __getitem__"),
        (WORDCOUNT + "mapfn = 'text'", ["{job}"], "mapfn must be a function, not str"),
        ("", [], "the job file {job} defines neither mapfn nor reducefn"),
        (WORDCOUNT, ["{job}", "-o", "out.unknown"], "out.unknown"),
        (WORDCOUNT, ["{job}", "--engine", "quantum"], "there is no engine 'quantum'"),
        (WORDCOUNT, ["{job}", "--workers", "7"], "engine 'inline' cannot honour workers="),
        ("def mapfn(:", [], "not valid Python"),
        ("import nowhere_at_all", [], "No module named 'nowhere_at_all'"),
    ],
)
def test_a_mistake_of_the_users_is_one_sentence_and_1(
    run: Run, job: Callable[[str], Path], text: str, words: list[str], sentence: str
) -> None:
    path = job(text)
    code, output, said = run(path, *(word.format(job=path) for word in words))
    assert (code, output) == (1, "")
    assert said.startswith("mincemeat: ")
    assert sentence.format(job=path) in said
    assert said.count("\n") == 1


def test_a_missing_job_file_is_told(run: Run, tmp_path: Path) -> None:
    code, _, said = run(tmp_path / "nowhere.py")
    assert (code, said.count("\n")) == (1, 1)
    assert "nowhere.py" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--top=1"], "--top needs results that can be compared"),
        (["--sort"], "sort=True needs keys that can be compared"),
        (["--top=2", "--sort"], "--sort needs keys that can be compared"),
    ],
)
def test_results_without_an_order_are_told(
    run: Run, job: Callable[[str], Path], options: list[str], sentence: str
) -> None:
    reducefn = "len(vs)" if len(options) == 2 else "{}"
    path = job(f"datasource = {{'a': 1, 2: 3}}\nreducefn = lambda k, vs: {reducefn}")
    code, output, said = run(path, *options)
    assert (code, output, said.count("\n")) == (1, "", 1)
    assert said.startswith("mincemeat: ")
    assert sentence in said


@pytest.mark.parametrize(
    "text",
    [
        "def mapfn(key, value):\n    raise ValueError('bad luck')\n\ndatasource = {'k': 1}",
        "def reducefn(key, values):\n    raise ValueError('bad luck')\n\ndatasource = {'k': 1}",
        WORDCOUNT + "def datasource(inputs):\n    raise ValueError('bad luck')",
    ],
)
@pytest.mark.parametrize("engine", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_what_the_users_function_raised_is_shown_in_the_users_terms(
    run: Run, job: Callable[[str], Path], text: str, engine: str
) -> None:
    path = job(text)
    code, output, said = run(path, "--engine", engine)
    assert (code, output) == (1, "")
    *shown, sentence = [line for line in said.splitlines() if "mincemeat replay" not in line]
    assert shown[0] == "Traceback (most recent call last):"
    assert shown[-1] == "ValueError: bad luck"
    assert said.count("Traceback") == 1
    assert f'File "{path}", line' in said
    assert str(Path(cli.__file__).parent.parent) not in said
    assert sentence.startswith("mincemeat: ")
    assert "raised ValueError" in sentence


def test_loud_shows_our_frames_too(run: Run, job: Callable[[str], Path]) -> None:
    code, _, said = run(job(WORDCOUNT + "datasource = {0: None}"), "-V")
    assert code == 1
    assert "cli" in said
    assert "AttributeError" in said


def test_a_failed_job_leaves_no_output(run: Run, job: Callable[[str], Path], tmp_path: Path) -> None:
    path = job(WORDCOUNT + "datasource = {0: 'fine', 1: None}")
    before = sorted(tmp_path.iterdir())
    assert run(path, "-o", tmp_path / "out.jsonl")[0] == 1
    others = ("__pycache__", "job.failures.jsonl")  # how the record can be run again
    assert sorted(file for file in tmp_path.iterdir() if file.name not in others) == before


# -- engines ---------------------------------------------------------------------------------------------


class _Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (["--serve", ":0", "-p", "x"], None, {"password": "x", "host": "", "port": 0}),
        (["--serve", "[::1]:9", "--workers", "2"], "env", {"password": "env", "host": "::1", "port": 9, "workers": 2}),
        (["--engine", "cluster"], None, {"password": ""}),
        (["--engine", "processes", "--workers", "3"], "env", {"workers": 3}),
        (["--engine", "inline", "--split", "5", "--max-attempts", "2"], None, {"split": 5, "max_attempts": 2}),
        (["--task-timeout", "1.5"], None, {"task_timeout": 1.5}),
        (["--no-backups"], None, {"backups": False}),
        (
            ["--serve", ":0", "--trust-workers"],
            "env",
            {"password": "env", "host": "", "port": 0, "trust_workers": True},
        ),
    ],
)
def test_options_reach_the_engine(
    words: list[str],
    environment: str | None,
    expected: dict[str, Any],
    wordcount: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def fake(name: str, **options: Any) -> Any:
        given.update({key: value for key, value in options.items() if value is not None}, name=name)
        raise _Stop

    monkeypatch.delenv("MINCEMEAT_PASSWORD", raising=False)
    if environment is not None:
        monkeypatch.setenv("MINCEMEAT_PASSWORD", environment)
    monkeypatch.setattr("mincemeat.cli.run.make_engine", fake)
    with pytest.raises(_Stop):
        cli.main(["run", str(wordcount), *words])
    default = "cluster" if "--serve" in words else "processes"
    name = words[words.index("--engine") + 1] if "--engine" in words else default
    assert given == {**expected, "name": name}


def test_attempts_time_limit_and_memory_reach_the_job(
    run: Run, wordcount: Path, rhyme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def fake(*arguments: Any, **options: Any) -> JobEnd:
        given.update(options)
        return JobEnd(Snapshot("job", seconds=8.2, records=18_402_211, failed_attempts=2), ())

    monkeypatch.setattr("mincemeat.cli.run.make_engine", lambda *_, **__: None)
    monkeypatch.setattr("mincemeat.cli.run.run_job", fake)
    limits = ("--max-attempts", "5", "--task-timeout", "9", "--memory", "2MiB", "--max-skipped", "7")
    of_slots = ("--slot-memory", "1GiB", "--slot-cpu", "60")
    bad = ("--on-error", "skip", "--on-nondeterminism", "restart")
    code, _, said = run(wordcount, rhyme, *limits, *of_slots, *bad, "--no-backups", "--no-preflight", "--progress")
    assert given == {
        "max_attempts": 5,
        "task_timeout": 9.0,
        "backups": False,
        "on_error": "skip",
        "max_skipped": 7,
        "preflight": False,
        "on_nondeterminism": "restart",
        "memory": 2 * 2**20,
        "slot_memory": 2**30,
        "slot_cpu": 60,
        "progress": True,
        "keep_failures": ANY,
    }
    assert (code, said) == (0, "0 results from 18,402,211 records in 0:08, 2 failed attempts made good\n")


# -- examples --------------------------------------------------------------------------------------------


def test_word_count_counts_words(run: Run, rhyme: Path) -> None:
    assert run(EXAMPLES / "wordcount.py", rhyme, "--top", "3") == (0, "Dumpty\t2\nHumpty\t2\nfall\t1\n", "")


def test_grep_finds_lines(run: Run, rhyme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATTERN", "gr[e]at")
    assert run(EXAMPLES / "grep.py", rhyme) == (0, f"{rhyme}:28\tHumpty Dumpty had a great fall\n", "")


def test_inverted_index_names_the_files_of_a_word(run: Run, rhyme: Path) -> None:
    (rhyme.parent / "another.txt").write_text("a wall\n", "utf-8")
    code, output, _ = run(EXAMPLES / "inverted_index.py", rhyme.parent)
    index = dict(line.split("\t") for line in output.splitlines())
    assert code == 0
    assert index["wall"] == f"['{rhyme.parent / 'another.txt'}', '{rhyme}']"
    assert index["Humpty"] == f"['{rhyme}']"


@pytest.mark.parametrize("name", ["wordcount.py", "grep.py", "inverted_index.py"])
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text("utf-8").splitlines()) <= 25
