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

from mincemeat.model import UserFunctions
from mincemeat.usercode.jobfile import load_job_file
from mincemeat.usercode.loading import describe_load_error, explain_name_error, load

__all__ = ["by_value_modules", "describe_load_error", "explain_name_error", "load", "load_job_file", "pack"]


def pack(functions: UserFunctions) -> bytes:
    """As ``packing.pack``, which is not imported before, because a slot never packs."""
    from mincemeat.usercode import packing

    return packing.pack(functions)


def by_value_modules() -> set[str]:
    """Names of the modules whose functions and classes travel by value: the script, a job file, what was registered."""
    from mincemeat.usercode import packing

    return packing.by_value_modules()
