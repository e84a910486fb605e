"""Plain lines: what a sort of lines needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import InvalidEmission
from mincemeat.sinks.base import sink_for_path
from tests.kit.outputs import written_in_parts


def written(path: Path, *batches: dict[Any, Any]) -> bytes:
    with sink_for_path(path) as sink:
        for batch in batches:
            sink.write(batch.items())
    return path.read_bytes()


def test_a_result_of_none_leaves_the_key_alone(tmp_path: Path) -> None:
    assert written(tmp_path / "r.txt", {"b": None, "a": None}) == b"b\na\n"
    assert written(tmp_path / "r.txt", {"b": None, "a": 1, "": ""}) == b"b\na\t1\n\t\n"
    assert written(tmp_path / "r.txt", {1: None, None: 2, (1, "x"): (3,)}) == b'1\nnull\t2\n[1, "x"]\t[3]\n'


def test_of_a_list_there_is_a_line_for_each_element(tmp_path: Path) -> None:
    assert written(tmp_path / "r.txt", {"a": [None, None], "b": [None]}) == b"a\na\nb\n"
    assert written(tmp_path / "r.txt", {"a": [1, "x", None, [2]], "b": []}) == b"a\t1\na\tx\na\na\t[2]\nb\t[]\n"
    assert written(tmp_path / "r.txt", {"a": [1, 2], "b": "c", "d": [3]}) == b"a\t1\na\t2\nb\tc\nd\t3\n"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("sort", [False, True])
def test_lists_come_back_as_lists_of_text(tmp_path: Path, slash: str, sort: bool) -> None:
    lists: dict[str, list[Any]] = {f"k{number:03d}": ["x", None, "y"][: number % 3 + 1] for number in range(200)}
    results = written_in_parts(f"{tmp_path}/r.txt{slash}", lists, sort=sort)
    assert len(results) == len(lists)
    assert dict(results) == lists
    assert {key: results[key] for key in lists} == lists
    with pytest.raises(KeyError):
        results["k"]


def test_lists_of_nothing_are_keys_alone_and_come_back(tmp_path: Path) -> None:
    lists = {f"{number}\t": [None] * (number % 3 + 1) for number in range(100)}
    results = written_in_parts(f"{tmp_path}/r.txt", lists)
    assert dict(results) == lists
    assert results["7\t"] == [None, None]


def test_text_stands_as_it_is(tmp_path: Path) -> None:
    assert written(tmp_path / "r.txt", {'say "x", y': '"', "tab\there": "\r"}) == b'say "x", y\t"\ntab\there\t\r\n'


def test_bytes_are_raw_and_names_that_are_no_text_are_their_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "r.txt", {b"\xff\x00": None, b"b": None}) == b"\xff\x00\nb\n"
    assert written(tmp_path / "r.txt", {b"\xff": b"\xfe", "caf\udce9": 1}) == b"\xff\t\xfe\ncaf\xe9\t1\n"


@pytest.mark.parametrize(
    ("pair", "what"),
    [
        (("a\nb", None), "a str with a line end in it"),
        ((b"a\nb", None), "a bytes with a line end in it"),
        (("a", "x\ny"), "a str with a line end in it"),
        (("a", b"\n"), "a bytes with a line end in it"),
        (("\ud800", 1), "text with half of a character"),
        (("a", object()), "a object"),
    ],
)
def test_what_a_line_cannot_hold_is_told(tmp_path: Path, pair: tuple[Any, Any], what: str) -> None:
    sink = sink_for_path(tmp_path / "r.txt")
    with pytest.raises(InvalidEmission, match=f"the result for key .* holds {what}") as caught:
        sink.write([("fine", 1), pair])
    assert repr(pair[0]) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_lines_with_tabs_come_back_whole_where_no_key_has_a_result(tmp_path: Path, slash: str) -> None:
    lines = {f"line\t{number}": None for number in range(100)}
    results = written_in_parts(f"{tmp_path}/r.txt{slash}", lines, sort=True)
    assert dict(results) == lines
    assert list(results) == sorted(lines)
    assert "line" not in results


def test_keys_with_tabs_are_read_up_to_the_first(tmp_path: Path) -> None:
    results = written_in_parts(f"{tmp_path}/r.txt/", {f"k{number}\tx": number for number in range(50)})
    assert dict(results) == {f"k{number}": f"x\t{number}" for number in range(50)}
    assert results["k7"] == "x\t7"
    assert results["k7\tx"] == "7"
