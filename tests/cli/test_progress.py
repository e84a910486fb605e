from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@pytest.mark.parametrize(("columns", "shown"), [
    (None, "map 120/130 | 74% of 490.2 MB, 15.0 MB/s | 10,095,606 records, 35,900 pairs | 2 workers (8 slots) | 0:24"),
    (100, "map 120/130 | 74% of 490.2 MB, 15.0 MB/s | 10,095,606 records | 2 workers (8 slots) | 0:24"),
    (80, "map 120/130 | 74% of 490.2 MB, 15.0 MB/s | 10,095,606 records | 2 workers | 0:24"),
    (70, "map 120/130 | 74% of 490.2 MB | 10,095,606 records | 2 workers | 0:24"),
    (60, "map 120/130 | 74% of 490.2 MB | 2 workers | 0:24"),
    (20, "map 120/130 | 74% of"),
])  # fmt: skip
def test_a_narrow_terminal_shows_what_matters_most(columns: int | None, shown: str) -> None:
    snapshot = Snapshot("job", seconds=24.2, workers=2, slots=8, map_committed=120, map_total=130, input_exhausted=True,
                        input_bytes=363_000_000, input_bytes_total=490_200_000, records=10_095_606,
                        pairs=35_900)  # fmt: skip
    assert describe(snapshot, columns) == shown


def test_a_line_ends_before_the_terminals_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal, clock = Terminal(), Clock()
    line = ProgressLine(terminal, clock)
    clock.now += 1
    line.observe(MAPPING)
    assert seen(terminal.getvalue()) == describe(MAPPING, 19)


@contextmanager
def drawn() -> Iterator[tuple[Terminal, ProgressLine]]:
    """Standard error is a terminal with a line on it. No fixture, because pytest puts its own there for the test."""
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        patch.setattr("mincemeat.progress._QUIET_SECONDS", 0)
        with progress_line(None) as line:
            line.observe(MAPPING)
            yield terminal, line
        assert sys.stderr is terminal


def test_a_sentence_on_standard_error_has_lines_of_its_own() -> None:
    """A server's "waiting for workers" and its warnings landed behind the progress line."""
    with drawn() as (terminal, line):
        print("waiting for workers", file=sys.stderr)
        sys.stderr.writelines(["two ", "words\n"])
        first, second, rest = terminal.getvalue().split("\n")
        assert (seen(first), seen(second), rest) == ("waiting for workers", "two words", "")
        line.observe(MAPPING)
        assert seen(terminal.getvalue().split("\n")[2]) == describe(MAPPING)


def test_an_unfinished_line_of_somebody_else_is_not_drawn_over() -> None:
    with drawn() as (terminal, line):
        sys.stderr.write("name? ")
        line.observe(MAPPING)
        assert seen(terminal.getvalue()) == "name?"
        sys.stderr.write("ok\n")
        line.observe(MAPPING)
        assert seen(terminal.getvalue().split("\n")[1]) == describe(MAPPING)


def test_a_warning_of_the_log_has_a_line_of_its_own() -> None:
    with drawn() as (terminal, _):
        assert logging.lastResort is not None
        logging.lastResort.emit(logging.makeLogRecord({"msg": "worker w was refused"}))
        assert seen(terminal.getvalue().split("\n")[0]) == "worker w was refused"


def test_standard_error_keeps_its_other_abilities() -> None:
    with drawn() as (terminal, _):
        assert sys.stderr.isatty()
        assert getattr(sys.stderr, "getvalue")() == terminal.getvalue()  # noqa: B009 - a file has no such thing


def test_whoever_replaced_standard_error_meanwhile_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = io.StringIO()
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress_line(None):
        sys.stderr = theirs
    assert sys.stderr is theirs


def test_the_wiped_line_covers_the_terminals_echo_of_ctrl_c() -> None:
    with drawn() as (terminal, line):
        line.observe(Snapshot("job"))  # shorter: the cursor is behind blanks
        terminal.write("^C")
        print("interrupted", file=sys.stderr)
        assert seen(terminal.getvalue().split("\n")[0]) == "interrupted"


def test_a_terminal_that_hangs_up_does_not_cost_the_job() -> None:
    terminal, clock = Terminal(), Clock()
    with ProgressLine(terminal, clock) as line:
        clock.now += 1
        line.observe(MAPPING)
        terminal.close()
        line.observe(MAPPING)
        line.observe(MAPPING)
    assert line.last == MAPPING


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
            Snapshot("job", workers=1, slots=1, map_committed=9, reduce_committed=1, reduce_total=7, failed_attempts=1,
                     records=1, pairs=1),
            "reduce 1/7 | 1 record, 1 pair | 1 worker | 1 failed attempt | 0:00",
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
