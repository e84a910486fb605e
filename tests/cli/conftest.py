from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mincemeat.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """``mincemeat run --engine inline WORDS`` in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)  # failed records are written there
    monkeypatch.delenv("MINCEMEAT_PASSWORD", raising=False)
    path = list(sys.path)

    def run_inline(*words: str | Path) -> tuple[int, str, str]:
        code = main(["run", "--engine", "inline", *map(str, words)])
        return code, *capsys.readouterr()

    yield run_inline
    sys.path[:] = path  # a job file's directory is put there
