"""Puts the one file together: package, cloudpickle, and the importer at its head.

Decides: what is in it, in which order, and its form; the same sources give the same bytes. Does not know: who wants it.

Each module stands there as it is, in a raw string that nothing in it can end: a person reads it, and ``grep`` finds it.
cloudpickle is taken from the installed distribution, file by file as pip recorded it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from mincemeat.errors import MincemeatError
from mincemeat.limits import VERSION

# As docs/architecture.md has it: words and numbers first, then the pure floor, and up from there.
READING_ORDER: Final = (
    "limits", "errors", "model", "decoding", "reducers",
    "scheduler", "wire",
    "interrupts", "sandbox", "scratch", "locks", "positions", "set_aside",
    "shuffle", "careful", "describing", "result_file",
    "attempt", "sampling", "preflight",
    "sources", "sinks", "usercode",
    "onefile", "interpreters", "slot_channel", "slots", "slot_main", "journal",
    "engines", "cluster",
    "memory", "progress", "arguments", "api", "cli", "__init__", "__main__",
)  # fmt: skip
# What makes the file, and what only tests ask.
LEFT_OUT: Final = frozenset({"onefile/importer.py", "onefile/building.py", "scheduler/invariants.py"})

_QUOTES: Final = "'''"
_WIDTH: Final = 118

_DOCSTRING: Final = '''#!/usr/bin/env python3
"""mincemeat {version}: MapReduce on Python, in one file that needs nothing but Python 3.11 or later.

    python mincemeat.py -p PASSWORD HOST            join the server on HOST as a worker
    python mincemeat.py run JOBFILE INPUT ...       run a job on this machine
    import mincemeat                                in a script beside this file: Server, Client, run, ...
    python mincemeat.py --help

This is the package mincemeat {version} and cloudpickle {cloudpickle}, put together by tools/onefile.py of
its repository. To change it, change it there. The contents follow the licences.
"""
'''

_START: Final = """
_THE_FILE = OneFile(globals().get("__file__", "<mincemeat>"), sys._getframe().f_code, globals().get("__compiled__"))
"""

_END: Final = """
start(_THE_FILE, __name__)
"""


class CannotBuild(MincemeatError):
    """The one file cannot be made here: a source is not there, or is not what it should be."""


class _Module(NamedTuple):
    name: str
    is_package: bool
    source: str


def build() -> bytes:
    """The bytes of ``mincemeat.py``, from the sources of the package that this process runs. Raises: CannotBuild."""
    package = Path(__file__).resolve().parent.parent
    pickles = _distribution("cloudpickle")
    modules = [*_package_modules(package), *_cloudpickle_modules(pickles)]
    head = _DOCSTRING.format(version=VERSION, cloudpickle=pickles.version)
    head += _licence("mincemeat", VERSION, _own_licence(package))
    head += _licence("cloudpickle", pickles.version, _licence_of(pickles))
    importer = _read(package / "onefile" / "importer.py").partition('"""\n')[2].lstrip("\n")
    # The contents name lines, and stand before them.
    lines_before = head.count("\n") + _contents(modules, []).count("\n") + (importer + _START).count("\n")
    begin: list[int] = []
    sections: list[str] = []
    for module in modules:
        section, offset = _section(module)
        begin.append(lines_before + offset)
        lines_before += section.count("\n")
        sections.append(section)
    return "".join([head, _contents(modules, begin), importer, _START, *sections, _END]).encode("utf-8")


def _section(module: _Module) -> tuple[str, int]:
    """How ``module`` stands in the file, and in which line of that its source begins."""
    if _QUOTES in module.source or not module.source.endswith("\n"):
        raise CannotBuild(f"{module.name} cannot stand in a raw string: it has {_QUOTES} in it, or no end of a line")
    kind = "package" if module.is_package else "module"
    heading = f" {module.name} ".center(_WIDTH - 2, "=")
    opening = f'\n\n# {heading}\n\n_THE_FILE.{kind}("{module.name}", r{_QUOTES}\n'
    return f"{opening}{module.source}{_QUOTES})\n", opening.count("\n") + 1


def _contents(modules: Iterable[_Module], begin: list[int]) -> str:
    rows = ["# Contents: line, module", "#"]
    for number, module in enumerate(modules):
        line = f"{begin[number]:>6}" if begin else ""
        rows.append(f"# {line}  {module.name}: {_summary(module.source)}"[:_WIDTH].rstrip())
    return "\n".join(rows) + "\n\n"


def _summary(source: str) -> str:
    found = re.search(r'^"""(.+?)(?:"""|\n|$)', source, re.MULTILINE)
    return found[1].strip() if found else ""


# -- the package -----------------------------------------------------------------------------------------


def _package_modules(package: Path) -> Iterator[_Module]:
    paths = [path for path in package.rglob("*.py") if path.relative_to(package).as_posix() not in LEFT_OUT]
    for path in sorted(paths, key=lambda path: _place(path.relative_to(package))):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield _Module(".".join(["mincemeat", *(parts[:-1] if is_package else parts)]), is_package, _read(path))


def _place(path: Path) -> tuple[int, str, bool, str]:
    room = path.parts[0].removesuffix(".py")
    order = READING_ORDER.index(room) if room in READING_ORDER else len(READING_ORDER)
    return order, room, path.name != "__init__.py", path.as_posix()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")  # with ends of lines as Python has them, whatever a checkout made of them
    except OSError as error:
        raise CannotBuild(f"the one file cannot be made without {path}: {error.strerror}") from error


def _own_licence(package: Path) -> str:
    if package.parent.name == "src":  # a checkout, of which nothing may be installed
        return _read(package.parent.parent / "LICENSE")
    return _licence_of(_distribution("mincemeat"))


# -- cloudpickle -----------------------------------------------------------------------------------------


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise CannotBuild(f"the one file cannot be made where {name} is not installed") from error


def _cloudpickle_modules(distribution: metadata.Distribution) -> Iterator[_Module]:
    files = [file for file in distribution.files or () if file.parts[0] == "cloudpickle" and file.suffix == ".py"]
    if not files:
        raise CannotBuild("the one file cannot be made: pip has no record of the files of cloudpickle")
    for file in sorted(files, key=lambda file: (file.name != "__init__.py", file.as_posix())):
        content = file.read_binary()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
        if file.hash is None or (file.hash.mode, file.hash.value) != ("sha256", digest):
            raise CannotBuild(f"the one file cannot be made: {file.locate()} is not what pip installed")
        is_package = file.name == "__init__.py"
        name = ".".join(file.parent.parts if is_package else file.with_suffix("").parts)
        yield _Module(name, is_package, content.decode("utf-8").replace("\r\n", "\n"))


def _licence_of(distribution: metadata.Distribution) -> str:
    for file in distribution.files or ():
        if file.stem.upper() in ("LICENSE", "LICENCE"):
            return file.read_text("utf-8")
    raise CannotBuild(f"the one file cannot be made: {distribution.metadata['Name']} comes without its licence")


def _licence(name: str, version: str, text: str) -> str:
    lines = [f"{name} {version}", "", *text.replace("\r\n", "\n").strip().split("\n")]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"
