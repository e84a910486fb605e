"""Which modules travel as source, and which are left to be imported by name."""

from __future__ import annotations

import importlib
import sys
import types
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.usercode.modules import SourceCollector, imports_of_code, is_own


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the user's own on ``sys.path``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    return path


def shipped(*names: str) -> set[str]:
    collector = SourceCollector()
    collector.add(names)
    return set(collector.modules)


def test_module_travels_with_all_it_imports_but_nothing_else(project: Path) -> None:
    write(project / "uc_a.py", "import json, uc_b\ndef later():\n    from uc_c import name")
    write(project / "uc_b.py", "try:\n    import uc_absent\nexcept ImportError:\n    import uc_a")
    write(project / "uc_c.py")
    write(project / "uc_d.py")
    assert shipped("uc_a") == {"uc_a", "uc_b", "uc_c"}


def test_package_travels_whole_and_hidden_directories_stay(project: Path) -> None:
    write(project / "uc_p" / "__init__.py", "from . import x")
    write(project / "uc_p" / "x.py", "from ..beyond import y\nfrom .sub.z import w")
    write(project / "uc_p" / "sub" / "z.py")
    write(project / "uc_p" / "x" / "__init__.py", "# wins over x.py")
    write(project / "uc_p" / "data.txt")
    write(project / "uc_p" / ".venv" / "lib.py")
    write(project / "uc_p" / "not-a-name" / "n.py")
    collector = SourceCollector()
    collector.add(["uc_p.sub.z"])
    assert set(collector.modules) == {"uc_p", "uc_p.x", "uc_p.sub", "uc_p.sub.z"}
    assert collector.modules["uc_p.x"].source == b"# wins over x.py"
    assert collector.modules["uc_p.sub"].source is None


def test_of_a_namespace_package_only_the_named_part_travels(project: Path) -> None:
    write(project / "uc_n" / "one.py", "from uc_n import two")
    write(project / "uc_n" / "two.py")
    write(project / "uc_n" / "three.py")
    assert shipped("uc_n.one") == {"uc_n", "uc_n.one", "uc_n.two"}


def test_standard_library_installed_packages_and_mincemeat_stay(project: Path) -> None:
    assert shipped("os.path", "json", "sys", "zlib", "cloudpickle", "pytest", "mincemeat.errors", "uc_nowhere") == set()


def test_site_packages_directory_is_recognised_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "project" / ".venv" / "lib" / "site-packages"
    write(site / "uc_installed.py")
    monkeypatch.syspath_prepend(str(site))
    assert shipped("uc_installed") == set()


def test_editable_install_by_path_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "checkout" / "src" / "uc_edited.py")
    write(tmp_path / "site-packages" / "edited.pth", f"import sys\n{tmp_path / 'checkout' / 'src'}\n")
    for directory in ("site-packages", "checkout/src", "scripts"):
        monkeypatch.syspath_prepend(str(tmp_path / directory))
    assert shipped("uc_edited") == set()


def test_script_beside_the_edited_package_ships_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "checkout" / "uc_edited.py")
    write(tmp_path / "site-packages" / "edited.pth", f"{tmp_path / 'checkout'}\n")
    for directory in ("site-packages", "checkout"):
        monkeypatch.syspath_prepend(str(tmp_path / directory))
    assert shipped("uc_edited") == {"uc_edited"}


def test_editable_install_by_a_finder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "uc_found.py")

    class Finder:
        @staticmethod
        def find_spec(name: str, path_: object = None, target: object = None) -> object:
            return spec_from_file_location(name, path) if name == "uc_found" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    monkeypatch.setitem(sys.modules, "uc_found", importlib.import_module("uc_found"))
    assert shipped("uc_found") == set()


def test_module_loaded_by_hand_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_from_file_location("uc_by_hand", write(tmp_path / "anywhere.py"))
    assert spec is not None
    monkeypatch.setitem(sys.modules, "uc_by_hand", module_from_spec(spec))
    assert shipped("uc_by_hand") == {"uc_by_hand"}


def test_compiled_module_stays(project: Path) -> None:
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    write(project / f"uc_compiled{suffix}")
    assert shipped("uc_compiled") == set()


def test_source_that_does_not_parse_travels_as_it_is(project: Path) -> None:
    write(project / "uc_broken.py", "print 'of another age'\nimport os")
    assert shipped("uc_broken") == {"uc_broken"}


def test_too_many_files_are_refused_with_the_name_of_the_package(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "USERCODE_SOURCE_FILES_MAX", 2)
    for name in ("__init__", "a", "b"):
        write(project / "uc_many" / f"{name}.py")
    with pytest.raises(InvalidJob, match=r"local module 'uc_many' .* exceed 2 files"):
        shipped("uc_many")


def test_too_much_source_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "USERCODE_SOURCE_BYTES_MAX", 2**20)
    write(project / "uc_large.py", "#" * (2**20 + 1))
    with pytest.raises(InvalidJob, match="1 MiB of source"):
        shipped("uc_large")


def test_file_below_the_standard_library_is_not_the_users_own(tmp_path: Path) -> None:
    assert is_own(str(tmp_path / "script.py"))
    assert not is_own(types.__file__)


def test_imports_of_code_include_nested_functions_and_relative_names() -> None:
    source = """
import a.b as renamed
from g import *
def outer():
    from . import c
    def inner():
        from ..d import e, f
        from ....beyond import h
"""
    assert list(imports_of_code(compile(source, "<test>", "exec"), "top.middle")) == [
        *("a.b", "g"),
        *("top.middle", "top.middle.c"),
        *("top.d", "top.d.e", "top.d.f"),
    ]
