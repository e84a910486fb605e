"""The innermost module."""

from .. import trunk  # noqa: TID252 - relative imports are what this package is for


def grow(number: int) -> int:
    return trunk.RINGS + number
