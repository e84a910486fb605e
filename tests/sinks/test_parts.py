"""A part and the facts behind it: what a slot writes, and what is known of it without reading."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import BlockCorrupt, InvalidEmission, SpillSpaceExhausted
from mincemeat.model import AttemptId, Phase, TaskId
from mincemeat.shuffle.store import JobStore
from mincemeat.sinks.base import sink_for_path
from mincemeat.sinks.parts import ANYWHERE, BY_HASH, FORMATS, PartFacts, open_part, take_facts

PLAIN_TEXT = sorted(set(FORMATS) - {"sqlite", "parquet"})


def part(path: Path, form: str, *batches: dict[Any, Any]) -> PartFacts:
    writer = open_part(form, str(path))
    for batch in batches:
        writer.write(list(batch), list(batch.values()))
    return writer.finish(range(3, 5), BY_HASH)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_facts_are_cut_off_and_true(tmp_path: Path, form: str, slash: str) -> None:
    path = tmp_path / "part"
    written = part(path, form + slash, {"b": 1}, {}, {"a": 2, "c": 3})
    facts = take_facts(str(path))
    data = path.read_bytes()
    assert facts == written or form == "parquet"  # whose notes are a tuple on one side and a list on the other
    assert (facts.bytes, facts.crc32, facts.results) == (len(data), zlib.crc32(data), 3)
    assert (facts.partitions, facts.dealt, facts.key_types) == ((3, 5), BY_HASH, ("str",))
    assert (facts.first, facts.last) == ("b", "c")


@pytest.mark.parametrize(
    ("keys", "types", "first"),
    [
        ([1, 2], ("int",), 1),
        ([1, "a"], ("int", "str"), None),
        ([True, None, 1.5, b"x"], ("NoneType", "bool", "bytes", "float"), None),
        ([("a", 1)], ("other",), None),
        (["caf\udce9"], ("other", "str"), None),
        ([], (), None),
    ],
)
def test_facts_tell_what_keys_there_are(tmp_path: Path, keys: list[Any], types: tuple[str, ...], first: Any) -> None:
    facts = part(tmp_path / "part", "jsonl", dict.fromkeys(keys, 0))
    assert (facts.key_types, facts.first) == (types, first)


def test_a_part_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part"
    part(path, "csv", {"a": 1})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:5], b"", whole[1:], whole + b"\0", whole.replace(b'"results"', b'"rosults"')):
        path.write_bytes(damaged)
        with pytest.raises(BlockCorrupt, match="part"):
            take_facts(str(path))
        with pytest.raises(BlockCorrupt), sink_for_path(tmp_path / "r.csv") as sink:
            sink.take_part(str(path))
        assert [entry.name for entry in tmp_path.iterdir()] == ["part"]


def test_a_piece_has_no_header_and_a_file_of_its_own_has(tmp_path: Path) -> None:
    path = tmp_path / "part"
    part(path, "csv", {"a": 1})
    take_facts(str(path))
    assert path.read_bytes() == b"a,1\n"
    part(path, "csv/", {"a": 1})
    take_facts(str(path))
    assert path.read_bytes() == b"key,value\na,1\n"


def test_a_part_that_stays_is_synced_with_all_that_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    part(tmp_path / "piece", "csv", {"a": 1})
    assert synced == []
    part(tmp_path / "file", "csv/", {"a": 1})
    assert synced == [os.path.getsize(tmp_path / "file")]


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("jsonl", [b'{"key": "a", "value": [1, "b"]}', b'{"key": "b", "value": []}']),
        ("csv", [b'a,"[1, ""b""]"', b"b,[]"]),
    ],
)
def test_lists_are_json(tmp_path: Path, form: str, lines: list[bytes]) -> None:
    part(tmp_path / "part", form, {"a": [1, "b"], "b": []})
    take_facts(str(tmp_path / "part"))
    assert (tmp_path / "part").read_bytes().splitlines() == lines


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"parquet"}))
def test_what_is_written_does_not_depend_on_its_neighbours(tmp_path: Path, form: str) -> None:
    """Columns of one type take a faster way, which must write the same."""
    odd: list[Any] = [1, "a", "", '"', "x,y\tz", "\r", True, 1.5, 2**70, -(2**63), "ä", [1, "x"], ["a", None], {"k": 1}]
    for kind in ([1, 2, 2**63], ["a", "b"], ["", "b"], ["ä", 'q"'], [[1, 2], ["a"]], [[True], [None]], odd):
        together, apart = tmp_path / "together", tmp_path / "apart"
        part(together, form, dict(enumerate(kind)))
        part(apart, form, *({index: value} for index, value in enumerate(kind)))
        found = []
        for path in (together, apart):
            with sink_for_path(f"{path}.{form}") as sink:
                sink.take_part(str(path))
            found.append(list(sink.results.items()))
        assert found[0] == found[1]


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("where", ["first", "last"])
def test_the_culprit_is_named_in_a_large_batch(tmp_path: Path, form: str, where: str) -> None:
    keys: list[Any] = [f"k{number}" for number in range(500)]
    results: list[Any] = list(range(500))
    results[0 if where == "first" else -1] = lambda: None
    writer = open_part(form, str(tmp_path / "part"))
    with pytest.raises(InvalidEmission, match="holds a function") as caught:
        writer.write(keys, results)
    writer.close()
    writer.close()
    assert caught.value.key == ("'k0'" if where == "first" else "'k499'")  # type: ignore[attr-defined]


# -- full disks ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("form", PLAIN_TEXT)
@pytest.mark.parametrize("size", [10, 10**6])
def test_a_full_disk_is_told_where_a_part_is_written(tmp_path: Path, form: str, size: int) -> None:
    store = JobStore(tmp_path / "blocks")
    attempt = AttemptId(TaskId(Phase.REDUCE, 0), 0)
    (tmp_path / "blocks").mkdir()
    os.symlink("/dev/full", tmp_path / "blocks" / "r-00000.0.blocks.part")
    with pytest.raises(SpillSpaceExhausted, match="the disk that holds .* is full"):
        _write_attempt(store, attempt, form, "x" * size)
    assert os.listdir(tmp_path / "blocks") == []


def _write_attempt(store: JobStore, attempt: AttemptId, form: str, result: str) -> None:
    with store.writing_file(attempt) as path, closing(open_part(form, path)) as writer:
        writer.write(["a"], [result])
        writer.finish()


FULL = """
import os, sys
from mincemeat import SpillSpaceExhausted
import mincemeat
target = sys.argv[1]
for slash in ("", "/"):
    for ending in {endings}:
        for engine in ("inline", "processes"):
            try:
                mincemeat.run(
                    range(2000), lambda k, v: [(k, "".join(map(str, range(v, v + 300))))], lambda k, vs: vs[0],
                    engine=engine, output=os.path.join(target, "r." + ending + slash), progress=False,
                    max_attempts=None if engine == "inline" else 1,
                )
            except SpillSpaceExhausted as error:
                assert "no space left for the results in" in str(error), error
            else:
                raise AssertionError(ending)
            assert os.listdir(target) == [], os.listdir(target)
"""


def can_mount(directory: Path) -> bool:
    if sys.platform == "win32":
        return False
    try:
        words = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_full_disk_at_the_output_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    if not can_mount(target):
        pytest.skip("no small file system can be mounted here")
    script = tmp_path / "job.py"
    script.write_text(FULL.format(endings=sorted(FORMATS)))
    mounted = f'mount -t tmpfs -o size=256k tmpfs "{target}" && exec "{sys.executable}" "{script}" "{target}"'
    words = ["unshare", "-rm", "sh", "-c", mounted]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_told_where_pairs_are_written(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    sink = sink_for_path(tmp_path / "r.csv")
    os.symlink("/dev/full", sink._destination.part_path())
    sink.write([("a", 1)])
    with pytest.raises(SpillSpaceExhausted, match="no space left for the results"):
        sink.commit()
    assert list(tmp_path.iterdir()) == []


def test_dealt_anywhere_is_the_default(tmp_path: Path) -> None:
    writer = open_part("csv", str(tmp_path / "part"))
    assert writer.finish().dealt == ANYWHERE
