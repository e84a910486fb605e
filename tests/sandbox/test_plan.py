from __future__ import annotations

import json

import pytest

from mincemeat.model import NO_LIMITS, SlotLimits
from mincemeat.sandbox.plan import Confinement, Outcome, Protection


def test_what_a_slot_is_told_arrives_as_it_was() -> None:
    told = Confinement(
        "/s", ("/s/a", "/s/b"), "/s/t", ("/data",), "/home", 300, SlotLimits(2**30, 5), (Protection.FILES,)
    )
    assert Confinement.of_header(json.loads(json.dumps(told.header()))) == told


def test_what_came_of_it_arrives_as_it_was() -> None:
    outcome = Outcome((Protection.FILES,), ((Protection.TCP, "needs Linux 6.7"),), 3)
    assert Outcome.of_header(json.loads(json.dumps(outcome.header()))) == outcome


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (NO_LIMITS, NO_LIMITS, NO_LIMITS),
        (SlotLimits(100, None), SlotLimits(None, 7), SlotLimits(100, 7)),
        (SlotLimits(100, 3), SlotLimits(50, 7), SlotLimits(50, 3)),
    ],
)
def test_the_tighter_limit_counts(one: SlotLimits, other: SlotLimits, both: SlotLimits) -> None:
    assert one.tightened(other) == other.tightened(one) == both


def test_a_group_buffer_fits_into_its_slot() -> None:
    assert NO_LIMITS.budget(2**28) == 2**28
    assert SlotLimits(2**28).budget(2**28) == 2**26
    assert SlotLimits(2**34).budget(2**28) == 2**28
