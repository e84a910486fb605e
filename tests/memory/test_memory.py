"""How many bytes a slot may use: what was asked for, or a share of the machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

import mincemeat
from mincemeat import limits, memory
from mincemeat.errors import InvalidJob

MIB = 2**20
GIB = 2**30


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (5 * MIB, 5 * MIB),
        ("5000000", 5_000_000),
        ("256MB", 256_000_000),
        ("256 MiB", 256 * MIB),
        ("256M", 256 * MIB),
        ("1.5 GiB", 3 * GIB // 2),
        (" 2g ", 2 * GIB),
        ("4096kib", 4 * MIB),
        ("1tb", 10**12),
        ("2000000 B", 2_000_000),
    ],
)
def test_what_is_asked_for_is_bytes_or_text_with_a_unit(asked: int | str, size: int) -> None:
    assert memory.memory_bytes(asked, slots=3) == size


@pytest.mark.parametrize(
    "asked", ["", "MB", "much", "1.2.3GB", "12 XB", "-5MB", "1e9", "nan", "inf", "5MB5", True, 1.5, b"5MB"]
)
def test_what_is_no_size_is_refused_with_an_example(asked: object) -> None:
    with pytest.raises(
        InvalidJob, match=r"memory must be a number of bytes, or text such as '256MB' or '1.5 GiB', not"
    ):
        memory.memory_bytes(asked, slots=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [0, -1, 256, "1000 kB", "65 TiB", 10**30])
def test_a_size_that_cannot_be_meant_is_refused_with_the_bounds(asked: int | str) -> None:
    with pytest.raises(InvalidJob, match=r"memory must be from 1 MiB to 64 TiB for each slot, not .* bytes\)$"):
        memory.memory_bytes(asked, slots=1)


@pytest.mark.parametrize(
    ("physical", "slots", "size"),
    [
        (64 * GIB, 8, limits.MEMORY_BYTES),
        (4 * GIB, 8, 128 * MIB),
        (GIB, 64, limits.MEMORY_BYTES_LEAST),
        (GIB, 0, limits.MEMORY_BYTES),
    ],
)
def test_by_default_slots_share_a_quarter_of_the_machine_within_bounds(
    physical: int, slots: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "physical_bytes", lambda: physical)
    assert memory.memory_bytes(None, slots) == size


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["max\n", None], "machine"),
        ([None, None], "machine"),
        (["67108864\n", None], 64 * MIB),
        ([None, "67108864\n"], 64 * MIB),
        ([None, "9223372036854771712\n"], "machine"),  # version 1 says "no limit" with a number
    ],
)
def test_a_containers_limit_counts_if_it_is_lower(
    texts: list[str | None], expected: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / str(number) for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            path.write_text(text, "ascii")
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", [])
    machine = memory.physical_bytes()
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", [str(path) for path in paths])
    assert memory.physical_bytes() == (machine if expected == "machine" else expected)


def test_where_nothing_can_be_found_out_a_small_machine_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf")
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", [])
    assert memory.physical_bytes() == limits.MEMORY_ASSUMED_BYTES


def test_run_and_server_take_it() -> None:
    assert mincemeat.run({1: 2}, engine="inline", memory="1 MiB") == {1: [2]}
    with pytest.raises(InvalidJob, match="memory must be"):
        mincemeat.run({1: 2}, engine="inline", memory="lots")
    with pytest.raises(InvalidJob, match="memory must be"):
        mincemeat.Server({1: 2}, memory="lots").run_server("changeme", 0, host="127.0.0.1")
