"""Which changes to a script make it another job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import collections, datetime, functools, re
from mincemeat.journal.identity import describe_job
from mincemeat.model import Job, UserFunctions
from mincemeat.sources.base import as_source

LIMIT = 10
WORD = re.compile("[a-z]+")
STOP = {"the", "a", "of"}
PAIRS = {("new", "york"), ("san", "jose"), ("los", "angeles")}
SINCE = datetime.date(2026, 1, 1)
WEIGHTS = collections.Counter(spam=1)

class Counter:
    step = 1
    def count(self, values):
        return sum(values) * self.step

def helper(word):
    return word.lower()

def mapfn(key, value):
    for word in WORD.findall(value):
        if word not in STOP and (key, word) not in PAIRS and len(word) < LIMIT:
            yield helper(word), 1 + WEIGHTS[word] * SINCE.year

def reducefn(key, values):
    return Counter().count(values)

if __name__ == "__main__":
    job = Job("j", UserFunctions(mapfn, reducefn, collectfn=functools.partial(lambda a, b, c: sum(c), 1)))
    for name, digest in describe_job(job, as_source({}), None).items():
        print(name, digest, sep="=")
"""


def described(directory: Path, script: str, seed: str = "0") -> dict[str, str]:
    path = directory / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return described(tmp_path_factory.mktemp("original"), SCRIPT)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_script_is_the_same_job_in_every_process(tmp_path: Path, original: dict[str, str], seed: str) -> None:
    assert described(tmp_path, SCRIPT, seed) == original


def test_comments_and_lines_do_not_count(tmp_path: Path, original: dict[str, str]) -> None:
    assert (
        described(tmp_path, "# a comment\n\n" + SCRIPT.replace("yield helper", "# here\n            yield helper"))
        == original
    )


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("(word), 1", "(word), 2", {"mapfn"}),
        ("helper(word), 1", "helper(word)[:3], 1", {"mapfn"}),
        ("return word.lower()", "return word.upper()", {"mapfn"}),
        ("LIMIT = 10", "LIMIT = 11", {"mapfn"}),
        ('"the", "a"', '"the", "an"', {"mapfn"}),
        ('"san", "jose"', '"san", "diego"', {"mapfn"}),
        ("[a-z]+", "[a-z]{2,}", {"mapfn"}),
        ("2026, 1", "2026, 2", {"mapfn"}),
        ("spam=1", "spam=2", {"mapfn"}),
        ("step = 1", "step = 2", {"reducefn"}),
        ("sum(values) *", "sum(values) +", {"reducefn"}),
        ("sum(c), 1)", "sum(c), 2)", {"collectfn"}),
        ("sum(c)", "max(c)", {"collectfn"}),
        ("reducefn, collectfn", "reducefn, sort=True, collectfn", {"sort"}),
        ('Job("j",', 'Job("j", partitions=7, functions=', {"partitions"}),
        ("as_source({}), None", "as_source({}), 5", {"split"}),
    ],
)
def test_what_is_changed_is_named(
    tmp_path: Path, original: dict[str, str], old: str, new: str, changed: set[str]
) -> None:
    assert old in SCRIPT
    now = described(tmp_path, SCRIPT.replace(old, new))
    assert {name for name in original if now[name] != original[name]} == changed


def test_modules_beside_the_script_count(tmp_path: Path) -> None:
    script = SCRIPT.replace("LIMIT = 10", "import beside\nLIMIT = 10").replace("word.lower()", "beside.lower(word)")
    (tmp_path / "beside.py").write_text("def lower(word):\n    return word.lower()\n")
    before = described(tmp_path, script)
    (tmp_path / "beside.py").write_text("def lower(word):\n    return word.upper()\n")
    now = described(tmp_path, script)
    assert {name for name in before if now[name] != before[name]} == {"a module beside the script"}
