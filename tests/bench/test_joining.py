"""A crowd joins one coordinator, with real connections; at full size it is bench/joining.py without options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "joining.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the bench looks at its memory in /proc"),
]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, timeout=100, check=False
    )


def test_a_crowd_from_one_address_gets_in_while_a_job_runs() -> None:
    """Far more than may be in the handshake at a time, and than an address has guesses."""
    finished = run("--workers", "80", "--task-seconds", "0.5", "--most-seconds", "60")
    assert finished.returncode == 0, finished.stderr
    assert "80 workers joined within" in finished.stdout


def test_a_missed_target_is_an_exit_code() -> None:
    finished = run("--workers", "2", "--task-seconds", "0.1", "--most-seconds", "1e-6")
    assert finished.returncode == 1
    assert "joining took more than" in finished.stderr
