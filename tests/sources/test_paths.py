from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mincemeat.errors import InvalidJob
from mincemeat.sources.paths import Paths, expand


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory, made the current one, with everything that a walk has to decide about."""
    for name in ("b.txt", "a/z.py", "a/deep/y.py", ".hidden/x.py", ".dot", "a/__pycache__/z.pyc", "empty/.keep", "a.c"):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(given: Paths) -> list[str]:
    return [file.name.replace(os.sep, "/") for file in expand(given)]


def test_directory_gives_its_visible_files_by_name(tree: Path) -> None:
    assert _names("src") == ["src/a/deep/y.py", "src/a/z.py", "src/a.c", "src/b.txt"]


def test_paths_are_taken_in_order_and_as_often_as_given(tree: Path) -> None:
    assert _names(["src/b.txt", Path("src/a.c"), b"src/b.txt"]) == ["src/b.txt", "src/a.c", "src/b.txt"]


def test_hidden_names_that_are_written_out_are_read(tree: Path) -> None:
    assert _names(["src/.hidden", "src/.dot"]) == ["src/.hidden/x.py", "src/.dot"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("src/*.c", ["src/a.c"]),
        ("src/a/*", ["src/a/deep/y.py", "src/a/z.py"]),
        ("src/**/*.py", ["src/a/deep/y.py", "src/a/z.py"]),
        ("**/z.*", ["src/a/z.py"]),
        ("src/**", ["src/a/deep/y.py", "src/a/z.py", "src/a.c", "src/b.txt"]),
        ("./src/a/**/[xy].py", ["./src/a/deep/y.py"]),
        ("src/a/__pycache__/*", ["src/a/__pycache__/z.pyc"]),
    ],
)
def test_pattern_matches_as_a_shell_does_and_keeps_its_prefix(tree: Path, pattern: str, names: list[str]) -> None:
    assert _names(pattern) == names


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    Path("what*.txt").write_text("x")
    Path("whatever.txt").write_text("x")
    assert _names("what*.txt") == ["what*.txt"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere.txt", "no such file or directory: 'nowhere.txt'"),
        ("src/*.nothing", r"the pattern 'src/\*\.nothing' matches no file"),
        ("no/**/where", r"the pattern 'no/\*\*/where' matches no file"),
        ("src/empty", "the directory 'src/empty' has no files"),
        ("src/b.txt/inside", "cannot read 'src/b.txt/inside'|no such file"),
        ("nul\0", "cannot read"),
        ([], "no input was given"),
        ([3], "not a int: 3"),
        (["-", "-"], "only once"),
    ],
)
def test_what_cannot_be_an_input_is_told_by_name(tree: Path, given: Paths, sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        expand(given)


def test_unreadable_file_is_told_by_name(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By patch, because a superuser may read everything.
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("a.c"))
    with pytest.raises(InvalidJob, match=r"cannot read 'src.a\.c': Permission denied"):
        expand("src")


def test_symbolic_links_are_followed_and_loops_are_not(tree: Path) -> None:
    try:
        Path("src/a/up").symlink_to(tree / "src", target_is_directory=True)
        Path("src/a/self").symlink_to("self")
        Path("src/a/dangling").symlink_to("nowhere")
        Path("src/link").symlink_to(tree / "src" / ".hidden", target_is_directory=True)
    except OSError:
        pytest.skip("symbolic links are not allowed here")
    expected = ["src/a/deep/y.py", "src/a/z.py", "src/a.c", "src/b.txt", "src/link/x.py"]
    assert _names("src") == expected
    assert _names("src/**/*.*") == expected


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are always text there")
def test_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (file,) = expand(tmp_path)
    assert file.name.endswith("caf\udce9.txt")


def test_excluded_names_are_passed_over_at_any_depth(tree: Path) -> None:
    assert [file.name for file in expand("src", ["dee*"])] == ["src/a/z.py", "src/a.c", "src/b.txt"]
    assert [file.name for file in expand("src/**/*.py", "deep")] == ["src/a/z.py"]
    assert [file.name for file in expand("src/a/deep", "deep")] == ["src/a/deep/y.py"], "it was written out"
