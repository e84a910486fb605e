"""A script that packs its functions; deliberately without the usual guard around what it does.

Every claim is one job. What its check says is reported under the claim's name, which is that of a test.
"""

from __future__ import annotations

import abc
import collections
import concurrent.futures
import dataclasses
import enum
import functools
import math
import operator
import os.path
import pickle
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import deep  # type: ignore[import-not-found]
import helpers  # type: ignore[import-not-found]
import spaced.part  # type: ignore[import-not-found]
from helpers import Tally, normal
from journey import Arrival, Claim, run  # type: ignore[import-not-found]

from mincemeat.model import UserFunctions

with open(Path(__file__).with_name("runs"), "a") as runs:
    runs.write("run\n")

CLAIMS: dict[str, Claim] = {}
Pairs = Iterator[tuple[Any, Any]]


def claim(
    name: str,
    mapfn: Any = None,
    *,
    expect: object = None,
    check: Callable[[Arrival], object] | None = None,
    **more: Any,
) -> None:
    """Note a job; without ``check`` its pairs must equal ``expect``."""
    CLAIMS[name] = Claim(UserFunctions(mapfn=mapfn, **more), check or (lambda arrival: arrival.pairs == expect))


# -- functions -------------------------------------------------------------------------------------------

FACTOR = 7
seen: list[int] = []
total = 0


def plain(key: str, value: int) -> Pairs:
    yield key, value * FACTOR


def factorial(number: int) -> int:
    return 1 if number < 2 else number * factorial(number - 1)


def calls_others(key: str, value: int) -> Pairs:
    yield from plain(key, factorial(value))


def uses_imports(key: str, value: int) -> Pairs:
    yield math.isqrt(value * value), collections.Counter("aab")["a"]
    yield os.path.basename("a/b"), concurrent.futures.ThreadPoolExecutor.__name__


def make_closure(offset: int) -> Callable[[str, int], Pairs]:
    def mapfn(key: str, value: int) -> Pairs:
        yield key, value + offset

    return mapfn


def doubled(function: Callable[[str, int], Pairs]) -> Callable[[str, int], Pairs]:
    @functools.wraps(function)
    def wrapper(key: str, value: int) -> Pairs:
        yield from function(key, value)
        yield from function(key, value)

    return wrapper


@doubled
def decorated(key: str, value: int) -> Pairs:
    yield key, value


@functools.cache
def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


@functools.lru_cache(maxsize=5)
def cached_mapfn(key: str, value: int) -> list[tuple[Any, Any]]:
    return [(key, fibonacci(60)), (fibonacci, cached_mapfn.cache_parameters()["maxsize"])]


@functools.singledispatch
def kind(candidate: object) -> str:
    return "object"


@kind.register
def _(candidate: int) -> str:
    return "int"


class Lazy:
    @functools.cached_property
    def costly(self) -> list[int]:
        return [7]


def uses_decorators(key: str, value: int) -> Pairs:
    lazy = Lazy()
    yield lazy.costly is lazy.costly, lazy.costly
    yield kind(value), kind(key)
    yield "stored", lazy.__dict__


class Multiplier:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def mapfn(self, key: str, value: int) -> Pairs:
        yield key, value * self.factor

    def __call__(self, key: str, value: int) -> Pairs:
        return self.mapfn(key, value)

    @classmethod
    def by_class(cls, key: str, value: int) -> Pairs:
        yield cls.__name__, value

    @staticmethod
    def static(key: str, value: int) -> Pairs:
        yield key, value


def with_exponent(exponent: int, key: str, value: int) -> Pairs:
    yield key, value**exponent


def remembers(key: str, value: int) -> Pairs:
    global total
    total += value
    seen.append(value)
    yield key, value


def recalls(key: str, values: list[int]) -> tuple[int, list[int]]:
    return total, seen


def knows_its_file(key: str, value: int) -> Pairs:
    yield os.path.basename(__file__), __name__


claim("plain_function", plain, expect=[("key", 21)])
claim("helper_function_and_recursion", calls_others, expect=[("key", 42)])
claim("module_level_imports", uses_imports, expect=[(3, 2), ("b", "ThreadPoolExecutor")])
claim("lambda", lambda key, value: [(key, value - FACTOR)], expect=[("key", -4)])
claim("closure", make_closure(5), expect=[("key", 8)])
claim("decorated_function", decorated, expect=[("key", 3), ("key", 3)])
claim(
    "cached_function",
    cached_mapfn,
    check=lambda arrival: arrival.pairs == [("key", 1548008755920), (fibonacci, 5)],
)
claim(
    "cached_property_and_single_dispatch",
    uses_decorators,
    expect=[(True, [7]), ("int", "object"), ("stored", {"costly": [7]})],
)
claim("bound_method", Multiplier(4).mapfn, expect=[("key", 12)])
claim("class_method", Multiplier.by_class, expect=[("Multiplier", 3)])
claim("static_method", Multiplier.static, expect=[("key", 3)])
claim("callable_instance", Multiplier(5), expect=[("key", 15)])
claim("partial", functools.partial(with_exponent, 2), expect=[("key", 9)])
claim("builtin", enumerate, expect=[(3, "k"), (4, "e"), (5, "y")])
claim("builtin_in_a_lambda", reducefn=lambda key, values: sum(values), check=lambda arrival: arrival.reduced == 6)
claim("method_of_a_builtin", reducefn=dict.fromkeys, check=lambda arrival: set(arrival.reduced) == set("key"))
claim("c_function", reducefn=operator.is_not, check=lambda arrival: arrival.reduced is True)
claim(
    "shared_globals",
    remembers,
    reducefn=recalls,
    check=lambda arrival: arrival.reduced == (3, [3]) and (total, seen) == (0, []),
)
claim("own_file_name", knows_its_file, expect=[("everything.py", "__main__")])
claim("missing_functions", check=lambda arrival: arrival.pairs == [] and not arrival.error)

# -- classes ---------------------------------------------------------------------------------------------


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Point3(Point):
    def __init__(self, x: int, y: int, z: int) -> None:
        super().__init__(x, y)
        self.z = z


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...


class Square(Shape):
    __slots__ = ("side",)

    def __init__(self, side: int) -> None:
        self.side = side

    def area(self) -> int:
        return self.side**2


Item = typing.TypeVar("Item")


class Box(typing.Generic[Item]):
    def __init__(self, item: Item) -> None:
        self.item = item


@dataclasses.dataclass
class Mutable:
    name: str
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Frozen:
    word: str
    count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenChild(Frozen):
    extra: int = 1


class Color(enum.Enum):
    RED = 1
    GREEN = 2
    CRIMSON = 1  # noqa: PIE796 - an alias

    def lower(self) -> str:
        return self.name.lower()


class Planet(enum.Enum):
    EARTH = (6, 2)
    MARS = (9, 3)

    def __init__(self, mass: int, radius: int) -> None:
        self.mass, self.radius = mass, radius

    @property
    def density(self) -> float:
        return self.mass / self.radius


class Coded(enum.Enum):
    label: str
    FIRST = (1, "first")
    SECOND = (2, "second")

    def __new__(cls, code: int, label: str) -> Coded:
        member = object.__new__(cls)
        member._value_ = code
        member.label = label
        return member


coded: Callable[[int], Coded] = functools.partial(Coded)


class Permission(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    BOTH = READ | WRITE


class Priority(enum.IntEnum):
    LOW = 1
    HIGH = 2


Pair = collections.namedtuple("Pair", "left right")


class Typed(NamedTuple):
    name: str
    number: int = 0


class Outer:
    class Inner:
        def __init__(self, value: int) -> None:
            self.value = value


class OtherOuter:
    """Never used by a function that travels, its inner class is."""

    class Inner:
        value = 3


class Reachable:
    """Only its instance is a global that functions use."""

    def make(self, value: int) -> Reachable:
        copy = type(self)()
        copy.value = value
        return copy

    value = 0


class Custom(Exception):
    pass


class Twice:
    def __reduce__(self) -> tuple[Any, ...]:
        return make_twice, (2,)


def make_twice(times: int) -> Twice:
    return Twice()


inner = OtherOuter.Inner()
reachable = Reachable()


def yields_points(key: str, value: int) -> Pairs:
    yield Point3, Point3(1, 2, value)
    yield Point, Point(1, value)


def points_are_ours(arrival: Arrival) -> bool:
    three: Any
    (point3, three), (point, two) = arrival.pairs
    return (
        (point3, type(three), point, type(two)) == (Point3, Point3, Point, Point)
        and (three.x, three.z, two.y) == (1, 3, 3)
        and isinstance(three, Point)
    )


def yields_shapes(key: str, value: int) -> Pairs:
    square = Square(value)
    yield isinstance(square, Shape), square.area()
    yield "square", square
    yield "box", Box[int](value)


def shapes_are_ours(arrival: Arrival) -> bool:
    (_, area), (_, square), (_, box) = arrival.pairs
    return area == 9 and type(square) is Square and square.side == 3 and type(box) is Box and box.item == 3


def yields_dataclasses(key: str, value: int) -> Pairs:
    yield Frozen("a", value), Mutable("m")
    yield Frozen("a") < Frozen("b"), dataclasses.replace(FrozenChild("c"), extra=value)
    fields = dataclasses.fields(Mutable)
    yield "defaults", [field.default is dataclasses.MISSING for field in fields]
    yield "child", dataclasses.asdict(dataclasses.make_dataclass("Child", ["more"], bases=(Required,))(1, 2))


@dataclasses.dataclass
class Required:
    first: int


def yields_enums(key: str, value: int) -> Pairs:
    assert pickle.loads(pickle.dumps(Color.RED)) is Color.RED, "identity within the slot"
    yield Color.RED, Color.GREEN.lower()
    yield Color["CRIMSON"] is Color.RED, Color.CRIMSON
    yield Planet.MARS, (Planet.MARS.mass, Planet["EARTH"].density)
    yield Coded.SECOND, (Coded.FIRST.label, coded(2))
    yield Permission.READ | Permission.WRITE, (Permission.BOTH.name, Permission["BOTH"], list(Permission.BOTH))
    yield Priority.HIGH, [Priority.LOW < Priority.HIGH, *Priority]


def enums_are_ours(arrival: Arrival) -> bool:
    pairs = arrival.pairs
    return (
        pairs[0][0] is Color.RED
        and pairs[0][1] == "green"
        and pairs[1] == (True, Color.RED)
        and pairs[2] == (Planet.MARS, (9, 3.0))
        and pairs[3] == (Coded.SECOND, ("first", Coded.SECOND))
        and pairs[4][0] is Permission.BOTH
        and pairs[4][1] == ("BOTH", Permission.BOTH, [Permission.READ, Permission.WRITE])
        and pairs[5] == (Priority.HIGH, [True, Priority.LOW, Priority.HIGH])
    )


def yields_tuples(key: str, value: int) -> Pairs:
    yield Pair(1, value), Typed("a")


def yields_nested(key: str, value: int) -> Pairs:
    yield Outer.Inner.__qualname__, Outer.Inner(value)
    yield type(inner).__qualname__, inner


def yields_reachable(key: str, value: int) -> Pairs:
    yield key, reachable.make(value)


def yields_functions(key: str, value: int) -> Pairs:
    yield plain, Twice()


def yields_exception(key: str, value: int) -> Pairs:
    yield key, Custom("of the script", value)


claim("instances_of_script_classes", yields_points, check=points_are_ours)
claim("abstract_generic_and_slotted_classes", yields_shapes, check=shapes_are_ours)
claim(
    "dataclasses",
    yields_dataclasses,
    expect=[
        (Frozen("a", 3), Mutable("m")),
        (True, FrozenChild("c", extra=3)),
        ("defaults", [True, True]),
        ("child", {"first": 1, "more": 2}),
    ],
)
claim("enums", yields_enums, check=enums_are_ours)
claim(
    "named_tuples",
    yields_tuples,
    check=lambda arrival: (
        arrival.pairs == [((1, 3), ("a", 0))]
        and [type(part) for pair in arrival.pairs for part in pair] == [Pair, Typed]
    ),
)
claim(
    "nested_classes",
    yields_nested,
    check=lambda arrival: (
        [(name, type(value)) for name, value in arrival.pairs]
        == [("Outer.Inner", Outer.Inner), ("OtherOuter.Inner", OtherOuter.Inner)]
    ),
)
claim(
    "class_known_only_by_an_instance",
    yields_reachable,
    check=lambda arrival: type(arrival.pairs[0][1]) is Reachable and arrival.pairs[0][1].value == 3,
)
claim(
    "functions_as_values",
    yields_functions,
    check=lambda arrival: arrival.pairs[0][0] is plain and type(arrival.pairs[0][1]) is Twice,
)
claim(
    "exceptions_of_the_script",
    yields_exception,
    check=lambda arrival: type(arrival.pairs[0][1]) is Custom and arrival.pairs[0][1].args == ("of the script", 3),
)

# -- modules beside the script ---------------------------------------------------------------------------


def uses_helpers(key: str, value: int) -> Pairs:
    yield key, helpers.tally("Word", value)


def uses_names_of_helpers(key: str, value: int) -> Pairs:
    yield key, Tally("word", value)


def uses_lambda_of_helpers(key: str, value: int) -> Pairs:
    yield key, helpers.scaled(value)


def uses_cached_function_of_helpers(key: str, value: int) -> Pairs:
    yield key, normal("Word")


def imports_inside(key: str, value: int) -> Pairs:
    import lazily  # type: ignore[import-not-found]

    yield key, lazily.ANSWER


def uses_package(key: str, value: int) -> Pairs:
    from deep.optional import EXTRA  # type: ignore[import-not-found]

    yield EXTRA, deep.leaf.grow(value)


def uses_namespace_package(key: str, value: int) -> Pairs:
    yield key, spaced.part.PLACE


def fails_in_helpers(key: str, value: int) -> Pairs:
    helpers.fail()
    yield key, value


def fails_in_script(key: str, value: int) -> Pairs:
    yield key, value // 0  # division by nothing


def ours_among(modules: list[str]) -> set[str]:
    return {"helpers", "vocabulary", "lazily", "unused", "journey", "everything"} & set(modules)


claim(
    "local_module_and_what_it_imports",
    uses_helpers,
    check=lambda arrival: arrival.pairs == [("key", Tally("word", 3))] and type(arrival.pairs[0][1]) is Tally,
)
claim("cached_function_of_a_local_module", uses_cached_function_of_helpers, expect=[("key", "word")])
claim("names_of_a_local_module", uses_names_of_helpers, expect=[("key", Tally("word", 3))])
claim("lambda_of_a_local_module", uses_lambda_of_helpers, expect=[("key", 30)])
claim(
    "function_of_a_local_module_itself",
    reducefn=helpers.tally,
    check=lambda arrival: arrival.reduced == Tally("key", [1, 2, 3]),
)
claim("lazily_imported_local_module", imports_inside, expect=[("key", 42)])
claim("local_package_with_relative_imports", uses_package, expect=[("whole", 103)])
claim("local_namespace_package", uses_namespace_package, expect=[("key", "namespace")])
claim(
    "traceback_through_a_local_module",
    fails_in_helpers,
    check=lambda arrival: 'raise ValueError("helpers failed")  # the line a traceback shows' in arrival.error,
)
claim("traceback_through_the_script", fails_in_script, check=lambda arrival: "# division by nothing" in arrival.error)
claim(
    "only_the_modules_that_are_used",
    uses_helpers,
    check=lambda arrival: ours_among(arrival.modules) == {"helpers", "vocabulary"},
)

run(CLAIMS, Path(sys.argv[1]), Path(sys.argv[2]))
