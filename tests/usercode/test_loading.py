"""How a slot's modules are arranged for the functions of a job, and what is said when that fails."""

from __future__ import annotations

import importlib
import inspect
import linecache
import pickle
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import ProtocolError
from mincemeat.model import UserFunctions
from mincemeat.usercode import describe_load_error, explain_name_error, load, pack
from mincemeat.usercode.envelope import Packed, SourceModule, decode, encode


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process may be furnished like a slot, and is restored after the test."""
    modules, finders, lines = dict(sys.modules), list(sys.meta_path), dict(linecache.cache)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.meta_path[:] = finders
    linecache.cache.clear()
    linecache.cache.update(lines)


def foreign(functions: UserFunctions, *modules: SourceModule, **parts: Any) -> bytes:
    """Packed code as another process would have made it."""
    return encode(Packed(pickle.dumps(functions) + pickle.dumps([]), modules=modules, process="elsewhere", **parts))


def source(name: str, text: str, *, is_package: bool = False) -> SourceModule:
    return SourceModule(name, f"/elsewhere/{name}.py", is_package, text.encode())


NOTHING = UserFunctions()


def test_packed_code_is_read_as_it_was_written() -> None:
    packed = Packed(
        b"pickles",
        {"__main__": {"__file__": "\udcff.py"}},
        (SourceModule("a", "/a", True, None), SourceModule("a.b", "/a/b.py", False, b"\xff")),
        {"<cell>": "text \ud800"},
    )
    assert decode(encode(packed)) == packed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "these 0 bytes are not the packed code"),
        (pickle.dumps("a pickle is not unpickled"), "not the packed code"),
        (foreign(NOTHING)[:-1], "damaged: .* bytes instead of"),
        (foreign(NOTHING) + b"x", "damaged: .* bytes instead of"),
        (b"MMCODE\x02" + foreign(NOTHING)[7:], "has format 2, this mincemeat reads format 1"),
        (foreign(NOTHING).replace(b'"pickles"', b'"pickled"'), "header does not describe its parts"),
        (foreign(NOTHING).replace(b'"pickles"', b'"pickles'), "damaged"),
        (foreign(NOTHING)[:-3] + b"abc", "damaged"),
        (foreign(NOTHING).replace(b'"modules": []', b'"modules": 12'), "header does not describe its parts"),
    ],
)
def test_bytes_that_are_not_packed_code_are_refused(code: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        load(code)


def test_code_of_another_python_is_refused_before_it_is_unpickled() -> None:
    ours = f'"python": [3, {sys.version_info[1]}]'.encode()
    with pytest.raises(ProtocolError, match=r"packed by Python 3.99 and this is Python 3\."):
        load(foreign(NOTHING).replace(ours, b'"python": [3, 99]'[: len(ours)].ljust(len(ours))))


def test_code_that_holds_something_else_is_refused(slot: None) -> None:
    with pytest.raises(ProtocolError, match="holds a str instead of functions"):
        load(encode(Packed(pickle.dumps("not functions"), process="elsewhere")))


def test_process_that_packed_is_not_furnished() -> None:
    main, finders = sys.modules["__main__"], list(sys.meta_path)
    base = 4
    functions = load(pack(UserFunctions(mapfn=lambda key, value: [(key, value + base)])))
    assert functions.mapfn is not None
    assert functions.mapfn("key", 3) == [("key", 7)]
    assert sys.modules["__main__"] is main
    assert sys.meta_path == finders


def test_process_that_packed_keeps_its_classes_and_globals(slot: None) -> None:
    script = types.ModuleType("__main__")
    sys.modules["__main__"] = script
    program = (
        "import enum\nseen = []\n"
        "class Color(enum.Enum):\n    RED = 1\n    ALSO = 1\n"
        "class Point:\n    def here(self): return seen\n"
        "def mapfn(key, value):\n    seen.append(value)\n    yield Color.ALSO, Point()\n"
    )
    exec(program, vars(script))  # noqa: S102 - the script under test
    before = dict(vars(script.Point))
    functions = load(pack(UserFunctions(mapfn=script.mapfn)))
    assert functions.mapfn is not None
    ((color, point),) = functions.mapfn("key", 3)
    assert color is script.Color.RED
    assert type(point) is script.Point
    assert dict(vars(script.Point)) == before
    assert (script.seen, point.here()) == ([], [])


def test_slots_own_main_keeps_its_globals(slot: None) -> None:
    main = sys.modules["__main__"]
    before = dict(vars(main))
    load(foreign(NOTHING, namespaces={"__main__": {"__name__": "__main__", "__file__": "/elsewhere/script.py"}}))
    assert sys.modules["__main__"] is not main
    assert sys.modules["__main__"].__file__ == "/elsewhere/script.py"
    assert dict(vars(main)) == before


def test_shipped_module_wins_over_the_workers_own(slot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uc_mine.py").write_text("AGE = 'old'")
    monkeypatch.syspath_prepend(str(tmp_path))
    load(foreign(NOTHING, source("uc_mine", "AGE = 'new'")))
    assert importlib.import_module("uc_mine").AGE == "new"


def test_second_job_replaces_the_modules_of_the_first(slot: None) -> None:
    load(foreign(NOTHING, source("uc_first", ""), source("uc_both", "JOB = 1")))
    importlib.import_module("uc_first")
    assert importlib.import_module("uc_both").JOB == 1
    load(foreign(NOTHING, source("uc_both", "JOB = 2")))
    assert importlib.import_module("uc_both").JOB == 2
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("uc_first")


def test_installed_part_of_a_shipped_namespace_package_stays_importable(
    slot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uc_space").mkdir()
    (tmp_path / "uc_space" / "installed.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    load(foreign(NOTHING, SourceModule("uc_space", "/elsewhere", True, None), source("uc_space.shipped", "")))
    assert importlib.import_module("uc_space.shipped").__file__ != str(tmp_path / "uc_space" / "shipped.py")
    assert importlib.import_module("uc_space.installed").__file__ == str(tmp_path / "uc_space" / "installed.py")


def test_part_that_could_not_be_shipped_is_found_where_its_package_is_importable(
    slot: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uc_mixed").mkdir()
    (tmp_path / "uc_mixed" / "__init__.py").write_text("")
    (tmp_path / "uc_mixed" / "compiled.py").write_text("SPEED = 'native'")  # stands for an extension module
    monkeypatch.syspath_prepend(str(tmp_path))
    load(foreign(NOTHING, source("uc_mixed", "AGE = 'shipped'", is_package=True)))
    assert importlib.import_module("uc_mixed").AGE == "shipped"
    assert importlib.import_module("uc_mixed.compiled").SPEED == "native"


def test_directory_of_the_callers_package_is_not_searched_on_the_worker(slot: None, tmp_path: Path) -> None:
    """On a worker that directory may be writable by others, who would get their file imported as an optional part."""
    (tmp_path / "planted.py").write_text("raise SystemExit('executed')")
    module = SourceModule("uc_victim", str(tmp_path / "__init__.py"), True, b"")
    load(foreign(NOTHING, module))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("uc_victim.planted")


def test_traceback_shows_the_shipped_line_and_not_the_workers_file(slot: None, tmp_path: Path) -> None:
    path = tmp_path / "uc_lines.py"
    path.write_text("# another file\n" * 5)
    text = b"# coding: latin-1\ndef fail():\n    raise ValueError('\xe4')\n"
    load(foreign(NOTHING, SourceModule("uc_lines", str(path), False, text)))
    module = importlib.import_module("uc_lines")
    with pytest.raises(ValueError, match="ä") as caught:
        module.fail()
    assert "raise ValueError('ä')" in "".join(traceback.format_exception(caught.value))
    assert inspect.getsource(module).startswith("# coding")


def test_missing_package_is_named(slot: None) -> None:
    code = decode(foreign(NOTHING))._replace(pickles=b"cuc_absent.part\nname\n.")
    with pytest.raises(ModuleNotFoundError) as caught:
        load(encode(code))
    assert describe_load_error(caught.value) == (
        "the package 'uc_absent' is not installed on this worker (No module named 'uc_absent')"
    )


def test_missing_part_of_an_installed_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("email.uc_absent")
    assert describe_load_error(caught.value).startswith(
        "the package 'email' on this worker has no module 'email.uc_absent'"
    )


def test_other_load_errors_are_told_by_type_and_message() -> None:
    assert describe_load_error(AttributeError("no f")) == (
        "the job's code cannot be loaded on this worker: AttributeError: no f"
    )
    assert describe_load_error(ProtocolError("a sentence of ours")) == "a sentence of ours"


@pytest.mark.parametrize("name", ["os", "sys", "random", "math", "re", "hashlib"])
def test_missing_standard_module_says_what_to_add(name: str) -> None:
    with pytest.raises(NameError) as caught:
        eval(name, {"__builtins__": {}})  # noqa: S307 - the function under test lacks its import
    explain_name_error(caught.value)
    assert str(caught.value) == f"name '{name}' is not defined; add 'import {name}' at the top of your script"


def test_other_missing_names_keep_pythons_message() -> None:
    error, unbound = NameError("name 'wrod' is not defined", name="wrod"), UnboundLocalError("local")
    explain_name_error(error)
    explain_name_error(unbound)
    assert (str(error), str(unbound)) == ("name 'wrod' is not defined", "local")
