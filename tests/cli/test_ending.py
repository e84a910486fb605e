from __future__ import annotations

import io
import logging
import signal
import threading
from argparse import Namespace
from collections.abc import Callable
from typing import NoReturn

import pytest

from mincemeat.cli.ending import carry_out, start_logging
from mincemeat.errors import ConnectionFailed, InvalidJob, JobFailed, MincemeatError

REMOTE = 'Traceback (most recent call last):\n  File "job.py", line 3, in mapfn\nValueError: bad\n'
STORY = "map task m-00000 failed 4 times; the last, m-00000.3, raised ValueError in mapfn for key 'k': bad."


def raising(error: BaseException, cause: BaseException | None = None) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error from cause

    return command


def test_a_command_that_returns_is_silent_and_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error", [InvalidJob("no such engine"), ConnectionFailed("no such engine"), MincemeatError("no such engine")]
)
def test_an_error_of_ours_is_one_sentence_and_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(raising(error)) == 1
    assert capsys.readouterr() == ("", "mincemeat: no such engine\n")


def test_an_error_without_words_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(raising(ConnectionFailed())) == 1
    assert capsys.readouterr().err == "mincemeat: ConnectionFailed\n"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x/out.csv"), "/x/out.csv: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("strange"), "strange"),
    ],
)
def test_an_error_of_the_system_is_one_sentence_and_1(
    error: OSError, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carry_out(raising(error)) == 1
    assert capsys.readouterr().err == f"mincemeat: {sentence}\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        carry_out(raising(ZeroDivisionError()))


@pytest.mark.parametrize("heading", ["", f"\n\nTraceback on the worker:\n{REMOTE}"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_failed_job_is_the_remote_traceback_once_and_then_its_story(
    heading: str, alone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    story = JobFailed(STORY + heading, remote_traceback=REMOTE)
    error = story if alone else ValueError("bad")
    assert carry_out(raising(error, None if alone else story)) == 1
    assert capsys.readouterr().err == f"{REMOTE}mincemeat: {STORY}\n"


def test_a_lost_process_has_no_traceback_but_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(raising(JobFailed("map task m-00000 failed once"))) == 1
    assert capsys.readouterr().err == "mincemeat: map task m-00000 failed once\n"


def test_an_exception_raised_in_this_process_is_shown_with_the_users_frames_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def function_of_the_user() -> NoReturn:
        raise ValueError("bad")

    error = None
    try:
        function_of_the_user()
    except ValueError as caught:
        error = caught
        error.add_note("(mincemeat: raised in mapfn)")
    assert error is not None
    assert carry_out(raising(error, JobFailed("the story"))) == 1
    said = capsys.readouterr().err
    assert "in function_of_the_user" in said
    assert "ending.py" not in said.replace("test_ending.py", "")
    assert said.endswith("ValueError: bad\nmincemeat: the story\n")


def test_loud_shows_everything_and_the_traceback_once(capsys: pytest.CaptureFixture[str]) -> None:
    story = JobFailed(f"{STORY}\n\nTraceback on the worker:\n{REMOTE}", remote_traceback=REMOTE)
    assert carry_out(raising(ValueError("bad"), story), loud=True) == 1
    said = capsys.readouterr().err
    assert "in carry_out" in said
    assert said.count('File "job.py", line 3') == 1
    assert said.endswith(f"mincemeat: {STORY}\n")


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(lambda: signal.raise_signal(signal.SIGINT)) == 130
    assert capsys.readouterr().err == "mincemeat: interrupted\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the signals of Unix")
def test_a_signal_that_ends_lets_the_command_clean_up(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned: list[signal.Signals] = []

    for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):

        def command(number: signal.Signals = number) -> None:
            try:
                signal.raise_signal(number)
            finally:
                cleaned.append(number)

        before = signal.signal(number, signal.SIG_DFL)
        try:
            assert carry_out(command) == code
            assert signal.getsignal(number) == signal.SIG_DFL
        finally:
            signal.signal(number, before)
    assert cleaned == [signal.SIGTERM, signal.SIGHUP]
    assert capsys.readouterr().err == "mincemeat: ended by SIGTERM\nmincemeat: ended by SIGHUP\n"


def test_sigterm_ends_a_command_whose_ctrl_c_is_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert carry_out(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_a_signal_that_somebody_handles_stays_theirs() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        assert carry_out(lambda: signal.raise_signal(signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_thread_other_than_the_main_one_can_carry_out_a_command() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(carry_out(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(("verbose", "loud", "level"), [(True, False, 20), (True, True, 10), (False, True, 10)])
def test_v_and_big_v_choose_the_log_level(
    verbose: bool, loud: bool, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[object] = []
    monkeypatch.setattr("logging.basicConfig", lambda **options: chosen.append(options["level"]))
    start_logging(Namespace(verbose=verbose, loud=loud))
    assert chosen == [level]


def test_the_log_goes_to_standard_error_as_it_is_at_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler kept the stream it was made with, and its lines landed behind the progress line."""
    monkeypatch.setattr("logging.root", logging.RootLogger(logging.WARNING))
    start_logging(Namespace(verbose=True, loud=False))
    later = io.StringIO()
    monkeypatch.setattr("sys.stderr", later)
    logging.root.info("worker w left")
    assert later.getvalue().endswith("INFO root: worker w left\n")


def test_without_them_logging_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.basicConfig", lambda **options: pytest.fail("configured"))
    start_logging(Namespace(verbose=False, loud=False))


def test_an_exception_that_passed_no_code_of_the_users_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    said = "TypeError: mapfn() takes 1 positional argument but 2 were given\n"
    assert carry_out(raising(TypeError(), JobFailed("the story", remote_traceback=said))) == 1
    assert capsys.readouterr().err == "mincemeat: the story\n"
