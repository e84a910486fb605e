"""Each test that docs/threats.md names is there."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "threats.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_a_named_test_exists(path: str, test: str) -> None:
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_each_row_of_the_tables_names_a_test() -> None:
    rule = "| --- |"
    lines = [*TEXT.splitlines(), ""]
    rows = [row for row, below in pairwise(lines) if row.startswith("| ") and rule not in row + below]
    assert len(rows) >= 13
    for row in rows:
        assert "::" in row, row
