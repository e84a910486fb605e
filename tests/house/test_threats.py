"""Each test that docs/threats.md names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "threats.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_a_named_test_exists(path: str, test: str) -> None:
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_each_row_of_the_table_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 13
    for row in rows:
        assert "::" in row, row
