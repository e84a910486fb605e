"""The one file, built once, and an interpreter that has nothing else."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from mincemeat.onefile.building import build


@pytest.fixture(scope="session")
def content() -> bytes:
    return build()


@pytest.fixture
def one_file(tmp_path: Path, content: bytes) -> Path:
    """``mincemeat.py`` in a directory of its own."""
    path = tmp_path / "mincemeat.py"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This Python without a single package: neither mincemeat nor cryptography nor cloudpickle."""
    directory = tmp_path_factory.mktemp("bare")
    venv.create(directory, symlinks=sys.platform != "win32")
    return str(directory / ("Scripts" if sys.platform == "win32" else "bin") / "python")
