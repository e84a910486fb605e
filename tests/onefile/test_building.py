"""What is in the one file, and in which form."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.onefile import building
from mincemeat.onefile.building import LEFT_OUT, READING_ORDER, CannotBuild, build
from tests.house.test_floors import SOURCE, room_of

ROOT = SOURCE.parents[1]
TRAVELLING = [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).as_posix() not in LEFT_OUT]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_the_same_sources_give_the_same_bytes(content: bytes) -> None:
    assert build() == content


def test_it_is_one_program_of_ascii_names_and_unix_lines(content: bytes) -> None:
    tree = ast.parse(content)
    assert ast.get_docstring(tree, clean=False) is not None
    assert b"\r" not in content
    assert len(content) < limits.ONE_FILE_BYTES_MAX / 4


def test_each_module_stands_there_as_it_is_where_the_contents_say(content: bytes) -> None:
    text = content.decode("utf-8")
    lines = text.split("\n")
    contents = {name: int(line) for line, name in re.findall(r"^# +(\d+)  ([\w.]+):", text, re.MULTILINE)}
    assert contents.keys() >= set(map(name_of, TRAVELLING)) | {"cloudpickle", "cloudpickle.cloudpickle"}
    for path in TRAVELLING:
        begin = contents[name_of(path)]
        source = path.read_text("utf-8").split("\n")
        assert lines[begin - 1 : begin - 2 + len(source)] == source[:-1], path


def test_what_travels_does_without_what_does_not() -> None:
    """But for types; and the package imports what makes the file, to offer it, which the file does not."""
    names = {name_of(SOURCE / path) for path in LEFT_OUT}
    importing = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in TRAVELLING
        for name in re.findall(r"^ *(?:from|import) (mincemeat[.\w]+)", path.read_text("utf-8"), re.MULTILINE)
        if name in names
    }
    assert importing == {
        ("interpreters.py", "mincemeat.onefile.importer"),
        ("onefile/published.py", "mincemeat.onefile.importer"),
        ("onefile/published.py", "mincemeat.onefile.building"),
    }


def test_each_room_has_its_place_in_the_reading_order() -> None:
    rooms = {room_of(path) for path in TRAVELLING}
    assert rooms - set(READING_ORDER) == set(), "say in onefile/building.py where a reader comes to it"


def test_licences_travel_along(content: bytes) -> None:
    text = content.decode("utf-8")
    for line in (ROOT / "LICENSE").read_text("utf-8").strip().splitlines():
        assert f"# {line}".rstrip() + "\n" in text
    assert f"# cloudpickle {metadata.version('cloudpickle')}\n" in text
    assert "# Copyright (c) 2015, Cloudpickle contributors." in text


@pytest.mark.parametrize("source", ["x = '''three'''\n", "x = 1"])
def test_a_source_that_would_end_its_string_is_refused(source: str) -> None:
    with pytest.raises(CannotBuild, match="mincemeat.odd"):
        building._section(building._Module("mincemeat.odd", False, source))


def test_a_cloudpickle_that_was_changed_since_it_was_installed_is_refused(tmp_path: Path) -> None:
    information = tmp_path / "cloudpickle-3.1.0.dist-info"
    information.mkdir()
    (tmp_path / "cloudpickle").mkdir()
    (tmp_path / "cloudpickle" / "__init__.py").write_text("print('somebody was here')\n", "utf-8")
    (information / "RECORD").write_text("cloudpickle/__init__.py,sha256=AAAA,3\n", "utf-8")
    with pytest.raises(CannotBuild, match="is not what pip installed"):
        list(building._cloudpickle_modules(metadata.PathDistribution(information)))


@pytest.mark.slow
def test_the_tool_writes_it_with_its_sha256_beside_it(tmp_path: Path, content: bytes) -> None:
    code = "import runpy, sys, pathlib; runpy.run_path('tools/onefile.py')['main'](pathlib.Path(sys.argv[1]))"
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    written = (tmp_path / "mincemeat.py").read_bytes()
    assert written == content
    digest = (tmp_path / "mincemeat.py.sha256").read_text("ascii")
    assert digest == f"{hashlib.sha256(content).hexdigest()}  mincemeat.py\n"
    assert digest in told
    assert f"{len(content):,} bytes" in told
