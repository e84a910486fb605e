"""Decides how many pairs may be emitted at once: ``Pairs``, and dicts (``Counter`` among them) of partial values.

It knows nothing of grouping. Columns are told by the method that makes a list of them, so neither NumPy nor Arrow is
imported for it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, overload

from mincemeat.errors import InvalidEmission
from mincemeat.model import Pair

_TO_LIST: Final = ("tolist", "to_pylist", "to_list")  # NumPy, pandas and array; Arrow; Polars
# Iterable, but no column: text would fall apart into letters, a set has no order to match the other column by.
_NO_COLUMNS: Final = (str, bytes, bytearray, set, frozenset, dict)


class Pairs:
    """Many pairs emitted at once: ``yield mincemeat.Pairs(keys, values)`` for equally long columns.

    Shape: lists, tuples, ranges or other iterables, NumPy arrays, Arrow, pandas and Polars columns; elements of these
    become Python's own objects. The pairs count as emitted one after the other.
    Memory: a list of each column.
    Raises: InvalidEmission for columns of different lengths, and for what is no column.
    """

    __slots__ = ("keys", "values")

    def __init__(self, keys: Iterable[Any], values: Iterable[Any]) -> None:
        self.keys = _column("keys", keys)
        self.values = _column("values", values)
        if len(self.keys) != len(self.values):
            raise InvalidEmission(
                f"mincemeat.Pairs needs as many values as keys (got {len(self.keys)} keys "
                f"and {len(self.values)} values)"
            )

    def __repr__(self) -> str:
        return f"mincemeat.Pairs({len(self.keys)} keys and values)"


def _column(name: str, column: Any) -> list[Any]:
    if type(column) is list:
        return column
    if not isinstance(column, _NO_COLUMNS):
        convert = next((getattr(column, method) for method in _TO_LIST if hasattr(column, method)), None)
        if convert is None and hasattr(column, "__iter__") and not hasattr(column, "columns"):  # not a table's names
            convert = functools.partial(list, column)
        elements = convert and convert()
        if isinstance(elements, list):
            return elements
    raise InvalidEmission(f"mincemeat.Pairs needs a list or array of {name} (got {type(column).__name__})")


def is_batch(element: object) -> bool:
    """Whether ``element`` stands for many pairs."""
    return isinstance(element, Pairs | dict)


class Columns(Sequence[Pair]):
    """Pairs whose keys and values stand in two lists of one length, so that going through them makes no tuples."""

    __slots__ = ("keys", "values")

    def __init__(self, keys: list[Any], values: list[Any]) -> None:
        self.keys = keys
        self.values = values

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self.keys, self.values, strict=True)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice[Any, Any, Any]) -> list[Pair]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return list(zip(self.keys[place], self.values[place], strict=True))
        return self.keys[place], self.values[place]

    def portion(self, start: int, size: int) -> Columns:
        """``size`` pairs from ``start`` on, or as many as there are."""
        return Columns(self.keys[start : start + size], self.values[start : start + size])


def columns_of(batch: Pairs | dict[Any, Any]) -> Columns:
    """The pairs that ``batch`` stands for."""
    if isinstance(batch, dict):
        return Columns(list(batch), list(batch.values()))
    return Columns(batch.keys, batch.values)
