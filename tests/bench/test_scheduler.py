"""The scheduler's bench says so when a target is missed. How fast this machine is does not matter here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "scheduler.py"
SMALL = ("--workers", "20", "--maps", "2000", "--repeats", "1")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *SMALL, *options], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_records_of_tasks_keep_to_their_bytes_and_events_to_a_tenth_of_their_pace() -> None:
    finished = run("--least", "5000")
    assert finished.returncode == 0, finished.stderr
    assert "bytes/task: " in finished.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "missed"), [("--least=1e12", "events in a second"), ("--most=1", "bytes for a task")]
)
def test_a_missed_target_is_an_exit_code(option: str, missed: str) -> None:
    finished = run(option)
    assert finished.returncode == 1
    assert missed in finished.stderr
