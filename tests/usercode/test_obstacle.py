"""What cannot be shipped is named: the function, the way to the obstacle, and the obstacle."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mincemeat.errors import InvalidJob
from mincemeat.model import UserFunctions
from mincemeat.usercode import pack


def script(source: str) -> dict[str, Any]:
    """The names of a script that is run in a ``__main__`` of its own."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)  # noqa: S102 - the script under test
    return names


def refusal(**functions: Any) -> str:
    with pytest.raises(InvalidJob) as caught:
        pack(UserFunctions(**functions))
    assert caught.value.__cause__ is not None
    return str(caught.value)


LOCKED = """
import threading
lock = threading.Lock()
table = {"safe": 1, "guard": [lock]}
def guarded(value):
    with lock:
        return value
def direct(key, value):
    with lock:
        yield key, value
def indirect(key, value):
    yield key, guarded(value)
def nested(key, value):
    yield from (guarded(v) for v in value)
def looks_up(key, value):
    yield key, table["guard"]
class Guard:
    def __init__(self):
        self.lock = threading.Lock()
    def mapfn(self, key, value):
        yield key, value
guard = Guard()
"""


def test_unpicklable_global_is_named_with_its_function_and_the_way_out() -> None:
    assert refusal(mapfn=script(LOCKED)["direct"]) == (
        "mapfn cannot be sent to the workers: it uses the global 'lock', a _thread.lock, which cannot be pickled. "
        "Create it inside the function instead."
    )


@pytest.mark.parametrize("name", ["indirect", "nested"])
def test_obstacle_behind_another_function_is_followed(name: str) -> None:
    assert "it uses the global 'guarded', which uses the global 'lock', a _thread.lock" in refusal(
        reducefn=script(LOCKED)[name]
    )


def test_obstacle_inside_a_container_is_followed() -> None:
    assert (
        "uses the global 'table', which holds the entry 'guard', which holds the element 0, a _thread.lock"
        in refusal(mapfn=script(LOCKED)["looks_up"])
    )


def test_obstacle_in_the_object_of_a_bound_method_is_its_attribute() -> None:
    assert "it is a method of a Guard, which has the attribute 'lock', a _thread.lock" in refusal(
        mapfn=script(LOCKED)["guard"].mapfn
    )


def test_captured_variable_of_a_closure_is_named() -> None:
    mutex = threading.Lock()
    assert "it uses the captured variable 'mutex', a _thread.lock" in refusal(mapfn=lambda key, value: mutex)


def test_argument_of_a_partial_is_named() -> None:
    function = functools.partial(max, threading.Lock(), default=None)
    assert "it holds the argument 0, a _thread.lock" in refusal(mapfn=function)


def test_default_value_of_a_function_is_named() -> None:
    def mapfn(key: object, value: object, lock: Any = threading.Lock()) -> Iterator[Any]:  # noqa: B008
        yield key, value

    assert "it has the default values, which holds the element 0, a _thread.lock" in refusal(mapfn=mapfn)


def test_function_that_is_itself_the_obstacle_is_told_so() -> None:
    class Connection:
        def __call__(self, key: object, value: object) -> list[object]:
            return []

        def __reduce__(self) -> tuple[Any, ...]:
            raise ValueError("connections stay here")

    assert refusal(collectfn=Connection()).endswith(
        "Connection, which cannot be pickled (ValueError: connections stay here)."
    )


def test_first_of_several_functions_at_fault_is_named() -> None:
    names = script(LOCKED)
    assert refusal(mapfn=names["guarded"].__class__.__call__, reducefn=names["direct"]).startswith("reducefn cannot")


def test_attribute_of_the_same_name_as_an_unpicklable_global_is_not_accused() -> None:
    source = LOCKED + "import queue\nbox = queue.Queue\ndef mapfn(key, value):\n    yield value.lock, guard\n"
    assert "uses the global 'guard', which has the attribute 'lock'" in refusal(mapfn=script(source)["mapfn"])


def test_too_deep_a_nesting_is_an_obstacle_like_any_other() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        assert "it uses the captured variable 'deep'" in refusal(mapfn=lambda key, value: deep)
    finally:
        while deep:  # taken apart by hand: deallocating such a list at once is deep, too
            deep = deep[0]
