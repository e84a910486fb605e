"""The values that a user's options may have.

Decides: what cannot be meant, and the one sentence that says so. Does not know: which face an option came by (``run``,
``Server`` or the command line), defaults that depend on others, or what an engine honours.

Each function returns the value as a Job or an engine has it, and raises InvalidJob for what it cannot be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.memory import size_bytes
from mincemeat.model import NO_LIMITS, SlotLimits, UserFunctions
from mincemeat.sandbox.plan import Sandbox
from mincemeat.shuffle.recognise import map_side


def checked_functions(functions: UserFunctions, preflight: bool) -> UserFunctions:
    """``preflight``: whether they can be called with what they will be called with is asked, too."""
    for name in ("mapfn", "reducefn", "collectfn", "partitionfn"):
        checked_callback(name, getattr(functions, name))
    checked_bool("sort", functions.sort)
    if not isinstance(functions.sort_values, bool) and not callable(functions.sort_values):
        raise InvalidJob(f"sort_values must be True, False or a key function, not {functions.sort_values!r}")
    map_side(functions)  # raises for a combiner that cannot be one
    if preflight:
        from mincemeat.preflight import check_calls

        check_calls(functions)
    return functions


def checked_int(name: str, value: int, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``, both allowed. True and False are none."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidJob(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def checked_journal(journal: Any) -> str | None:
    """The path as text. Nothing is looked for there yet."""
    path = os.fspath(journal) if isinstance(journal, os.PathLike) else journal
    if path is None or (isinstance(path, str) and path and "\0" not in path):
        return path
    raise InvalidJob(f"journal must be the path of a file, not {journal!r}")


def checked_bool(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidJob(f"{name} must be True or False, not {value!r}")
    return value


def checked_on_error(on_error: str, max_attempts: int | None) -> bool:
    """Whether bad records are skipped."""
    if on_error not in ("raise", "skip"):
        raise InvalidJob(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    least = limits.MAX_ATTEMPTS_TO_SKIP
    if on_error == "skip" and max_attempts is not None and max_attempts < least:
        raise InvalidJob(
            f"on_error='skip' needs max_attempts of at least {least}, not {max_attempts}: one attempt as always, and "
            "two that look for a record which ends its process"
        )
    return on_error == "skip"


def checked_max_skipped(max_skipped: int | None, skips: bool) -> int | None:
    """So many records may be set aside; None for any number. Without ``skips`` it would mean nothing."""
    value = None if max_skipped is None else checked_int("max_skipped", max_skipped, 0, 2**31)
    if not skips and value != limits.MAX_SKIPPED:
        raise InvalidJob("max_skipped= is for on_error='skip': without it no record is set aside, and the first fails")
    return value


def checked_on_nondeterminism(value: str | None) -> str | None:
    if value not in (None, "raise", "restart", "ignore"):
        raise InvalidJob(f"on_nondeterminism must be 'raise', 'restart' or 'ignore', not {value!r}")
    return value


def checked_slot_limits(slot_memory: int | str | None, slot_cpu: int | None) -> SlotLimits:
    """``slot_memory``: bytes, or text such as "2GiB"."""
    size = None if slot_memory is None else size_bytes("slot_memory", slot_memory, limits.SLOT_MEMORY_BYTES_MIN)
    if slot_cpu is not None:
        checked_int("slot_cpu", slot_cpu, 1, limits.SLOT_CPU_SECONDS_MAX)
    return SlotLimits(size, slot_cpu)


def check_limits_are_kept(kept: SlotLimits) -> None:
    """Whether this system can keep slots on this machine within them."""
    if kept == NO_LIMITS:
        return
    from mincemeat.sandbox.resources import CAN_LIMIT_CPU, CAN_LIMIT_MEMORY

    for name, limit, is_kept in (
        ("slot_memory", kept.memory_bytes, CAN_LIMIT_MEMORY),
        ("slot_cpu", kept.cpu_seconds, CAN_LIMIT_CPU),
    ):
        if limit is not None and not is_kept:
            raise InvalidJob(f"{name} cannot be kept on {sys.platform}; leave it out")


def checked_sandbox(sandbox: bool | str, read: Sequence[str | os.PathLike[str]]) -> Sandbox | None:
    """``sandbox``: False, True or "strict"; ``read``: paths that are there."""
    if sandbox not in (False, True, "strict"):
        raise InvalidJob(f"sandbox must be True, False or 'strict', not {sandbox!r}")
    if isinstance(read, str | bytes | os.PathLike):
        raise InvalidJob(f"sandbox_read must be a list of paths, not {read!r}")
    paths = tuple(os.path.abspath(path) for path in read)
    if paths and not sandbox:
        raise InvalidJob("sandbox_read is for a sandbox; without one all files can be read")
    for path in paths:
        if not os.path.exists(path):
            raise InvalidJob(f"sandbox_read names {path}, which is not there")
    return Sandbox(paths, sandbox == "strict") if sandbox else None


def checked_timeout(value: float | None) -> float | None:
    """Seconds above 0, or None for no limit."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < float("inf")):
        raise InvalidJob(f"task_timeout must be a positive number of seconds, not {value!r}")
    return value


def checked_callback(name: str, value: Any) -> Any:
    """A function, or None for none."""
    if value is not None and not callable(value):
        raise InvalidJob(f"{name} must be a function, not {type(value).__name__}")
    return value
