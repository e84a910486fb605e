"""Keys and results in forms that JSON, CSV and SQLite have words for.

Decides: the form of everything that is more than text, number and list. The forms are for reading by people and other
programs, and do not always tell what type they came from:

    =====================================================  ==================================================
    None, bool, int, float, str                            themselves
    nan and the infinities                                 "NaN", "Infinity", "-Infinity": JSON has no such numbers
    list, tuple, named tuple, deque, any other sequence    array
    set, frozenset                                         array, sorted so that it is the same every time
    dict and other mappings                                object; a key that is no str is written as its JSON text
    dataclass                                              object of its fields
    enum member                                            its value
    bytes, bytearray, memoryview                           {"base64": "..."}
    Decimal, Fraction, complex, UUID, path                 its str()
    datetime, date, time                                   ISO 8601
    timedelta                                              seconds
    numpy scalar or array                                  as its tolist()
    =====================================================  ==================================================

Anything else is an InvalidEmission that names key and type. Knows nothing of files.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final, TypeAlias

from mincemeat.errors import InvalidEmission
from mincemeat.model import describe_key

Plain: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"

# Types by name, because their modules are slow to import and an instance is here only if somebody has imported them.
_FORMS_BY_NAME: Final[dict[str, Callable[[Any], Any]]] = {
    "decimal.Decimal": str,
    "fractions.Fraction": str,
    "builtins.complex": str,
    "uuid.UUID": str,
    "datetime.datetime": lambda moment: moment.isoformat(),
    "datetime.date": lambda day: day.isoformat(),
    "datetime.time": lambda time: time.isoformat(),
    "datetime.timedelta": lambda span: span.total_seconds(),
}
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def plain(value: Any) -> Plain:
    """``value`` in JSON's own types, by the table above. Raises: TypeError naming a type that has no form."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:
        return value  # type: ignore[no-any-return]
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_of(float(value))
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, Set):
        return _sorted([plain(item) for item in value])
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return _plain_object(value)


def _plain_mapping(mapping: Mapping[Any, Any]) -> Plain:
    form = {key if type(key) is str else _key_text(key): plain(item) for key, item in mapping.items()}
    if len(form) != len(mapping):
        raise TypeError(f"a {type(mapping).__name__} with different keys that have the same text, as 1 and '1' have")
    return form


def _plain_object(value: Any) -> Plain:
    for cls in type(value).__mro__:
        form = _FORMS_BY_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
        if form is not None:
            return form(value)  # type: ignore[no-any-return]
    if hasattr(type(value), "__dataclass_fields__"):
        import dataclasses  # not at the top: it takes as long as all else here, and a value is here only if it has been

        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        listed = value.tolist()
        # A long double is the one thing that stays numpy's own.
        return str(value) if type(listed) is type(value) else plain(listed)
    raise TypeError(f"a {type(value).__name__}")


def _name_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _key_text(key: Any) -> str:
    form = plain(key)
    return form if isinstance(form, str) else _encode(form)


def _sorted(items: list[Plain]) -> list[Plain]:
    """Numbers by size and texts by alphabet, a mixture by its JSON text: sets have no order that could be kept."""
    if all(type(item) in (int, float) for item in items) or all(type(item) is str for item in items):
        return sorted(items)  # type: ignore[type-var]
    return sorted(items, key=_encode)


def json_text(value: Any) -> str:
    """``value`` as JSON in one line. Raises: TypeError as ``plain``."""
    kind = type(value)
    # A word count has nothing but these two, and this is three times as fast as the encoder.
    if kind is int:
        return repr(value)
    return _encode(value if kind is str else plain(value))


def no_form(key: Any, error: TypeError | ValueError | RecursionError) -> InvalidEmission:
    """What to raise when ``plain`` raised ``error`` over ``key`` or its result; its ``key`` describes that."""
    what = (
        "something that contains itself, or is nested too deeply" if isinstance(error, RecursionError) else str(error)
    )
    return InvalidEmission(
        f"the result for key {describe_key(key)} holds {what}, which this format has no form for: "
        f"let reducefn return text, numbers, lists or dicts, or take the results as a dict in Python",
        key=describe_key(key),
    )
