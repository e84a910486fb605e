"""What was asked for, what a slot is told of it, and what came of it, as values.

Decides: which protections there are and what they are called. Does not know: how any of them is enforced, or where.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from mincemeat.model import NO_LIMITS, SlotLimits


class Sandbox(NamedTuple):
    """A sandbox as a user asks for it: ``read`` are paths that jobs may read besides Python's own; ``is_strict``: the
    worker refuses to start where a protection is missing."""

    read: tuple[str, ...] = ()
    is_strict: bool = False


class Protection(enum.Enum):
    """What can be enforced; the value is what it is called in a sentence."""

    FILES = "files"
    TRUNCATION = "truncating files"
    TCP = "TCP"
    SIGNALS = "signals"
    CALLS = "sockets and other system calls"
    NETWORK = "own network namespace"
    PRIVILEGES = "no new privileges"
    LIMITS = "limits"
    PROCESSES = "number of processes"


class Confinement(NamedTuple):
    """What a slot is told to confine itself to. Paths are absolute; the directories are there already.

    ``scratch`` it may read, ``outputs`` it may also write plain files in, which its worker reads; ``temporary`` is its
    own. ``home`` is never opened as a whole, whatever Python's search path says. ``processes``: how many at a time.
    ``must``: where one of these cannot be enforced, the slot ends instead.
    """

    scratch: str
    outputs: tuple[str, ...]
    temporary: str
    read: tuple[str, ...] = ()
    home: str = ""
    processes: int = 0
    limits: SlotLimits = NO_LIMITS
    must: tuple[Protection, ...] = ()

    def header(self) -> dict[str, Any]:
        """It as the message to a slot."""
        told = self._asdict()
        return {"do": "confine", **told, "must": [protection.name for protection in self.must]}

    @classmethod
    def of_header(cls, header: dict[str, Any]) -> Confinement:
        told = {name: header[name] for name in cls._fields}
        told |= {name: tuple(told[name]) for name in ("outputs", "read")}
        told["limits"] = SlotLimits(*told["limits"])
        told["must"] = tuple(Protection[name] for name in told["must"])
        return cls(**told)


class Outcome(NamedTuple):
    """What a slot could enforce, and what not, each with the reason. ``abi``: Landlock's version, 0 for none."""

    enforced: tuple[Protection, ...] = ()
    missing: tuple[tuple[Protection, str], ...] = ()
    abi: int = 0

    def header(self) -> dict[str, Any]:
        """It as the slot's answer."""
        return {
            "did": "confined",
            "enforced": [protection.name for protection in self.enforced],
            "missing": [[protection.name, why] for protection, why in self.missing],
            "abi": self.abi,
        }

    @classmethod
    def of_header(cls, header: dict[str, Any]) -> Outcome:
        return cls(
            tuple(Protection[name] for name in header["enforced"]),
            tuple((Protection[name], why) for name, why in header["missing"]),
            header["abi"],
        )
