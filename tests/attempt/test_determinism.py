"""The same job gives the same blocks in every process: other hash seeds, other Python versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import mincemeat

# The package's own __init__ is left out: other interpreters need not have what the network rooms depend on.
PROGRAM = """
import json, sys, types
package = types.ModuleType("mincemeat")
package.__path__ = [sys.argv[1]]
sys.modules["mincemeat"] = package
from mincemeat.attempt import run_map, run_reduce
from mincemeat.result_file import iter_results
from mincemeat.model import AttemptId, Phase, TaskId, UserFunctions
from mincemeat.shuffle.partition import partition_hash
from mincemeat.shuffle.store import JobStore

def mapfn(key, text):
    for word in text.split():
        yield word, key
    yield None, key
    yield (len(text), frozenset(text.split()[:2])), text

store = JobStore(sys.argv[2])
sizes = []
for task in range(3):
    records = [(n, f"word{n % 7} and word{task} then {n * 31 % 11}") for n in range(task * 10, task * 10 + 10)]
    attempt = AttemptId(TaskId(Phase.MAP, task), 0)
    report = run_map(UserFunctions(mapfn=mapfn), records, store, attempt, partitions=8, memory_bytes=3000)
    sizes.append([report.spills, report.partition_bytes])
spans = [span for task in range(3) for span in store.spans(AttemptId(TaskId(Phase.MAP, task), 0), range(8))]
attempt = AttemptId(TaskId(Phase.REDUCE, 0), 0)
run_reduce(UserFunctions(), spans, range(8), store, attempt, memory_bytes=2**20)
order = [[partition_hash(key), values] for key, values in iter_results(store.path(attempt))]
store.clear()
print(json.dumps([sizes, order]))
"""


def output_of(python: str, seed: str, directory: Path, **variables: str) -> list[object]:
    command = [python, "-c", PROGRAM, str(Path(next(iter(mincemeat.__path__)))), str(directory / f"job-{seed}")]
    environment = os.environ | {"PYTHONHASHSEED": seed, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: list[object] = json.loads(done.stdout)
    return found


@cache
def interpreter(version: str) -> str | None:
    """A Python of ``version`` on this machine, from the path or from pyenv, that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path / "bin" / "python") for path in sorted(pyenv.glob(f"{version}.*"))]
    for candidate in [*found, shutil.which(f"python{version}")]:
        if candidate is None:
            continue
        check = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(check, capture_output=True, text=True, check=False).stdout.strip() == version:
            return candidate
    return None


@pytest.mark.slow
def test_hash_seed_changes_neither_blocks_nor_order(tmp_path: Path) -> None:
    outputs = [output_of(sys.executable, seed, tmp_path) for seed in ("0", "1", "4711")]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_python_version_changes_neither_blocks_nor_order(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    plainly = {"MINCEMEAT_COMPILED": "0"}  # the module was built for one of them
    assert output_of(python, "1", tmp_path, **plainly) == output_of(sys.executable, "2", tmp_path, **plainly)
