from __future__ import annotations

import csv as plain_csv
import io
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.errors import InvalidJob, UserCodeError
from mincemeat.sources.base import Source, open_split
from mincemeat.sources.tables import csv, jsonl
from tests.sources.reading import records_of_payload, records_of_source, split_indices


def _file(tmp_path: Path, content: str, name: str = "a.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode())
    return str(path)


def _values(source: Source) -> list[Any]:
    return [value for _, value in records_of_source(source)]


def test_rows_are_dicts_by_the_header_of_their_own_file(tmp_path: Path) -> None:
    one, two = _file(tmp_path, "\ufeffa,b\r\n1,2\r\n"), _file(tmp_path, "b\n3\n", "b.csv")
    assert records_of_source(csv([one, two])) == [((one, 8), {"a": "1", "b": "2"}), ((two, 2), {"b": "3"})]


def test_names_that_are_given_make_every_line_a_row(tmp_path: Path) -> None:
    assert _values(csv(_file(tmp_path, "1,2\n3,4\n"), header=["a", "b"])) == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]


def test_rows_without_a_header_are_lists_of_any_length(tmp_path: Path) -> None:
    assert _values(csv(_file(tmp_path, "1,2\n\n3\n"), header=False)) == [["1", "2"], ["3"]]


def test_header_alone_and_nothing_at_all_are_no_rows(tmp_path: Path) -> None:
    for content in ("a,b\n", "a,b", "", "\ufeff", "a,b\n\n\n"):
        assert _values(csv(_file(tmp_path, content))) == []


def test_tabs_delimit_where_they_are_said_to(tmp_path: Path) -> None:
    assert _values(csv(_file(tmp_path, 'a\tb\n1,5\t"x\ty"\n'), delimiter="\t")) == [{"a": "1,5", "b": "x\ty"}]


@pytest.mark.parametrize("multiline", [False, True])
@pytest.mark.parametrize(
    ("content", "offset", "reason"),
    [
        ("a,b\n1,2\n1,2,3\n", 8, "has 3 fields and its header 2; header=False"),
        ("a,b\n1\n", 4, "has 1 fields and its header 2"),
        ("a,a\n1,2\n", 0, "gives columns 1 and 2 the same name; header= takes"),
        ("\na,b\n", 0, "is empty, where the header should be"),
        ('a,b\n1,2\n1,"2\n', 8, "has a quoted field that"),
        ('a,"b\n', 0, "has a quoted field that"),
        ("a,b\n1\r2,3\n", 4, "is not CSV: new-line character"),
    ],
)
def test_row_that_cannot_be_meant_is_told_with_path_and_offset(
    tmp_path: Path, content: str, offset: int, reason: str, multiline: bool
) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(UserCodeError, match=reason) as caught:
        records_of_source(csv(path, multiline=multiline))
    assert caught.value.key == repr((path, offset))
    cause = caught.value.__cause__
    assert isinstance(cause, InvalidJob)
    assert repr((path, offset)) in str(cause)
    assert reason.partition(";")[0] in str(cause)


def test_rows_before_a_bad_one_are_there(tmp_path: Path) -> None:
    source = csv(_file(tmp_path, "a\n1\n2\n3,4\n"))
    split_indices(source)
    records = open_split(io.BytesIO(source.payload(0)))
    assert [next(records)[1], next(records)[1]] == [{"a": "1"}, {"a": "2"}]
    with pytest.raises(UserCodeError):
        next(records)


def test_quoted_line_end_is_read_by_multiline_and_told_without(tmp_path: Path) -> None:
    path = _file(tmp_path, 'a,b\n1,"x\r\ny"\n3,4\n')
    with pytest.raises(UserCodeError, match="beyond the end of the line; multiline=True reads"):
        records_of_source(csv(path))
    assert records_of_source(csv(path, multiline=True, split_bytes=1)) == [
        ((path, 4), {"a": "1", "b": "x\r\ny"}),
        ((path, 13), {"a": "3", "b": "4"}),
    ]


def test_field_may_be_longer_than_the_csv_module_allows_and_its_bound_stays(tmp_path: Path) -> None:
    before = plain_csv.field_size_limit()
    long = "x" * (before + 1)
    for multiline in (False, True):
        assert _values(csv(_file(tmp_path, f"a\n{long}\n"), multiline=multiline)) == [{"a": long}]
    assert plain_csv.field_size_limit() == before


def test_quote_that_nobody_closes_does_not_swallow_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CSV_FIELD_CHARS_MAX", 0)
    path = _file(tmp_path, 'a\n"' + "x\n" * plain_csv.field_size_limit())
    with pytest.raises(UserCodeError, match="field larger than field limit") as caught:
        records_of_source(csv(path, multiline=True))
    assert caught.value.key == repr((path, 2))


def test_header_is_read_once_for_all_pieces_and_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, "a,b\n" + "1,2\n" * 30)
    source = csv(path, split_bytes=20)
    indices = split_indices(source)
    assert len(indices) > 3
    assert [value for _, value in records_of_payload(source.payload(indices[-1]))][-1] == {"a": "1", "b": "2"}
    monkeypatch.setattr(limits, "CSV_HEAD_BYTES_MAX", 100)
    with pytest.raises(InvalidJob, match="has more than 100 bytes"):
        csv(_file(tmp_path, "x" * 101), split_bytes=20).next_split(1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"delimiter": ""}, "delimiter is one character"),
        ({"delimiter": '"'}, "delimiter is one character"),
        ({"delimiter": b","}, "delimiter is one character"),
        ({"header": "a,b"}, "header is True, False or a list"),
        ({"header": None}, "header is True, False or a list"),
        ({"header": []}, "all different and at least one"),
        ({"header": ["a", "a"]}, "all different and at least one"),
        ({"header": [1]}, "all different and at least one"),
        ({"split_bytes": 0}, "from 1 up"),
    ],
)
def test_options_that_cannot_be_meant_are_told(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        csv(_file(tmp_path, ""), **options)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'a': 1}", "Expecting property name enclosed in double quotes, character 2"),
        ("1 2", "Extra data, character 3"),
        ("[" * 100_000, "recursion"),
        ("1" * 5000, "integer string conversion"),
    ],
    ids=["quotes", "two values", "too deep", "too long"],
)
def test_line_that_is_not_json_is_told_with_path_and_offset(tmp_path: Path, line: str, reason: str) -> None:
    path = _file(tmp_path, f"1\n\n{line}\n", "a.jsonl")
    with pytest.raises(UserCodeError, match="is not JSON") as caught:
        records_of_source(jsonl(path))
    assert caught.value.key == repr((path, 3))
    assert isinstance(caught.value.__cause__, InvalidJob)
    assert reason in str(caught.value.__cause__)


def test_json_is_told_to_the_caller_by_name(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"n": 1}\n{"n": 2}\n', "a.jsonl")

    def mapfn(key: tuple[str, int], value: dict[str, int]) -> Any:
        yield "n", value["n"]

    assert mincemeat.run(jsonl(path), mapfn, lambda key, values: sum(values), engine="inline") == {"n": 3}
    Path(path).write_bytes(b'{"n": 1}\n{"n": 2}\nno\n')
    with pytest.raises(InvalidJob, match=r"the line at \('.*a.jsonl', 18\) is not JSON"):
        mincemeat.run(jsonl(path), mapfn, engine="inline")
