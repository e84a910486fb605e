"""How the user's functions and modules reach a slot: packed by the caller, shipped as bytes, loaded by the slot.

Decides: what travels by value (everything of the script), what as source (modules beside the script), what by name only
(the standard library and installed packages). Does not know who carries the bytes, nor what the functions are for.

    caller                                                slot: a plain interpreter that never sees the script
    pack(functions) -> bytes  ---- coordinator, worker ---->  load(bytes) -> the same functions
      packing.py    pickle by value, note what is used          loading.py   a new __main__, a finder for the sources
      modules.py    find the sources to ship
      obstacle.py   say what cannot be shipped

envelope.py is the format of the bytes; repairs.py mends what cloudpickle loses on the way.
"""

from __future__ import annotations

from typing import Any

from mincemeat.model import UserFunctions
from mincemeat.usercode.envelope import module_names
from mincemeat.usercode.jobfile import load_job_file
from mincemeat.usercode.loading import describe_load_error, explain_name_error, load

__all__ = [
    "describe_load_error",
    "explain_name_error",
    "is_by_value",
    "load",
    "load_job_file",
    "module_names",
    "pack",
    "recipe_of",
    "travels_by_value",
]


def pack(functions: UserFunctions) -> bytes:
    """As ``packing.pack``, which is not imported before, because a slot never packs."""
    from mincemeat.usercode import packing

    return packing.pack(functions)


def is_by_value(module_name: str) -> bool:
    """As ``packing.is_by_value``."""
    from mincemeat.usercode import packing

    return packing.is_by_value(module_name)


def travels_by_value(candidate: Any) -> bool:
    """As ``packing.travels_by_value``."""
    from mincemeat.usercode import packing

    return packing.travels_by_value(candidate)


def recipe_of(instance: Any) -> Any:
    """As ``packing.recipe_of``."""
    from mincemeat.usercode import packing

    return packing.recipe_of(instance)
