"""A whole job on processes whose `cryptography` is missing or broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Everything that a job does before its first task, with local workers and their slots.
JOB = """
import sys
import mincemeat

def main():
    counted = mincemeat.run(
        {1: "a b a", 2: "b a"},
        lambda _, line: [(word, 1) for word in line.split()],
        lambda _, ones: sum(ones),
        engine="cluster", workers=2, port=0, password="changeme",
    )
    print(sorted(counted.items()), "cryptography.x509" in sys.modules)

main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "lines", "told"),
    [
        ("raise ModuleNotFoundError(\"No module named 'cryptography'\", name='cryptography')", 0, ""),
        # The server says so, and the nursery, from which its workers are forked, if it comes to that: a line each.
        ("raise ImportError('libssl.so.1.1: no such file')", 2, "does not work (ImportError: libssl.so.1.1"),
    ],
    ids=["missing", "broken"],
)
def test_a_job_runs_without_cryptography(source: str, lines: int, told: str, tmp_path: Path) -> None:
    package = tmp_path / "before" / "cryptography"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source + "\n")
    script = tmp_path / "job.py"
    script.write_text(JOB)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[('a', 3), ('b', 2)] False\n", done.stderr
    said = done.stderr.count(told) if told else 0
    assert said == done.stderr.count("\n"), done.stderr
    assert min(lines, 1) <= said <= lines, done.stderr
