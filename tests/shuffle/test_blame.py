"""The culprit named for each fault: what was emitted and is no pair, cannot be a key, or cannot be stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mincemeat import interrupts
from mincemeat.errors import InvalidEmission
from mincemeat.model import UserFunctions
from tests.kit.spilled import Spilled, emit, fail


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "None"), (7, "something of the type int"), (len, "something of the type builtin_function_or_method")],
)
def test_mapfn_that_gives_nothing_to_iterate_over_is_told(given: Any, shown: str) -> None:
    error = fail(emit(given))
    assert (error.function, error.key) == ("mapfn", "3")
    assert isinstance(error.__cause__, InvalidEmission)
    with pytest.raises(
        InvalidEmission,
        match=rf"mapfn must return or yield \(key, value\) pairs; for the record with key 3 it gave {shown}$",
    ):
        raise error.__cause__


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        ("abc", "a str of 3"),
        ("ab", "a str of 2"),
        (b"ab", "a bytes of 2"),
        (5, "something of the type int"),
        (None, "None"),
        (("a", 1, 2), "a tuple of 3 (str, int, int)"),
        (("a",), "a tuple of 1 (str)"),
        ([1, 2, 3, 4, 5], "a list of 5 (int, int, int, int, ...)"),
        ({"a"}, "a set of 1"),
    ],
)
def test_element_that_is_no_pair_is_told_with_its_record(element: Any, shown: str) -> None:
    """By its shape: what is in it is of a record, and does not belong into errors and logs."""
    error = fail(emit([element]))
    assert str(error.__cause__) == f"mapfn must give (key, value) pairs; for the record with key 3 it gave {shown}"
    assert isinstance(error.__cause__, InvalidEmission)
    assert (error.function, error.key) == ("mapfn", "3")


@pytest.mark.parametrize("culprit", [0, 1, 2, 100, 255, 256, 257, 700, 999])
@pytest.mark.parametrize("per_record", [1, 3, 400])
def test_record_of_a_bad_element_is_named_wherever_in_a_batch_it_stands(culprit: int, per_record: int) -> None:
    def mapfn(key: int, _value: None) -> Iterator[Any]:
        for n in range(key * per_record, (key + 1) * per_record):
            yield ("k", n) if n != culprit else (["unhashable"], n)

    error = fail(UserFunctions(mapfn=mapfn), ((key, None) for key in range(1000)))
    record = culprit // per_record
    assert str(error.__cause__) == (
        f"mapfn must give hashable keys; for the record with key {record} it gave the key ['unhashable'] (list)"
    )
    assert error.key == str(record)


class RaisesWhenHashed:
    def __hash__(self) -> int:
        raise ValueError("hash it yourself")


def test_exception_of_a_keys_own_hash_is_the_users() -> None:
    error = fail(emit([(RaisesWhenHashed(), 1)]))
    assert isinstance(error.__cause__, ValueError)
    assert (error.function, error.key) == ("mapfn", "3")


def raising(error: BaseException) -> Iterator[Any]:
    yield "a", 1
    raise error


@pytest.mark.parametrize("raised", [ValueError("x"), StopIteration(), SystemExit(1), RecursionError(), MemoryError()])
def test_exception_of_mapfn_is_carried_with_its_record(raised: BaseException) -> None:
    def mapfn(_key: Any, _value: Any) -> Any:
        raise raised

    error = fail(UserFunctions(mapfn=mapfn))
    assert error.__cause__ is raised
    assert (error.function, error.key) == ("mapfn", "3")


@pytest.mark.parametrize("raised", [ValueError("x"), SystemExit(1), RecursionError(), MemoryError()])
def test_exception_in_the_middle_of_an_iterable_is_carried_with_its_record(raised: BaseException) -> None:
    error = fail(emit(raising(raised)))
    assert error.__cause__ is raised
    assert (error.function, error.key) == ("mapfn", "3")


def test_exception_of_collectfn_is_carried_with_the_groups_key() -> None:
    def collectfn(key: str, _values: Any) -> int:
        return 1 // (key != "b")

    error = fail(UserFunctions(mapfn=lambda _k, _v: [("a", 1), ("b", 1)], collectfn=collectfn))
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert (error.function, error.key) == ("collectfn", "'b'")


PLACES = ["mapfn", "generator", "collectfn", "partitionfn"]


def raised_in(place: str, error: type[BaseException]) -> UserFunctions:
    def interrupt(*_args: Any) -> Any:
        raise error

    return {
        "mapfn": UserFunctions(mapfn=interrupt),
        "generator": emit(raising(error())),
        "collectfn": UserFunctions(collectfn=interrupt),
        "partitionfn": UserFunctions(partitionfn=interrupt),
    }[place]


@pytest.mark.parametrize("place", PLACES)
def test_keyboard_interrupt_passes_unwrapped(place: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        Spilled(raised_in(place, KeyboardInterrupt)).run([(1, 2)])


@pytest.mark.parametrize("place", PLACES)
def test_where_no_ctrl_c_comes_keyboard_interrupt_is_the_functions_own(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a slot it was "could not be carried out", and nobody was to blame."""
    monkeypatch.setattr(interrupts, "_ctrl_c", (KeyboardInterrupt,))  # restored behind the test
    interrupts.never_reach_this_process()
    assert isinstance(fail(raised_in(place, KeyboardInterrupt)).__cause__, KeyboardInterrupt)


@pytest.mark.parametrize("place", PLACES)
def test_generator_exit_is_the_functions_own(place: str) -> None:
    assert isinstance(fail(raised_in(place, GeneratorExit)).__cause__, GeneratorExit)


def test_exception_of_the_records_themselves_passes_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError):
        Spilled(UserFunctions()).run((1 // n, n) for n in (2, 1, 0))


def test_value_that_cannot_be_pickled_is_told_with_its_key_and_type() -> None:
    error = fail(emit([("w", 1), ("x", 2), ("x", threading.Lock())]), partitions=1)
    assert isinstance(error.__cause__, InvalidEmission)
    assert str(error.__cause__) == (
        "mapfn gave for key 'x' a value of type 'lock' that cannot be pickled: cannot pickle '_thread.lock' object"
    )
    assert (error.function, error.key) == ("mapfn", "'x'")


def test_value_of_collectfn_that_cannot_be_pickled_is_blamed_on_it() -> None:
    error = fail(UserFunctions(collectfn=lambda _k, _v: threading.Lock()))
    assert str(error.__cause__).startswith("collectfn gave for key 3 a value of type 'lock' that cannot be pickled")
    assert error.function == "collectfn"


def test_key_that_cannot_be_pickled_is_told() -> None:
    local_lambda = lambda: None  # noqa: E731
    functions = UserFunctions(mapfn=lambda _k, _v: [(local_lambda, 1)], partitionfn=lambda _key: 0)
    error = fail(functions)
    assert "mapfn gave the key <function" in str(error.__cause__)
    assert "of type 'function' that cannot be pickled" in str(error.__cause__)


class ExitsWhenPickled:
    def __reduce__(self) -> Any:
        raise SystemExit(1)


def test_exit_inside_pickling_is_a_failure_like_any_other() -> None:
    assert "'ExitsWhenPickled' that cannot be pickled" in str(fail(emit([("a", ExitsWhenPickled())])).__cause__)


def test_key_of_a_type_that_cannot_be_dealt_is_told() -> None:
    error = fail(emit([("a", 1), (range(3), 1)]))
    assert "a key of type 'range' cannot be partitioned" in str(error.__cause__)
    assert (error.function, error.key) == ("mapfn", "range(0, 3)")
