"""The compiled table of text and whole numbers is what a dict would be, and its bytes are what the plain reader reads.

Everything else about it is claimed by the tests of the rooms that use it, which run with it and without it.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mincemeat.reducers import Fold
from mincemeat.shuffle import texttable
from mincemeat.shuffle.order import stretches
from mincemeat.shuffle.partition import partition_hash
from mincemeat.shuffle.texttable import (
    TextColumns,
    TextTable,
    unpack,
    unpack_lists,
    unpack_lists_plainly,
    unpack_plainly,
)
from tests.kit.ways import only_compiled as each_way  # noqa: F401 - instead of the room's

LEAST, LARGEST = -(2**63), 2**63 - 1
ALL = sys.maxsize

# Lone surrogates, characters of every length in UTF-8, NUL, and enough that are alike in their first eight bytes.
texts = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(exclude_categories=[]), max_size=6),
    st.sampled_from(["", "a", "a\0", "a\0\0", "\ud800", "\udcff", "é", "€", "😀", "\uffff", "prefixed"]),
    st.builds("prefixed{}".format, st.integers(0, 30)),
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([-129, -128, 127, 128, 2**15, 2**31, LEAST, LARGEST]),
    st.integers(LEAST, LARGEST),
)
pairs = st.lists(st.tuples(texts, numbers), max_size=120)
STEPS: dict[Fold, Callable[[Any, Any], Any]] = {
    Fold.SUM: lambda held, value: held + value,
    Fold.ADD: lambda held, value: held + value,
    Fold.COUNT: lambda held, _: held + 1,
    Fold.MIN: min,
    Fold.MAX: max,
}


def table_of(fold: Fold) -> TextTable:
    table = TextTable.for_fold(fold)
    assert table is not None
    return table


def keys_of(keys: Iterable[str]) -> TextTable:
    table = TextTable.for_keys()
    assert table is not None
    keys = list(keys)
    assert table.take(keys, [None] * len(keys)) == (len(keys), True)
    return table


def summed(emitted: list[tuple[str, int]]) -> TextTable:
    table = table_of(Fold.SUM)
    assert table.drain(iter(emitted), ALL, ALL) == (len(emitted), None, True)
    return table


def held_by(table: TextTable) -> list[tuple[Any, Any]]:
    return list(zip(*table.everything().lists(), strict=True))


def plainly(emitted: Iterable[tuple[str, Any]], fold: Fold) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for key, value in emitted:
        first = 1 if fold is Fold.COUNT else value
        held[key] = STEPS[fold](held[key], value) if key in held else first
    return held


def small(emitted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """So that no sum is too large."""
    return [(key, int(math.fmod(value, 2**40))) for key, value in emitted]


# -- folding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", STEPS)
@given(emitted=pairs)
def test_table_holds_what_a_dict_holds_in_its_order(fold: Fold, emitted: list[tuple[str, int]]) -> None:
    emitted = small(emitted)
    drained, taken = table_of(fold), table_of(fold)
    assert drained.drain(iter(emitted), ALL, ALL) == (len(emitted), None, True)
    assert taken.take([key for key, _ in emitted], [value for _, value in emitted]) == (len(emitted), True)
    expected = list(plainly(emitted, fold).items())
    assert held_by(drained) == held_by(taken) == expected
    assert (len(drained), drained.taken) == (len(expected), len(emitted))


@pytest.mark.parametrize("count", [31, 32, 33, 5000])
def test_many_keys_are_found_again_while_the_index_grows(count: int) -> None:
    chance = random.Random(count)
    emitted = [(f"{chance.randrange(count * 2):x}", chance.randrange(-5, 5)) for _ in range(count * 3)]
    assert held_by(summed(emitted)) == list(plainly(emitted, Fold.SUM).items())


@pytest.mark.parametrize("length", [*range(40), 255, 256, 65_535, 65_536, 300_000])
def test_keys_of_every_length_are_told_apart_by_any_of_their_bytes(length: int) -> None:
    base = "x" * length
    places = {0, length // 2, length - 1, *range(min(length, 40))} & set(range(length))
    alike = [base, base + "x", *(base[:place] + "y" + base[place + 1 :] for place in sorted(places))]
    table = summed([(key, 1) for key in alike * 2])
    assert held_by(table) == [(key, 2) for key in alike]
    payload = table.everything().payload()[0]
    assert unpack(payload) == unpack_plainly(payload) == (alike, [2] * len(alike))


class Text(str):
    pass


class Number(int):
    pass


ODD: list[Any] = [
    *[(1, 1), (None, 1), (b"a", 1), (("a",), 1), ([], 1), (Text("a"), 1)],
    *(("a", value) for value in (1.0, None, "b", True, Number(1), 2**63, -(2**63) - 1)),
    *(("a",), ("a", 1, 1), ["a"], "ab", {"a": 1}, None, 7, {"a", 1}),
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("before", [0, 1, 31, 32, 40])
def test_what_does_not_suit_is_given_back_with_nothing_lost_before_or_after(odd: Any, before: int) -> None:
    first = [(f"{number % 7}", number) for number in range(before)]
    table = table_of(Fold.SUM)
    emitted = iter([*first, odd, ("rest", 1)])
    assert table.drain(emitted, ALL, ALL) == (before, [odd], False)
    assert held_by(table) == list(plainly(first, Fold.SUM).items())
    assert list(emitted) == [("rest", 1)]
    if isinstance(odd, tuple) and len(odd) == 2:
        columns = table_of(Fold.SUM)
        assert columns.take([*(key for key, _ in first), odd[0]], [*(value for _, value in first), odd[1]]) == (
            before,
            False,
        )


def test_lists_of_two_are_pairs_as_well() -> None:
    table = table_of(Fold.SUM)
    assert table.drain(iter([["a", 1], ("a", 2)]), ALL, ALL) == (2, None, True)
    assert held_by(table) == [("a", 3)]


@pytest.mark.parametrize("where", [0, 1, 30, 31, 32, 50])
@pytest.mark.parametrize("behind", [0, 1, 40])
def test_a_sum_that_does_not_fit_is_given_back_with_what_was_gathered_behind_it(where: int, behind: int) -> None:
    first = [("large", LARGEST), *((f"{number}", 1) for number in range(where))]
    rest = [("large", 1), *((f"behind {number}", 1) for number in range(behind))]
    table = table_of(Fold.SUM)
    emitted = iter([*first, *rest])
    taken, rejected, is_over = table.drain(emitted, ALL, ALL)
    assert (taken, is_over) == (len(first), False)
    assert held_by(table) == first
    assert [*(rejected or ()), *emitted] == rest
    columns = table_of(Fold.SUM)
    assert columns.take([key for key, _ in first + rest], [value for _, value in first + rest]) == (
        len(first),
        False,
    )
    merged = table_of(Fold.SUM)
    assert merged.merge(summed(first).everything().payload()[0]) == len(first)
    assert merged.merge(summed([*first[1:], *rest]).everything().payload()[0]) == len(first) - 1


def test_the_exception_of_an_iterator_comes_through_as_it_is() -> None:
    def emitted() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise ZeroDivisionError("the user's")

    with pytest.raises(ZeroDivisionError, match="the user's"):
        table_of(Fold.SUM).drain(emitted(), ALL, ALL)


def test_draining_stops_at_the_number_of_pairs_and_at_the_number_of_bytes() -> None:
    emitted = ((f"{number:0100}", 1) for number in range(10**9))
    table = table_of(Fold.SUM)
    assert table.drain(emitted, 100, ALL) == (100, None, False)
    taken, rejected, is_over = table.drain(emitted, ALL, 2 * table.held_bytes)
    assert (rejected, is_over) == (None, False)
    assert 100 <= taken <= 132
    assert next(emitted)[0] == f"{100 + taken:0100}"  # none was taken out and not in


def test_no_reference_is_kept_or_lost() -> None:
    key, surrogate, value = "a key of its own " * 2, "\udcff of its own" * 2, 10**12
    before = [sys.getrefcount(each) for each in (key, surrogate, value)]
    table = table_of(Fold.SUM)
    for _ in range(100):
        table.drain(iter([(key, value), (surrogate, value), (key, 1.5)]), ALL, ALL)
        table.take([key, surrogate, key], [value, value, None])
    with pytest.raises(TypeError):
        table.drain([(key, value)], ALL, ALL)  # type: ignore[arg-type]
    assert [sys.getrefcount(each) for each in (key, surrogate, value)] == before


def test_an_iterator_that_sorts_the_table_meanwhile_does_no_harm() -> None:
    """User code reaches a table only through frames; the order that sorting left was too short for what came then."""
    table = table_of(Fold.SUM)

    def emitted() -> Iterator[tuple[str, int]]:
        for number in range(5000):
            if number % 700 == 0:
                table.sort()
                table.everything().payload()[0]
            yield f"{number % 3000}", 1

    table.drain(emitted(), ALL, ALL)
    assert sorted(held_by(table)) == sorted({f"{n}": 2 if n < 2000 else 1 for n in range(3000)}.items())


def test_folding_goes_on_after_sorting() -> None:
    table = summed([("b", 1), ("a", 1), ("b", 1)])
    table.sort()
    assert held_by(table) == [("a", 1), ("b", 2)]
    table.drain(iter([("b", 1), ("c", 1), ("a", 5)]), ALL, ALL)
    assert sorted(held_by(table)) == [("a", 6), ("b", 3), ("c", 1)]


def test_a_table_that_was_cleared_is_as_new() -> None:
    table = summed([("a", 1), ("\udcff", 2)])
    assert not table.everything().is_utf8
    table.clear()
    assert (len(table), table.taken, table.held_bytes, held_by(table)) == (0, 0, 0, [])
    assert table.everything().is_utf8
    table.drain(iter([("b", 3), ("a", 4)]), ALL, ALL)
    assert held_by(table) == [("b", 3), ("a", 4)]


# -- lists -----------------------------------------------------------------------------------------------

listed = st.lists(st.tuples(texts, st.one_of(texts, numbers)), max_size=120)


def lists_of(emitted: list[tuple[str, Any]]) -> TextTable:
    table = TextTable.for_lists()
    assert table is not None
    assert table.drain(iter(emitted), ALL, ALL) == (len(emitted), None, True)
    return table


def plain_lists(emitted: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, value in emitted:
        found.setdefault(key, []).append(value)
    return found


@given(emitted=listed)
def test_lists_are_those_of_a_dict_in_its_order(emitted: list[tuple[str, Any]]) -> None:
    table = lists_of(emitted)
    assert held_by(table) == list(plain_lists(emitted).items())
    assert held_by(table) == list(plain_lists(emitted).items())  # and again: reading leaves no mark
    table.sort()
    assert held_by(table) == sorted(plain_lists(emitted).items(), key=lambda item: item[0])
    assert (len(table), table.taken) == (len(plain_lists(emitted)), len(emitted))


@given(first=listed, second=listed)
def test_lists_are_read_alike_by_everybody_and_merged_in_order(first: Any, second: Any) -> None:
    merged = lists_of([])
    for emitted in (first, second):
        table = lists_of(emitted)
        payload, pairs = table.everything().payload()
        assert texttable.list_counts(payload) == (len(table), len(emitted)) == (len(table), pairs)
        assert unpack_lists(payload) == unpack_lists_plainly(payload) == table.everything().lists()
        assert merged.merge_lists(payload) == len(emitted)
    assert held_by(merged) == list(plain_lists(first + second).items())


@given(emitted=listed, most=st.integers(1, 50))
def test_values_are_popped_in_order_and_the_rest_stays(emitted: list[tuple[str, Any]], most: int) -> None:
    table = lists_of([*emitted, ("last", 1)])
    expected = plain_lists([*emitted, ("last", 1)])
    for place, (key, values) in enumerate(expected.items()):
        columns = table.everything()._replace(start=place, stop=place + 1)
        assert columns.table.pop(place, most) == values[:most]
        if len(values) > most:
            assert columns.lists() == ([key], [values[most:]])
        assert [value for several in columns.popped(40 * most) for value in several] == values[most:]
        assert columns.table.pop(place, 1) == []


def test_long_lists_are_told_by_their_keys() -> None:
    table = lists_of([*(("long", f"{number}") for number in range(100)), ("short", 1)])
    assert table.long_lists(4000) == ["long"]
    assert table.long_lists(4001) == []
    assert table.long_lists(0) == ["long", "short"]


@pytest.mark.parametrize("fold", STEPS)
@given(emitted=pairs)
def test_lists_of_numbers_are_folded(fold: Fold, emitted: list[tuple[str, int]]) -> None:
    emitted = small(emitted)
    table = table_of(fold)
    assert table.merge_lists(lists_of(emitted).everything().payload()[0]) == len(emitted)
    assert held_by(table) == list(plainly(emitted, fold).items())


def test_a_sum_of_a_list_that_does_not_fit_ends_at_its_value() -> None:
    emitted = [("a", LARGEST), ("b", 1), ("a", 0), ("a", 1), ("c", 1)]
    table = table_of(Fold.SUM)
    assert table.merge_lists(lists_of(emitted).everything().payload()[0]) == 2  # a has LARGEST, 0 and 1
    assert held_by(table) == [("a", LARGEST)]


@pytest.mark.parametrize("count", [1, 255, 256, 257, 65_536, 70_000])
@pytest.mark.parametrize("distinct", [1, 2, 256, 257, 66_000])
def test_lists_of_every_width(count: int, distinct: int) -> None:
    emitted = [("key", f"{number % distinct}") for number in range(count)] + [("other", 2**40)]
    payload, _ = lists_of(emitted).everything().payload()
    assert (
        unpack_lists(payload)
        == unpack_lists_plainly(payload)
        == (
            ["key", "other"],
            [[f"{number % distinct}" for number in range(count)], [2**40]],
        )
    )


def test_a_value_that_comes_in_a_row_is_kept_once() -> None:
    name, other = "a name of some length " * 3, "another"
    table = lists_of([(f"{number}", name) for number in range(1000)])
    before = table.held_bytes
    once = sys.getrefcount(name)
    table.drain(iter([(f"{number}", name) for number in range(1000)]), ALL, ALL)
    assert table.held_bytes - before == 1000 * 24
    keys, lists = table.everything().lists()
    assert len({id(value) for values in lists for value in values}) == 1
    del keys, lists
    table.drain(iter([("last", other)]), ALL, ALL)
    assert sys.getrefcount(name) == once - 1  # it was remembered as the last one


@pytest.mark.parametrize("odd", [1.5, None, True, b"b", ("a",), Text("a"), Number(1), 2**63], ids=repr)
def test_a_value_that_cannot_be_listed_is_given_back(odd: Any) -> None:
    table = lists_of([("a", "b")])
    emitted = iter([("a", 1), ("a", odd), ("a", 2)])
    assert table.drain(emitted, ALL, ALL) == (1, [("a", odd)], False)
    assert held_by(table) == [("a", ["b", 1])]
    assert table.take(["a", "a"], [3, odd]) == (1, False)


@given(emitted=listed, chance=st.randoms(use_true_random=False))
def test_damaged_lists_are_refused_or_read_alike_by_everybody(emitted: Any, chance: random.Random) -> None:
    payload = bytearray(lists_of(emitted).everything().payload()[0])
    for _ in range(chance.randrange(1, 4)):
        what = chance.random()
        if what < 0.8:
            payload[chance.randrange(min(len(payload), 100 if what < 0.5 else ALL))] = chance.randrange(256)
        elif what < 0.9:
            del payload[chance.randrange(len(payload)) :]
        else:
            payload += chance.randbytes(3)
        if not payload:
            break
    outcomes = [read_or_refused(reader, bytes(payload)) for reader in (unpack_lists, unpack_lists_plainly, relisted)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[2] in (outcomes[0], ([], []))


def relisted(payload: bytes) -> Any:
    """What a table makes of it whose keys are all different."""
    keys, _ = texttable.list_counts(payload)
    table = lists_of([])
    table.merge_lists(payload)
    return table.everything().lists() if len(table) == keys else ([], [])


@pytest.mark.parametrize("payload", [b"", bytes(35), bytes(36), b"\1\1\3" + bytes(33), b"\1\1\1\1" + bytes(32)])
def test_lists_that_lie_are_refused(payload: bytes) -> None:
    for reader in (unpack_lists, unpack_lists_plainly, relisted):
        with pytest.raises(ValueError):
            reader(payload)


def test_tables_of_one_kind_leave_what_is_of_another_alone() -> None:
    table = lists_of([("a", "b")])
    columns = table.everything()
    with pytest.raises(ValueError):
        columns.lines(b"\t")
    with pytest.raises(ValueError):
        columns.table.pack(0, 1)
    with pytest.raises(ValueError):
        summed([("a", 1)]).everything().table.pack_lists(0, 1)
    assert summed([("a", 1)]).everything().table.merge_lists(columns.payload()[0]) == 0
    assert keys_of(["a"]).merge_lists(columns.payload()[0]) == 0
    assert columns.table.merge(summed([("a", 1)]).everything().payload()[0]) == 0


# -- order -----------------------------------------------------------------------------------------------


@given(emitted=st.lists(texts, max_size=200))
def test_sorting_is_that_of_python(emitted: list[str]) -> None:
    table = keys_of(emitted)
    assert table.everything().lists()[0] == emitted
    table.sort()
    assert table.everything().lists()[0] == sorted(emitted)
    assert table.everything().distinct() == len(set(emitted))


@pytest.mark.parametrize("count", [0, 1, 2, 23, 24, 25, 1000, 30_000])
@pytest.mark.parametrize("runs", [1, 2, 3, 10, 1000])
def test_sorted_runs_are_merged(count: int, runs: int) -> None:
    chance = random.Random(count * runs)
    keys = [f"{chance.randrange(count + 1):06}{'x' * chance.randrange(5)}" for _ in range(count)]
    keys = [key for run in range(runs) for key in sorted(keys[run::runs])]
    table = keys_of(keys)
    table.sort()
    assert table.everything().lists()[0] == sorted(keys)


@given(emitted=pairs, partitions=st.integers(1, 70))
@example(emitted=[], partitions=1)
def test_dealing_out_is_that_of_the_partitioner_and_keeps_the_order(emitted: Any, partitions: int) -> None:
    held = plainly(small(emitted), Fold.SUM)
    found = {
        partition: list(zip(*columns.lists(), strict=True))
        for partition, columns in summed(small(emitted)).dealt(partitions)
    }
    expected: dict[int, list[tuple[str, int]]] = {}
    for key, value in held.items():
        expected.setdefault(partition_hash(key) % partitions, []).append((key, value))
    assert list(found.items()) == sorted(expected.items())


@given(emitted=st.lists(texts, max_size=100), splitters=st.lists(texts, unique=True, max_size=5).map(sorted))
def test_dealing_out_by_ranges_is_that_of_sorted_keys(emitted: list[str], splitters: list[str]) -> None:
    ordered = sorted(emitted)
    expected = [(number, ordered[start:stop]) for number, start, stop in stretches(ordered, splitters)]
    assert [(number, columns.lists()[0]) for number, columns in keys_of(emitted).dealt_by_range(splitters)] == expected


@given(emitted=st.lists(texts, max_size=100), bytes_max=st.integers(1, 2000))
def test_portions_are_everything_and_never_end_between_equal_keys(emitted: list[str], bytes_max: int) -> None:
    table = keys_of(emitted)
    table.sort()
    portions = [portion.lists()[0] for portion in table.everything().portions(bytes_max)]
    assert [key for portion in portions for key in portion] == sorted(emitted)
    assert sum(len(set(portion)) for portion in portions) == len(set(emitted))


# -- bytes -----------------------------------------------------------------------------------------------


@given(emitted=pairs)
def test_payload_is_read_alike_by_everybody(emitted: list[tuple[str, int]]) -> None:
    least = table_of(Fold.MIN)
    least.drain(iter(emitted), ALL, ALL)
    for columns in (least.everything(), keys_of(key for key, _ in emitted).everything()):
        payload = columns.payload()[0]
        assert texttable.counts(payload) == (columns.records, columns.folds)
        assert unpack(payload) == unpack_plainly(payload) == columns.lists()
        merged = table_of(Fold.MIN) if columns.folds else keys_of([])
        assert merged.merge(payload) == columns.records
        assert merged.everything().lists() == columns.lists()


@given(first=pairs, second=pairs)
def test_merging_folds_as_draining_does(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    first, second = small(first), small(second)
    merged = table_of(Fold.SUM)
    for emitted in (first, second):
        merged.merge(summed(emitted).everything().payload()[0])
    assert held_by(merged) == list(plainly(first + second, Fold.SUM).items())


def test_payload_of_another_kind_of_values_is_left_alone() -> None:
    table, keys = summed([("a", 1)]), keys_of(["a", "a"])
    assert table.merge(keys.everything().payload()[0]) == 0
    assert keys.merge(summed([("b", 1)]).everything().payload()[0]) == 0
    assert (held_by(table), held_by(keys)) == ([("a", 1)], [("a", None), ("a", None)])


@given(emitted=pairs, folds=st.booleans(), chance=st.randoms(use_true_random=False))
def test_damaged_payload_is_refused_or_read_alike_by_everybody(
    emitted: Any, folds: bool, chance: random.Random
) -> None:
    """Nothing crashes, reads beyond the end or believes a length, whatever the bytes."""
    table = summed(small(emitted)) if folds else keys_of(key for key, _ in emitted)
    payload = bytearray(table.everything().payload()[0])
    for _ in range(chance.randrange(1, 4)):
        what = chance.random()
        if what < 0.6:
            payload[chance.randrange(min(len(payload), 64 if what < 0.3 else ALL))] = chance.randrange(256)
        elif what < 0.8:
            del payload[chance.randrange(len(payload)) :]
        else:
            payload += chance.randbytes(3)
        if not payload:
            break
    outcomes = [read_or_refused(reader, bytes(payload)) for reader in (unpack, unpack_plainly, merged_anew)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[2] in (outcomes[0], ([], []))


def merged_anew(payload: bytes) -> Any:
    """What a table makes of it whose keys are all different and values small; nothing where it cannot hold them."""
    keys, has_values = texttable.counts(payload)
    table = table_of(Fold.SUM) if has_values else keys_of([])
    taken = table.merge(payload)
    return table.everything().lists() if taken == keys == len(table) else ([], [])


def read_or_refused(reader: Any, payload: bytes) -> Any:
    try:
        return reader(payload)
    except ValueError:
        return "refused"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(15),
        bytes(16),  # a length of no width
        b"\1\3" + bytes(14),
        b"\1\1\1\0" + bytes(12),
        b"\1\1\0\0\xff\xff\xff\xff" + bytes(8),  # more keys than bytes
        b"\1\0\0\0\1\0\0\0" + b"\xff" * 8 + b"\1a",  # more text than there is
        b"\1\0\0\0\2\0\0\0\2\0\0\0\0\0\0\0\1\2ab",  # lengths that add up to something else
        b"\1\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\1\xff",  # no UTF-8
        b"\1\0\0\0\2\0\0\0\2\0\0\0\0\0\0\0\1\1\xc3\xa9",  # a character cut in two
    ],
)
def test_payload_that_lies_is_refused(payload: bytes) -> None:
    for reader in (unpack, unpack_plainly, merged_anew):
        with pytest.raises(ValueError):
            reader(payload)


@given(emitted=pairs)
def test_lines_are_keys_and_values_as_python_writes_them(emitted: list[tuple[str, int]]) -> None:
    table = table_of(Fold.MAX)
    table.drain(iter(emitted), ALL, ALL)
    columns = table.everything()
    expected = "".join(f"{key}\t{value}\n" for key, value in zip(*columns.lists(), strict=True))
    assert columns.lines(b"\t") == expected.encode("utf-8", "surrogatepass")
    alone = keys_of(key for key, _ in emitted).everything()
    assert alone.lines(b"\t") == "".join(f"{key}\n" for key, _ in emitted).encode("utf-8", "surrogatepass")


@given(emitted=st.lists(texts, min_size=1))
def test_surrogates_are_noticed_and_nothing_else_is(emitted: list[str]) -> None:
    table = keys_of(emitted)
    has_some = any("\ud800" <= character <= "\udfff" for key in emitted for character in key)
    merged = keys_of([])
    merged.merge(table.everything().payload()[0])
    assert table.everything().is_utf8 is merged.everything().is_utf8 is (not has_some)


def test_stretches_beyond_the_table_are_refused() -> None:
    table = summed([("a", 1), ("b", 2)])
    columns: TextColumns = table.everything()
    for start, stop in ((-1, 1), (2, 1), (0, 3)):
        wrong = columns._replace(start=start, stop=stop)
        for read in (wrong.lists, wrong.payload, lambda: wrong.lines(b"\t")):  # noqa: B023 - called at once
            with pytest.raises(IndexError):
                read()
    with pytest.raises(IndexError):
        columns.table[2]


def test_equal_keys_stand_together_after_sorting() -> None:
    chance = random.Random(7)
    keys = [f"{chance.randrange(50)}" for _ in range(5000)]
    table = keys_of(keys)
    table.sort()
    found = [(key, len(list(same))) for key, same in groupby(table.everything().lists()[0])]
    assert found == sorted({key: keys.count(key) for key in keys}.items())
