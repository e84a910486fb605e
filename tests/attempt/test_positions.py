"""Where a careful attempt stands can be read whatever became of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.positions import PositionFile, read_position

SCRIPT = """
import os, signal, sys
from mincemeat.positions import PositionFile
file = PositionFile(sys.argv[1])
for record in range(1000):
    file.enter(record, f"'key {record}'", b"data" * record)
    if record == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    file.leave()
"""


def test_a_killed_process_leaves_the_record_it_was_at(tmp_path: Path) -> None:
    path = str(tmp_path / "positions")
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], check=False)
    assert done.returncode == -9
    position = read_position(path)
    assert position is not None
    assert position._replace(seconds=0.0) == (700, "'key 700'", 0.0, b"data" * 700)
    assert 0 <= position.seconds < 60


def test_between_records_it_is_at_none(tmp_path: Path) -> None:
    path = str(tmp_path / "positions")
    file = PositionFile(path)
    assert read_position(path) is None
    file.enter(3, "'k'", b"")
    file.pause()
    assert read_position(path) is None
    file.resume()
    at = read_position(path)
    assert at is not None
    assert at.record == 3
    file.leave()
    file.pause()
    file.resume()
    assert read_position(path) is None
    file.close()


@pytest.mark.parametrize("key", ["", "\ud800", "ä" * limits.REPR_CHARS_MAX, "\U0001f600" * limits.REPR_CHARS_MAX])
def test_any_key_and_record_fit(key: str, tmp_path: Path) -> None:
    path = str(tmp_path / "positions")
    file = PositionFile(path)
    file.enter(2**40, key, bytes(limits.RECORD_DATA_BYTES_MAX))
    at = read_position(path)
    assert at is not None
    assert (at.record, at.key) == (2**40, key.encode("utf-8", "backslashreplace").decode())
    assert len(at.data) == limits.RECORD_DATA_BYTES_MAX
    file.close()


@pytest.mark.parametrize("size", [0, 1, 30])
def test_a_file_that_is_missing_or_cut_says_nothing(size: int, tmp_path: Path) -> None:
    path = str(tmp_path / "positions")
    assert read_position(path) is None
    file = PositionFile(path)
    file.enter(1, "'k'", b"data")
    file.close()
    os.truncate(path, size)
    assert read_position(path) is None
