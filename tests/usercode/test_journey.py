"""Functions travel from a script to a slot, and their values through another slot back, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SLOT_PROGRAM = HERE / "slot_program.py"
CLAIMS = re.findall(r'claim\(\s*"(\w+)"', (HERE / "scripts" / "everything.py").read_text(encoding="utf-8"))


def make_script_directory(parent: Path) -> Path:
    return Path(shutil.copytree(HERE / "scripts", parent / "scripts", ignore=shutil.ignore_patterns("__pycache__")))


def run_script(directory: Path, *arguments: str, stdin: str | None = None) -> dict[str, str]:
    """What ``journey.run`` reports when Python is started like this in the script's directory."""
    report = directory / "report.json"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments, str(SLOT_PROGRAM), str(report)]
    done = subprocess.run(command, cwd=directory, env=environment, input=stdin, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, str] = json.loads(report.read_text(encoding="utf-8"))
    return outcome


@pytest.fixture(scope="module")
def script_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_script_directory(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def outcome(script_directory: Path) -> dict[str, str]:
    return run_script(script_directory, "everything.py")


@pytest.mark.parametrize("claim", CLAIMS)
def test_survives_the_journey(claim: str, outcome: dict[str, str]) -> None:
    assert outcome[claim] == "", outcome[claim]


def test_every_claim_of_the_script_was_reported(outcome: dict[str, str]) -> None:
    assert sorted(outcome) == sorted(CLAIMS)
    assert len(CLAIMS) > 30


def test_script_without_a_guard_runs_only_once(script_directory: Path, outcome: dict[str, str]) -> None:
    assert (script_directory / "runs").read_text(encoding="utf-8") == "run\n"


NOTEBOOK = "import sys; cell = open('small.py').read(); exec(compile(cell, '<cell 1>', 'exec'), globals())"
JOB_FILE = "from mincemeat.usercode import load_job_file; load_job_file('../scripts/small.py')"


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        pytest.param(["small.py"], None, id="file"),
        pytest.param(["-m", "small"], None, id="module"),
        pytest.param(["-"], (HERE / "scripts" / "small.py").read_text(encoding="utf-8"), id="standard input"),
        pytest.param(["-c", NOTEBOOK], None, id="notebook"),
        pytest.param(["-c", JOB_FILE], None, id="job file"),
    ],
)
def test_script_can_be_run_in_any_way(tmp_path: Path, arguments: list[str], stdin: str | None) -> None:
    directory = make_script_directory(tmp_path)
    assert run_script(directory, *arguments, stdin=stdin) == {"small": ""}
    assert (directory / "runs").read_text(encoding="utf-8") == "run\n"


def test_functions_of_an_executed_namespace_that_calls_itself_main_travel(tmp_path: Path) -> None:
    """A profiler runs the script in a dict that is not the ``__main__`` module; only names are missing there."""
    directory = make_script_directory(tmp_path)
    program = """
import sys
from pathlib import Path
space = {"__name__": "__main__"}
exec("import helpers\\nBASE = 4\\ndef helper(v): return v + BASE", space)
exec("def mapfn(k, v): yield helpers.tally(k, helper(v)), 0", space)
from journey import Claim, run
from mincemeat.model import UserFunctions
claim = Claim(UserFunctions(mapfn=space["mapfn"]), lambda arrival: arrival.pairs[0][0].count == 7)
run({"executed": claim}, Path(sys.argv[1]), Path(sys.argv[2]))
"""
    assert run_script(directory, "-c", program) == {"executed": ""}


@pytest.mark.parametrize("used", ["import helpers; tally = helpers.tally", "import helpers"])
def test_module_registered_with_cloudpickle_travels_by_value(tmp_path: Path, used: str) -> None:
    directory = make_script_directory(tmp_path)
    program = f"""
import sys
from pathlib import Path
import cloudpickle
from journey import Claim, run
from mincemeat.model import UserFunctions
{used}
cloudpickle.register_pickle_by_value(helpers)
def mapfn(k, v): yield k, {"tally" if "tally" in used else "helpers.tally"}(k, v)
def check(arrival): return type(arrival.pairs[0][1]) is helpers.Tally and "vocabulary" in arrival.modules
run({{"registered": Claim(UserFunctions(mapfn=mapfn), check)}}, Path(sys.argv[1]), Path(sys.argv[2]))
"""
    assert run_script(directory, "-c", program) == {"registered": ""}
