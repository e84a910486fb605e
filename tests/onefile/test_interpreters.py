"""Another interpreter gets at what this one runs, whatever the system has for handing it on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mincemeat
from mincemeat.interpreters import another, one_file, own_path, typed

PACKAGE = Path(mincemeat.__file__).parent

ASKING = """
import os, subprocess, sys
import mincemeat
from mincemeat import interpreters

way = sys.argv[1]
if way == "without memfd":
    del os.memfd_create
if way == "without descriptors":
    sys.platform = "win32"
if way == "forked":
    interpreters.another("asked")
    if pid := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.closerange(3, 64)
child = interpreters.another("asked", 7, None)
assert len(child.descriptors) == (way != "without descriptors")
sys.exit(subprocess.run(child.command, pass_fds=child.descriptors).returncode)
"""
ASKED = """
def main(*arguments):
    import mincemeat.limits
    assert arguments == (7, None), arguments
    assert mincemeat.__onefile__.path == mincemeat.limits.__file__
"""


def test_a_package_is_found_where_it_lies() -> None:
    assert one_file() is None
    assert own_path() == str(PACKAGE)
    assert typed("mincemeat") == "mincemeat"
    command, descriptors = another("mincemeat.slot_main", 5)
    assert descriptors == ()
    assert command[:3] == [sys.executable, "-P", "-c"]
    assert f"sys.path.insert(0, {str(PACKAGE.parent)!r})" in command[3]
    assert command[3].endswith("from mincemeat.slot_main import main; main(5)")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["as here", "without memfd", "without descriptors", "forked"])
def test_a_child_of_the_one_file_has_its_modules(way: str, one_file: Path) -> None:
    (one_file.parent / "asking.py").write_text(ASKING, "utf-8")
    (one_file.parent / "asked.py").write_text(ASKED, "utf-8")
    if sys.platform == "win32" and way != "without descriptors":
        pytest.skip("there is no other way on Windows")
    told = subprocess.run(
        [sys.executable, str(one_file.parent / "asking.py"), way],
        env={**os.environ, "PYTHONPATH": str(one_file.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stderr) == (0, "")
