"""The house stands: a room imports its own floor and anything below, never above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mincemeat"

# Ground floor first. Rooms in one line share a floor and may import each other, except those in APART.
FLOORS: list[set[str]] = [
    {"limits"},
    {"errors"},
    {"model"},
    {"decoding"},
    {"reducers"},
    {"interrupts"},
    {"sandbox"},
    {"scratch", "locks", "positions", "set_aside"},
    {"onefile", "interpreters"},
    {"scheduler", "wire"},
    {"shuffle", "sources", "sinks", "usercode"},
    {"careful", "describing", "result_file"},
    {"attempt", "sampling", "preflight", "journal"},
    {"slot_channel"},
    {"slots"},
    {"slot_main", "cluster"},
    {"engines"},
    {"progress", "memory", "arguments"},
    {"api"},
    {"cli"},
    {"__init__"},
    {"__main__"},
]
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

APART = [{"scheduler", "wire"}]

# The pure floor takes time and chance as arguments.
PURE = {"scheduler", "wire"}
FORBIDDEN_IN_PURE = {
    "asyncio", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
}  # fmt: skip


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """All modules that the file imports, at its top, inside functions and for types alike."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            modules.add(node.module)
            if node.module == "mincemeat":
                modules.update(f"mincemeat.{alias.name}" for alias in node.names)
    return modules


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_nothing_from_above(path: Path) -> None:
    room = room_of(path)
    assert room in HEIGHT, f"{room} has no floor yet: give it one in this test and in docs/architecture.md"
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] != "mincemeat" or len(parts) == 1:
            continue
        other = parts[1]
        assert other in HEIGHT, f"{path} imports {module}, which is no room"
        assert HEIGHT[other] <= HEIGHT[room], f"{path} imports {module}, which is above it"
        for rooms in APART:
            assert not (room in rooms and other in rooms and room != other), f"{room} must not know {other}"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in PURE], ids=lambda path: path.name)
def test_pure_floor_takes_time_and_chance_as_arguments(path: Path) -> None:
    used = {module.split(".")[0] for module in imports_of(path)} & FORBIDDEN_IN_PURE
    assert not used, f"{path} is on the pure floor and imports {', '.join(sorted(used))}"


def test_every_room_stands() -> None:
    built = {room_of(path) for path in FILES}
    assert built == set(HEIGHT), "a floor without its room, or a room without its floor"
