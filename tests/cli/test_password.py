from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from mincemeat.cli.password import VARIABLE, ask_password, given_password
from mincemeat.errors import InvalidJob
from tests.cli.command import environment


@pytest.fixture(autouse=True)
def _no_password_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def options(
    argument: str | None = None, file: Path | None = None, *, descriptor: int | None = None, token: str | None = None
) -> Namespace:
    name = None if file is None else str(file)
    return Namespace(password=argument, password_file=name, password_fd=descriptor, token=token)


def written(directory: Path, content: bytes) -> Path:
    path = directory / "password"
    path.write_bytes(content)
    return path


def test_nothing_given_is_none() -> None:
    assert given_password(options()) is None


def test_the_file_goes_before_environment_and_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "of the environment")
    file = written(tmp_path, b"of the file\n")
    assert given_password(options("of the argument", file)) == "of the file"


def test_the_environment_goes_before_the_argument_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "of the environment")
    assert given_password(options("of the argument")) == "of the environment"
    said = capsys.readouterr().err
    assert "MINCEMEAT_PASSWORD is set and goes before -p" in said
    assert "of the" not in said


def test_the_environment_is_not_left_to_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "secret")
    given_password(options())
    assert VARIABLE not in os.environ


def test_the_argument_is_used_when_nothing_else_is_given() -> None:
    assert given_password(options("changeme")) == "changeme"


@pytest.mark.parametrize("content", [b"pass word", b"pass word\n", b"pass word\r\n", b"pass word\nmore\n"])
def test_a_files_first_line_is_the_password(tmp_path: Path, content: bytes) -> None:
    assert given_password(options(file=written(tmp_path, content))) == "pass word"


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "is empty"), (b"\nx", "is empty"), (b"\xff\xfe", "is not UTF-8 text")]
)
def test_a_file_without_a_password_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        given_password(options(file=written(tmp_path, content)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match=r"nowhere cannot be read: No such file"):
        given_password(options(file=tmp_path / "nowhere"))


def piped(content: bytes) -> int:
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        file.write(content)
    return reader


def test_a_descriptors_first_line_is_the_password_and_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "of the environment")
    descriptor = piped(b"pass word\nmore\n")
    assert given_password(options(descriptor=descriptor)) == "pass word"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_descriptor_without_a_password_is_refused() -> None:
    with pytest.raises(InvalidJob, match="the first line of descriptor [0-9]+ is empty"):
        given_password(options(descriptor=piped(b"")))
    closed = piped(b"secret")
    os.close(closed)
    with pytest.raises(InvalidJob, match="which --password-fd names, cannot be read: Bad file descriptor"):
        given_password(options(descriptor=closed))


TOKEN = "mm2-aaaqeayeaudaocajbifqydiob4-6dy7f47u6x3pp6hz7l57z7p674"


def test_a_token_stands_in_the_place_of_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "of the environment")
    assert given_password(options(token=TOKEN)) == TOKEN
    for other in (options("changeme", token=TOKEN), options(file=tmp_path, token=TOKEN)):
        with pytest.raises(InvalidJob, match="give one of them"):
            given_password(other)
    with pytest.raises(InvalidJob, match="what follows --token is no join token"):
        given_password(options(token="changeme"))


def test_an_empty_argument_is_refused() -> None:
    with pytest.raises(InvalidJob, match="the password after -p is empty"):
        given_password(options(""))


def test_a_person_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fake_getpass(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", fake_getpass)
    assert ask_password("example.org") == "typed"
    assert asked == ["Password of the mincemeat server on example.org: "]


def test_nobody_at_a_terminal_is_told_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InvalidJob, match=r"--password-file, in MINCEMEAT_PASSWORD or after -p"):
        ask_password("localhost")


def test_end_of_file_at_the_prompt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", hang_up)
    with pytest.raises(InvalidJob, match="no password was typed"):
        ask_password("localhost")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows a process its own command line to overwrite")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["-p", "s3cret", "-P", "9", "host"], ["-p", "******", "-P", "9", "host"]),
        (["-ps3cret", "host"], ["-p******", "host"]),
        (["--password=s3cret"], ["--password=******"]),
        (["-p", "run", "run"], ["-p", "***", "***"]),
    ],
)
def test_a_password_on_the_command_line_is_hidden_from_other_users(words: list[str], shown: list[str]) -> None:
    program = (
        "from mincemeat.cli.parser import parse; from mincemeat.cli.password import given_password\n"
        "given_password(parse())\n"
        "print(open('/proc/self/cmdline').read())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert output.rstrip("\0\n").split("\0")[3:] == shown
