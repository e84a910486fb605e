from __future__ import annotations

import io
from collections import deque
from typing import Any

import pytest

from mincemeat.errors import InvalidJob
from mincemeat.sources.base import SplitUnreadable, as_source, open_split
from tests.sources.reading import records_of_source


class OnlyTwoMethods:
    def __iter__(self) -> Any:
        return iter(["a", "b"])

    def __getitem__(self, key: str) -> str:
        return key * 2


def test_source_is_taken_as_it_is() -> None:
    source = as_source({})
    assert as_source(source) is source


def test_class_with_iter_and_getitem_alone_is_enough() -> None:
    assert records_of_source(as_source(OnlyTwoMethods())) == [("a", "aa"), ("b", "bb")]


@pytest.mark.parametrize("sequence", [["x", "y"], ("x", "y"), deque("xy")])
def test_sequence_gives_index_and_element(sequence: Any) -> None:
    assert records_of_source(as_source(sequence)) == [(0, "x"), (1, "y")]


def test_empty_datasource_has_no_split() -> None:
    assert as_source({}).next_split(1) is None


@pytest.mark.parametrize(
    ("datasource", "sentence"),
    [
        (None, "no datasource"),
        ("some text", r"did you mean mincemeat\.text\(\.\.\.\)\?"),
        (b"bytes", r"did you mean mincemeat\.text"),
        (7, "int has no __iter__"),
        ({1, 2}, r"set has no __getitem__; list\(\.\.\.\) makes"),
        ((number for number in "ab"), "generator has no __getitem__"),
    ],
)
def test_what_is_no_datasource_is_told(datasource: Any, sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        as_source(datasource)


@pytest.mark.parametrize("payload", [b"", b"X", b"R\0\0", b"R\0\0\0\1", b"D\0\0\0\x09", b"R\0\0\0\1\x80\x05N"])
def test_payload_that_is_none_or_is_cut_off_is_unreadable(payload: bytes) -> None:
    with pytest.raises(SplitUnreadable):
        list(open_split(io.BytesIO(payload)))
