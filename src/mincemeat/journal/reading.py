"""Whether a file that is there is the journal of the job at hand, in one sentence if not.

Decides: what a person reads whose journal cannot be gone on with, and what such a journal is. Does not know: what is
done with one that can be. Nothing is changed here: a file that may be the user's own is left as it is.
"""

from __future__ import annotations

import base64
import os
import pickle
import re
import stat
import sys
from typing import Any, Final

from mincemeat import limits
from mincemeat.errors import InvalidJob
from mincemeat.journal.history import History, HistoryImpossible
from mincemeat.journal.log import Contents, LogDamaged, LogFile, Record, read_log

FORMAT: Final = 2
FILES: Final = ".files"

_HEAD: Final = b' 0 {"journal":'
_KINDS: Final = {"a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK}


def check_kind(path: str | os.PathLike[str]) -> None:
    """Raises: InvalidJob for what is there and can be no journal: a pipe would never end, nor would /dev/full."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # it is made, or whoever opens it is told why not
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kind = next((name for name, is_it in _KINDS.items() if is_it(mode)), "a device")
    raise InvalidJob(f"the journal {os.fspath(path)} cannot be kept there: that is {kind}. Name a file")


def read_journal(path: str, file: LogFile, identity: dict[str, str]) -> tuple[Contents, History | None]:
    """What is in the journal, if it is this job's; None for one that has not begun. Raises: InvalidJob."""
    anew = _anew(path)
    try:
        contents = read_log(file.lines())
        head = contents.records[0] if contents.records else None
        if head is None:
            _check_torn(path, contents, file)
            return Contents([], 0, 0), None
        # First: what records of another format mean, only another program knows.
        _check_version(path, head)
        history = History.of(contents.records)
        _check_head(head)
    except (LogDamaged, HistoryImpossible) as error:
        raise InvalidJob(f"the journal {path} is damaged: {error}. Nobody can go on with it. {anew}") from error
    except OSError as error:
        raise InvalidJob(f"the journal {path} cannot be read: {error.strerror or error}") from error
    difference = _difference(head["identity"], identity)
    if difference:
        raise InvalidJob(f"the journal {path} is of another job: {difference}. Name another journal. {anew}")
    return contents, history


def head_record(job_id: str, identity: dict[str, str], splitters: tuple[Any, ...]) -> Record:
    return {
        "journal": FORMAT,
        "mincemeat": limits.VERSION,
        "python": _python(),
        "job": job_id,
        "identity": identity,
        # Keys may be of the user's own classes. Who can write here can write the user's script, too.
        "splitters": base64.b64encode(pickle.dumps(splitters)).decode("ascii") if splitters else "",
    }


def splitters_of(path: str, head: Record) -> tuple[Any, ...]:
    """As they were given to ``head_record``. Raises: InvalidJob."""
    if not head["splitters"]:
        return ()
    try:
        splitters = pickle.loads(base64.b64decode(head["splitters"], validate=True))
        if not isinstance(splitters, tuple):
            raise TypeError(f"a {type(splitters).__name__} instead of a tuple")
    except Exception as error:  # whatever unpickling the user's own classes may raise
        raise InvalidJob(
            f"the journal {path} is damaged: its splitters cannot be read ({type(error).__name__}: {error}). Nobody "
            f"can go on with it. {_anew(path)}"
        ) from error
    return splitters


def _anew(path: str) -> str:
    return f"To begin anew, remove {path} and {path}{FILES}"


def _check_version(path: str, head: Record) -> None:
    if "journal" not in head:
        raise InvalidJob(_foreign(path))
    written_by = f"{head.get('mincemeat')} on Python {head.get('python')}"
    ours = f"{limits.VERSION} on Python {_python()}"
    if written_by != ours:
        raise InvalidJob(
            f"the journal {path} was written by mincemeat {written_by}, and this is {ours}. Finish its job with that "
            f"version. {_anew(path)}"
        )
    if head["journal"] != FORMAT:
        raise InvalidJob(
            f"the journal {path} has format {head['journal']!r}, and this mincemeat has format {FORMAT}, although both "
            f"call themselves {limits.VERSION}. Finish its job with the one that wrote it. {_anew(path)}"
        )


def _check_head(head: Record) -> None:
    """Raises: HistoryImpossible if it has a right checksum and was written by somebody else all the same."""
    identity = head.get("identity")
    is_whole = isinstance(identity, dict) and all(isinstance(digest, str) for digest in identity.values())
    if not is_whole or not all(isinstance(head.get(name), str) for name in ("job", "splitters")):
        raise HistoryImpossible(f"its first record cannot be meant: {str(head)[:200]}")


def _check_torn(path: str, contents: Contents, file: LogFile) -> None:
    """Raises: InvalidJob if what is there need not be a first record that was never finished: zeros are left by a power
    cut, and so is the beginning of a record. Nothing is lost with it, for its job had not begun."""
    if not contents.torn:
        return
    data = b"".join(file.lines()).strip(b"\0")
    if not data or (b"\n" not in data and _HEAD in data[: 8 + len(_HEAD)]):
        return
    # Shorter than what only a journal begins with.
    if re.fullmatch(rb"[0-9a-f]*", data[:8]) and _HEAD.startswith(data[8:]):
        raise InvalidJob(
            f"{path} has {contents.torn} bytes, too few to tell: they may be what a power cut left of a journal whose "
            "job had not begun, or something else, and are left as they are. Remove the file, or name another"
        )
    raise InvalidJob(_foreign(path))


def _foreign(path: str) -> str:
    return f"{path} is no journal of mincemeat's, and is left as it is; name another file"


def _difference(theirs: dict[str, str], ours: dict[str, str]) -> str:
    for name in {**ours, **theirs}:
        if theirs.get(name) != ours.get(name):
            return f"{name} is not what it was"
    return ""


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
