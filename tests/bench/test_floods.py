"""Floods of strangers, as small as they show something; at full size they are bench/floods.py without options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "floods.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="attackers need an address of their own on loopback"),
]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, timeout=120, check=False
    )


def test_workers_join_while_strangers_of_a_bad_kind_are_many() -> None:
    finished = run("--peers", "300", "--kinds", "half-open", "giant", "--most-seconds", "5")
    assert finished.returncode == 0, finished.stderr
    assert "| half-open | 300 |" in finished.stdout


def test_a_missed_target_is_an_exit_code() -> None:
    finished = run("--peers", "1", "--kinds", "garbage", "--most-megabytes", "1")
    assert finished.returncode == 1
    assert "missed: garbage: the server had" in finished.stderr
