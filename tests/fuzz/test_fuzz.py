"""What reads foreign bytes, fuzzed for a few seconds; ``python -m tests.fuzz`` goes on for as long as one likes."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.fuzz.targets import TARGETS
from tests.kit.clusters import ROOT

RUNS = 2_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a run that has no end is ended by a signal")
def test_nothing_crashes_hangs_or_takes_all_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--runs", str(RUNS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{RUNS:,} runs") == len(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_changed_is_right_before(name: str) -> None:
    """Else a target would only ever see refusals."""
    target = TARGETS[name]
    target.read(target.corpus[0], random.Random(name))
