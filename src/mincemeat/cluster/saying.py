"""What a peer said, as text that is fit for logs, errors and terminals.

Decides: how much of it, and that it cannot give orders to the terminal of who reads it. A peer that has proven the
password may still lie: threat, escape sequences in a reason or traceback that set a terminal's title, its clipboard or
the lines above.
"""

from __future__ import annotations

import re
from typing import Final

from mincemeat import limits
from mincemeat.model import shorten

# C0 and C1 but for line ends and tabs, lone surrogates, and what turns the direction of writing.
_ORDERS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def said(text: str, limit: int = limits.REPR_CHARS_MAX) -> str:
    """``text`` of at most so many characters, cut in the middle; line ends and tabs stay as they are."""
    return _ORDERS.sub(_escaped, shorten(text, limit))


def said_in_line(text: str, limit: int = limits.REPR_CHARS_MAX) -> str:
    """The same without line ends, which would begin a line of a log in somebody else's name."""
    return said(text, limit).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
