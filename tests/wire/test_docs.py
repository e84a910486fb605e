"""docs/protocol.md says what the code does, where a table can be compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mincemeat import limits
from mincemeat.wire.messages import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_page_lists_exactly_the_messages_with_their_fields() -> None:
    rows = PAGE.partition("| kind | message | fields |")[2].strip().split("\n\n")[0].splitlines()[1:]
    expected = []
    for kind, cls in KINDS.items():
        fields = ", ".join(f"{f.name}: {f.type}" for f in dataclasses.fields(cls) if f.name != "body") or "-"
        star = "*" if cls.carries_body else ""
        expected.append(f"| {kind} | {cls.__name__}{star} | {fields.replace('|', chr(92) + '|')} |")
    assert rows == expected


def test_the_page_names_the_limits() -> None:
    assert f"{limits.FRAME_BYTES_MAX:,} bytes" in PAGE
    assert f"{limits.HANDSHAKE_SECONDS:g} s covers everything" in PAGE
    assert f"At most {limits.UNAUTHENTICATED_MAX} peers" in PAGE
    assert f"{limits.UNAUTHENTICATED_PER_ADDRESS_MAX} per address" in PAGE
    assert f"has {limits.GUESS_BURST} guesses" in PAGE
    assert f"every {1 / limits.GUESS_REFILL_PER_SECOND:g} s" in PAGE
    assert f"holds {limits.GUESS_ADDRESSES_MAX};" in PAGE
