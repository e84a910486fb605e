"""Failed records on the command line: what a person reads of them, and how one is run again."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mincemeat import cli
from mincemeat.cli.failures import _kinds
from mincemeat.set_aside import RecordFailure
from mincemeat.sources.again import kept_record
from tests.cli.command import start
from tests.cli.conftest import Run

JOB = """
def mapfn(key, line):
    word, number = line.split()
    yield word, int(number)

def reducefn(key, values):
    if key == "bad":
        raise KeyError(key)
    return sum(values)
"""
Replay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(*words: str | Path) -> tuple[int, str, str]:
        code = cli.main(["replay", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    job, text = tmp_path / "count.py", tmp_path / "in.txt"
    job.write_text(JOB, "utf-8")
    text.write_text("good 1\nodd x\ngood 2\nbad 3\nlonely\n", "utf-8")
    return job, text


FILE = "count.failures.jsonl"


def test_a_job_that_skips_ends_well_and_tells_what_it_lacks(run: Run, inputs: tuple[Path, Path]) -> None:
    code, output, said = run(*inputs, "--on-error", "skip")
    assert (code, output) == (0, "good\t3\n")
    name = str(inputs[1])
    assert said.splitlines() == [
        "mincemeat: 3 records were set aside (2 ValueError, 1 KeyError), and the results are without:",
        f"mincemeat:   1. mapfn for key {(name, 7)}: ValueError: invalid literal for int() with base 10: 'x'",
        f"mincemeat:   2. mapfn for key {(name, 26)}: ValueError: not enough values to unpack (expected 2, got 1)",
        "mincemeat:   3. reducefn for key 'bad': KeyError: 'bad'",
        f"mincemeat: To run one of them again: mincemeat replay {FILE} 1 [--pdb]",
    ]
    head, *records = [json.loads(line) for line in Path(FILE).read_text("ascii").splitlines()]
    assert head["job"] == str(inputs[0])
    assert [(record["number"], record["phase"], record["key"]) for record in records] == [
        (1, "map", repr((name, 7))),
        (2, "map", repr((name, 26))),
        (3, "reduce", "'bad'"),
    ]
    assert sorted(os.listdir()) == sorted([FILE, "count.py", "in.txt"])


def test_only_the_first_of_many_are_shown(run: Run, inputs: tuple[Path, Path]) -> None:
    inputs[1].write_text("x\n" * 1000, "utf-8")
    _, _, said = run(*inputs, "--on-error", "skip")
    assert "1,000 records were set aside" in said
    assert "and 995 more" in said
    assert said.count("\n") == 8
    assert len(Path(FILE).read_text("ascii").splitlines()) == 1001


def test_a_record_is_run_again_with_the_job_file_as_it_is_now(
    run: Run, replay: Replay, inputs: tuple[Path, Path]
) -> None:
    run(*inputs, "--on-error", "skip")
    code, output, said = replay(FILE)
    assert (code, output) == (1, "")
    assert "record 1 of 3" in said
    assert said.count("Traceback") == 1
    assert f'File "{inputs[0]}", line 4, in mapfn' in said
    assert "ValueError: invalid literal for int() with base 10: 'x'" in said
    assert str(Path(cli.__file__).parent) not in said
    inputs[0].write_text(JOB.replace("int(number)", "len(number)"), "utf-8")
    code, output, said = replay(FILE, "1")
    assert (code, output) == (0, "'odd'\t1\n")
    assert "mapfn does not fail for key" in said
    assert replay(FILE, "2")[0] == 1


def test_a_key_is_reduced_again_with_its_values(run: Run, replay: Replay, inputs: tuple[Path, Path]) -> None:
    run(*inputs, "--on-error", "skip")
    code, _, said = replay(FILE, "3")
    assert code == 1
    assert "KeyError: 'bad'" in said
    inputs[0].write_text(JOB.replace('"bad"', '"worse"'), "utf-8")
    assert replay(FILE, "3")[:2] == (0, "'bad'\t3\n")


LARGE = """
import mincemeat

def mapfn(key, line):
    if line.startswith("hopeless"):
        raise ValueError(line)
    words = line.split()
    if len(words) > 1:
        return mincemeat.Pairs(words, [len(words)] * len(words))
    return {word: 1 for word in words}

def collectfn(key, values):
    return "x" * sum(map(len, map(str, values)))

def reducefn(key, values):
    assert key != "bad", len(values)
    return len(values)
"""


@pytest.mark.parametrize("combines", [True, False])
def test_values_too_large_to_be_kept_are_gathered_from_the_input_again(
    combines: bool, run: Run, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.py").write_text(LARGE if combines else LARGE.replace("collectfn", "unused"), "utf-8")
    (tmp_path / "in.txt").write_text("hopeless\n" + "bad good\nbad\n" * 20_000, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert run("large.py", "in.txt", "--on-error", "skip", "--max-skipped", "5")[0] == 0
    file = Path("large.failures.jsonl").rename(tmp_path / "moved.jsonl")
    monkeypatch.chdir("/")  # the inputs are those that they were where the job was run
    code, output, said = replay(file, 2)
    assert (code, output) == (1, "")
    assert "the values of key 'bad' were too large to be kept: they are gathered from the input again" in said
    assert "AssertionError: " + ("1\n" if combines else "40000\n") in said
    (tmp_path / "large.py").write_text(LARGE.replace("collectfn", "unused").replace("assert", "pass #"), "utf-8")
    assert replay(file, 2)[:2] == (0, "'bad'\t40000\n")
    (tmp_path / "in.txt").write_text("good\n", "utf-8")
    code, output, said = replay(file, 2)
    assert (code, output) == (2, "")
    assert said.splitlines()[-1] == (
        "mincemeat: no key of the input would be shown as 'bad' now, so there is nothing to run again"
    )


@pytest.mark.parametrize("number", [1, 3])
def test_a_failed_job_says_how_to_run_its_record_again(
    run: Run, replay: Replay, inputs: tuple[Path, Path], number: int
) -> None:
    if number == 3:
        inputs[1].write_text("bad 1\n", "utf-8")
    code, _, said = run(*inputs)
    assert code == 1
    assert said.splitlines()[-1] == f"mincemeat: To run that record again: mincemeat replay {FILE} [--pdb]"
    code, _, said = replay(FILE)
    assert code == 1
    assert ("KeyError: 'bad'" if number == 3 else "with base 10: 'x'") in said


@pytest.mark.slow
def test_records_of_a_datasource_of_the_job_and_of_any_size_are_found_again(
    run: Run, replay: Replay, tmp_path: Path
) -> None:
    job = tmp_path / "count.py"
    job.write_text(
        "datasource = {'small': 1, 'large': 'x' * 100_000, 'fine': 2}\n"
        "def mapfn(key, value):\n    yield key, value + 1\n",
        "utf-8",
    )
    for engine in ("inline", "processes"):
        assert run(job, "--on-error", "skip", "--engine", engine)[0] == 0
        code, _, said = replay(FILE)
        assert code == 1
        assert "mapfn for key 'large', which raised TypeError" in said
        assert "TypeError" in said
        Path(FILE).unlink()
        assert run(job, "--engine", engine)[0] == 1
        assert "for key 'large'" in replay(FILE)[2]


def test_pairs_that_cannot_be_shuffled_still_fail(run: Run, replay: Replay, tmp_path: Path) -> None:
    job = tmp_path / "count.py"
    job.write_text("datasource = [1]\ndef mapfn(key, value):\n    yield [value], value\n", "utf-8")
    run(job)
    code, output, said = replay(FILE)
    assert (code, output) == (1, "[1]\t1\n")
    assert "mapfn must give hashable keys" in said


def test_pdb_stops_where_it_raises(
    run: Run, replay: Replay, inputs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*inputs)
    seen: list[Any] = []

    def post_mortem(link: Any) -> None:
        while link.tb_next is not None:
            link = link.tb_next
        seen.append(link.tb_frame.f_locals["number"])

    monkeypatch.setattr("pdb.post_mortem", post_mortem)
    assert replay(FILE, "--pdb")[0] == 1
    assert seen == ["x"]


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
def test_a_record_that_ended_its_process_is_run_with_a_warning(tmp_path: Path, debug: bool) -> None:
    import subprocess
    import sys

    job = tmp_path / "count.py"
    job.write_text("import os\n\ndef mapfn(key, value):\n    if value == 'x':\n        os._exit(13)\n    yield 1, 1\n")
    (tmp_path / "in.txt").write_text("a\nx\nb\n")

    def mincemeat(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mincemeat", *words]
        return subprocess.run(command, input=typed, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = mincemeat("run", "count.py", "in.txt", "--on-error", "skip", "--workers", "1")
    assert (done.returncode, done.stdout) == (0, "1\t[1, 1]\n")
    assert "1 record was set aside (lost its process), and" in done.stderr
    assert "exited with code 13" in done.stderr
    if not debug:
        done = mincemeat("replay", FILE)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            f"mincemeat: mapfn does not survive for key {('in.txt', 2)}: its process exited with code 13"
        )
        return
    done = mincemeat("replay", FILE, "--pdb", typed="p value\nq\n")
    assert done.returncode == 1
    assert "count.py(4)mapfn()" in done.stdout
    assert "(Pdb) 'x'" in done.stdout
    assert "the debugger was left" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing.jsonl"], "nothing.jsonl cannot be read: No such file or directory"),
        (["in.txt"], "in.txt is no file of failed records"),
        ([FILE, "7"], "holds one record, so there is none with the number 7"),
        ([FILE, "--job", "gone.py"], "there is no job file gone.py"),
        ([FILE, "--job", "other.py"], "has no mapfn any more"),
    ],
)
def test_what_cannot_be_replayed_gets_one_sentence(
    run: Run, replay: Replay, inputs: tuple[Path, Path], words: list[str], sentence: str
) -> None:
    Path("other.py").write_text("x = 1", "utf-8")
    run(*inputs)
    code, output, said = replay(*words)
    assert (code, output, said.count("\n")) == (2, "", 1)
    assert sentence in said


def test_an_input_that_has_changed_gets_one_sentence(run: Run, replay: Replay, tmp_path: Path) -> None:
    job = tmp_path / "count.py"
    job.write_text("def mapfn(key, line):\n    raise ValueError(len(line))\n", "utf-8")
    text = tmp_path / "in.txt"
    text.write_text("x" * 50_000, "utf-8")  # too large to be kept
    run(job, text)
    assert "ValueError: 50000" in replay(FILE)[2]
    text.write_text("y", "utf-8")
    code, _, said = replay(FILE)
    assert code == 2
    assert "is not the file that the job was planned with" in said


def test_a_file_that_cannot_be_written_costs_nothing_else(run: Run, inputs: tuple[Path, Path]) -> None:
    code, output, said = run(*inputs, "--on-error", "skip", "--failures", "nowhere/failed.jsonl")
    assert (code, output) == (0, "good\t3\n")
    assert "failed records could not be written to nowhere/failed.jsonl (No such file or directory)" in said


def test_what_is_not_understood_is_refused(replay: Replay) -> None:
    for words in ([], [FILE, "zero"], [FILE, "0"]):
        with pytest.raises(SystemExit) as ended:
            replay(*words)
        assert ended.value.code == 2


def test_two_lost_processes_are_told_in_the_plural() -> None:
    """It read ``2 records were set aside (2 lost its process)``."""
    lost = RecordFailure("map", "mapfn", "1", "", "exited", "", "", 3, "m-00000", 0, 0)
    timed = lost._replace(exception_type="TimeoutError", message="too long")
    assert _kinds((lost, lost, timed)) == "2 lost their process, 1 TimeoutError"
    assert _kinds((lost, timed)) == "1 lost its process, 1 TimeoutError"
    assert _kinds((lost,)) == "lost its process"


ENDS = """
import os, signal

datasource = [0]

def mapfn(key, value):
    ENDING
    yield key, value
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(
    ("ending", "code", "output", "sentence"),
    [
        ("os._exit(0)", 1, "", "mapfn does not survive for key 0: its process exited with code 0"),
        ("os._exit(3)", 1, "", "mapfn does not survive for key 0: its process exited with code 3"),
        ("os.kill(0, 0), os.kill(os.getpid(), 11)", 1, "", "its process was killed by signal 11 (SIGSEGV)"),
        ("raise ValueError(key)", 1, "", "mapfn fails for key 0"),
        ("raise KeyboardInterrupt", 1, "", "mapfn fails for key 0"),
        ("os.fork() or os._exit(0)", 0, "0\t0\n", "mapfn does not fail for key 0 now"),
        ("pass", 0, "0\t0\n", "mapfn does not fail for key 0 now"),
    ],
)
def test_how_a_record_ends_its_process_is_no_exit_code_of_replay(
    tmp_path: Path, ending: str, code: int, output: str, sentence: str
) -> None:
    """``os._exit(0)`` was exit code 0, "it does not fail now", and a segmentation fault 139."""
    (tmp_path / "count.py").write_text(ENDS.replace("ENDING", ending), "utf-8")
    lost = RecordFailure("map", "mapfn", "0", "", "it exited with code 3", "", "", 2, "m-00000", 0, 0)
    fields = {name: value for name, value in lost._asdict().items() if name not in ("pickled", "data")}
    head = {"mincemeat failures": 1, "job": "count.py", "directory": ".", "inputs": [], "exclude": [], "when": ""}
    kept = {"number": 1, "kept": base64.b64encode(kept_record(pickle.dumps((0, 0))).payload).decode(), "at": 0}
    (tmp_path / FILE).write_text(f"{json.dumps(head)}\n{json.dumps(kept | fields)}\n", "utf-8")
    process = start("replay", FILE, cwd=tmp_path)
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, output)
    assert said.splitlines()[-1].endswith(sentence)


# -- where failed records are written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["in.txt", "--failures", "in.txt"], "'in.txt' is an input of this job"),
        (["in.txt", "--failures", "./linked"], "'./linked' is an input of this job"),
        (["in.txt", "--failures", "count.py"], "'count.py' is the job file"),
        (["in.txt", "--failures", "r.tsv", "-o", "r.tsv"], "'r.tsv' is where the results go"),
        (["in.txt", "--failures", "there/r.tsv", "-o", "r.tsv"], "'there/r.tsv' is where the results go"),
        (["in.txt", "--failures", "out/manifest.json", "-o", "out/"], "'out/manifest.json' is where the results go"),
        (["in.txt", FILE], f"'{FILE}' is an input of this job"),
    ],
)
def test_failed_records_overwrite_nothing_of_the_job(
    run: Run, inputs: tuple[Path, Path], words: list[str], what: str
) -> None:
    """``--failures in.txt`` replaced the input with what had failed in it."""
    Path("there").symlink_to(".")
    os.link("in.txt", "linked")
    Path(FILE).write_text("good 1\n", "utf-8")
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    code, output, said = run("count.py", *words, "--on-error", "skip")
    assert (code, output) == (1, "")
    assert said == f"mincemeat: {what}, and records that failed would go there; --failures names another\n"
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


WALKED = """
import mincemeat

def datasource(inputs):
    return mincemeat.lines(inputs)

def mapfn(key, line):
    if line == "bad":
        raise ValueError(line)
    yield "lines", 1

def reducefn(key, values):
    return sum(values)
"""


@pytest.mark.parametrize("places", [["."], ["*.txt", "*.jsonl"], ["**/*"], ["../data"]])
@pytest.mark.parametrize("when", ["default", "asked", "loaded"])
def test_what_a_run_has_written_is_no_input_of_the_next(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[str], when: str
) -> None:
    """With the input ``.`` the second run counted the failures of the first."""
    job, data = tmp_path / "count.py", tmp_path / "data"
    data.mkdir()
    monkeypatch.chdir(data)
    text = WALKED.replace("def datasource", "def unused") if when == "default" else WALKED
    if when == "loaded":
        text += f"datasource = mincemeat.lines({places!r})\n"
    job.write_text(text, "utf-8")
    Path("in.txt").write_text("one\nbad\ntwo\n", "utf-8")
    Path("more.jsonl").write_text("three\n", "utf-8")
    words = [] if when == "loaded" else places
    for _ in range(2):
        assert run(job, *words, "--on-error", "skip")[:2] == (0, "lines\t3\n")
        assert Path(FILE).exists()
    Path("in.txt").write_text("one\ntwo\n", "utf-8")
    assert run(job, *words, "--on-error", "skip")[:2] == (0, "lines\t3\n")
    assert not Path(FILE).exists()


def test_only_a_former_file_of_the_same_job_is_removed(run: Run, inputs: tuple[Path, Path]) -> None:
    job, text = inputs
    run(job, text, "--on-error", "skip")
    ours = Path(FILE).read_text("ascii")
    text.write_text("good 1\n", "utf-8")
    for content in ("", "mine\n", "[1]\n", "{}\n", ours.replace(str(job), str(job.with_name("other.py")))):
        Path(FILE).write_text(content, "ascii")
        assert run(job, text)[0] == 0
        assert Path(FILE).read_text("ascii") == content
    Path(FILE).write_text(ours, "ascii")
    assert run(job, text)[0] == 0
    assert not Path(FILE).exists()


def test_the_values_of_a_key_are_gathered_without_the_file_of_failures(
    run: Run, replay: Replay, tmp_path: Path
) -> None:
    Path("large.py").write_text("def mapfn(k, v): yield 1, 'x' * 100\ndef reducefn(k, vs): raise ValueError(len(vs))\n")
    Path("in").mkdir()
    Path("in/text").write_text("x\n" * 3000)
    words = ("large.py", "in", "--on-error", "skip", "--failures", "in/failed")
    assert run(*words)[0] == 0
    assert run(*words)[0] == 0
    code, _, said = replay("in/failed")
    assert code == 1
    assert "ValueError: 3000" in said
