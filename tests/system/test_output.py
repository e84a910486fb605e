"""kill -9 of a whole job that writes to files: what was there before stays as it was, and the next job cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mincemeat
from mincemeat.sinks import open_results
from tests.kit import gates, jobs
from tests.kit.clusters import ROOT
from tests.kit.outputs import read_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="files are locked on POSIX only"),
]

JOB = """
import sys; sys.path.insert(0, {root!r})
import mincemeat
from pathlib import Path
from tests.kit import gates
directory = Path({directory!r})
mincemeat.run(
    dict.fromkeys(range(50), 1), reducefn=gates.held_as_given(directory), workers=1, output={output!r}, progress=False
)
"""
EXPECTED = jobs.count_words(jobs.RHYME)


def count_words(output: str) -> dict[str, int]:
    return dict(mincemeat.run(jobs.RHYME, jobs.words, jobs.total, output=output, engine="inline", progress=False))


@pytest.mark.parametrize("ending", ["jsonl", "sqlite", "parquet"])
@pytest.mark.parametrize("slash", ["", "/"], ids=["file", "directory"])
def test_a_killed_job_changes_nothing_and_its_files_are_removed_by_the_next(
    tmp_path: Path, ending: str, slash: str
) -> None:
    results, notes, scratch = tmp_path / "results", tmp_path / "notes", tmp_path / "scratch"
    for directory in (results, notes, scratch):
        directory.mkdir()
    path = results / f"r.{ending}"
    output = f"{path}{slash}"
    assert count_words(output) == EXPECTED
    where = path if slash else results
    before = sorted(os.listdir(where))
    process = subprocess.Popen(
        [sys.executable, "-c", JOB.format(root=str(ROOT), directory=str(notes), output=output)],
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    try:
        gates.wait_for_reducers(notes, 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = set(os.listdir(where)) - set(before)
    assert len(left) == 1  # so that there is something to remove
    assert left.pop().startswith(".")
    assert dict(open_results(path)) == EXPECTED
    assert count_words(output) == EXPECTED
    after = os.listdir(where)
    assert len(after) == len(before)
    assert not any(name.startswith(".") for name in after)
    assert dict(read_files(path)) == EXPECTED
