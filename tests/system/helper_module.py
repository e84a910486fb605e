"""A local module of a job's, which travels with it."""

from __future__ import annotations


def parity(number: int) -> int:
    return number % 2
