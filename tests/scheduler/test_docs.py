"""The page shows what the code obeys."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_of_legal_moves_in_the_docs_are_those_of_the_code() -> None:
    generator = runpy.run_path(str(DOCS / "make_scheduler_tables.py"))
    page = (DOCS / "scheduler.md").read_text(encoding="utf-8")
    assert generator["replace_generated"](page) == page, "run: python docs/make_scheduler_tables.py"
