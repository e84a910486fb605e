"""Imported by helpers only."""

SCALE = 10


def normal(word: str) -> str:
    return word.casefold()
