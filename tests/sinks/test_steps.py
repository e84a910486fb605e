"""Results, whatever happens at whatever step: kill -9, a full disk, a power cut. Each step is tried, not some.

A reader finds the results that were there or the new ones, whole; the next job clears up and ends well.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from pathlib import Path

import pytest

from mincemeat.errors import MincemeatError
from mincemeat.sinks.directory import PartDirectory, read_manifest
from mincemeat.sinks.parts import format_called
from mincemeat.sinks.results import open_results
from tests.kit.outputs import read_files, written_in_parts
from tests.kit.stepping import PowerCord, failing_at, killed_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a child process has to end in the middle of a function"),
]

OLD = {f"word{n}": n for n in range(20)}
NEW = {f"word{n}": n * n for n in range(30)}
THIRD = {f"word{n}": -n for n in range(10)}
NAMES = ["counts.jsonl", "counts.jsonl/", "counts.sqlite", "counts.sqlite/"]


def paths(tmp_path: Path, name: str) -> tuple[str, str]:
    """The output as it is named, and where it lies."""
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    directory = tmp_path / "results"
    directory.mkdir()
    return f"{directory}/{name}", f"{directory}/{name.rstrip('/')}"


def seen(path: str) -> dict[str, int] | None:
    """What a reader finds, without this package and with it; None: no results."""
    if not os.path.exists(path) or (os.path.isdir(path) and not os.path.exists(f"{path}/manifest.json")):
        return None
    rows = dict(read_files(path))
    assert dict(open_results(path).items()) == rows
    return rows


def left_over(path: str) -> list[str]:
    """What lies beside the results, or in their directory, and does not belong to them."""
    beside = set(os.listdir(os.path.dirname(path))) - {os.path.basename(path)}
    if not os.path.isdir(path):
        return sorted(beside)
    manifest = read_manifest(path) if os.path.exists(f"{path}/manifest.json") else None
    ours = {"manifest.json", *(name for name, _ in manifest.parts)} if manifest is not None else set()
    return sorted(beside | (set(os.listdir(path)) - ours))


def write(output: str, results: dict[str, int]) -> None:
    written_in_parts(output, results, parts=2)


def remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


@pytest.mark.parametrize(
    ("name", "before"),
    [(NAMES[0], OLD), (NAMES[0], None), (NAMES[1], OLD), (NAMES[1], None), (NAMES[2], OLD)],
    ids=["file replaced", "new file", "directory replaced", "new directory", "database replaced"],
)
def test_killed_at_any_step_a_job_leaves_whole_results_and_the_next_clears_up(
    name: str, before: dict[str, int] | None, tmp_path: Path
) -> None:
    output, path = paths(tmp_path, name)
    found = []
    for step in itertools.count():
        remove(path)
        if before is not None:
            write(output, before)
        was_killed = killed_at(step, lambda: write(output, NEW))
        results = seen(path)
        assert results in (before, NEW), f"step {step}"
        found.append(results == NEW)
        write(output, THIRD)
        assert seen(path) == THIRD, f"step {step}"
        assert left_over(path) == [], f"step {step}"
        if not was_killed:
            break
    assert len(found) > 10
    assert found == sorted(found), "once it is committed, nothing takes it back"
    assert (found[0], found[-1]) == (False, True)


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_fails_at_any_step_changes_nothing_unless_all_was_done(name: str, tmp_path: Path) -> None:
    output, path = paths(tmp_path, name)
    write(output, OLD)
    for step in itertools.count():
        code = (errno.ENOSPC, errno.EIO)[step % 2]
        came_so_far, raised = failing_at(step, OSError(code, os.strerror(code)), lambda: write(output, NEW))
        if raised is None:
            assert seen(path) == NEW, f"step {step}"
            if not came_so_far:
                break
            write(output, OLD)
        else:
            assert isinstance(raised, OSError | MincemeatError), f"step {step}"
            assert seen(path) == OLD, f"step {step}"
    assert step > 10
    write(output, THIRD)
    assert seen(path) == THIRD
    assert left_over(path) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="what is synced is told by its descriptor")
@pytest.mark.parametrize("name", [*NAMES, "counts.parquet", "counts.parquet/"])
def test_what_is_renamed_into_its_place_is_on_the_disk_and_so_is_its_name(name: str, tmp_path: Path) -> None:
    output, path = paths(tmp_path, name)
    cord = PowerCord()
    committed: list[str] = []

    def on_rename(source: str, target: str) -> None:
        if target in (path, f"{path}/manifest.json"):
            assert not cord.is_torn(source)
            committed.append(target)
        if target == f"{path}/manifest.json":
            assert path not in cord.unsettled, "parts have their names before the manifest names them"
            parts = [f"{path}/{name}" for name in os.listdir(path) if name.startswith("part-")]
            assert parts
            assert not any(map(cord.is_torn, parts))

    with cord.watched(on_rename):
        write(output, NEW)
    assert committed == [f"{path}/manifest.json" if name.endswith("/") else path]
    assert {path, os.path.dirname(path)} & cord.unsettled == set()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="what is synced is told by its descriptor")
def test_the_directory_that_a_killed_job_made_is_settled_by_the_next(tmp_path: Path) -> None:
    """Its own name was never synced: a power cut took it away, with everything that was synced in it."""
    output, path = paths(tmp_path, "counts.jsonl/")
    os.mkdir(path)
    cord = PowerCord()
    cord.unsettled.add(os.path.dirname(path))
    with cord.watched(lambda source, target: None):
        write(output, NEW)
    assert cord.unsettled & {path, os.path.dirname(path)} == set()


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_name_that_the_disk_did_not_take_is_no_commit_but_behind_one_it_is_a_warning(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed sync of a directory was never told, and so parts that a power cut took away counted as written."""
    output, path = paths(tmp_path, name)
    write(output, OLD)
    real = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    if name.endswith("/"):
        with pytest.raises(OSError, match="Input/output error"):
            write(output, NEW)
        assert seen(path) == OLD
    else:
        write(output, NEW)
        assert seen(path) == NEW
        assert "whether they outlast a power cut is not known" in caplog.text
    assert left_over(path) == []


def test_a_file_system_that_cannot_sync_directories_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, path = paths(tmp_path, "counts.jsonl/")
    real = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    write(output, NEW)
    assert seen(path) == NEW


def test_a_directory_that_another_job_takes_back_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other job had made it and failed, just when this one was about to go in: it was refused."""
    _, path = paths(tmp_path, "counts.jsonl/")
    other = PartDirectory(path, format_called("jsonl"), "jsonl")
    check = PartDirectory._check_contents

    def fails_meanwhile(directory: PartDirectory) -> None:
        check(directory)
        if other.is_open:
            other.abort()

    monkeypatch.setattr(PartDirectory, "_check_contents", fails_meanwhile)
    ours = PartDirectory(path, format_called("jsonl"), "jsonl")
    assert os.listdir(path)
    ours.abort()
    assert not os.path.exists(path)
