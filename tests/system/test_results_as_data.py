"""Jobs on a cluster whose keys, values and results are data, and what a person is told whose are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.errors import InvalidEmission, JobFailed
from tests.kit import classes
from tests.kit.classes import Color, Pair, Point, Refusal
from tests.kit.clusters import LOOPBACK

pytestmark = pytest.mark.slow


def run(*arguments: Any, **options: Any) -> Any:
    return mincemeat.run(
        *arguments, engine="cluster", host=LOOPBACK, port=0, workers=1, progress=False, preflight=False, **options
    )


def all_kinds(key: int, value: Any) -> Any:
    yield Color.RED, Point(key, key)
    yield Color.BLUE, Pair(key, {"in": [Point(key)]})


def as_given(key: Any, values: list[Any]) -> Any:
    return [(key, values), Point.Label("seen")]


def test_classes_of_the_jobs_modules_come_as_keys_values_and_results() -> None:
    assert run({1: None, 2: None}, all_kinds, as_given) == {
        Color.RED: [(Color.RED, [Point(1, 1), Point(2, 2)]), Point.Label("seen")],
        Color.BLUE: [(Color.BLUE, [Pair(n, {"in": [Point(n)]}) for n in (1, 2)]), Point.Label("seen")],
    }


def arrays(key: int, value: Any) -> Any:
    import numpy as np

    yield key % 2, np.arange(2000) * key


def sum_of_arrays(key: Any, values: list[Any]) -> Any:
    return sum(values[1:], values[0])


def test_arrays_come_as_values_and_results_in_memory_and_on_disk() -> None:
    for memory in (None, "1 MiB"):  # of 3.2 MB
        results = run(dict.fromkeys(range(200)), arrays, sum_of_arrays, memory=memory)
        assert {key: result[:3].tolist() for key, result in results.items()} == {
            0: [0, 9900, 19800],
            1: [0, 10000, 20000],
        }


def with_path(key: int, value: Any) -> Any:
    import pathlib

    yield "here", 1
    yield f"there {key}", [pathlib.PurePosixPath("x")]


def test_what_is_no_data_is_refused_where_it_was_given() -> None:
    """By the worker that writes it, not after the map phase, with key, function, class and switch."""
    with pytest.raises(
        InvalidEmission,
        match=r"mapfn gave for key 'there 7' a value of type 'list' that is not sent as data: "
        r"pathlib\.PurePosixPath is neither plain data nor a class of the job's own modules; "
        r"trust_workers=True \(--trust-workers\) allows it",
    ) as caught:
        run({7: None}, with_path, as_given, max_attempts=1)
    assert isinstance(caught.value.__cause__, JobFailed)
    assert caught.value.__cause__.function == "mapfn"


def test_what_is_no_data_is_sent_to_who_trusts_workers() -> None:
    from pathlib import PurePosixPath

    results = run({7: None}, with_path, trust_workers=True)
    assert results == {"here": [1], "there 7": [[PurePosixPath("x")]]}


def giving_a_function(key: Any, values: list[Any]) -> Any:
    return classes.helper


def test_a_result_that_is_no_data_names_its_key() -> None:
    with pytest.raises(InvalidEmission, match=r"reducefn gave for key 7 a result of type 'function' .*\.helper itself"):
        run({7: None}, None, giving_a_function, max_attempts=1)


def set_aside(key: int, value: Any) -> Any:
    if key == 1:
        raise Refusal(7, "no")
    if key == 2:
        from subprocess import CalledProcessError

        raise CalledProcessError(3, "x")
    if key == 3:
        yield "path", Path("x")
    yield "n", key


def test_exceptions_of_the_job_come_back_and_others_are_told() -> None:
    results = run(dict.fromkeys(range(4)), set_aside, as_given, on_error="skip", max_attempts=3)
    assert results == {"n": [("n", [0]), Point.Label("seen")]}
    own, other, refused = results.failures
    assert (type(own.exception), own.exception.code) == (Refusal, 7)
    assert (other.exception, other.exception_type) == (None, "CalledProcessError")
    assert "CalledProcessError" in other.traceback
    assert isinstance(refused.exception, InvalidEmission)
    assert "trust_workers=True" in refused.message


JOB = """
import enum, sys
from collections import namedtuple
from dataclasses import dataclass
import mincemeat

@dataclass
class Point:
    x: int
    class Inner:
        def __init__(self, n): self.n = n
        def __eq__(self, other): return self.n == other.n

Color = enum.Enum("Color", "RED BLUE")
Pair = namedtuple("Pair", "a b")

class Bad(Exception):
    pass

def mapfn(key, value):
    yield Color.RED, (Point(key), Point.Inner(key), Pair(1, Color.BLUE))

def reducefn(key, values):
    return {"all": values}

if __name__ == "__main__":
    server = mincemeat.Server({5: None}, mapfn, reducefn)
    results = server.run_server(password="x", port=0, host="127.0.0.1", workers=1)
    assert results == {Color.RED: {"all": [(Point(5), Point.Inner(5), Pair(1, Color.BLUE))]}}, results

    def mapfn(key, value):
        raise Bad("mine")

    server.mapfn, server.max_attempts = mapfn, 1
    try:
        server.run_server(password="x", port=0, host="127.0.0.1", workers=1)
    except Bad as error:
        assert str(error) == "mine"
        print("good")
"""


def test_classes_of_a_script_are_its_own_in_slots_and_when_they_come_back(tmp_path: Path) -> None:
    """What travels by value has the script's name, ``__main__``, in both."""
    script = tmp_path / "script.py"
    script.write_text(JOB, "utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
