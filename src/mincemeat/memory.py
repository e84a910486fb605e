"""Decides how many bytes one slot may use: what was asked for, or a share of what this machine has.

It knows nothing of what the bytes are used for. The reasons for the numbers stand in limits.py.
"""

from __future__ import annotations

import os
from typing import Final

from mincemeat import limits
from mincemeat.errors import InvalidJob

# "MB" is decimal as on a disk's label, "MiB" binary; a bare "M" is what other tools take it for, binary.
_UNITS: Final = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}{ending}": 1024**power for power, letter in enumerate("kmgt", 1) for ending in ("", "ib")},
}
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes(asked: int | str | None, slots: int) -> int:
    """The budget of one of ``slots`` slots: ``asked`` (bytes, or text such as ``"256MB"`` or ``"1.5 GiB"``) or, for
    None, a share of this machine's memory.

    Raises: InvalidJob when ``asked`` is no size, or less than ``limits.MEMORY_ASKED_BYTES_MIN``.
    """
    if asked is None:
        share = int(physical_bytes() * limits.MEMORY_SHARE / max(1, slots))
        return min(max(share, limits.MEMORY_BYTES_LEAST), limits.MEMORY_BYTES)
    return size_bytes("memory", asked, limits.MEMORY_ASKED_BYTES_MIN)


def size_bytes(name: str, asked: int | str, least: int) -> int:
    """What the option ``name`` asks for, at least ``least`` bytes. Raises: InvalidJob as above."""
    size = _parsed(asked)
    if size is None:
        raise InvalidJob(f"{name} must be a number of bytes, or text such as '256MB' or '1.5 GiB', not {asked!r}")
    if not least <= size <= limits.MEMORY_ASKED_BYTES_MAX:
        most = limits.MEMORY_ASKED_BYTES_MAX // 2**40
        raise InvalidJob(
            f"{name} must be from {least // 2**20} MiB to {most} TiB for each slot, not {asked!r} ({size:,} bytes)"
        )
    return size


def _parsed(asked: object) -> int | None:
    if isinstance(asked, int) and not isinstance(asked, bool):
        return asked
    if not isinstance(asked, str):
        return None
    text = asked.strip().lower()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _UNITS.get(text[len(number) :])
    number = number.strip()
    if unit is None or not number or not set(number) <= set("0123456789._"):
        return None
    try:
        return int(float(number) * unit)
    except (ValueError, OverflowError):
        return None


def physical_bytes() -> int:
    """The memory of this machine, or of the container that this process is in if that is less.

    Where neither can be found out (Windows), ``limits.MEMORY_ASSUMED_BYTES``.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = 0
    found = [size for size in (machine, *map(_limit_in, _CGROUP_LIMITS)) if size > 0]
    return min(found, default=limits.MEMORY_ASSUMED_BYTES)


def _limit_in(path: str) -> int:
    """The number in the file at ``path``; 0 if there is none ("max" where there is no limit)."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
