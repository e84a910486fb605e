"""What cloudpickle 3 loses or refuses of code that travels by value, and how it is mended.

Decides: the repairs, each with the fault it mends. Does not know what travels by value.

Of classes:

* ``__qualname__`` of a nested class: a copy of ``Outer.Inner`` calls itself ``Inner``, and its instances would be
  pickled under a name that nobody has.
* Members of an enum: what ``__init__`` or ``__new__`` stored on them, and the names of aliases and of combined flags.
* ``dataclasses.MISSING``: a copy is another object, and then every field seems to have a default.

Of code objects:

* ``co_filename``, since cloudpickle 3.1.3: without it a traceback names no file of the user's, and shows no line.

Of what the decorators of ``functools`` make:

* ``lru_cache`` and ``cache``: pickled by a name that a slot does not have yet. The copy starts with an empty cache.
* ``cached_property``: holds a lock before Python 3.12.
* ``singledispatch``: holds a dictionary of weak references.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

# What a pickler's reducer_override gives for an object with a state: the last one applies the state to the object.
Reduced: TypeAlias = tuple[Any, Any, Any, None, None, Callable[[Any, Any], Any]]

_CachedFunction = type(functools.lru_cache(lambda: None))

# Set by the enum machinery itself when the copy is made; an inverted flag is a cache.
_MEMBER_MACHINERY = frozenset({"_name_", "_value_", "__objclass__", "_sort_order_", "_inverted_"})


def is_missing_sentinel(candidate: object) -> bool:
    """Whether this is ``dataclasses.MISSING``, which must be pickled by its name."""
    dataclasses = sys.modules.get("dataclasses")
    return dataclasses is not None and candidate is dataclasses.MISSING


def reduce_instance(candidate: Any) -> tuple[Any, ...] | None:
    """A recipe for an instance of the standard library that has none, or none that works. ``None`` for all others."""
    if isinstance(candidate, functools.cached_property):
        return functools.cached_property, (candidate.func,), {"attrname": candidate.attrname}
    if type(candidate) is weakref.WeakKeyDictionary:
        return weakref.WeakKeyDictionary, (dict(candidate),)
    return None


def with_file(code: types.CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """``reduced``, the recipe for ``code``, with the file that it is from."""
    return make_code, (*reduced[:2], code.co_filename)


def make_code(make: Callable[..., types.CodeType], arguments: tuple[Any, ...], file: str) -> types.CodeType:
    """What a recipe of ``with_file`` calls."""
    return make(*arguments).replace(co_filename=file)


def is_cached_function(candidate: object) -> bool:
    """Whether ``functools.lru_cache`` made this."""
    return type(candidate) is _CachedFunction


def reduce_cached_function(cached: Any) -> tuple[Any, ...]:
    """The recipe for such a function."""
    parameters = cached.cache_parameters()
    return make_cached_function, (cached.__wrapped__, parameters["maxsize"], parameters["typed"])


def make_cached_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Called by the unpickler."""
    return functools.lru_cache(maxsize, typed)(function)


def with_repairs(cls: type, reduced: Reduced) -> Reduced:
    """``reduced``, cloudpickle's recipe for ``cls``, completed by what it leaves out."""
    make, arguments, state, _, _, apply_state = reduced
    members: dict[str, dict[str, Any]] = {}
    aliases: dict[str, tuple[Any, str]] = {}
    if issubclass(cls, enum.Enum):
        members, aliases = _members_and_aliases(cls)
        attributes, slots = state
        # Left to cloudpickle, an alias would be assigned as an attribute, which an enum loaded twice refuses.
        state = ({name: value for name, value in attributes.items() if name not in aliases}, slots)
    completed = (apply_state, state, cls.__qualname__, members, aliases)
    return make, arguments, completed, None, None, complete_class


def _members_and_aliases(cls: type[enum.Enum]) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[Any, str]]]:
    members = {
        member.name: {name: value for name, value in vars(member).items() if name not in _MEMBER_MACHINERY}
        for member in cls
    }
    # A combination of flags with a name of its own counts here, too: iteration leaves it out as it does an alias.
    aliases = {name: (member.value, member.name) for name, member in cls.__members__.items() if name not in members}
    return members, aliases


def complete_class(cls: type, completed: tuple[Any, ...]) -> None:
    """Called by the unpickler with a bare class and what ``with_repairs`` recorded of the original."""
    apply_state, state, qualname, members, aliases = completed
    apply_state(cls, state)
    cls.__qualname__ = qualname
    if not issubclass(cls, enum.Enum):
        return
    for name, attributes in members.items():
        vars(cls[name]).update(attributes)
    for name, (value, canonical_name) in aliases.items():
        member = cls(value)
        member._name_ = canonical_name
        cls._member_map_[name] = member
        # EnumType.__setattr__ refuses names of members, which this now is.
        type.__setattr__(cls, name, member)
