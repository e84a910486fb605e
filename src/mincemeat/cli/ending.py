"""How a command ends: exit codes, one sentence for an error, signals, logging.

Decides: what a person reads when something went wrong. Does not know: what the command was.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from mincemeat.errors import JobFailed, MincemeatError
from mincemeat.interpreters import own_path

_NOT_THE_USERS = (own_path(), "<frozen ")
# engines/base.py puts the traceback after this into the story; here it is printed before the sentence instead.
_TRACEBACK_HEADING = "\n\nTraceback on the worker:\n"


class AnsweredNo(MincemeatError):
    """The command could do what it was asked to, and the answer is no: exit code 1 in any case."""


def carry_out(command: Callable[[], None], *, loud: bool = False, refused: int = 1) -> int:
    """Call ``command`` and say on standard error what went wrong; the exit code.

    ``loud`` adds the whole traceback, our own frames included. ``refused`` is the exit code for what goes wrong, where
    1 is an answer (``AnsweredNo``).
    Raises: what only a fault of ours can have raised, so that its traceback is seen.
    """
    with _ending_signals() as received:
        try:
            command()
        except KeyboardInterrupt:
            if loud:
                traceback.print_exc()
            number = received[0] if received else signal.SIGINT
            say("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")
            return 128 + number
        except (MincemeatError, OSError) as error:
            _tell(error, loud)
            return 1 if isinstance(error, AnsweredNo) else refused
        except Exception as error:
            if not isinstance(error.__cause__, JobFailed):
                raise
            _tell(error, loud)
            return refused
    return 0


def start_logging(options: Namespace) -> None:
    """Log to standard error as -v and -V ask for; warnings go there anyway."""
    if options.verbose or options.loud:
        import logging

        class ToStandardError(logging.Handler):
            """To whatever standard error is at the moment: the progress line stands in for it while one is drawn."""

            def emit(self, record: logging.LogRecord) -> None:
                _write(self.format(record) + "\n")

        level = logging.DEBUG if options.loud else logging.INFO
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=level, format=form, handlers=[ToStandardError()])


@contextmanager
def _ending_signals() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, children and temporary files included.

    Yields: the list that the number of such a signal is appended to. A signal that whoever started us ignores
    (nohup) or handles stays theirs.
    """
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):  # asyncio's own, for example, which cancels its main task
            interrupt(number, frame)
        else:  # started in the background by a shell, which makes SIGINT ignored
            raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _tell(error: Exception, loud: bool) -> None:
    if loud:
        traceback.print_exception(error)
    story = error if isinstance(error, JobFailed) else error.__cause__
    if isinstance(story, JobFailed):
        if not loud:
            _write(_user_traceback(error, story))
        say(str(story).partition(_TRACEBACK_HEADING)[0])
        if story.hint:
            say(story.hint)
    elif isinstance(error, OSError) and not isinstance(error, MincemeatError) and error.strerror:
        say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    else:
        say(str(error) or type(error).__name__)


def _user_traceback(error: Exception, story: JobFailed) -> str:
    """Where the user's code raised, with the user's own frames only.

    "" when none of them is on the way (a pair that is no pair, a lost process): the story has said all there is.
    """
    original = story.__cause__ if error is story else error
    text = story.remote_traceback or ("" if original is None else _format_user_frames(original))
    return text.rstrip("\n") + "\n" if '  File "' in text else ""


def _format_user_frames(original: BaseException) -> str:
    frames = [
        frame for frame in traceback.extract_tb(original.__traceback__) if not frame.filename.startswith(_NOT_THE_USERS)
    ]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    lines += [line for line in traceback.format_exception_only(original) if not line.startswith("(mincemeat: ")]
    return "".join(lines)


def user_traceback_of(error: BaseException) -> str:
    """The traceback of ``error``, raised in this process, with the user's own frames only."""
    return _format_user_frames(error)


def say(sentence: str) -> None:
    """Write ``sentence`` for the person at this terminal, if there is one."""
    _write(f"mincemeat: {sentence}\n")


def _write(text: str) -> None:
    stream: TextIO | None = sys.stderr  # None where it was closed
    if stream is not None:
        stream.write(text)
