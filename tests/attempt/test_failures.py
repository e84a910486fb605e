"""A failure as data: whom it is blamed on, and what of the user's exception survives the way home."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.attempt import run_map, run_reduce
from mincemeat.decoding.coding import PlainCoding
from mincemeat.describing import describe_failure
from mincemeat.errors import BlockCorrupt, InvalidEmission, SpillSpaceExhausted, UserCodeError
from mincemeat.model import AttemptId, Failure, FailureKind, Phase, TaskId, UserFunctions
from mincemeat.shuffle.store import JobStore

ATTEMPT = AttemptId(TaskId(Phase.MAP, 0), 0)


class WithDetails(Exception):
    """Takes other arguments than it hands on, as many do."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"code {code}: {detail}")
        self.code = code


class Doubling(Exception):
    """Would format its message a second time if it were made again by its arguments."""

    def __init__(self, word: str) -> None:
        super().__init__(f"bad word {word}")


class WithLock(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def failure_of(functions: UserFunctions, tmp_path: Path, worker: str = "") -> Failure:
    with pytest.raises(UserCodeError) as caught:
        run_map(functions, [("rhyme", "text")], JobStore(tmp_path), ATTEMPT, partitions=1, memory_bytes=2**20)
    return describe_failure(caught.value, worker)


def raising(error: BaseException) -> UserFunctions:
    def mapfn(_key: str, _value: str) -> Iterator[tuple[str, int]]:
        yield "a", 1
        helper()

    def helper() -> None:
        raise error  # the line the user should see

    return UserFunctions(mapfn=mapfn)


def test_exception_of_mapfn_becomes_a_failure_of_the_user(tmp_path: Path) -> None:
    failure = failure_of(raising(ValueError("no such word")), tmp_path, "10.0.0.7:51822")
    assert failure.kind is FailureKind.USER
    assert (failure.message, failure.exception_type) == ("no such word", "ValueError")
    assert (failure.function, failure.key, failure.worker) == ("mapfn", "'rhyme'", "10.0.0.7:51822")


def test_traceback_begins_at_the_users_own_code_and_keeps_source_lines(tmp_path: Path) -> None:
    text = failure_of(raising(ValueError("no such word")), tmp_path).traceback
    assert text.startswith("Traceback (most recent call last):\n")
    assert "group.py" not in text
    assert "attempt.py" not in text
    assert "in mapfn" in text.splitlines()[1]
    assert "raise error  # the line the user should see" in text
    assert text.endswith("ValueError: no such word\n")


def test_traceback_of_a_chain_keeps_what_the_user_chained(tmp_path: Path) -> None:
    def mapfn(_key: str, _value: str) -> list[tuple[str, int]]:
        try:
            return [("a", int("x"))]
        except ValueError as error:
            raise LookupError("not in the table") from error

    text = failure_of(UserFunctions(mapfn=mapfn), tmp_path).traceback
    assert "invalid literal for int()" in text
    assert "direct cause" in text
    assert text.endswith("LookupError: not in the table\n")


def test_traceback_of_a_refused_emission_shows_no_frame_of_ours(tmp_path: Path) -> None:
    failure = failure_of(UserFunctions(mapfn=lambda _k, _v: [("a", threading.Lock())]), tmp_path)
    assert failure.exception_type == "InvalidEmission"
    assert failure.message.startswith("mapfn gave for key 'a' a value of type 'lock' that cannot be pickled")
    assert 'File "' not in failure.traceback
    assert isinstance(pickle.loads(failure.exception), InvalidEmission)


def test_long_tracebacks_are_cut(tmp_path: Path) -> None:
    failure = failure_of(raising(ValueError("x" * 2 * limits.TRACEBACK_CHARS_MAX)), tmp_path)
    assert len(failure.traceback) <= limits.TRACEBACK_CHARS_MAX
    assert failure.traceback.startswith("Traceback")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("k"),
        WithDetails(7, "seven"),
        Doubling("x"),
        OSError(2, "gone", "file"),
        BlockCorrupt("b", offset=3),
    ],
)
def test_exception_comes_home_with_type_message_and_attributes(tmp_path: Path, error: Exception) -> None:
    error.__notes__ = ["a note of the user's"]  # as add_note, and once only, however often the test is run
    back = pickle.loads(failure_of(raising(error), tmp_path).exception)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__
    assert back.__notes__ == ["a note of the user's"]
    assert back.__traceback__ is None


def test_exception_that_cannot_travel_is_left_behind_and_its_text_is_not(tmp_path: Path) -> None:
    failure = failure_of(raising(WithLock("stuck", threading.Lock())), tmp_path)
    assert failure.exception == b""
    assert failure.exception_type == "WithLock"
    assert "stuck" in failure.message


def test_exception_without_a_text_is_described_all_the_same(tmp_path: Path) -> None:
    failure = failure_of(raising(Unprintable()), tmp_path)
    assert failure.message == "<Unprintable whose str() raises>"
    assert failure.exception_type == "Unprintable"
    assert "Unprintable" in failure.traceback


def test_exit_is_a_failure_of_the_user_and_does_not_travel(tmp_path: Path) -> None:
    """Raised again in the caller's process it would end the caller's program."""
    failure = failure_of(raising(SystemExit(3)), tmp_path)
    assert (failure.kind, failure.exception, failure.exception_type) == (FailureKind.USER, b"", "SystemExit")
    assert failure.message == "sys.exit(3) was called; a function of a job may only return or raise"


def test_memory_that_ran_out_is_told_with_a_hint(tmp_path: Path) -> None:
    for failure in (failure_of(raising(MemoryError()), tmp_path), describe_failure(MemoryError())):
        assert failure.kind is FailureKind.USER
        assert failure.message.startswith("memory ran out: run fewer slots")


def test_name_errors_are_explained_before_they_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(error: NameError) -> None:
        error.args = (f"{error.args[0]}; add: import os",)

    monkeypatch.setattr("mincemeat.usercode.explain_name_error", explain)
    failure = failure_of(raising(NameError("name 'os' is not defined")), tmp_path)
    assert failure.message == "name 'os' is not defined; add: import os"
    assert str(pickle.loads(failure.exception)) == failure.message
    assert failure.traceback.endswith("NameError: name 'os' is not defined; add: import os\n")


@pytest.mark.parametrize(
    "error",
    [
        BlockCorrupt("torn", path="p"),
        SpillSpaceExhausted("full", path="p"),
        FileNotFoundError(2, "gone"),
        RuntimeError("ours"),
    ],
)
def test_faults_of_the_system_are_not_blamed_on_the_user(error: Exception) -> None:
    failure = describe_failure(error, "w")
    assert (failure.kind, failure.function, failure.key) == (FailureKind.SYSTEM, "", "")
    assert failure.message == str(error)
    assert type(pickle.loads(failure.exception)) is type(error)


def test_values_that_cannot_be_unpickled_are_the_users(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    run_map(UserFunctions(), [("a", 1.5)], store, ATTEMPT, partitions=1, memory_bytes=2**20)

    class Refusing(PlainCoding):
        def loads(self, data: bytes, /) -> Any:
            raise pickle.UnpicklingError("class os.system is not data")

    with pytest.raises(InvalidEmission) as caught:
        run_reduce(
            UserFunctions(),
            store.spans(ATTEMPT, range(1)),
            range(1),
            store,
            ATTEMPT,
            memory_bytes=2**20,
            coding=Refusing(),
        )
    failure = describe_failure(caught.value)
    assert failure.kind is FailureKind.USER
    assert failure.message.endswith("cannot be unpickled: UnpicklingError: class os.system is not data")
