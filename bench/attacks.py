"""The table of threats in docs/threats.md, with the result of each row: its tests are run, and counted.

    python bench/attacks.py                 every row
    python bench/attacks.py worker server   rows that hold one of these words

Prints a table in Markdown. Exit code 1 if an attack succeeded, or could not be tried.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parents[1]
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Row(NamedTuple):
    """One threat, and the tests that try it as (path, name)."""

    threat: str
    tests: tuple[tuple[str, str], ...]


def rows(text: str) -> Iterator[Row]:
    """The rows of the table in ``text`` that name tests."""
    for line in text.splitlines():
        tests = tuple(_NAMED.findall(line))
        if line.startswith("| ") and tests:
            yield Row(line.split("|")[1].strip(), tests)


def run(tests: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Counter[str]]:
    """How often each of ``tests``, with all its parameters, passed, failed or was skipped."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        names = [f"{path}::{name}" for path, name in dict.fromkeys(tests)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *names]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        found: dict[tuple[str, str], Counter[str]] = {test: Counter() for test in tests}
        if not report.exists():
            return found
        for case in ElementTree.parse(report).iter("testcase"):
            path = case.get("classname", "").replace(".", "/") + ".py"
            name = case.get("name", "").partition("[")[0]
            found.setdefault((path, name), Counter())[_outcome(case)] += 1
        return found


def _outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


def judge(outcomes: Counter[str]) -> str:
    """What the outcomes of a row's tests come to, in a word or two."""
    if outcomes["failed"]:
        return f"**broken**, {outcomes['failed']} of {outcomes.total()}"
    if not outcomes["passed"]:
        return "**not tried**"
    skipped = f", {outcomes['skipped']} not here" if outcomes["skipped"] else ""
    passed = outcomes["passed"]
    return f"held, {passed} {'try' if passed == 1 else 'tries'}{skipped}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    text = (ROOT / "docs" / "threats.md").read_text("utf-8")
    chosen = [row for row in rows(text) if not options.words or any(word in row.threat for word in options.words)]
    if not chosen:
        parser.error(f"no row of the table holds {' or '.join(options.words)}")
    started = time.monotonic()
    found = run([test for row in chosen for test in row.tests])
    print("| Threat | Result |\n| --- | --- |")
    is_broken = False
    for row in chosen:
        # A test that is named and did not run is one that was not tried.
        missing = [test for test in row.tests if not found[test]]
        outcomes: Counter[str] = sum((found[test] for test in row.tests), Counter())
        result = f"**not tried**: {missing[0][1]}" if missing else judge(outcomes)
        is_broken |= "**" in result
        print(f"| {row.threat} | {result} |")
    tries = sum(outcomes.total() for outcomes in found.values())
    print(f"\n{tries} tries in {time.monotonic() - started:.0f} s")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
