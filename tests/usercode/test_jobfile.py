"""The job file of ``mincemeat run``: loaded as a module, and what is said when it cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mincemeat.errors import InvalidJob
from mincemeat.usercode import load_job_file
from mincemeat.usercode.jobfile import JOB_MODULE


@pytest.fixture(autouse=True)
def untouched_interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop(JOB_MODULE, None)
    sys.modules.pop("uc_neighbour", None)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> InvalidJob:
    before = list(sys.path)
    loaded = sys.modules.get(JOB_MODULE)  # by a test before, perhaps
    with pytest.raises(InvalidJob) as caught:
        load_job_file(path)
    assert sys.path == before
    assert JOB_MODULE not in sys.modules or sys.modules[JOB_MODULE] is loaded
    return caught.value


def test_job_file_is_executed_with_its_neighbours_but_not_as_main(tmp_path: Path) -> None:
    write(tmp_path / "uc_neighbour.py", "NAME = 'beside'")
    text = "from uc_neighbour import NAME\nfile = __file__\nif __name__ == '__main__':\n    raise SystemExit"
    module = load_job_file(write(tmp_path / "job.py", text))
    assert (module.NAME, module.__name__) == ("beside", "__mincemeat_job__")
    assert module.file == str(tmp_path / "job.py")
    assert sys.modules[JOB_MODULE] is module
    assert sys.path[0] == str(tmp_path)


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "job.py", "")
    assert load_job_file("job.py").__file__ == str(tmp_path / "job.py")


def test_job_file_is_compiled_without_the_loaders_own_future_imports(tmp_path: Path) -> None:
    module = load_job_file(write(tmp_path / "job.py", "def mapfn(key: int): ..."))
    assert module.mapfn.__annotations__ == {"key": int}


def test_missing_job_file_is_named(tmp_path: Path) -> None:
    assert str(refusal(tmp_path / "absent.py")) == f"there is no job file {tmp_path / 'absent.py'}"


def test_directory_is_told_from_a_file(tmp_path: Path) -> None:
    assert str(refusal(tmp_path)).startswith(f"{tmp_path} is a directory")


def test_syntax_error_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "job.py", "x = 1\ndef mapfn(:\n")
    assert str(refusal(path)) == f"the job file {path} is not valid Python, line 2: invalid syntax"


@pytest.mark.parametrize("text", [b"x = 1\x00", b"x = '\xff'"])
def test_binary_file_is_not_valid_python(tmp_path: Path, text: bytes) -> None:
    assert "is not valid Python" in str(refusal(write(tmp_path / "job.py", text)))


def test_exception_of_the_job_file_is_told_with_its_line_and_kept_as_cause(tmp_path: Path) -> None:
    path = write(tmp_path / "job.py", "def check():\n    raise ValueError('boom')\n\ncheck()\n")
    error = refusal(path)
    assert str(error) == f"the job file {path}, line 2, raised ValueError while it was loaded: boom"
    assert isinstance(error.__cause__, ValueError)


def test_job_file_that_exits_does_not_end_its_caller(tmp_path: Path) -> None:
    assert "raised SystemExit" in str(refusal(write(tmp_path / "job.py", "raise SystemExit(3)")))


def test_interrupt_while_loading_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_job_file(write(tmp_path / "job.py", "raise KeyboardInterrupt"))
    assert JOB_MODULE not in sys.modules


def test_failed_job_file_leaves_the_former_one(tmp_path: Path) -> None:
    former = load_job_file(write(tmp_path / "job.py", ""))
    with pytest.raises(InvalidJob):
        load_job_file(write(tmp_path / "bad.py", "1 / 0"))
    assert sys.modules[JOB_MODULE] is former
