"""The values of one key on disk, compared with a plain list."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import BlockCorrupt, MincemeatError
from mincemeat.shuffle.block import BlockWriter, encode_columns
from mincemeat.shuffle.values import StoredValues


def stored(path: Path, blocks: list[list[Any]], key: Any = "k") -> StoredValues:
    file = io.BytesIO()
    writer = BlockWriter(file)
    values = StoredValues(key, str(path))
    for block in blocks:
        single = len(block) == 1
        writer.append(0, encode_columns([key], block if single else [block]), keys=1, pairs=len(block), single=single)
        entry = writer.entries[-1]
        values.append(entry.offset, entry.length, len(block))
    writer.finish()
    path.write_bytes(file.getvalue())
    return values


blocks_of = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=6)
places = st.one_of(st.none(), st.integers(-40, 40))
steps = st.one_of(st.none(), st.integers(-7, 7).filter(bool))


@settings(deadline=None, max_examples=150)
@given(blocks=blocks_of, start=places, stop=places, step=steps, wanted=st.integers(-1, 10))
def test_it_reads_like_the_list(
    blocks: list[list[int]],
    start: int | None,
    stop: int | None,
    step: int | None,
    wanted: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    values = stored(tmp_path_factory.mktemp("values") / "f", blocks)
    plain = [value for block in blocks for value in block]
    assert len(values) == len(plain)
    assert bool(values)
    assert list(values) == plain
    assert list(reversed(values)) == plain[::-1]
    assert values == plain
    assert plain == values
    assert values != [*plain, 1]
    assert values != plain[:-1]
    assert [values[place] for place in range(-len(plain), len(plain))] == plain + plain
    assert values[start:stop:step] == plain[start:stop:step]
    assert type(values[start:stop]) is list
    assert (wanted in values) == (wanted in plain)
    assert values.count(wanted) == plain.count(wanted)
    assert sorted(values) == sorted(plain)
    assert sum(values) == sum(plain)
    for from_place in (0, start or 0):
        if wanted in plain[from_place:]:
            assert values.index(wanted, from_place) == plain.index(wanted, from_place)
        else:
            with pytest.raises(ValueError, match=f"^{wanted} is not among the values of the key 'k'$"):
                values.index(wanted, from_place)


def test_one_loop_may_run_inside_another(tmp_path: Path) -> None:
    values = stored(tmp_path / "f", [[1, 2], [3], [4, 5]])
    assert [(a, b) for a in values for b in values] == [(a, b) for a in range(1, 6) for b in range(1, 6)]


@pytest.mark.parametrize("place", [5, -6, 10**30])
def test_a_place_outside_is_an_index_error(tmp_path: Path, place: int) -> None:
    values = stored(tmp_path / "f", [[1, 2], [3], [4, 5]])
    with pytest.raises(IndexError, match=f"there is no value {place}: the key 'k' has 5"):
        values[place]


def test_what_is_no_place_is_a_type_error(tmp_path: Path) -> None:
    values = stored(tmp_path / "f", [[1, 2]])
    with pytest.raises(TypeError, match="whole numbers or slices, not str"):
        values["first"]  # type: ignore[call-overload]


def test_nan_is_found_by_identity_as_in_a_list(tmp_path: Path) -> None:
    nan = float("nan")
    values = stored(tmp_path / "f", [[1.0, 2.0]])
    values._kept = (0, [nan, 2.0])
    assert values[0] is nan
    assert nan not in values  # it came from another process: no list would find it there either


def test_it_has_no_hash_and_takes_no_changes(tmp_path: Path) -> None:
    values: Any = stored(tmp_path / "f", [[1, 2]])
    with pytest.raises(TypeError, match="unhashable"):
        hash(values)
    with pytest.raises(TypeError, match="item assignment"):
        values[0] = 1
    assert not hasattr(values, "append_value")
    assert not hasattr(values, "sort")


def test_pickled_or_copied_it_is_a_plain_list(tmp_path: Path) -> None:
    values = stored(tmp_path / "f", [[[1], "b"], ["c"]])
    for made in (pickle.loads(pickle.dumps(values, 5)), copy.copy(values), copy.deepcopy(values)):
        assert type(made) is list
        assert made == [[1], "b", "c"]
    assert pickle.loads(pickle.dumps(("k", values), 5)) == ("k", [[1], "b", "c"])


def test_its_repr_is_short(tmp_path: Path) -> None:
    values = stored(tmp_path / "f", [[1, 2], [3, 4]] * 5000)
    assert repr(values) == "<20,000 values of the key 'k', on disk: [1, 2, 3, ...]>"
    values.close()
    assert repr(values) == "<20,000 values of the key 'k', no longer there>"


def test_reading_after_the_end_says_what_to_do(tmp_path: Path) -> None:
    values = stored(tmp_path / "f", [[1, 2], [3]])
    running = iter(values)
    next(running)
    values.close()
    for use in (lambda: list(values), lambda: values[0], lambda: 3 in values, lambda: pickle.dumps(values)):
        with pytest.raises(MincemeatError, match=r"the key 'k' .* gone since reducefn returned; .*list\(values\)"):
            use()
    assert next(running) == 2  # of the block that was in memory
    with pytest.raises(MincemeatError, match="gone"):
        next(running)
    assert len(values) == 3


def test_damage_is_told_with_path_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "f"
    values = stored(path, [[1, 2], [3, 4]])
    data = bytearray(path.read_bytes())
    data[values._offsets[1] + 50] ^= 1
    path.write_bytes(data)
    assert values[1] == 2
    with pytest.raises(BlockCorrupt, match="checksum mismatch") as caught:
        values[2]
    assert (caught.value.path, caught.value.offset) == (str(path), values._offsets[1])
    assert "3" not in repr(values[:2])
