"""docs/architecture.md and CONTRIBUTING.md speak of the house as it stands."""

from __future__ import annotations

import re

import pytest

from tests.house.test_floors import FLOORS, SOURCE

ROOT = SOURCE.parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TOURS = {
    "docs/architecture.md": PAGE.partition("## A tour of the files")[2],
    "CONTRIBUTING.md": CONTRIBUTING.partition("## A tour")[2],
}


def test_the_floors_drawn_are_the_floors_checked() -> None:
    drawn = PAGE.partition("<!-- floors, top first")[2].split("```")[1].strip().splitlines()
    floors = [set(re.split(r",\s", re.split(r"\s{2,}", line)[0])) for line in reversed(drawn)]
    assert floors == FLOORS


@pytest.mark.parametrize("page", TOURS)
def test_each_file_of_the_tour_exists(page: str) -> None:
    names = set(re.findall(r"`([\w/]+\.py)`", TOURS[page]))
    files = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")}
    assert {name for name in names if not any(file == name or file.endswith(f"/{name}") for file in files)} == set()


def test_the_tour_passes_every_room() -> None:
    rooms = set().union(*FLOORS) - {"__init__", "__main__"}
    for page, tour in TOURS.items():
        assert {room for room in rooms if not re.search(rf"`{room}(/|\.py)", tour)} == set(), page
