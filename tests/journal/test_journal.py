"""A journal belongs to one job; what is not that job's is refused in one sentence, and left as it is."""

from __future__ import annotations

import base64
import errno
import json
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.errors import InvalidJob, SpillSpaceExhausted
from mincemeat.journal import Journal, MapCommit, SplitGroup
from mincemeat.journal.log import Log, LogFile
from mincemeat.journal.reading import FORMAT
from mincemeat.model import AttemptId, MapReport

IDENTITY = {"mapfn": "1", "reducefn": "2"}
REPORT = MapReport(5, 10, 0.5, 0, (1, 2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.journal"


def begun(path: Path, splits: int = 3) -> Journal:
    journal = Journal.open(path, IDENTITY)
    journal.begin("job-1", IDENTITY, ())
    journal.splits_cut(SplitGroup(0, (5,) * splits, (None,) * splits, (0,) * splits))
    for index in range(splits):
        journal.map_committed(MapCommit(AttemptId.parse(f"m-{index:05d}.0"), 1, "A", REPORT))
        journal.sync()
    return journal


def refused(path: Path, identity: dict[str, str] = IDENTITY) -> str:
    """The one sentence or two that opening the journal is refused with; the file is untouched."""
    before = path.read_bytes()
    with pytest.raises(InvalidJob) as caught:
        Journal.open(path, identity)
    assert path.read_bytes() == before
    return str(caught.value)


def test_a_new_journal_has_no_history(path: Path) -> None:
    journal = Journal.open(path, IDENTITY)
    assert journal.history is None
    assert journal.life == 0
    journal.close()


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_disk_that_is_full_as_a_job_begins_or_goes_on_is_told_in_our_words(
    path: Path, has_begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is cut to its whole records then, and that is synced: a quota may show there first of all."""
    if has_begun:
        begun(path).close()
    journal = Journal.open(path, IDENTITY)

    def fail(size: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(journal._file, "truncate", fail)
    with pytest.raises(SpillSpaceExhausted, match="make room there"):
        journal.go_on() if has_begun else journal.begin("job-1", IDENTITY, ())
    journal.close()


def test_the_next_coordinator_reads_what_the_last_one_wrote(path: Path) -> None:
    begun(path).close()
    journal = Journal.open(path, IDENTITY)
    assert journal.history is not None
    assert journal.job_id == "job-1"
    assert journal.life == 1
    assert [str(commit.attempt) for commit in journal.history.map_commits()] == ["m-00000.0", "m-00001.0", "m-00002.0"]
    journal.go_on()
    journal.close()
    assert Journal.open(path, IDENTITY).life == 2


def test_splitters_come_back_as_they_were(path: Path) -> None:
    journal = Journal.open(path, IDENTITY)
    journal.begin("job-1", IDENTITY, (("a", 1), ("b", 2.5)))
    journal.close()
    assert Journal.open(path, IDENTITY).splitters == (("a", 1), ("b", 2.5))


def test_it_is_for_its_owner_alone(path: Path) -> None:
    begun(path).close()
    assert path.stat().st_mode & 0o077 == 0
    assert os.stat(f"{path}.files").st_mode & 0o077 == 0


def test_nothing_is_left_when_the_results_are_safe(path: Path) -> None:
    journal = begun(path)
    Path(journal.room("results"), "r-00000.0.result").write_bytes(b"results")
    journal.remove()
    assert list(path.parent.iterdir()) == []


def test_one_that_is_in_use_is_refused(path: Path) -> None:
    journal = begun(path)
    assert "is in use" in refused(path)
    journal.close()
    Journal.open(path, IDENTITY).close()


def test_one_of_another_job_is_refused_by_what_differs(path: Path) -> None:
    begun(path).close()
    said = refused(path, {**IDENTITY, "reducefn": "3"})
    assert "is of another job: reducefn is not what it was" in said
    assert f"To begin anew, remove {path} and {path}.files" in said


@pytest.mark.parametrize(
    ("field", "version", "said"), [("mincemeat", "9.9", "mincemeat 9.9"), ("python", "2.7", "Python 2.7")]
)
def test_one_of_another_version_is_refused(path: Path, field: str, version: str, said: str) -> None:
    begun(path).close()
    rewrite_head(path, {field: version})
    sentence = refused(path)
    assert "was written by mincemeat" in sentence
    assert said in sentence
    assert limits.VERSION in sentence


def test_one_of_another_format_is_refused(path: Path) -> None:
    begun(path).close()
    rewrite_head(path, {"journal": 99, "mincemeat": "9.9"})
    assert "Finish its job with that version" in refused(path)


def test_one_of_another_format_and_the_same_version_is_refused_by_its_format(path: Path) -> None:
    """It "was written by mincemeat 2.0 on Python 3.11, and this is 2.0 on Python 3.11"."""
    begun(path).close()
    rewrite_head(path, {"journal": 1})
    said = refused(path)
    assert f"has format 1, and this mincemeat has format {FORMAT}, although both call themselves" in said
    assert "was written by" not in said


def test_records_of_another_format_are_not_looked_at(path: Path) -> None:
    """What this program did not know of them was told as damage."""
    begun(path).close()
    rewrite_head(path, {"journal": 99}, {"later": "invention"})
    assert "has format 99" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": 5},
        {"identity": None},
        {"identity": {"mapfn": 1}},
        {"job": 5},
        {"job": None},
        {"splitters": 5},
    ],
)
def test_one_whose_first_record_cannot_be_is_damaged(path: Path, changes: dict[str, object]) -> None:
    """A TypeError with a traceback of ours."""
    begun(path).close()
    rewrite_head(path, changes)
    said = refused(path)
    assert "is damaged: its first record cannot be meant" in said
    assert "Nobody can go on with it" in said


@pytest.mark.parametrize("splitters", ["!!!", "AAAA", base64.b64encode(pickle.dumps(5)).decode()])
def test_splitters_that_cannot_be_read_are_damage(path: Path, splitters: str) -> None:
    """An EOFError with a traceback of ours."""
    begun(path).close()
    rewrite_head(path, {"splitters": splitters})
    journal = Journal.open(path, IDENTITY)
    with pytest.raises(InvalidJob, match=r"is damaged: its splitters cannot be read .*\. Nobody can go on with it"):
        journal.splitters  # noqa: B018
    journal.close()


def test_one_that_is_damaged_inside_is_refused_with_the_place(path: Path) -> None:
    begun(path).close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    said = refused(path)
    assert "is damaged: record " in said
    assert " at byte " in said
    assert "Nobody can go on with it" in said


def test_one_with_records_that_cannot_be_is_damaged(path: Path) -> None:
    journal = begun(path)
    journal.input_exhausted(7)
    journal.sync()
    journal.close()
    assert "is damaged: a record cannot be meant" in refused(path)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_one_that_is_torn_at_its_tail_is_used_up_to_there(path: Path, cut: int) -> None:
    begun(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    journal = Journal.open(path, IDENTITY)
    assert journal.torn_bytes > 0
    assert journal.history is not None
    assert len(list(journal.history.map_commits())) == 2
    journal.go_on()
    journal.map_committed(MapCommit(AttemptId.parse("m-00002.10000"), 1, "B", REPORT))
    journal.sync()
    journal.close()
    again = Journal.open(path, IDENTITY)
    assert again.torn_bytes == 0
    assert again.history is not None
    assert [str(commit.attempt) for commit in again.history.map_commits()][-1] == "m-00002.10000"


@pytest.mark.parametrize("size", [*range(30), *range(30, 200, 9)])
def test_one_whose_first_record_was_never_finished_begins_anew(path: Path, size: int) -> None:
    journal = Journal.open(path, IDENTITY)
    journal.begin("job-1", IDENTITY, ())
    journal.close()
    path.write_bytes(path.read_bytes()[:-1][:size])
    if 0 < size < 22:  # not enough of it to know that it is ours
        assert f"has {size} bytes, too few to tell" in refused(path)
        return
    assert Journal.open(path, IDENTITY).history is None


@pytest.mark.parametrize(
    "content", [b"name,age\nada,36\n", b"\x89PNG\r\n\x1a\n", b"x" * 100, b"SQLite format 3\0" + bytes(100)]
)
def test_a_file_of_the_users_is_not_taken_for_a_journal(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "is no journal of mincemeat's, and is left as it is" in refused(path)


def test_a_log_of_something_else_is_not_taken_for_a_journal(path: Path) -> None:
    with_records(path, [{"something": "else"}])
    assert "is no journal of mincemeat's" in refused(path)


def test_a_place_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="cannot be written: No such file or directory"):
        Journal.open(tmp_path / "nowhere" / "job.journal", IDENTITY)
    with pytest.raises(InvalidJob, match="cannot be written: Is a directory"):
        Journal.open(tmp_path, IDENTITY)


def test_behind_a_link_is_the_same_journal(tmp_path: Path, path: Path) -> None:
    """It was an OSError with a traceback: too many levels of symbolic links."""
    link = tmp_path / "link"
    link.symlink_to(path)
    journal = begun(link)
    assert "is in use" in refused(path)
    journal.close()
    again = Journal.open(path, IDENTITY)
    assert again.history is not None
    again.close()
    Journal.open(link, IDENTITY).remove()
    assert list(tmp_path.iterdir()) == [link]


def test_a_directory_that_is_not_its_own_is_left_alone(path: Path) -> None:
    """All that was in it was removed."""
    directory = Path(f"{path}.files")
    directory.mkdir()
    (directory / "thesis").write_text("years of work")
    (directory / "results").mkdir()
    with pytest.raises(InvalidJob, match="in what is there is 'thesis', which is not its own. Name another journal"):
        Journal.open(path, IDENTITY)
    assert (directory / "thesis").read_text() == "years of work"
    (directory / "thesis").unlink()
    begun(path).close()


def test_a_file_where_its_directory_should_be_is_refused(path: Path) -> None:
    Path(f"{path}.files").write_text("years of work")
    with pytest.raises(InvalidJob, match="Not a directory. Name another journal"):
        Journal.open(path, IDENTITY)
    assert Path(f"{path}.files").read_text() == "years of work"


def test_a_directory_that_cannot_be_made_again_is_told_in_a_sentence(path: Path) -> None:
    begun(path).close()
    os.rmdir(f"{path}.files")
    Path(f"{path}.files").touch()
    journal = Journal.open(path, IDENTITY)
    with pytest.raises(InvalidJob, match=r"the directory .*job\.journal\.files of the journal cannot be made"):
        journal.go_on()
    journal.close()


def test_results_count_only_as_they_were_written(path: Path) -> None:
    journal = begun(path)
    journal.planned([range(64)])
    results = Path(journal.room("results"), "r-00000.0.result")
    results.write_bytes(b"results")
    journal.reduce_committed(AttemptId.parse("r-00000.0"), str(results))
    journal.sync()
    journal.close()
    journal = Journal.open(path, IDENTITY)
    assert journal.history is not None
    [commit] = journal.history.reduce_commits()
    assert journal.result_path(commit) == str(results)
    results.write_bytes(b"result")
    assert journal.result_path(commit) is None
    results.unlink()
    assert journal.result_path(commit) is None


def with_records(path: Path, records: list[dict[str, object]]) -> None:
    class Appending:
        def lines(self) -> Iterator[bytes]:
            yield from ()

        def append(self, data: bytes) -> None:
            with path.open("ab") as file:
                file.write(data)

        def sync(self) -> None: ...
        def truncate(self, size: int) -> None: ...
        def close(self) -> None: ...

    file: LogFile = Appending()
    log = Log(file, 0)
    for record in records:
        log.append(record)


def rewrite_head(path: Path, changes: dict[str, object], *more: dict[str, object]) -> None:
    head = json.loads(path.read_bytes().splitlines()[0].split(b" ", 2)[2])
    path.unlink()
    with_records(path, [{**head, **changes}, *more])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of Unix")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "link to a pipe"])
def test_what_is_no_plain_file_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    """A pipe was read for ever, and /dev/full until there was no memory left. Here in a process with a limit."""
    path = tmp_path / "special"
    if kind == "device":
        path = Path("/dev/full" if os.path.exists("/dev/full") else "/dev/null")
    elif kind == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    else:
        os.mkfifo(tmp_path / "pipe")
        path = tmp_path / "pipe"
        if kind != "pipe":
            path = tmp_path / "special"
            path.symlink_to(tmp_path / "pipe")
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from mincemeat.journal import Journal
Journal.open(sys.argv[1], {})
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    what = kind.rpartition(" ")[2]
    assert said.endswith(f"InvalidJob: the journal {path} cannot be kept there: that is a {what}. Name a file")


def test_text_that_begins_as_a_checksum_does_is_not_taken_for_one(path: Path) -> None:
    for content in (b"deadbeef\n", b"cafe babe", b"abc def", b"0123456789"):
        path.write_bytes(content)
        assert "is no journal of mincemeat's" in refused(path)
