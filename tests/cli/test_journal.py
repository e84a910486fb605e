"""``mincemeat run JOB --journal J`` as real processes: the same job goes on, and a changed one does not.

The job stops with a failure at a record while a file ``stop`` is there; the journal it leaves is the one of a job that
died.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import call

pytestmark = pytest.mark.slow

JOB = """
import os
import beside

MODULO = 10

class Sums:
    @property
    def start(self):
        return 0

def key_of(value):
    return value % MODULO

datasource = {number: number for number in range(60)}

def mapfn(key, value):
    if key == 50 and os.path.exists("stop"):
        raise RuntimeError("stopped")
    yield beside.as_text(key_of(value)), value

def reducefn(key, values):
    return sum(values, Sums().start)
"""
BESIDE = "def as_text(key):\n    return f'key {key}'\n"
ORACLE = "".join(f"key {key}\t{sum(range(key, 60, 10))}\n" for key in range(10))


def begin(directory: Path) -> None:
    """A journal with most of the job's map tasks in it."""
    (directory / "job.py").write_text(JOB)
    (directory / "beside.py").write_text(BESIDE)
    (directory / "stop").touch()
    code, output, errors = run(directory)
    assert (code, output) == (1, "")
    assert "keeps what was done so far" in errors
    (directory / "stop").unlink()


def run(directory: Path, *words: str, job: str = "job.py") -> tuple[int, str, str]:
    options = ("--workers", "1", "--split", "5", "--max-attempts", "1", "--sort", "--journal", "j")
    return call("run", job, *options, *words, cwd=directory)


def test_the_same_job_goes_on(tmp_path: Path) -> None:
    begin(tmp_path)
    code, output, errors = run(tmp_path)
    assert (code, output) == (0, ORACLE), errors
    assert "going on with the job of the journal" in errors
    assert "10 of 12 map tasks known so far" in errors
    assert not (tmp_path / "j").exists()
    assert not (tmp_path / "j.files").exists()


def test_comments_and_another_name_of_the_job_file_do_not_matter(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "renamed.py").write_text("# the same in other words\n" + JOB)
    code, output, errors = run(tmp_path, job="renamed.py")
    assert (code, output) == (0, ORACLE), errors
    assert "going on" in errors


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("yield beside.as_text(key_of(value)), value", "yield beside.as_text(key_of(value)), value + 1", "mapfn"),
        ("value % MODULO", "value // MODULO", "mapfn"),
        ("MODULO = 10", "MODULO = 9", "mapfn"),
        ("sum(values, Sums().start)", "sum(values, Sums().start) + 1", "reducefn"),
        ("return 0", "return 1", "reducefn"),
        (
            "as_text(key):\n    return f'key {key}'",
            "as_text(key):\n    return f'no {key}'",
            "a module beside the script",
        ),
    ],
)
@pytest.mark.parametrize("name", ["job.py", "another.py"])
def test_a_job_file_that_has_changed_is_another_job(tmp_path: Path, old: str, new: str, said: str, name: str) -> None:
    """It went on, and its results were a mixture of both: no function of a job file counted with what is in it."""
    begin(tmp_path)
    assert (old in JOB) != (old in BESIDE)
    (tmp_path / name).write_text(JOB.replace(old, new))
    (tmp_path / "beside.py").write_text(BESIDE.replace(old, new))
    before = (tmp_path / "j").read_bytes()
    code, output, errors = run(tmp_path, job=name)
    assert (code, output) == (1, ""), errors
    assert f"is of another job: {said} is not what it was" in errors
    assert errors.count("\n") == 1
    assert (tmp_path / "j").read_bytes() == before
