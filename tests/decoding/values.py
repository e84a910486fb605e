"""Values as hypothesis makes them."""

from __future__ import annotations

import collections
import datetime
from typing import Any

from hypothesis import strategies as st

from tests.kit.classes import Bag, Box, Color, Frozen, Level, Names, Old, Pair, Perm, Point, Stateful

_atoms: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=8)
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(_atoms, inner, max_size=4),
        st.sets(_atoms, max_size=4),
        st.frozensets(_atoms, max_size=4),
        st.binary(max_size=8).map(bytearray),
    )


plain_data: st.SearchStrategy[Any] = st.recursive(_atoms, _containers, max_leaves=20)

_zones = st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=2), "here")])

of_the_library: st.SearchStrategy[Any] = st.one_of(
    st.complex_numbers(allow_nan=False),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=_zones),
    st.datetimes(timezones=st.timezones()),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.builds(collections.deque, st.lists(_atoms, max_size=4), st.none() | st.integers(0, 9)),
    st.lists(_atoms, max_size=4).map(collections.Counter),
    st.dictionaries(_atoms, _atoms, max_size=4).map(collections.OrderedDict),
    st.dictionaries(_atoms, _atoms, max_size=4).map(lambda found: collections.defaultdict(list, found)),
    st.dictionaries(_atoms, _atoms, max_size=4).map(lambda found: collections.defaultdict(None, found)),
    st.dictionaries(_atoms, _atoms, max_size=4).map(collections.UserDict),
    st.lists(_atoms, max_size=4).map(collections.UserList),
    st.text(max_size=5).map(collections.UserString),
)


def _stateful(value: Any) -> Stateful:
    made = Stateful()
    made.value = value
    return made


def _labelled(value: Any) -> Bag:
    made = Bag([value])
    made.label = value  # type: ignore[attr-defined]
    return made


def of_the_job(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of the classes in tests/kit/classes.py that can be compared, or are by what they hold."""
    return st.one_of(
        st.builds(Point, inner, inner),
        st.builds(Point.Label, st.text(max_size=3)),
        st.builds(Frozen, st.text(max_size=3), st.lists(st.text(max_size=3), max_size=2).map(tuple)),
        st.sampled_from([*Color, *Level, *Perm, Perm.R | Perm.W]),
        st.builds(Pair, inner, inner),
        st.builds(Old, inner, inner),
        st.builds(Box, inner, st.dictionaries(st.text(max_size=3), inner, max_size=2)),
        inner.map(_labelled),
        st.dictionaries(st.text(max_size=3), inner, max_size=2).map(Names),
    )


anything: st.SearchStrategy[Any] = st.recursive(
    _atoms | of_the_library, lambda inner: _containers(inner) | of_the_job(inner), max_leaves=20
)
stateful: st.SearchStrategy[Stateful] = _atoms.map(_stateful)

__all__ = ["anything", "of_the_job", "of_the_library", "plain_data", "stateful"]
