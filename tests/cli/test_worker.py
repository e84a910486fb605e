from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.cli import main
from mincemeat.cli.again import VARIABLE
from mincemeat.cluster.updating import Updated, Updater
from mincemeat.engines.processes import available_cores
from mincemeat.errors import AuthenticationError, ConnectionFailed, JoinRefused, MincemeatError
from mincemeat.limits import DEFAULT_PORT, WAIT_SECONDS
from mincemeat.model import NO_LIMITS, SlotLimits
from mincemeat.sandbox.plan import Sandbox

UNPROTECTED: dict[str, Any] = {"sandbox": None, "slot_limits": NO_LIMITS}


class FakeServe:
    """Stands in for ``cluster.worker.serve``: notes the call, raises ``error`` if there is one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, str, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.tell: Callable[[str], None] = lambda _: None
        self.updaters: list[Updater | None] = []

    def __call__(self, server: str, port: int, password: str, **options: Any) -> None:
        self.tell = options.pop("tell")
        assert options.pop("drain_signal") == signal.SIGTERM
        self.updaters.append(options.pop("updater"))
        self.calls.append((server, port, password, options))
        if self.error is not None:
            raise self.error


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    fake = FakeServe()
    module = types.ModuleType("mincemeat.cluster.worker")
    vars(module)["serve"] = fake
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delenv("MINCEMEAT_PASSWORD", raising=False)
    return fake


def test_the_originals_command_joins(serve: FakeServe) -> None:
    assert main(["-p", "changeme", "example.org"]) == 0
    options = {"slots": available_cores(), "wait_seconds": WAIT_SECONDS, "forever": False, **UNPROTECTED}
    assert serve.calls == [("example.org", DEFAULT_PORT, "changeme", options)]


def test_the_worker_command_passes_its_options_on(serve: FakeServe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINCEMEAT_PASSWORD", "of the environment")
    assert main(["worker", "-P", "9", "-n", "3", "--wait", "0", "-l"]) == 0
    options = {"slots": 3, "wait_seconds": 0.0, "forever": True, **UNPROTECTED}
    assert serve.calls == [("localhost", 9, "of the environment", options)]


@pytest.mark.skipif(sys.platform == "win32", reason="there it asks to be started again")
def test_a_worker_that_was_updated_starts_again_with_its_password(
    serve: FakeServe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Started(BaseException):
        """This process is another program."""

    def execv(program: str, command: list[str]) -> None:
        raise Started(program, command)

    monkeypatch.setattr("os.execv", execv)
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    words = ["worker", "--update", "--password-fd", str(reader)]
    monkeypatch.setattr("sys.orig_argv", ["python", "-I", "mm.py", *words])
    serve.error = Updated("mm.py is mincemeat 9.9 now")
    with pytest.raises(Started) as started:
        main(words)
    assert started.value.args == (sys.executable, [sys.executable, "-I", "mm.py", *words])
    assert capsys.readouterr().err == "mincemeat: mm.py is mincemeat 9.9 now; starting again\n"
    # And what it has become.
    serve.error = None
    assert main(words) == 0
    assert serve.calls[1][2] == "from a pipe"
    assert [updater is not None and updater.is_updated for updater in serve.updaters] == [False, True]
    assert VARIABLE not in os.environ


def test_a_worker_is_updated_only_if_that_was_asked_for(serve: FakeServe) -> None:
    assert main(["-p", "x"]) == 0
    assert serve.updaters == [None]


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_a_sandbox_is_passed_on(serve: FakeServe, tmp_path: Path) -> None:
    words = [
        "--sandbox",
        "--sandbox-read",
        str(tmp_path),
        "--slot-memory",
        "1GiB",
        "--slot-cpu",
        "60",
        "-p",
        "x",
        "host",
    ]
    assert main(words) == 0
    host, _, _, options = serve.calls[0]
    assert host == "host", "not the option's value"
    assert options["sandbox"] == Sandbox((str(tmp_path),))
    assert options["slot_limits"] == SlotLimits(2**30, 60)


@pytest.mark.parametrize(
    ("words", "sandbox"),
    [
        (["--sandbox"], Sandbox()),
        (["--sandbox=strict"], Sandbox(is_strict=True)),
        (["worker", "--sandbox", "host"], Sandbox()),
        (["host", "--sandbox"], Sandbox()),
    ],
)
def test_the_two_sandboxes(serve: FakeServe, words: list[str], sandbox: Sandbox) -> None:
    assert main([*words, "-p", "x"]) == 0
    assert serve.calls[0][3]["sandbox"] == sandbox


def test_a_listed_path_that_is_not_there_is_told_before_anything_else(
    serve: FakeServe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--sandbox", "--sandbox-read", "/no/such/place", "-p", "x"]) == 1
    assert capsys.readouterr().err == "mincemeat: sandbox_read names /no/such/place, which is not there\n"
    assert serve.calls == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sandbox-read", "/usr"], "--sandbox-read is for --sandbox; without it all files can be read"),
        (["--sandbox=loose"], "argument --sandbox: invalid choice: 'loose'"),
        (["--slot-memory", "1MB"], "slot_memory must be from 64 MiB to 64 TiB"),
        (["--slot-cpu", "0"], "'0' is not a whole number from 1 to"),
    ],
)
def test_protection_that_cannot_be_meant(
    serve: FakeServe, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main([*words, "-p", "x"])
    assert ending.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_password_is_asked_for_at_a_terminal(serve: FakeServe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed")
    assert main(["worker"]) == 0
    assert serve.calls[0][2] == "typed"


def test_without_a_password_nothing_is_tried(
    serve: FakeServe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main([]) == 1
    assert serve.calls == []
    assert capsys.readouterr().err.startswith("mincemeat: a worker needs the server's password")


@pytest.mark.parametrize("kind", [ConnectionFailed, AuthenticationError, JoinRefused])
def test_a_server_that_refuses_or_is_not_there_is_one_sentence_and_1(
    serve: FakeServe, kind: type[MincemeatError], capsys: pytest.CaptureFixture[str]
) -> None:
    serve.error = kind("not today")
    assert main(["-p", "x"]) == 1
    assert capsys.readouterr() == ("", "mincemeat: not today\n")


def test_a_worker_that_has_to_wait_says_so_without_v(serve: FakeServe, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker started before its server looked as if it hung: the sentence went to a log that nobody had asked for."""
    assert main(["-p", "x"]) == 0
    serve.tell("nobody there; trying again for 30 seconds")
    assert capsys.readouterr().err == "mincemeat: nobody there; trying again for 30 seconds\n"


def test_ctrl_c_ends_a_worker_with_130(serve: FakeServe, capsys: pytest.CaptureFixture[str]) -> None:
    serve.error = KeyboardInterrupt()
    assert main(["-p", "x"]) == 130
    assert capsys.readouterr().err == "mincemeat: interrupted\n"


def test_run_client_is_the_originals_entry_point(serve: FakeServe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mincemeat.py", "-p", "changeme", "-P", "5", "host"])
    mincemeat.run_client()
    assert serve.calls[0][:3] == ("host", 5, "changeme")


def test_run_client_exits_with_the_code_of_a_failure(serve: FakeServe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mincemeat.py", "-p", "changeme"])
    serve.error = ConnectionFailed("nobody there")
    with pytest.raises(SystemExit) as ending:
        mincemeat.run_client()
    assert ending.value.code == 1
