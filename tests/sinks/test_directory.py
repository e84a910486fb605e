"""A directory of parts: replaced at once, shared by jobs that run at the same time, rid of what the dead left."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mincemeat.errors import BlockCorrupt, InvalidJob
from mincemeat.sinks import open_results, sink_for_path
from tests.kit.outputs import written_in_parts

locks = pytest.mark.skipif(sys.platform == "win32", reason="directories are locked on POSIX only")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.csv"


def write(path: Path, **results: int) -> dict[str, str]:
    return dict(written_in_parts(f"{path}/", results))


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_the_manifest_lists_what_is_there(path: Path) -> None:
    write(path, a=1, b=2, c=3)
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["mincemeat"], manifest["format"], manifest["order"]) == (1, "csv", "unsorted")
    assert (manifest["partitions"], manifest["results"]) == (16, 3)
    assert sorted(["manifest.json", *(part["name"] for part in manifest["parts"])]) == names(path)
    for index, part in enumerate(manifest["parts"]):
        assert part["name"].startswith(f"part-{index:05d}-")
        assert part["bytes"] == (path / part["name"]).stat().st_size
    assert sum(part["results"] for part in manifest["parts"]) == 3


def test_a_second_job_replaces_the_first_and_nothing_else(path: Path) -> None:
    write(path, a=1)
    (path / "notes.txt").write_text("mine")
    before = names(path)
    assert write(path, b=2) == {"b": "2"}
    after = names(path)
    assert set(before) & set(after) == {"manifest.json", "notes.txt"}
    assert len(after) == len(before)


def test_a_reader_sees_the_old_results_until_the_manifest_is_renamed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, a=1)
    seen: list[dict[str, str]] = []
    for name in ("rename", "replace"):
        real = getattr(os, name)

        def noting(source: Any, target: Any, real: Any = real) -> None:
            if str(target).startswith(str(path)):
                seen.append(dict(open_results(path)))
            real(source, target)

        monkeypatch.setattr(f"os.{name}", noting)
    write(path, b=2)
    assert len(seen) == 9  # four parts into the private directory and out of it, and the manifest
    assert all(each == {"a": "1"} for each in seen)
    assert dict(open_results(path)) == {"b": "2"}


@pytest.mark.parametrize("step", ["fsync", "rename", "replace", "open"])
@pytest.mark.parametrize("nth", range(1, 6))
def test_a_commit_that_fails_changes_nothing(path: Path, step: str, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, a=1)
    before = names(path)
    sink = sink_for_path(f"{path}/")
    sink.write([("b", 2)])
    calls = 0

    def failing(*words: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise PermissionError(13, "injected")
        return real(*words, **options)

    real = getattr(os, step)
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{step}", failing)
        try:
            sink.commit()
        except PermissionError:
            committed = False
        else:
            committed = True
    assert dict(open_results(path)) == ({"b": "2"} if committed else {"a": "1"})
    assert committed or names(path) == before
    assert not any(name.startswith(".") for name in names(path))
    assert not committed or calls < nth or step in ("fsync", "open")  # of a directory, which need not work


def test_a_failed_job_leaves_no_directory(path: Path) -> None:
    sink = sink_for_path(f"{path}/")
    sink.write([("a", 1)])
    sink.abort()
    assert not path.exists()
    path.mkdir()
    sink_for_path(f"{path}/").abort()
    assert names(path) == []


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "part-1.csv"])
def test_a_directory_of_other_things_is_refused(path: Path, name: str) -> None:
    path.mkdir()
    (path / name).write_text("{}")
    with pytest.raises(InvalidJob, match=f"other things than results \\('{name}'\\); name another one, or empty it"):
        sink_for_path(f"{path}/")
    assert names(path) == [name]


def test_a_file_in_its_place_is_refused(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InvalidJob, match=r"it is a file \(to replace it, leave out the slash"):
        sink_for_path(f"{path}/")
    with pytest.raises(InvalidJob, match="there is no directory"):
        sink_for_path(f"{path.parent}/nowhere/r.csv/")


def test_a_directory_where_a_file_should_be_is_refused(path: Path) -> None:
    write(path, a=1)
    with pytest.raises(InvalidJob, match="it is a directory .* end the name with a slash"):
        sink_for_path(path)


@pytest.mark.parametrize(
    "change",
    [{"mincemeat": 2}, {"parts": [{"name": "part-00000-01234567.csv"}]}, {"format": "xlsx"}, {"parts": 7}],
)
def test_a_manifest_that_cannot_be_meant_is_told(path: Path, change: dict[str, Any]) -> None:
    write(path, a=1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BlockCorrupt, match=r"manifest.json cannot be read"):
        open_results(path)
    with pytest.raises(InvalidJob, match=r"manifest.json cannot be read"):
        sink_for_path(f"{path}/")


@pytest.mark.parametrize("name", ["../secret.csv", "/etc/passwd", "part-00000-01234567.csv/../x"])
def test_a_manifest_does_not_lead_out_of_its_directory(path: Path, name: str) -> None:
    """Threat: a directory from elsewhere whose manifest names files of yours, to be read or removed."""
    write(path, a=1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["parts"][0]["name"] = name
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BlockCorrupt, match="names that no mincemeat gave"):
        open_results(path)


# -- several jobs ----------------------------------------------------------------------------------------


def test_two_jobs_in_one_directory_do_not_meet(path: Path) -> None:
    with sink_for_path(f"{path}/") as first, sink_for_path(f"{path}/") as second:
        first.write([("first", 1)])
        second.write([("second", 2)])
    # The second was committed first.
    assert dict(open_results(path)) == {"first": "1"}
    assert len(names(path)) == 2


@pytest.mark.slow
def test_many_jobs_at_once_leave_one_whole_result(path: Path) -> None:
    path.mkdir()
    failures: list[BaseException] = []

    def job(number: int) -> None:
        try:
            for turn in range(5):
                written_in_parts(f"{path}/", {f"{number}-{turn}-{key}": key for key in range(20)})
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    results = open_results(path)
    results.verify()
    assert len(results) == 20
    assert len({key.rpartition("-")[0] for key in results}) == 1
    assert sorted(["manifest.json", *map(os.path.basename, results.files)]) == names(path)


@locks
def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(path: Path) -> None:
    path.mkdir()
    (path / "part-00000-00000001.csv").write_text("killed between its renames")
    (path / ".mincemeat-00000002").mkdir()
    (path / ".mincemeat-00000002" / "part-00000-00000002.csv").write_text("killed before its commit")
    living = sink_for_path(f"{path}/")
    living.write([("living", 1)])
    write(path, a=1)
    assert [name for name in names(path) if "0000000" in name.partition("-")[2].partition("-")[2]] == []
    assert sum(name.startswith(".mincemeat-") for name in names(path)) == 1
    living.commit()
    assert dict(open_results(path)) == {"living": "1"}
    assert not any(name.startswith(".") for name in names(path))


def test_where_there_are_no_locks_nobody_is_taken_for_dead(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    path.mkdir()
    left = ".mincemeat-00000002"
    (path / left).mkdir()
    write(path, a=1)
    write(path, b=2)
    assert dict(open_results(path)) == {"b": "2"}
    assert [name for name in names(path) if name.startswith(".")] == [left]


@locks
def test_a_private_file_of_a_dead_job_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = tmp_path / ".r.csv.01234567.tmp"
    dead.write_text("killed")
    (tmp_path / ".r.csv.01234567.tmp.part").write_text("killed")
    (tmp_path / ".other.csv.01234567.tmp").write_text("another's")
    living = sink_for_path(tmp_path / "r.csv")
    with sink_for_path(tmp_path / "r.csv") as sink:
        sink.write([("a", 1)])
    living.write([("b", 2)])
    living.commit()
    assert (tmp_path / "r.csv").read_text() == "key,value\nb,2\n"
    assert names(tmp_path) == [".other.csv.01234567.tmp", "r.csv"]


def test_parts_of_another_file_system_are_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    real = os.rename

    def across(source: str, target: str) -> None:
        if ".mincemeat-" in target:
            raise OSError(errno.EXDEV, "another file system")
        real(source, target)

    monkeypatch.setattr("os.rename", across)
    assert write(path, a=1, b=2) == {"a": "1", "b": "2"}
