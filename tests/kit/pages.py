"""Worked examples of a page in docs/, so that tests can hold them against the program.

An example is a block of code behind the comment ``<!-- example: name -->``. Its lines are ``what = value``; one that is
indented goes on with the value of the line before.
"""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def examples(page: str) -> dict[str, dict[str, str]]:
    """The examples in the file ``page`` of docs/, by their names: what each says, and what that should be."""
    found = re.findall(r"<!-- example: ([\w ]+) -->\n```\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    return {name: dict(_line(line) for line in re.sub(r"\n ", " ", text).splitlines()) for name, text in found}


def _line(line: str) -> tuple[str, str]:
    what, _, value = line.partition(" = ")
    return what.strip(), value.strip()


def data(value: str) -> bytes:
    """The bytes of ``value``: hexadecimal digits with spaces, up to a word that is none."""
    return bytes.fromhex("".join(takewhile(re.compile(r"(?:[0-9a-f]{2})+").fullmatch, value.split())))
