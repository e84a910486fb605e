"""The names that bytes of a worker may mention whatever the job is, each with what may be done with it.

Decides: the list. All of it is here; the only other names are classes of the job's own modules (jobclasses.py). Does
not know: how a pickle says what it does with a name (mentions.py).

What is called here gets any arguments that data can be. So each of these was looked at for what it does with the worst:
it must neither run, open nor import anything, nor change what others share, nor make much out of little, as
``bytes(10**12)``, ``list(range(10**12))`` and ``Fraction("1e999999999")`` would. Where a class of the standard library
does that, a function of forms.py stands in for it, which writers name instead.

    CALLED         as the class or function is meant to be called; what comes of it is new, or cannot be changed
    INSTANTIATED   an empty instance is made, and given a state
    CHANGED        what was made gets a state, elements or entries from the pickle; so it must be nobody else's
"""

from __future__ import annotations

import builtins
from typing import Final

from mincemeat.decoding.mentions import CALLED, CHANGED, INSTANTIATED

_TYPES: Final = {
    ("builtins", "complex"): CALLED,
    ("builtins", "range"): CALLED,
    ("builtins", "slice"): CALLED,
    ("collections", "OrderedDict"): CALLED | CHANGED,
    ("collections", "ChainMap"): INSTANTIATED | CHANGED,
    ("collections", "UserDict"): INSTANTIATED | CHANGED,
    ("collections", "UserList"): INSTANTIATED | CHANGED,
    ("collections", "UserString"): INSTANTIATED | CHANGED,
    ("datetime", "date"): CALLED,
    ("datetime", "datetime"): CALLED,
    ("datetime", "time"): CALLED,
    ("datetime", "timedelta"): CALLED,
    ("datetime", "timezone"): CALLED,
    ("decimal", "Decimal"): CALLED,
    ("uuid", "UUID"): INSTANTIATED | CHANGED,
}

_FORMS: Final = {
    ("mincemeat.decoding.forms", "counter_of"): CALLED,
    ("mincemeat.decoding.forms", "default_dict_of"): CALLED | CHANGED,
    ("mincemeat.decoding.forms", "deque_of"): CALLED | CHANGED,
    ("mincemeat.decoding.forms", "fraction_of"): CALLED,
    ("mincemeat.decoding.forms", "list_of"): CALLED | CHANGED,
    ("mincemeat.decoding.forms", "zone_of"): CALLED,
    # CHANGED would be NumPy's __setstate__, which believes what it is told about memory.
    ("mincemeat.decoding.arrays", "array_of"): CALLED,
    ("mincemeat.decoding.arrays", "dtype_of"): CALLED,
    ("mincemeat.decoding.arrays", "objects_of"): CALLED,
    ("mincemeat.decoding.arrays", "scalar_of"): CALLED,
    ("mincemeat.decoding.frames", "categorical_of"): CALLED,
    ("mincemeat.decoding.frames", "column_of"): CALLED,
    ("mincemeat.decoding.frames", "frame_of"): CALLED,
    ("mincemeat.decoding.frames", "index_of"): CALLED,
    ("mincemeat.decoding.frames", "missing"): CALLED,
    ("mincemeat.decoding.frames", "moment_of"): CALLED,
    ("mincemeat.decoding.frames", "multi_index_of"): CALLED,
    ("mincemeat.decoding.frames", "range_index_of"): CALLED,
    ("mincemeat.decoding.frames", "series_of"): CALLED,
    ("mincemeat.decoding.frames", "span_of"): CALLED,
    ("mincemeat.errors", "rebuild"): CALLED,
}

# Every exception that is built in, for what a function of the job raised: they keep their arguments, and that is all.
# Not those that would end the caller's program (SystemExit).
_EXCEPTIONS: Final = {
    ("builtins", name): CALLED | INSTANTIATED | CHANGED
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, Exception) and found.__name__ == name
}

ALLOWED: Final = {**_TYPES, **_FORMS, **_EXCEPTIONS}
