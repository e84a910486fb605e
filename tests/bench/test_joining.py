"""A crowd joins one coordinator, with real connections; how quickly on a quiet machine, bench/joining.py says."""

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
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, timeout=300, check=False
    )


def test_a_crowd_from_one_address_gets_in_while_a_job_runs() -> None:
    """Five hundred: far more than may be in the handshake at a time, and than an address has guesses."""
    finished = run("--task-seconds", "0.5", "--most-seconds", "200")
    assert finished.returncode == 0, finished.stderr
    assert "500 workers joined within" in finished.stdout


def test_a_missed_target_is_an_exit_code() -> None:
    finished = run("--workers", "2", "--task-seconds", "0.1", "--most-seconds", "1e-6", "--plain", "all")
    assert "nobody has cryptography" in finished.stdout
    assert finished.returncode == 1
    assert "joining took more than" in finished.stderr
