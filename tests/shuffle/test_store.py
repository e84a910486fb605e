"""Where attempt files lie, how they become visible, and what a full disk says."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from mincemeat.errors import MincemeatError, SpillSpaceExhausted
from mincemeat.model import AttemptId, Phase, Span, TaskId
from mincemeat.shuffle.block import BLOCK_HEADER, CODEC_PICKLE, FILE_HEADER, BlockWriter, Payload
from mincemeat.shuffle.store import JobStore, RegroupFiles

ATTEMPT = AttemptId(TaskId(Phase.MAP, 17), 2)
FULL_DISK = Path("/dev/full")


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "job")


def write_blocks(writer: BlockWriter, *partitions: int) -> None:
    for partition in partitions:
        writer.append(partition, Payload(bytes(60), CODEC_PICKLE), keys=1, pairs=1, single=True)


def commit_blocks(store: JobStore, *partitions: int) -> None:
    with store.writing(ATTEMPT) as writer:
        write_blocks(writer, *partitions)
    store.commit(ATTEMPT)


def names(store: JobStore) -> list[str]:
    return sorted(os.listdir(store.directory)) if os.path.isdir(store.directory) else []


def test_file_has_a_private_name_until_it_is_committed(store: JobStore) -> None:
    with store.writing(ATTEMPT) as writer:
        write_blocks(writer, 0)
        assert names(store) == ["m-00017.2.blocks.part"]
    assert names(store) == ["m-00017.2.blocks.part"]
    store.commit(ATTEMPT)
    assert names(store) == ["m-00017.2.blocks"]
    assert store.path(ATTEMPT) == os.path.join(store.directory, "m-00017.2.blocks")
    assert store.size(ATTEMPT) == os.path.getsize(store.path(ATTEMPT))


@pytest.mark.skipif(os.name != "posix", reason="the directory's mode is a matter of POSIX")
def test_directory_is_closed_to_other_users(store: JobStore) -> None:
    commit_blocks(store, 0)
    assert os.stat(store.directory).st_mode & 0o077 == 0


@pytest.mark.parametrize("raised", [ValueError(), KeyboardInterrupt(), SystemExit()])
def test_nothing_remains_of_an_attempt_that_raised(store: JobStore, raised: BaseException) -> None:
    def attempt() -> None:
        with store.writing(ATTEMPT) as writer:
            write_blocks(writer, 0)
            raise raised

    with pytest.raises(type(raised)):
        attempt()
    assert names(store) == []


def test_neighbouring_blocks_are_one_span(store: JobStore) -> None:
    commit_blocks(store, 0, 1, 2, 5)
    path = store.path(ATTEMPT)
    assert store.spans(ATTEMPT, range(1, 6)) == [Span(path, 108, 300)]
    assert store.spans(ATTEMPT, range(1)) == [Span(path, FILE_HEADER.size, BLOCK_HEADER.size + 60)]
    assert store.spans(ATTEMPT, range(3, 5)) == []


def test_spills_give_one_span_each_in_their_order(store: JobStore) -> None:
    commit_blocks(store, 0, 1, 2, 0, 2, 1)
    path = store.path(ATTEMPT)
    assert store.spans(ATTEMPT, range(2)) == [Span(path, 8, 200), Span(path, 308, 100), Span(path, 508, 100)]
    assert store.spans(ATTEMPT, range(3)) == [Span(path, 8, 600)]


def test_spans_of_a_file_that_is_gone_are_an_os_error(store: JobStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.spans(ATTEMPT, range(1))


def test_dropping_removes_both_names_and_nothing_is_no_error(store: JobStore) -> None:
    commit_blocks(store, 0)
    with store.writing(AttemptId(ATTEMPT.task, 3)):
        pass
    store.drop(ATTEMPT)
    assert names(store) == ["m-00017.3.blocks.part"]
    store.drop(AttemptId(ATTEMPT.task, 3))
    store.drop(ATTEMPT)
    assert names(store) == []


def test_a_directory_that_was_removed_with_its_job_is_not_made_again(tmp_path: Path) -> None:
    """By a slot that outlives its parent for a moment: nobody would ever remove it."""
    store = JobStore(tmp_path / "gone" / "blocks")
    with pytest.raises(FileNotFoundError):
        commit_blocks(store, 0)
    assert list(tmp_path.iterdir()) == []


def test_clearing_removes_the_directory(store: JobStore) -> None:
    commit_blocks(store, 0)
    store.clear()
    assert not os.path.exists(store.directory)
    store.clear()


def test_clearing_leaves_files_of_others_alone(store: JobStore) -> None:
    commit_blocks(store, 0)
    for name in ("thesis.blocks", "m-1.blocks.bak", "m-00001.0"):
        (Path(store.directory) / name).touch()
    store.clear()
    assert names(store) == ["m-00001.0", "m-1.blocks.bak", "thesis.blocks"]


def test_commit_that_cannot_rename_leaves_nothing(store: JobStore) -> None:
    commit_blocks(store, 0)
    with pytest.raises(FileNotFoundError):
        store.commit(ATTEMPT)
    assert names(store) == []


@pytest.mark.parametrize("how", ["drop", "clear", "again"])
def test_what_a_killed_attempt_laid_down_for_itself_is_removed(store: JobStore, how: str) -> None:
    directory = Path(store.directory, f"{ATTEMPT}.regroup")
    directory.parent.mkdir()
    with RegroupFiles(str(directory)).writing() as (path, _):
        pass
    assert Path(path).parent == directory
    if how == "drop":
        store.drop(ATTEMPT)
    elif how == "clear":
        store.clear()
    else:
        with store.regrouping(ATTEMPT):
            assert not directory.exists()
    assert not directory.exists()


@pytest.mark.skipif(not FULL_DISK.exists(), reason="there is no /dev/full here")
def test_full_disk_is_told_of_what_an_attempt_lays_down_for_itself(store: JobStore) -> None:
    directory = Path(store.directory, f"{ATTEMPT}.regroup")
    with store.regrouping(ATTEMPT) as files:
        directory.mkdir(parents=True)
        (directory / "0.blocks").symlink_to(FULL_DISK)
        with pytest.raises(SpillSpaceExhausted, match=r"m-00017\.2\.regroup/0\.blocks is full"), files.writing():
            pass
        assert list(directory.iterdir()) == []
    assert not directory.exists()


@pytest.mark.skipif(not FULL_DISK.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("payload_bytes", [10, 10_000_000])
def test_full_disk_is_told_with_path_and_bytes_needed(store: JobStore, payload_bytes: int) -> None:
    os.makedirs(store.directory)
    private = Path(store.directory) / f"{ATTEMPT}.blocks.part"
    private.symlink_to(FULL_DISK)
    with (
        pytest.raises(SpillSpaceExhausted, match=r"the disk that holds .*m-00017\.2\.blocks\.part is full") as caught,
        store.writing(ATTEMPT) as writer,
    ):
        writer.append(0, Payload(bytes(payload_bytes), CODEC_PICKLE), keys=1, pairs=1, single=True)
    assert caught.value.path == str(private)
    # A small block is noticed with the footer, when the buffer is handed to the system; a large one at once.
    assert caught.value.bytes_needed == {10: 102, 10_000_000: 10_000_048}[payload_bytes]
    assert f"{caught.value.bytes_needed} more bytes did not fit" in str(caught.value)
    assert isinstance(caught.value, MincemeatError)
    assert names(store) == []
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.path) == (str(caught.value), str(private))
