from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.errors import InvalidEmission, UserCodeError
from mincemeat.sources.base import as_source
from mincemeat.sources.mapping import MappingSource
from tests.sources.reading import records_of_payload, records_of_source


class Watched:
    """Ten records that note what was asked of them, and raise where they are told to."""

    def __init__(self, *, raise_at: int = -1, raise_in_iter_at: int = -1, error: type[Exception] = ValueError) -> None:
        self.asked: list[str] = []
        self._raise_at = raise_at
        self._raise_in_iter_at = raise_in_iter_at
        self._error = error

    def __iter__(self) -> Iterator[int]:
        for key in range(10):
            if key == self._raise_in_iter_at:
                raise self._error("no more keys")
            self.asked.append(f"key {key}")
            yield key

    def __getitem__(self, key: int) -> int:
        self.asked.append(f"value {key}")
        if key == self._raise_at:
            raise self._error("no such value")
        return key * key


def test_nothing_is_asked_before_the_first_split_or_beyond_the_one_being_cut() -> None:
    datasource = Watched()
    source = MappingSource(datasource)
    assert datasource.asked == []
    source.next_split(2)
    assert datasource.asked == ["key 0", "value 0", "key 1", "value 1"]


def test_value_is_asked_once_until_its_split_is_released_and_again_for_a_retry() -> None:
    datasource = Watched()
    source = MappingSource(datasource)
    source.next_split(2)
    payload = source.payload(0)
    assert source.payload(0) == payload
    assert datasource.asked.count("value 1") == 1
    source.release(0)
    assert source.payload(0) == payload
    assert datasource.asked.count("value 1") == 2


def test_split_reports_its_records_and_exact_bytes() -> None:
    source = MappingSource(Watched())
    info = source.next_split(3)
    assert info is not None
    assert info == (0, 3, len(source.payload(0)))


def test_split_ends_with_the_record_that_makes_it_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPLIT_BYTES_MAX", 1000)
    source = as_source(["x" * size for size in (10, 400, 800, 5000, 1)])
    records = []
    while (info := source.next_split(100)) is not None:
        records.append(info.records)
    assert records == [3, 1, 1]


def test_split_of_no_records_cannot_be_wanted() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        as_source({}).next_split(0)


@pytest.mark.parametrize("error", [KeyError, StopIteration, OSError])
def test_exception_of_getitem_comes_with_its_key(error: type[Exception]) -> None:
    source = MappingSource(Watched(raise_at=3, error=error))
    assert source.next_split(3) is not None
    with pytest.raises(UserCodeError, match="for key 3") as caught:
        source.next_split(3)
    assert (caught.value.function, caught.value.key) == ("datasource", "3")
    assert type(caught.value.__cause__) is error


@pytest.mark.parametrize("at", [0, 3])
def test_exception_of_iteration_is_told_and_never_mistaken_for_the_end(at: int) -> None:
    source = MappingSource(Watched(raise_in_iter_at=at))
    for _ in range(2):
        with pytest.raises(UserCodeError, match="while its keys were iterated") as caught:
            source.next_split(5)
        assert type(caught.value.__cause__) is ValueError
        assert caught.value.key == ""


def test_iterator_with_a_close_of_its_own_is_not_closed() -> None:
    """`yield from` closes what it iterates if that happens to have a method of this name: a file, for example."""

    class Keys:
        closed = False

        def __iter__(self) -> Keys:
            return self

        def __next__(self) -> int:
            return 1

        def __getitem__(self, key: int) -> int:
            return key

        def close(self) -> None:
            self.closed = True

    keys = Keys()
    source = MappingSource(keys)
    source.next_split(1)
    source.close()
    assert not keys.closed


def test_lambdas_and_local_classes_travel_by_value() -> None:
    class Local:
        size = 3

    ((_, double), (_, local)) = records_of_source(as_source([lambda number: 2 * number, Local()]))
    assert double(4) == 8
    assert local.size == 3


def test_value_that_nothing_can_pickle_is_named() -> None:
    source = as_source({"good": 1, "bad": (number for number in "ab")})
    with pytest.raises(UserCodeError, match="the value of key 'bad' in the datasource cannot be pickled") as caught:
        source.next_split(2)
    assert isinstance(caught.value.__cause__, InvalidEmission)
    assert caught.value.key == "'bad'"


def test_key_that_nothing_can_pickle_is_named() -> None:
    generator = (number for number in "ab")
    with pytest.raises(UserCodeError, match="the key <generator .* of the datasource cannot be pickled"):
        as_source({generator: 1}).next_split(1)


class Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ImportError("No module named 'nowhere'")


def test_record_that_cannot_be_unpickled_is_the_datasources_fault() -> None:
    source = as_source([1, Unloadable()])
    source.next_split(2)
    with pytest.raises(UserCodeError, match="record 1 of the split cannot be unpickled here") as caught:
        records_of_payload(source.payload(0))
    assert isinstance(caught.value.__cause__, ImportError)


def test_equal_objects_in_different_records_do_not_mix() -> None:
    """One unpickler for several pickles numbers its memo on, and gives the objects of the first for the second."""
    shared = ["shared"]
    records = records_of_source(as_source({"a": [shared, shared], "b": [{"x": shared}, shared, "b"]}))
    assert records == [("a", [shared, shared]), ("b", [{"x": shared}, shared, "b"])]


def test_long_keys_that_differ_in_the_middle_have_other_fingerprints() -> None:
    """They were told apart by a short repr, which leaves the middle out."""
    prints = set()
    for key in ("a" * 500, "a" * 250 + "b" + "a" * 249, b"a" * 500, 10**500, 10**500 + 10**250):
        source = MappingSource({key: 1})
        source.next_split(1)
        prints.add(source.fingerprint(0))
    assert len(prints) == 5
