from __future__ import annotations

import io

import pytest

from mincemeat.model import Snapshot
from mincemeat.progress import ProgressLine, describe, format_bytes, format_seconds, progress_line

MAPPING = Snapshot("job", seconds=7, workers=1, slots=2, running=2, map_committed=3, map_total=9, records=1234, pairs=5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def seen(written: str) -> str:
    """What a terminal shows after ``written``: carriage returns go back, characters overwrite."""
    cells: list[str] = []
    column = 0
    for char in written:
        if char == "\r":
            column = 0
            continue
        cells[column : column + 1] = [char]
        column += 1
    return "".join(cells).rstrip()


def test_a_short_job_draws_nothing() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressLine(terminal, clock) as line:
        clock.now += 0.4
        line.observe(MAPPING)
    assert terminal.getvalue() == ""
    assert line.last is MAPPING


def test_a_longer_job_is_drawn_in_place_and_wiped_at_the_end() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressLine(terminal, clock) as line:
        clock.now += 1
        line.observe(Snapshot("job", records=1_000_000, slots=1, workers=1))
        line.observe(MAPPING)
        assert seen(terminal.getvalue()) == describe(MAPPING)
    assert seen(terminal.getvalue()) == ""
    assert terminal.getvalue().endswith("\r")
    assert "\n" not in terminal.getvalue()


def test_the_line_goes_with_the_last_task_so_that_results_can_be_printed() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressLine(terminal, clock) as line:
        clock.now += 1
        line.observe(MAPPING)
        line.observe(Snapshot("job", reduce_total=2, reduce_committed=2))
        wiped = terminal.getvalue()
        assert seen(wiped) == ""
        assert wiped.endswith("\r")
    assert terminal.getvalue() == wiped


def test_a_line_is_cut_at_the_terminals_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal, clock = Terminal(), Clock()
    line = ProgressLine(terminal, clock)
    clock.now += 1
    line.observe(MAPPING)
    assert seen(terminal.getvalue()) == describe(MAPPING)[:19].rstrip()


def test_a_terminal_that_hangs_up_does_not_cost_the_job() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressLine(terminal, clock) as line:
        clock.now += 1
        line.observe(MAPPING)
        terminal.close()
        line.observe(MAPPING)
        line.observe(MAPPING)


@pytest.mark.parametrize(("wanted", "terminal", "drawn"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_a_line_is_drawn_if_wanted_or_by_default_on_a_terminal(
    wanted: bool | None, terminal: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("mincemeat.progress._QUIET_SECONDS", 0)
    with progress_line(wanted) as line:
        line.observe(MAPPING)
    assert bool(stream.getvalue()) is drawn


def test_without_standard_error_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("mincemeat.progress._QUIET_SECONDS", 0)
    for wanted in (None, True):
        with progress_line(wanted) as line:
            line.observe(MAPPING)
        assert line.last is MAPPING


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (MAPPING, "map 3/9+ | 1,234 records, 5 pairs | 1 worker (2 slots) | 0:07"),
        (
            Snapshot("job", seconds=2, workers=2, slots=2, map_total=4, input_exhausted=True,
                     input_bytes=10**6, input_bytes_total=4 * 10**6),
            "map 0/4 | 25% of 4.0 MB, 500.0 kB/s | 0 records, 0 pairs | 2 workers | 0:02",
        ),
        (
            Snapshot("job", workers=1, slots=1, map_committed=9, reduce_committed=1, reduce_total=7, failed_attempts=1),
            "reduce 1/7 | 0 records, 0 pairs | 1 worker | 1 failed attempt | 0:00",
        ),
        (
            Snapshot("job", failed_attempts=2),
            "map 0/0+ | 0 records, 0 pairs | no workers yet | 2 failed attempts | 0:00",
        ),
    ],
)  # fmt: skip
def test_a_snapshot_reads_as_one_line(snapshot: Snapshot, text: str) -> None:
    assert describe(snapshot) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (2.5e9, "2.5 GB"),
     (3e12, "3.0 TB"), (4e16, "40000.0 TB")],
)  # fmt: skip
def test_sizes_read_in_powers_of_a_thousand(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (67, "1:07"), (3723.5, "1:02:03")])
def test_seconds_read_as_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
