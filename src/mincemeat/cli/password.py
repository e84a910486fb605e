"""Where a password comes from: file or descriptor, environment, command line, prompt, in this order.

Decides: the order, and what is done so that a password on the command line is seen as briefly as possible.
Does not know: what the password is for.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from mincemeat.cli.ending import say
from mincemeat.errors import InvalidJob
from mincemeat.wire.join_token import looks_like_token

VARIABLE = "MINCEMEAT_PASSWORD"


def given_password(options: Namespace) -> str | None:
    """The password that ``options`` or the environment hold, or say where to read; None if none was given.

    The variable is removed from the environment: what this process starts runs the user's code, which does not need it.
    Raises: InvalidJob when the password is empty, cannot be read, or is given twice where neither way goes first.
    """
    hide_arguments(options)
    from_argument: str | None = options.password
    token: str | None = getattr(options, "token", None)
    from_environment = os.environ.pop(VARIABLE, None)
    if token is not None:
        if options.password_file is not None or options.password_fd is not None or from_argument is not None:
            raise InvalidJob("--token stands in the place of a password: give one of them")
        if not looks_like_token(token):
            raise InvalidJob("what follows --token is no join token: mincemeat token prints one, on the server's side")
        return token
    if options.password_file is not None and options.password_fd is not None:
        raise InvalidJob("--password-file and --password-fd both say where the password is: give one of them")
    if options.password_fd is not None:
        return _checked(_read_descriptor(options.password_fd), f"the first line of descriptor {options.password_fd}")
    if options.password_file is not None:
        return _checked(_read(options.password_file), f"the first line of {options.password_file}")
    if from_environment is not None:
        if from_argument not in (None, from_environment):
            say(f"{VARIABLE} is set and goes before -p; unset it to use the latter")
        return _checked(from_environment, VARIABLE)
    if from_argument is not None:
        return _checked(from_argument, "the password after -p")
    return None


def ask_password(host: str) -> str:
    """The password that a person types. Raises: InvalidJob when there is nobody to ask, or nothing was typed."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidJob(f"a worker needs the server's password: give it by --password-file, in {VARIABLE} or after -p")
    import getpass

    try:
        return _checked(getpass.getpass(f"Password of the mincemeat server on {host}: "), "the password")
    except EOFError:
        raise InvalidJob("no password was typed") from None


def hide_arguments(options: Namespace) -> None:
    """Take what is secret in the command line out of what others see of it."""
    for secret in (options.password, getattr(options, "token", None)):
        if secret:
            hide_argument(secret)


def hide_argument(secret: str) -> None:
    """Overwrite ``secret`` in this process's command line, where the system keeps that in our memory (Linux).

    Threat: every user of the machine may read every command line, for example with ``ps``. A look during the first
    moments still sees it, which is why the other ways are preferred. Failure is silent: the help text has warned.
    Source: proc(5), /proc/pid/stat fields 48 and 49 (arg_start, arg_end).
    """
    needle = os.fsencode(secret)
    try:
        with open("/proc/self/stat", "rb") as stat:
            # The command's name, field 2, is in parentheses and may contain anything; field 3 follows the last one.
            start, end = (int(field) for field in stat.read().rpartition(b")")[2].split()[45:47])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            for argument in memory.read(end - start).split(b"\0"):
                if argument == needle or (argument.startswith(b"-") and argument.endswith(needle)):
                    memory.seek(start + len(argument) - len(needle))
                    memory.write(b"*" * len(needle))
                start += len(argument) + 1
    except (OSError, ValueError):
        pass


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except OSError as error:
        raise InvalidJob(f"the password file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidJob(f"the password file {path} is not UTF-8 text") from None


def _read_descriptor(number: int) -> str:
    """The first line of an open file, pipe or socket, which is closed: what this process starts must not find it."""
    try:
        with open(number, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidJob(f"descriptor {number}, which --password-fd names, cannot be read: {reason}") from error
    except UnicodeDecodeError:
        raise InvalidJob(f"what comes from descriptor {number} is not UTF-8 text") from None


def _checked(password: str, what: str) -> str:
    if not password:
        raise InvalidJob(f"{what} is empty; an empty password protects nothing and is refused")
    return password
