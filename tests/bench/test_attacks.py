"""The table of attacks: what was not tried, or did not hold, is never taken for what held."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import attacks

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_table_is_read() -> None:
    text = (ROOT / "docs" / "threats.md").read_text("utf-8")
    found = list(attacks.rows(text))
    assert len(found) == len([line for line in text.splitlines() if line.startswith("| ") and "::" in line])
    assert len(found) >= 20


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ({"passed": 3}, "held, 3 tries"),
        ({"passed": 1}, "held, 1 try"),
        ({"passed": 3, "skipped": 1}, "held, 3 tries, 1 not here"),
        ({"passed": 3, "failed": 1}, "**broken**, 1 of 4"),
        ({"skipped": 1}, "**not tried**"),
        ({}, "**not tried**"),
    ],
)
def test_what_outcomes_come_to(outcomes: dict[str, int], told: str) -> None:
    assert attacks.judge(Counter(outcomes)) == told


def test_a_row_is_tried_and_told() -> None:
    command = [sys.executable, str(ROOT / "bench" / "attacks.py"), "low order"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "| Points of low order | held, " in finished.stdout


def test_a_row_that_is_not_there_is_said_to_be_so() -> None:
    """No test was named then, and so all tests of the house were run."""
    command = [sys.executable, str(ROOT / "bench" / "attacks.py"), "no such threat"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 2
    assert "no row of the table holds no such threat" in finished.stderr
