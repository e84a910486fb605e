"""The second implementation speaks the messages that docs/protocol.md lists: no other, and no fewer."""

from __future__ import annotations

import re
from pathlib import Path

from tests.second import peer


def test_it_speaks_of_the_messages_that_the_page_lists() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+)\*? \| (.*) \|$", page, re.MULTILINE)
    listed = {name: (int(kind), re.findall(r"(\w+): ", fields)) for kind, name, fields in rows if int(kind) < 256}
    assert listed == peer.TABLE
