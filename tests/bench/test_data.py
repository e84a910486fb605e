from __future__ import annotations

from pathlib import Path

import pytest

from bench import data


@pytest.fixture
def origin(tmp_path: Path) -> data.Origin:
    root = tmp_path / "sources"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.c").write_text(f"word{number} of\u2003{number}\r\n", "utf-8", newline="")
    (root / "picture.png").write_bytes(b"\x00\x01")
    return data.Origin("tiny", root)


def test_text_is_the_same_each_time_and_repeats_with_other_words(tmp_path: Path, origin: data.Origin) -> None:
    first = data.text_file(tmp_path / "a", origin, 1000).read_bytes()
    assert first == data.text_file(tmp_path / "b", origin, 1000).read_bytes()
    assert len(first) >= 1000
    words = set(first.decode().split())
    assert {f"word{number}" for number in range(5)} < words
    assert len(words) > 50


def test_text_has_no_white_space_but_blanks_tabs_and_newlines(tmp_path: Path, origin: data.Origin) -> None:
    text = data.text_file(tmp_path, origin, 1000).read_bytes().decode()
    assert {character for character in text if character.isspace()} <= {" ", "\n"}
    assert "\x00" not in text


def test_what_is_there_is_not_made_again(tmp_path: Path, origin: data.Origin) -> None:
    path = data.text_file(tmp_path, origin, 100)
    path.write_text("kept", "utf-8")
    assert data.text_file(tmp_path, origin, 100).read_text("utf-8") == "kept"


def test_unfinished_data_is_not_left_behind(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    with pytest.raises(SystemExit, match="there is no source text"):
        data.text_file(tmp_path, data.Origin("none", nothing), 100)
    assert list((tmp_path / "data").iterdir()) == []


def test_directory_has_as_many_files_as_were_asked_for(tmp_path: Path, origin: data.Origin) -> None:
    directory = data.directory_of_files(tmp_path, origin, 201)
    assert len(list(directory.glob("*/*.txt"))) == 201
    assert len(list(directory.iterdir())) == 3


def test_records_have_100_bytes_and_no_two_are_alike(tmp_path: Path) -> None:
    records = data.records_file(tmp_path, 1000).read_bytes().splitlines(keepends=True)
    assert len(set(records)) == 1000
    assert {len(record) for record in records} == {100}
