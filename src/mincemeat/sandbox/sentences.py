"""What a person reads about a sandbox, and whether ``strict`` is satisfied.

Decides: words. Does not know: how it came to that outcome.
"""

from __future__ import annotations

from mincemeat.model import SlotLimits
from mincemeat.sandbox.plan import Outcome, Protection

# What is not worth a word where it is there.
_UNSPOKEN = {Protection.TRUNCATION}


def start_sentence(outcome: Outcome, limits: SlotLimits) -> str:
    """What is enforced on this machine, and what is not and why."""
    told = [_told(protection, outcome, limits) for protection in outcome.enforced if protection not in _UNSPOKEN]
    sentence = f"sandbox: {', '.join(told) or 'nothing is enforced'}"
    return f"{sentence}; not here: {_missing(outcome)}" if outcome.missing else sentence


def refusal(outcome: Outcome) -> str | None:
    """Why a strict worker does not start; None: it does."""
    if not outcome.missing:
        return None
    return (
        f"the sandbox is not complete on this machine, and --sandbox=strict was asked for: {_missing(outcome)}. "
        "--sandbox alone starts with what there is"
    )


def _told(protection: Protection, outcome: Outcome, limits: SlotLimits) -> str:
    match protection:
        case Protection.FILES:
            return f"files (Landlock ABI {outcome.abi})"
        case Protection.CALLS:
            return f"{protection.value} (seccomp)"
        case Protection.LIMITS:
            return f"limits{_of(limits)}"
    return str(protection.value)


def _of(limits: SlotLimits) -> str:
    parts = []
    if limits.memory_bytes is not None:
        parts.append(f"{limits.memory_bytes / 2**20:,.0f} MiB")
    if limits.cpu_seconds is not None:
        parts.append(f"{limits.cpu_seconds} s of processor time an attempt")
    return f" ({', '.join(parts)})" if parts else ""


def _missing(outcome: Outcome) -> str:
    return ", ".join(f"{protection.value} ({why})" for protection, why in outcome.missing)
