"""Tests choose here whether arithmetic is the package's or plain Python's, also for two ends in one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from mincemeat.wire import primitives
from mincemeat.wire import x25519 as plain

PACKAGED, PLAIN = "packaged", "plain"
WAYS = [PACKAGED, PLAIN]

_way: ContextVar[str] = ContextVar("way", default=PACKAGED)


@contextlib.contextmanager
def use(way: str) -> Iterator[None]:
    """In this block, and for good in the tasks that are created in it, `chosen_ways` takes this way."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


@contextlib.contextmanager
def chosen_ways() -> Iterator[list[str]]:
    """Put `use` in the place of what decides. Gives the list of the ways that X25519 was computed from now on."""
    taken: list[str] = []
    packaged_x25519, plain_x25519 = primitives.packaged_x25519, plain.x25519

    def by_package(scalar: bytes, point: bytes) -> bytes:
        taken.append(PACKAGED)
        return packaged_x25519(scalar, point)

    def by_python(scalar: bytes, point: bytes) -> bytes:
        taken.append(PLAIN)
        return plain_x25519(scalar, point)

    def obstacle() -> primitives.Obstacle | None:
        return None if _way.get() == PACKAGED else primitives.Obstacle(False, "the test says so")

    assert primitives.obstacle() is None, "these tests compare with cryptography, which does not work here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(primitives, "packaged_x25519", by_package)
        patch.setattr(plain, "x25519", by_python)
        patch.setattr(primitives, "obstacle", obstacle)
        yield taken
