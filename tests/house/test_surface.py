"""What users see: the exports, the versions, the documented options."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import mincemeat
from mincemeat import errors

ROOT = Path(__file__).resolve().parents[2]


def test_all_lists_exactly_the_public_names() -> None:
    public = {
        name for name, value in vars(mincemeat).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(mincemeat.__all__)


def test_the_original_names_are_there() -> None:
    assert {"Server", "Client", "DEFAULT_PORT", "VERSION", "run_client"} <= set(mincemeat.__all__)
    assert mincemeat.DEFAULT_PORT == 11235


@pytest.mark.parametrize("option", inspect.signature(mincemeat.run).parameters)
def test_each_option_of_run_is_documented(option: str) -> None:
    assert mincemeat.run.__doc__ is not None
    assert option in mincemeat.run.__doc__
    assert f"`{option}" in (ROOT / "docs" / "options.md").read_text("utf-8")


def all_errors() -> list[type[errors.MincemeatError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.MincemeatError)
    ]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_errors_survive_pickling_with_their_facts(kind: type[errors.MincemeatError]) -> None:
    error = kind("what happened", path="/x", offset=3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what happened"
    assert vars(copy) == vars(error)


def test_importing_the_package_loads_nothing_that_a_local_job_does_not_use() -> None:
    heavy = ["asyncio", "ssl", "cryptography", "sqlite3", "multiprocessing", "cloudpickle", "http", "email"]
    code = f"import sys, mincemeat; print([name for name in {heavy!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
