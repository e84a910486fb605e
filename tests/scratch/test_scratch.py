"""A dead process's temporary directory is told from a living one's, and nobody else's is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mincemeat import scratch
from mincemeat.errors import SpillSpaceExhausted
from mincemeat.scratch import ScratchDirectory, sweep
from tests.kit.gates import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="directories are locked on POSIX only")

HOLDER = """
import os, sys
from mincemeat.scratch import ScratchDirectory
directory = ScratchDirectory()
os.mkdir(os.path.join(directory.path, "blocks"))
open(os.path.join(directory.path, "blocks", "m-00000.0.blocks"), "wb").write(bytes(1000))
open(os.path.join(directory.path, "m-00000.0.split"), "wb").close()
{more}
print(directory.path, flush=True)
sys.stdin.read()
"""

FORKING = """
import os, sys
from mincemeat.scratch import ScratchDirectory
with ScratchDirectory() as path:
    if not os.fork():
        sys.exit()
    os.wait()
    print(os.path.isdir(path))
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextlib.contextmanager
def holder(more: str = "") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a scratch directory, and the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(more=more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def left_behind(more: str = "") -> Path:
    """The directory of a process that was killed."""
    with holder(more) as (process, directory):
        kill(process)
    assert directory.is_dir()
    return directory


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# -- its own process -------------------------------------------------------------------------------------------


def test_a_directory_is_its_users_alone_and_gone_when_it_is_closed(temporary: Path) -> None:
    with ScratchDirectory() as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        assert os.path.dirname(path) == str(temporary)
        (Path(path) / "inner" / "most").mkdir(parents=True)
        (Path(path) / "inner" / "most" / "file").touch()
        (Path(path) / "link").symlink_to(temporary)
    assert names(temporary) == []


def test_closing_twice_closes_nobody_elses_descriptor(temporary: Path) -> None:
    first = ScratchDirectory()
    first.close()
    with ScratchDirectory() as path:  # it has the number that the first one had
        first.close()
        sweep()
        assert os.path.isdir(path)


def test_a_forked_child_that_ends_leaves_its_parents_directory_alone() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_full_disk_is_told_when_not_even_a_directory_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdtemp(prefix: str) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/small/mincemeat-abc")

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(SpillSpaceExhausted, match="the disk that holds /small/mincemeat-abc is full") as caught:
        ScratchDirectory()
    assert caught.value.path == "/small/mincemeat-abc"


# -- others ----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed(temporary: Path) -> None:
    left_behind()
    sweep()
    assert names(temporary) == []


def test_a_living_processs_directory_stays_and_a_stopped_ones_too(temporary: Path) -> None:
    with holder() as (process, directory):
        before = names(directory)
        sweep()
        assert names(directory) == before
        process.send_signal(signal.SIGSTOP)
        sweep()
        assert names(directory) == before
        kill(process)
        sweep()
        assert names(temporary) == []


@pytest.mark.parametrize(
    "more",
    [
        "if not os.fork(): os.close(1); import time; time.sleep(600)",
        "import subprocess; subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, close_fds=False)",
    ],
    ids=["fork", "exec"],
)
def test_a_child_that_outlives_its_parent_does_not_keep_the_directory_alive(more: str, temporary: Path) -> None:
    with holder(more) as (process, _):
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
        )
        child = int(children.stdout)
        kill(process)
        try:
            sweep()
            assert names(temporary) == []
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_what_has_not_our_mark_stays(temporary: Path) -> None:
    mine = temporary / "mincemeat-recipes"
    mine.mkdir()
    (mine / "pie.txt").touch()
    (temporary / "mincemeat-notes").touch()
    foreign = left_behind()
    (foreign / scratch._MARK).write_bytes(b"another machine, which shares this directory\n")
    sweep()
    assert names(temporary) == sorted(["mincemeat-notes", "mincemeat-recipes", foreign.name])
    assert names(mine) == ["pie.txt"]


def test_no_link_is_followed(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "thesis").touch()
    dead = left_behind()
    (dead / "link").symlink_to(elsewhere)
    (dead / "blocks" / "link").symlink_to(elsewhere)
    kept = elsewhere / "kept"
    dead.rename(kept)
    (temporary / "mincemeat-link").symlink_to(kept)
    sweep()
    assert names(kept) == sorted([scratch._MARK, "blocks", "link", "m-00000.0.split"])
    kept.rename(dead)
    sweep()
    assert names(temporary) == ["mincemeat-link"]
    assert names(elsewhere) == ["thesis"]


def test_another_users_directory_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = left_behind()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep()
    assert dead.is_dir()


def test_what_could_not_be_removed_in_time_is_removed_next_time(temporary: Path) -> None:
    dead = left_behind()
    sweep(seconds=0)
    assert dead.is_dir()
    directory = os.open(dead, os.O_RDONLY)
    assert not scratch._empty(directory, deadline=0)
    os.close(directory)
    sweep()
    assert names(temporary) == []


def test_what_cannot_be_removed_is_told_to_the_log_and_nobody_else(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = left_behind()

    def rmdir(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "rmdir", rmdir)
    with caplog.at_level("INFO", "mincemeat"):
        sweep()
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"{dead}-dead, which a dead process left behind, could not be removed" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    sweep()
    assert names(temporary) == []


def test_many_sweep_at_once_and_each_directory_goes_once(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        left_behind()
    with holder() as (_, alive), caplog.at_level("INFO", "mincemeat"), ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(sweep) for _ in range(32)]:
            done.result()
        assert names(temporary) == [alive.name]
    assert caplog.records == []


def test_a_slot_that_outlives_its_parent_finds_nothing_by_the_old_name(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would lay down a file in a directory that is just being emptied."""
    dead = left_behind()
    empty = scratch._empty
    seen: list[bool] = []

    def watched(*arguments: object) -> bool:
        seen.append(dead.exists())
        return empty(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scratch, "_empty", watched)
    sweep()
    assert seen == [False, False]
    assert names(temporary) == []


def test_directories_are_left_alone_where_they_cannot_be_locked(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    left_behind()
    with ScratchDirectory() as path:
        assert names(Path(path)) == []
        sweep()
        assert len(names(temporary)) == 2
    assert len(names(temporary)) == 1


def test_sweeping_soon_is_done_beside(temporary: Path) -> None:
    left_behind()
    before = threading.active_count()
    scratch.sweep_soon()
    wait_until(lambda: names(temporary) == [], "the directory is swept up")
    wait_until(lambda: threading.active_count() <= before, "the thread ends")
    assert names(temporary) == []
