"""The stage as a fixture: invariants are checked after every event, and once more on the way out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mincemeat.scheduler import invariants
from tests.scheduler.kit import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    invariants.check(stage.machine)
