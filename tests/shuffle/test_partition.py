"""The partitioner: one law (equal keys hash equal), golden values, and the sentences of what it refuses."""

from __future__ import annotations

import enum
import json
import math
import struct
import sys
import uuid
import zlib
from collections import Counter, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.shuffle import partition
from mincemeat.shuffle.partition import make_partitioner, partition_hash

VECTORS = Path(__file__).parent.parent / "vectors" / "partitioner.json"


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias is what is tested
    BLUE = 2


class Word(enum.StrEnum):
    YES = "yes"


class Level(enum.IntEnum):
    HIGH = 3


class Access(enum.Flag):
    READ = 1
    WRITE = 2


Pair = namedtuple("Pair", "a b")


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Place:
    name: str
    zip_code: int = 0
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Slotted:
    name: str


class Folded(str):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


@dataclass(frozen=True)
class OwnHash:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnHash) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


GOLDEN_KEYS: dict[str, Any] = {
    "None": None,
    "empty str": "",
    "humpty": "humpty",
    "umlaut": "Größe",
    "lone surrogate": "\udcff",
    "empty bytes": b"",
    "bytes": b"humpty",
    "0": 0,
    "1": 1,
    "-1": -1,
    "2**61-1": 2**61 - 1,
    "10**30": 10**30,
    "-(10**30)": -(10**30),
    "0.5": 0.5,
    "1e300": 1e300,
    "inf": math.inf,
    "-inf": -math.inf,
    "1+2j": 1 + 2j,
    "1/3": Fraction(1, 3),
    "Decimal 0.1": Decimal("0.1"),
    "()": (),
    "('a', 1)": ("a", 1),
    "(1, 'a')": (1, "a"),
    "nested tuple": (("a", None), (b"b", 1.5)),
    "frozenset()": frozenset(),
    "frozenset of a, 1": frozenset({"a", 1}),
    "Colour.RED": Colour.RED,
    "Access.READ|WRITE": Access.READ | Access.WRITE,
    "Place": Place("Berlin", 10115, "not compared"),
    "date": date(2004, 12, 6),
    "naive datetime": datetime(2004, 12, 6, 9, 30, 1, 5),
    "aware datetime": datetime(2004, 12, 6, 9, 30, tzinfo=UTC),
    "naive time": time(9, 30, 1, 5),
    "aware time": time(9, 30, tzinfo=UTC),
    "timedelta": timedelta(days=-1, microseconds=1),
    "longest timedelta": timedelta.max,
    "uuid": uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
}


def test_hashes_are_those_of_the_golden_file() -> None:
    golden = json.loads(VECTORS.read_text())
    assert {name: partition_hash(key) for name, key in GOLDEN_KEYS.items()} == golden


def test_str_and_bytes_hash_as_crc32_of_their_utf8() -> None:
    assert partition_hash("Größe") == zlib.crc32("Größe".encode())
    assert partition_hash(b"\x00\xff") == zlib.crc32(b"\x00\xff")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, Decimal(1)),
        (1, Decimal("1.000")),
        (1, Fraction(1)),
        (1, complex(1, 0)),
        (0, -0.0),
        (0, Decimal("-0")),
        (-1, -1.0),
        (-1, complex(-1, 0)),
        (0.5, Fraction(1, 2)),
        (10**400, Decimal("1E+400")),
        (math.inf, Decimal("Infinity")),
        (-math.inf, Decimal("-Infinity")),
        (2**61 - 1, float(2**61)),  # not equal; only to show that the next line is not a constant
        (Word.YES, "yes"),
        (Level.HIGH, 3.0),
        (Colour.CRIMSON, Colour.RED),
        (Point(1, 2), (1, 2.0)),
        (Pair(1, "x"), (True, "x")),
        (frozenset({1, "a", None}), frozenset({None, "a", 1.0})),
        (Place("a", 1, note="x"), Place("a", 1, note="y")),
        (Slotted("a"), Slotted("a")),
        (
            datetime(2026, 1, 1, 12, tzinfo=UTC),
            datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        ),
        (time(12, tzinfo=UTC), time(14, 30, tzinfo=timezone(timedelta(hours=2, minutes=30)))),
        (time(12), time(12, tzinfo=ZoneInfo("Europe/Berlin"))),
        (timedelta(days=1), timedelta(hours=24)),
    ],
)
def test_equal_keys_of_different_types_hash_equal(one: Any, other: Any) -> None:
    if one == other:
        assert partition_hash(one) == partition_hash(other)
    else:
        assert partition_hash(one) != partition_hash(other)


def test_readings_of_one_zone_that_are_equal_but_for_fold_hash_equal() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold) for fold in (0, 1))
    assert first == second
    assert partition_hash(first) == partition_hash(second)


def test_datetimes_at_the_ends_of_the_calendar_do_not_overflow() -> None:
    east, west = timezone(timedelta(hours=23)), timezone(timedelta(hours=-23))
    early, late = datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west)
    assert partition_hash(early) != partition_hash(late)


numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(allow_nan=False),
    st.fractions(),
    st.decimals(allow_nan=False, places=3),
    st.complex_numbers(allow_nan=False),
)
scalars = st.one_of(st.none(), st.text(st.characters()), st.binary(), numbers, st.dates(), st.datetimes(), st.uuids())
keys = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4), max_leaves=5
)


@st.composite
def disguised(draw: st.DrawFn, key: Any) -> Any:
    """A key equal to ``key`` of, perhaps, other types."""
    if isinstance(key, tuple):
        return tuple(draw(disguised(part)) for part in key)
    if isinstance(key, frozenset):
        return frozenset(reversed(list(key)))
    forms = [key]
    for kind in (int, float, Fraction, Decimal, complex, bool):
        try:
            forms.append(kind(key))
        except (TypeError, ValueError, OverflowError, ArithmeticError):
            continue
    return draw(st.sampled_from([form for form in forms if form == key]))


@pytest.mark.slow
@given(st.data())
def test_keys_that_a_dict_would_not_tell_apart_hash_equal(data: st.DataObject) -> None:
    one = data.draw(keys)
    other = data.draw(disguised(one))
    assert one == other
    assert hash(one) == hash(other)
    assert partition_hash(one) == partition_hash(other)


@pytest.mark.slow
@given(keys)
def test_a_hash_has_32_bits(key: Any) -> None:
    assert 0 <= partition_hash(key) < 2**32


@pytest.mark.slow
@pytest.mark.skipif(sys.hash_info.modulus != 2**61 - 1, reason="the built-in numeric hash is another one here")
@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.fractions()))
def test_computed_numeric_hash_is_the_documented_one(number: Any) -> None:
    numerator, denominator = number.as_integer_ratio()
    assert partition.ratio_hash(numerator, denominator) == hash(number)


@pytest.mark.slow
@given(
    st.one_of(
        st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False), st.complex_numbers(allow_nan=False)
    )
)
def test_builds_with_another_builtin_hash_agree(number: Any) -> None:
    usual = partition_hash(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "_BUILTIN_HASH_AGREES", False)
        assert partition_hash(number) == usual


@pytest.mark.slow
@pytest.mark.skipif(sys.hash_info.width != 64, reason="compares with the built-in hash of 64-bit builds")
@given(numbers)
def test_numbers_hash_as_crc32_of_their_64_bit_numeric_hash(number: Any) -> None:
    assert partition_hash(number) == zlib.crc32(struct.pack("<q", hash(number)))


@pytest.mark.parametrize("nan", [math.nan, Decimal("NaN"), Decimal("sNaN"), complex(1, math.nan), ("a", math.nan)])
def test_nan_is_refused_with_its_reason(nan: Any) -> None:
    with pytest.raises(InvalidEmission, match="nan cannot be a key: it is not equal to itself"):
        partition_hash(nan)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (object(), "object"),
        (len, "builtin_function_or_method"),
        (int, "type"),
        (range(3), "range"),
        (memoryview(b"x"), "memoryview"),
        (("a", object()), "object"),
        (Folded("A"), "Folded"),
        (OwnHash("A"), "OwnHash"),
    ],
)
def test_other_types_are_refused_by_name_with_the_way_out(key: Any, name: str) -> None:
    with pytest.raises(InvalidEmission, match=rf"a key of type '{name}' cannot be partitioned.*partitionfn="):
        partition_hash(key)


def test_dataclasses_that_are_not_frozen_are_refused() -> None:
    @dataclass(unsafe_hash=True)
    class Loose:
        name: str

    with pytest.raises(InvalidEmission, match="Loose"):
        partition_hash(Loose("a"))


def test_dataclasses_compared_by_identity_are_refused() -> None:
    @dataclass(frozen=True, eq=False)
    class ByIdentity:
        name: str

    with pytest.raises(InvalidEmission, match="ByIdentity"):
        partition_hash(ByIdentity("a"))


def test_numpy_scalars_hash_like_the_numbers_they_equal() -> None:
    numpy: Any = pytest.importorskip("numpy", reason="numpy is not installed")
    for kind in (
        numpy.int8,
        numpy.uint64,
        numpy.float16,
        numpy.float64,
        numpy.longdouble,
        numpy.complex64,
        numpy.bool_,
    ):
        assert partition_hash(kind(1)) == partition_hash(1)
    assert partition_hash(numpy.longdouble("inf")) == partition_hash(math.inf)
    assert partition_hash(numpy.str_("a")) == partition_hash("a")
    assert partition_hash(numpy.bytes_(b"a")) == partition_hash(b"a")
    assert partition_hash((numpy.int64(-1), "a")) == partition_hash((-1.0, "a"))
    with pytest.raises(InvalidEmission, match="nan"):
        partition_hash(numpy.float32("nan"))
    with pytest.raises(InvalidEmission, match="datetime64"):
        partition_hash(numpy.datetime64("2026-01-01"))


@pytest.mark.slow
@given(st.one_of(st.lists(st.text(st.characters())), st.lists(st.integers()), st.lists(st.binary()), st.lists(scalars)))
def test_indices_in_bulk_are_those_one_by_one(several: list[Any]) -> None:
    partitioner = make_partitioner(7)
    assert partitioner.indices(several) == [partitioner(key) for key in several]
    assert all(partitioner(key) == partition_hash(key) % 7 for key in several)


@pytest.mark.parametrize(
    "several",
    [
        [f"word{n}" for n in range(6400)],
        list(range(6400)),
        [n * 64 for n in range(6400)],
        [n / 8 for n in range(6400)],
        [n << 40 for n in range(6400)],
        [(x, y) for x in range(80) for y in range(80)],
        [(x, x) for x in range(6400)],
        [date.fromordinal(700_000 + n) for n in range(6400)],
        [frozenset({n, n + 1}) for n in range(6400)],
    ],
    ids=["words", "ints", "multiples", "eighths", "high bits", "grid", "twins", "dates", "sets"],
)
def test_common_keys_spread_over_all_partitions(several: list[Any]) -> None:
    counts = Counter(make_partitioner(64).indices(several))
    assert len(counts) == 64
    assert max(counts.values()) <= 2.5 * len(several) / 64


def test_partitionfn_is_taken_modulo_the_number_of_partitions() -> None:
    partitioner = make_partitioner(8, lambda key: int(key))
    assert [partitioner("9"), partitioner("-1"), partitioner(3)] == [1, 7, 3]
    assert partitioner.indices(["9", "-1", 3]) == [1, 7, 3]


def test_partitionfn_lifts_the_restriction_to_known_types() -> None:
    assert make_partitioner(8, lambda _key: 5)(Folded("A")) == 5


def test_partitionfn_that_gives_no_int_is_told() -> None:
    give_float: Any = lambda _key: 1.5  # noqa: E731
    partitioner = make_partitioner(8, give_float)
    sentence = r"partitionfn must give an int; for the key 'a' it gave 1.5 \(float\)"
    with pytest.raises(InvalidEmission, match=sentence):
        partitioner("a")
    with pytest.raises(UserCodeError, match=sentence) as caught:
        partitioner.indices(["a"])
    assert (caught.value.function, caught.value.key) == ("partitionfn", "'a'")


@pytest.mark.parametrize("raised", [KeyError("a"), SystemExit(3)])
def test_exception_of_partitionfn_is_carried_with_its_key(raised: BaseException) -> None:
    def partitionfn(_key: Any) -> int:
        raise raised

    with pytest.raises(UserCodeError) as caught:
        make_partitioner(8, partitionfn)("a")
    assert (caught.value.function, caught.value.key) == ("partitionfn", "'a'")
    assert caught.value.__cause__ is raised


def test_key_that_cannot_be_dealt_is_carried_with_the_key_and_mapfn() -> None:
    with pytest.raises(UserCodeError, match="partitionfn=") as caught:
        make_partitioner(8).indices(["a", range(2)])
    assert (caught.value.function, caught.value.key) == ("mapfn", "range(0, 2)")
    assert isinstance(caught.value.__cause__, InvalidEmission)
