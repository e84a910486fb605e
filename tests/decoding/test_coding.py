"""What is data comes back as it was; what is not is refused by its name, with the switch, before it is sent."""

from __future__ import annotations

import collections
import datetime
import io
import pathlib
import pickle
import threading
import types
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from mincemeat import errors
from mincemeat.decoding import mentions
from mincemeat.decoding.coding import PLAIN, DataCoding
from mincemeat.errors import RefusedAsData
from tests.decoding.values import anything, of_the_library, plain_data, stateful
from tests.kit import classes
from tests.kit.classes import Color, Frozen, Pair, Point, Refusal, Stateful

CODING = DataCoding([classes.__name__])


@pytest.fixture(autouse=True, scope="module", params=["compiled", "plain"])
def _each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled" and mentions.compiled is None:
        pytest.skip("the compiled module is not there")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(mentions, "compiled", None)
        yield


def check_comes_back(value: Any) -> None:
    data = CODING.dumps(value)
    for back in (CODING.loads(data), PLAIN.loads(data)):
        assert back == value
        assert type(back) is type(value)


@given(anything)
def test_what_is_data_comes_back(value: Any) -> None:
    check_comes_back(value)


@given(of_the_library)
def test_each_class_of_the_library_comes_back(value: Any) -> None:
    check_comes_back(value)
    assert repr(CODING.loads(CODING.dumps(value))) == repr(value)


@given(plain_data)
def test_what_plain_pickle_writes_of_plain_data_is_read(value: Any) -> None:
    assert CODING.loads(PLAIN.dumps(value)) == value


@given(stateful)
def test_a_class_with_its_own_state_comes_back(value: Stateful) -> None:
    assert CODING.loads(CODING.dumps(value)).value == value.value


def test_the_same_object_stays_the_same() -> None:
    point, days = Point(1), collections.deque([datetime.date(2020, 2, 29)])
    first, second, third, fourth = CODING.loads(CODING.dumps([point, point, days, days]))
    assert first is second
    assert third is fourth
    assert CODING.loads(CODING.dumps(Color.RED)) is Color.RED


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        KeyError("k"),
        OSError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        ExceptionGroup("both", [ValueError(1), KeyError(2)]),
        errors.SpillSpaceExhausted("full", path="/tmp", bytes_needed=3),
        errors.InvalidEmission("no pair", key="'x'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_come_back(error: Exception) -> None:
    if not hasattr(error, "__notes__"):
        error.add_note("seen")
    back = CODING.loads(pickle.dumps(error, 5))
    assert (type(back), str(back), back.__notes__) == (type(error), str(error), ["seen"])
    assert vars(back) == vars(error)


def test_an_exception_of_the_job_comes_back() -> None:
    from mincemeat.describing import describe_failure

    back = CODING.loads(describe_failure(Refusal(7, "no")).exception)
    assert (type(back), str(back), back.code) == (Refusal, "7: no", 7)


SWITCH = r"trust_workers=True \(--trust-workers\) allows it"


def own_factory() -> int:
    return 1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (pathlib.PurePosixPath("x"), r"pathlib\.PurePosixPath"),
        (types.SimpleNamespace(a=1), r"types\.SimpleNamespace"),
        (int, r"builtins\.int itself is among the values, and code is no data"),
        (Point, r"tests\.kit\.classes\.Point itself is among the values"),
        (len, r"builtins\.len itself"),
        (classes.helper, r"tests\.kit\.classes\.helper itself"),
        ([{"a": (pathlib.PurePosixPath("x"),)}], r"pathlib\.PurePosixPath"),
        (io.BytesIO(), r"_io\.BytesIO"),
        (collections.defaultdict(own_factory), r"the factory of a collections\.defaultdict is <function own_factory"),
        (classes.instance.moved, r"builtins\.getattr"),
        (collections.Counter, r"collections\.Counter itself"),
        (Ellipsis, r"builtins\.Ellipsis itself"),
    ],
)
def test_what_is_no_data_is_refused_before_it_is_sent(value: Any, name: str) -> None:
    with pytest.raises(RefusedAsData, match=f"{name}.*{SWITCH}"):
        CODING.dumps(value)
    with pytest.raises(RefusedAsData):
        CODING.loads(PLAIN.dumps(value))


def test_what_cannot_be_pickled_says_what_pickle_says() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        CODING.dumps(threading.Lock())


def test_forms_take_no_more_than_they_need() -> None:
    for module, name, arguments in (
        ("forms", "counter_of", (range(10),)),
        ("forms", "deque_of", (range(10),)),
        ("forms", "default_dict_of", ("eval",)),
        ("forms", "default_dict_of", (["int"],)),
        ("forms", "fraction_of", ("1e9", 1)),
        ("forms", "zone_of", ("/etc/localtime",)),
        ("forms", "zone_of", (7,)),
    ):
        from importlib import import_module

        with pytest.raises(RefusedAsData):
            getattr(import_module(f"mincemeat.decoding.{module}"), name)(*arguments)


def test_the_allow_list_is_what_plain_pickle_finds() -> None:
    """What was looked at and let pass may be read by plain pickle later: no name stands for something else."""
    from importlib import import_module

    from mincemeat.decoding.allowed import ALLOWED

    for module, name in ALLOWED:
        assert "." not in name
        assert callable(getattr(import_module(module), name)), (module, name)
        assert module in (
            "builtins", "collections", "datetime", "decimal", "uuid", "mincemeat.errors",
            "mincemeat.decoding.forms", "mincemeat.decoding.arrays", "mincemeat.decoding.frames",
        )  # fmt: skip


def test_users_pickling_of_their_own_is_not_touched() -> None:
    """Forms are for what crosses the network: a job that pickles a Fraction into a file has it as Python writes it."""
    CODING.dumps([Fraction(1, 3), ZoneInfo("UTC"), collections.Counter("a")])
    assert b"mincemeat" not in pickle.dumps([Fraction(1, 3), ZoneInfo("UTC"), collections.Counter("a")])


def test_names_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    coding = DataCoding([classes.__name__])
    data = coding.dumps([Point(1), Frozen("a"), Pair(1, 2)])

    def judge(self: DataCoding, mention: mentions.Mention) -> None:
        raise AssertionError(f"{mention} again")

    monkeypatch.setattr(DataCoding, "_judge", judge)
    assert coding.loads(data) == [Point(1), Frozen("a"), Pair(1, 2)]
