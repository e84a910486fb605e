"""Modules come to life out of one file, and say where they stand."""

from __future__ import annotations

import linecache
import pickle
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from mincemeat.onefile.importer import OneFile

TEXT = '''first = """a line before"""
file.package("made_up", r\'\'\'
"""What it says of itself."""
from made_up import deep
\'\'\')
file.module("made_up.deep", r\'\'\'
class Here:
    def fail(self):
        raise ValueError("no \\n line")
\'\'\')
'''


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OneFile]:
    """A file like the one file."""
    path = tmp_path / "one.py"
    path.write_text(TEXT, "utf-8")
    code = compile(TEXT, str(path), "exec")
    made = OneFile(str(path), code)
    exec(code, {"file": made})  # noqa: S102 - our own text
    sys.meta_path.insert(0, made)
    yield made
    sys.meta_path.remove(made)
    for name in [name for name in sys.modules if name.partition(".")[0] == "made_up"]:
        del sys.modules[name]
    linecache.checkcache(str(path))


def failure() -> traceback.FrameSummary:
    deep: Any = import_module("made_up.deep")
    with pytest.raises(ValueError, match="no \n line") as raised:
        deep.Here().fail()
    return traceback.extract_tb(raised.value.__traceback__)[-1]


def test_packages_modules_and_what_they_say_of_themselves(file: OneFile) -> None:
    package: Any = import_module("made_up")
    assert package.__doc__ == "What it says of itself."
    assert package.__path__ == []
    assert package.deep.__name__ == "made_up.deep"
    assert package.deep.__package__ == "made_up"
    assert package.deep.__file__ == file.path
    assert pickle.loads(pickle.dumps(package.deep.Here)) is package.deep.Here
    with pytest.raises(ModuleNotFoundError):
        import_module("made_up.missing")


def test_a_traceback_names_the_line_of_the_file(file: OneFile) -> None:
    frame = failure()
    assert (frame.filename, frame.lineno) == (file.path, 9)
    assert frame.line == r'raise ValueError("no \n line")'


def test_a_traceback_shows_lines_of_a_file_that_is_gone(file: OneFile) -> None:
    Path(file.path).unlink()
    frame = failure()
    assert (frame.lineno, frame.line) == (9, r'raise ValueError("no \n line")')


def test_what_was_compiled_once_is_not_compiled_again(file: OneFile) -> None:
    import_module("made_up.deep")
    assert file.compiled.keys() == {"made_up", "made_up.deep"}
    assert all(isinstance(code, CodeType) for code in file.compiled.values())
    assert file.get_code("made_up.deep") is file.compiled["made_up.deep"]
