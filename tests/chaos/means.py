"""What this machine allows chaos to do, and the reason in words where it does not."""

from __future__ import annotations

from tests.chaos import cgroups, namespaces
from tests.chaos.scenario import GROUNDS, Means
from tests.kit.disks import can_have_small_disks


def means_here() -> tuple[Means, list[str]]:
    """What is to be had, and a sentence for each thing that is not."""
    reasons = []
    grounds: tuple[str, ...] = GROUNDS
    if obstacle := namespaces.obstacle():
        grounds = ("proxy",)
        reasons.append(f"no network namespaces here: {obstacle}")
    small_disks = can_have_small_disks()
    if not small_disks:
        reasons.append("no small disks here: this machine lets nobody mount one of his own")
    if obstacle := cgroups.obstacle():
        reasons.append(f"no control groups here: {obstacle}")
    return Means(grounds, small_disks, not obstacle), reasons
