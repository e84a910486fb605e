"""A worker's side of a sandbox: what its slots are started with, and what comes back from them."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

from mincemeat.cluster import seclusion
from mincemeat.cluster.seclusion import Seclusion, environment_of_a_slot, harmless
from mincemeat.errors import SandboxIncomplete
from mincemeat.model import NO_LIMITS
from mincemeat.sandbox.plan import Confinement, Outcome, Protection, Sandbox
from mincemeat.shuffle.store import JobStore

COMPLETE = Outcome(tuple(Protection), (), 7)
INCOMPLETE = Outcome((Protection.FILES,), ((Protection.TCP, "needs Linux 6.7"),), 3)


class FakeSlot:
    is_killed = False

    def kill(self) -> None:
        self.is_killed = True


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> FakeSlot:
    """Whatever starts confines itself completely, unless a test says otherwise."""
    slot = FakeSlot()
    monkeypatch.setattr(seclusion, "_hide_this_process", lambda: None)
    monkeypatch.setattr(Seclusion, "_try", lambda self: (slot, COMPLETE))
    return slot


def test_secrets_of_the_environment_are_not_handed_on() -> None:
    environment = {
        "PATH": "/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1",
        "AWS_SECRET_ACCESS_KEY": "x", "GITHUB_TOKEN": "x", "SSH_AUTH_SOCK": "x", "MINCEMEAT_PASSWORD": "x",
        "USER": "ada", "DBUS_SESSION_BUS_ADDRESS": "x", "XDG_RUNTIME_DIR": "x", "HOME": "/home/ada",
        "TMPDIR": "/var/tmp", "LD_PRELOAD": "x",
    }  # fmt: skip
    assert environment_of_a_slot(environment, "/s/tmp") == {
        "PATH": "/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1",
        "HOME": "/s/tmp", "TMPDIR": "/s/tmp",
    }  # fmt: skip


def test_a_terminal_is_told_text_and_no_commands() -> None:
    assert harmless("it costs 3 €\n\tso") == "it costs 3 €\n\tso"
    assert harmless("\x1b]52;c;cm0=\x07 \x9b2J \x00\r") == "?]52;c;cm0=? ?2J ??"


def test_a_strict_worker_does_not_start_where_something_is_missing(
    slot: FakeSlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Seclusion, "_try", lambda self: (slot, INCOMPLETE))
    with pytest.raises(SandboxIncomplete, match=r"TCP \(needs Linux 6\.7\)"):
        Seclusion(Sandbox(is_strict=True), NO_LIMITS, str(tmp_path))
    assert slot.is_killed
    lenient = Seclusion(Sandbox(), NO_LIMITS, str(tmp_path))
    assert lenient.sentence == "sandbox: files (Landlock ABI 3); not here: TCP (needs Linux 6.7)"
    lenient.close()


def test_a_strict_worker_starts_where_all_is_there(slot: FakeSlot, tmp_path: Path) -> None:
    strict = Seclusion(Sandbox(is_strict=True), NO_LIMITS, str(tmp_path))
    assert "not here" not in strict.sentence
    strict.close()
    assert slot.is_killed, "nobody has used it"


def test_further_slots_must_have_what_was_announced(
    slot: FakeSlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = []
    monkeypatch.setattr(seclusion, "SlotProcess", lambda room: rooms.append(room))
    secluded = Seclusion(Sandbox(("/data",)), NO_LIMITS, str(tmp_path))
    try:
        secluded.start_slot()
    finally:
        secluded.close()
    told = Confinement.of_header(rooms[0].message)
    assert told.must == COMPLETE.enforced
    assert told.read == ("/data",)
    assert (told.scratch, told.temporary) == (str(tmp_path), str(tmp_path / "tmp"))
    assert rooms[0].environment["HOME"] == told.temporary


def test_directories_that_rules_are_about_stay_what_they_are(slot: FakeSlot, tmp_path: Path) -> None:
    """A store removes its directory with the last of its files; one that is made anew has no rule."""
    secluded = Seclusion(Sandbox(), NO_LIMITS, str(tmp_path))
    blocks = tmp_path / "blocks"
    before = blocks.stat().st_ino
    (blocks / "m-00001.0.blocks").touch()
    JobStore(blocks).clear()
    assert (blocks.stat().st_ino, os.listdir(blocks)) == (before, [".keep"])
    secluded.close()


def test_the_next_job_finds_nothing_of_the_last(slot: FakeSlot, tmp_path: Path) -> None:
    secluded = Seclusion(Sandbox(), NO_LIMITS, str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    temporary = tmp_path / "tmp"
    (temporary / "directory").mkdir()
    (temporary / "directory" / "file").touch()
    (temporary / "link").symlink_to(outside)
    secluded.clear()
    assert os.listdir(temporary) == []
    assert (outside / "kept").exists(), "what a link leads to is not the job's"
    secluded.close()


def test_a_job_that_made_directories_without_end_does_not_end_the_worker(slot: FakeSlot, tmp_path: Path) -> None:
    secluded = Seclusion(Sandbox(), NO_LIMITS, str(tmp_path))
    here = os.open(tmp_path / "tmp", os.O_RDONLY)
    depth = 2 * sys.getrecursionlimit()
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        (tmp_path / "tmp" / "file").touch()
        secluded.clear()
        assert "file" not in os.listdir(tmp_path / "tmp")
    finally:
        secluded.close()
        for _ in range(depth):  # else pytest could not remove it either
            above = os.open("..", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = above
            with contextlib.suppress(OSError):
                os.rmdir("d", dir_fd=here)
        os.close(here)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
def test_what_slots_print_comes_out_whole(slot: FakeSlot, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secluded = Seclusion(Sandbox(), NO_LIMITS, str(tmp_path))
    text = "é" * 50_000 + "\n"
    with open(os.dup(secluded._printer.entrance), "wb", buffering=0) as entrance:
        data = text.encode()
        while data:
            data = data[entrance.write(data[:4095]) :]  # cuts characters apart
    secluded.close()
    assert capfd.readouterr().err == text
