"""A generated password is kept for its owner alone, and what others may have laid there is not believed."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from mincemeat.journal import Journal
from mincemeat.journal.password import keep_password, read_password

GENERATED = "abcdefgh01234567"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes of Unix")


def test_it_is_there_for_the_next_life_and_goes_with_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "job.journal"
    journal = Journal.open(path, {})
    assert journal.password() == ""
    journal.keep_password(GENERATED)
    journal.begin("job-1", {}, ())
    journal.close()
    journal = Journal.open(path, {})
    journal.go_on()
    assert journal.password() == GENERATED
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_of_a_journal_that_was_never_begun_does_not_count(tmp_path: Path) -> None:
    directory = tmp_path / "job.journal.files"
    directory.mkdir()
    keep_password(str(directory), GENERATED)
    journal = Journal.open(tmp_path / "job.journal", {})
    assert journal.password() == ""
    journal.begin("job-1", {}, ())
    assert not (directory / "password").exists()
    journal.close()


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keep_password(str(tmp_path), GENERATED)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    assert read_password(str(tmp_path)) == GENERATED


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o620])
def test_one_that_others_could_read_or_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    keep_password(str(tmp_path), GENERATED)
    (tmp_path / "password").chmod(mode)
    assert read_password(str(tmp_path)) == ""


def test_one_behind_a_link_or_in_a_pipe_is_not_believed(tmp_path: Path) -> None:
    keep_password(str(tmp_path), GENERATED)
    (tmp_path / "password").rename(tmp_path / "elsewhere")
    (tmp_path / "password").symlink_to(tmp_path / "elsewhere")
    assert read_password(str(tmp_path)) == ""
    (tmp_path / "password").unlink()
    os.mkfifo(tmp_path / "password", 0o600)
    assert read_password(str(tmp_path)) == ""


def test_one_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_password(str(tmp_path), GENERATED)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert read_password(str(tmp_path)) == ""


def test_a_link_in_its_place_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "password").symlink_to(tmp_path / "thesis")
    keep_password(str(tmp_path), GENERATED)
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert read_password(str(tmp_path)) == GENERATED


@pytest.mark.parametrize("content", ["", "short\n", GENERATED, GENERATED + "\nmore", "x" * 70 + "\n", "-" * 16 + "\n"])
def test_what_is_cut_or_something_else_is_not_taken(tmp_path: Path, content: str) -> None:
    keep_password(str(tmp_path), GENERATED)
    (tmp_path / "password").write_text(content)
    assert read_password(str(tmp_path)) == ""
