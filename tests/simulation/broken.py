"""What a claim is, apart from what is claimed."""

from __future__ import annotations


class Broken(AssertionError):
    """A claim does not hold."""


def claim(holds: object, sentence: str) -> None:
    if not holds:
        raise Broken(sentence)
