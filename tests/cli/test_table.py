from __future__ import annotations

import io
import os
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.model import Pair
from mincemeat.sinks.table import LinesSink, TableSink


def table(pairs: list[Pair], width: int = 80, rows_max: int | None = 50) -> list[str]:
    stream = io.StringIO()
    sink = TableSink(stream, width=width, rows_max=rows_max)
    sink.write(pairs[:1])
    sink.write(iter(pairs[1:]))
    assert stream.getvalue() == ""
    sink.commit()
    return stream.getvalue().splitlines()


def lines(pairs: list[Pair]) -> str:
    stream = io.StringIO()
    sink = LinesSink(stream)
    sink.write(pairs[:1])
    sink.write(iter(pairs[1:]))
    assert stream.getvalue() == ""
    sink.commit()
    return stream.getvalue()


def test_numbers_are_aligned_to_the_right_and_words_to_the_left() -> None:
    assert table([("Humpty", 3), ("the", 12)]) == [
        "key     value",
        "------  -----",
        "Humpty      3",
        "the        12",
    ]


def test_a_column_that_is_not_all_numbers_is_aligned_to_the_left() -> None:
    assert table([(10, 3), (5, None)]) == ["key  value", "---  -----", " 10  3", "  5  None"]


@pytest.mark.parametrize("number", [7, 0.5, Decimal("1.5")])
def test_numbers_of_every_type_count_as_numbers(number: Any) -> None:
    assert table([("a", number)])[2] == "a    " + str(number).rjust(5)


def test_a_truth_value_is_not_a_number() -> None:
    assert table([("a", True)])[2] == "a    True"


def test_rows_beyond_the_limit_are_counted() -> None:
    shown = table([(number, 0) for number in range(3261)])
    assert len(shown) == 2 + 50 + 1
    assert shown[-1] == "... and 3,211 more (use -o FILE for all of them, --top N for the largest)"


def test_without_a_limit_every_row_is_printed() -> None:
    assert len(table([(number, 0) for number in range(200)], rows_max=None)) == 2 + 200


def test_no_results_are_told() -> None:
    assert table([]) == ["no results"]


def test_a_long_value_is_cut_at_the_terminals_edge() -> None:
    row = table([("key", "v" * 100)], width=30)[2]
    assert row == "key  " + "v" * 22 + "..."
    assert len(row) == 30


def test_a_long_key_leaves_a_short_value_whole() -> None:
    assert table([("k" * 100, 123456)], width=30)[2] == "k" * 9 + "..." + "k" * 10 + "  123456"


def test_a_long_key_keeps_its_end() -> None:
    """A grep over a tree showed fifty times the same directory, and no file name."""
    keys = [f"/usr/lib/python3.11/{name}:{number}" for number, name in enumerate(["json/decoder.py", "os.py"])]
    rows = table([(key, "v" * 100) for key in keys], width=50)[2:]
    assert [row.split()[0] for row in rows] == ["/usr/lib/p...ecoder.py:0", "/usr/lib/p....11/os.py:1"]


def test_two_long_cells_share_the_width() -> None:
    assert table([("k" * 100, "v" * 100)], width=30)[2] == "k" * 5 + "..." + "k" * 6 + "  " + "v" * 11 + "..."


@given(st.lists(st.tuples(st.text(), st.text() | st.integers())), st.integers(8, 100))
def test_no_row_is_wider_than_the_terminal(pairs: list[Pair], width: int) -> None:
    for row in table(pairs, width)[:52]:
        combining = sum(map(bool, map(unicodedata.combining, row)))
        assert len(row) - combining <= width or row.startswith(("no ", "..."))


def test_wide_characters_count_twice_and_combining_ones_not() -> None:
    assert table([("東京", 1), ("cafe\u0301", 2)])[2:] == ["東京      1", "cafe\u0301      2"]
    assert table([("東京" * 40, 1)], width=20)[2] == "東京...東京        1"


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    assert table([("\x1b[2J\n", "\u202e")])[2] == "\\x1b[2J\\n  \\u202e"


def test_nothing_is_printed_by_an_aborted_job() -> None:
    stream = io.StringIO()
    for sink in (TableSink(stream, width=80), LinesSink(stream)):
        sink.write([(1, 2)])
        sink.abort()
    assert stream.getvalue() == ""


def test_ending_twice_is_ending_once() -> None:
    stream = io.StringIO()
    for sink in (TableSink(stream, width=80), LinesSink(stream)):
        sink.write([("a", 2)])
        sink.commit()
        printed = stream.getvalue()
        sink.commit()
        sink.abort()
        assert stream.getvalue() == printed


def test_lines_are_key_tab_value_and_nothing_else() -> None:
    assert lines([("a", 1), (("x", 2), [None])]) == "a\t1\n('x', 2)\t[None]\n"


def test_a_result_stays_on_its_line() -> None:
    assert lines([("a\tb", "c\r\nd\\e")]) == "a\\tb\tc\\r\\nd\\e\n"


def test_lines_larger_than_memory_should_hold_come_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINES_SPOOL_BYTES", 100)
    assert lines([(number, "é\udcff") for number in range(100)]) == "".join(f"{n}\té\udcff\n" for n in range(100))


@pytest.mark.parametrize("kind", ["table", "lines"])
def test_a_reader_that_has_enough_is_no_error(kind: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        sink = LinesSink(stream) if kind == "lines" else TableSink(stream, width=80)
        sink.write([("a", "b")])
        sink.commit()
        stream.write("and the flush at the interpreter's end is quiet")
    assert stream.closed


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w", encoding="utf-8") as stream:
        sink = LinesSink(stream)
        sink.write([("a", "b")])
        with pytest.raises(OSError, match="No space left"):
            sink.commit()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
