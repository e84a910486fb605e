"""Reducers whose results not every format has a form for. They travel to slots as this file."""

from __future__ import annotations

from typing import Any


class Lock:
    """Neither text, number nor anything that can be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("a lock stays where it is")


def without_a_form(key: str, values: Any) -> Any:
    return Lock() if key == "bad" else 1
