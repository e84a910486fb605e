"""A job whose functions cannot work ends before its map phase does, over every engine; nothing else is in its way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidJob, JobFailed, limits
from tests.contracts.test_bad_records import run
from tests.contracts.test_engines import ENGINES, _nothing_is_left_behind  # noqa: F401 - a fixture
from tests.kit.faulty import once

pytestmark = pytest.mark.slow

APART = ["processes", "cluster"]
# With two processes: a map phase of a minute.
LONG = [0.2] * 600


def sleeps(key: Any, seconds: float) -> Iterator[tuple[int, float]]:
    time.sleep(seconds)
    yield key % 10, seconds


def misspelt(key: Any, values: Any) -> Any:
    return totl(values)  # type: ignore[name-defined]  # noqa: F821


def imports(key: Any, values: Any) -> Any:
    import nowhere_to_be_found  # type: ignore[import-not-found]  # noqa: F401


def leaves_a_mark(key: Any, directory: str) -> Iterator[tuple[str, int]]:
    Path(directory, str(os.getpid())).touch()
    yield "n", 1


@pytest.mark.parametrize("engine", APART)
def test_a_name_that_is_missing_in_reducefn_fails_the_job_at_once(engine: str) -> None:
    started = time.monotonic()
    with pytest.raises(NameError, match="totl") as caught:
        run(engine, LONG, sleeps, misspelt, split=1)
    assert time.monotonic() - started < 30
    story = caught.value.__cause__
    assert isinstance(story, JobFailed)
    assert story.function == "reducefn"
    assert "before it comes to that" in str(story)
    assert "return totl(values)" in story.remote_traceback


def test_an_import_that_is_missing_here_is_missing_in_processes() -> None:
    started = time.monotonic()
    with pytest.raises(ImportError, match="nowhere_to_be_found"):
        run("processes", LONG, sleeps, imports, split=1)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("engine", ENGINES)
def test_functions_that_cannot_be_called_are_refused_before_anything_starts(engine: str) -> None:
    calls: list[int] = []

    class Watched(dict[int, int]):
        def __iter__(self) -> Iterator[int]:
            calls.append(1)
            return super().__iter__()

    with pytest.raises(InvalidJob, match=r"reducefn is called as reducefn\(key, values\), and .* takes 1 argument"):
        run(engine, Watched({1: 1}), sleeps, lambda values: None)
    assert calls == []


def test_without_it_functions_are_called_as_they_are() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        run("inline", {1: 0.0}, sleeps, lambda values: None, preflight=False)


@pytest.mark.parametrize("engine", APART)
def test_a_job_that_is_over_soon_calls_its_functions_in_no_other_process(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PREFLIGHT_AFTER_SECONDS", 60.0)  # the machine may be a busy one
    marks = tmp_path / "marks"
    marks.mkdir()
    assert run(engine, [str(marks)], leaves_a_mark, len, split=1) == {"n": 1}
    assert len(list(marks.iterdir())) == 1


def test_a_look_that_crashes_or_hangs_costs_the_job_nothing(tmp_path: Path) -> None:
    for trouble in ("exit", "sleep"):
        directory = tmp_path / trouble
        directory.mkdir()
        started = time.monotonic()
        results = run("processes", [(str(directory), trouble)] * 12, troubled, len, workers=1, split=1)
        assert results == {"n": 12}
        assert (directory / "trouble").exists()
        assert time.monotonic() - started < 60


def troubled(key: int, value: tuple[str, str]) -> Iterator[tuple[str, int]]:
    """Takes a while, and gets into trouble in every process but the job's one slot, which comes first."""
    directory, trouble = value
    owner = Path(directory, "owner")
    if key == 0 and once(directory, "owner"):
        owner.write_text(str(os.getpid()), "ascii")
    time.sleep(0.2)
    if owner.read_text("ascii") != str(os.getpid()):
        Path(directory, "trouble").touch()
        if trouble == "exit":
            os._exit(3)
        time.sleep(600)
    yield "n", 1


def test_an_option_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(InvalidJob, match="preflight must be True or False, not 'yes'"):
        mincemeat.run({1: 1}, preflight="yes")  # type: ignore[arg-type]
