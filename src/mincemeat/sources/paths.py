"""From what the user wrote to the list of input files.

Decides: what a file, a directory, a pattern and ``-`` stand for, in which order files are found, which names are passed
over, and what is said when there is nothing. Knows nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

from mincemeat.errors import InvalidJob

Path: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Paths: TypeAlias = "Path | Iterable[Path]"

Names: TypeAlias = tuple[str, ...]

STDIN = "-"

# A scheme of two letters or more, since one is a drive of Windows; schemes joined by :: are fsspec's chains.
_URL = re.compile(r"([a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)

# What a walk leaves out: hidden names, and what Python puts beside sources.
_PASSED_OVER: Names = (".*", "__pycache__")


# What whoever asks for inputs is going to write itself.
_written: ContextVar[str] = ContextVar("_written", default="")


class InputFile(NamedTuple):
    """One input: ``name`` as the user sees it in keys, ``path`` absolute; size and time tell whether it was changed.

    Of a URL, ``path`` is the URL and ``version`` stands for the time; ``size`` is -1 if the server does not tell.

    ``walked``: nobody named this file, a walk came across it. ``stream``: stdin, a pipe or a device, which can be read
    only once and has no size.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    walked: bool
    stream: bool
    version: Mapping[str, str] = {}


def expand(paths: Paths, exclude: Iterable[str] = ()) -> list[InputFile]:
    """The input files that ``paths`` stands for.

    Shape: in the order of ``paths``; below a directory by name, depth first; of a pattern by name. A path given twice
    is there twice. Directories are walked through symbolic links, each real directory once; names that start with a dot
    and ``__pycache__`` are passed over unless they are written out. A pattern with ``**`` matches files only; one
    without is what a shell would make of it, and its directories are walked. Names that are no text come out as of
    ``os.fsdecode``. ``exclude``: patterns of names that are passed over in the same way. A URL is for fsspec.
    Cost: one stat a file. Raises: InvalidJob, naming the path, if something is not there or cannot be read.
    """
    items = [paths] if isinstance(paths, str | bytes | os.PathLike) else list(paths)
    passed_over = (*_PASSED_OVER, *([exclude] if isinstance(exclude, str) else exclude))
    found: list[InputFile] = []
    for item in items:
        try:
            name = os.fsdecode(item)
        except TypeError as error:
            raise InvalidJob(f"an input is a path, a pattern or '-', not a {type(item).__name__}: {item!r}") from error
        found.extend(_expand_one(name, passed_over))
    if not found:
        raise InvalidJob("no input was given: expected a file, a directory, a pattern or '-'")
    if sum(file.path == STDIN for file in found) > 1:
        raise InvalidJob("'-' stands for the standard input, which can be read only once, and it was given more often")
    return found


@contextlib.contextmanager
def passing_over(path: str) -> Iterator[None]:
    """Within the block the file ``path`` is no input for a directory or a pattern; one that is named for itself is.

    For a file that each run writes and the next one would come across, wherever the datasource is made: a job file may
    do so as it is loaded.
    """
    token = _written.set(os.path.realpath(path))
    try:
        yield
    finally:
        _written.reset(token)


def _is_passed_over(name: str) -> bool:
    written = _written.get()
    # A look at the name first: links are followed by system calls.
    return os.path.basename(name) == os.path.basename(written) and os.path.realpath(name) == written


def is_among(path: str, inputs: Iterable[InputFile]) -> bool:
    """Whether the file ``path`` is one of ``inputs``, by whatever name."""
    try:
        facts = os.stat(path)
    except OSError:  # not there
        return False
    return any(
        (file.size, file.mtime_ns) == (facts.st_size, facts.st_mtime_ns) and os.path.samefile(file.path, path)
        for file in inputs
        if not file.stream and not is_url(file.path)
    )


def is_url(name: str) -> bool:
    """Whether ``name`` is a URL rather than a path; it may be the path of a file all the same."""
    return _URL.match(name) is not None


def _expand_one(name: str, passed_over: Names) -> list[InputFile]:
    if name == STDIN:
        return [InputFile(STDIN, STDIN, 0, 0, walked=False, stream=True)]
    try:
        facts = os.stat(name)
    except (OSError, ValueError) as error:
        if is_url(name):
            from mincemeat.sources.urls import expand_url

            return expand_url(name, passed_over)
        if not os.path.lexists(name) and is_pattern(name):
            return _match(name, passed_over)
        if isinstance(error, FileNotFoundError):
            raise InvalidJob(f"no such file or directory: {name!r}") from error
        raise _unreadable(name, error) from error
    if not stat.S_ISDIR(facts.st_mode):
        return [_input_file(name, facts, walked=False)]
    files = list(_walk(name, passed_over))
    if not files:
        raise InvalidJob(f"the directory {name!r} has no files (passed over: {', '.join(passed_over)})")
    return files


def _input_file(name: str, facts: os.stat_result, *, walked: bool) -> InputFile:
    if not os.access(name, os.R_OK):
        raise _unreadable(name, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    stream = not stat.S_ISREG(facts.st_mode)
    return InputFile(name, os.path.abspath(name), facts.st_size, facts.st_mtime_ns, walked, stream)


def _unreadable(name: str, error: OSError | ValueError) -> InvalidJob:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidJob(f"cannot read {name!r}: {reason}")


def _walk(root: str, passed_over: Names) -> Iterator[InputFile]:
    """The regular files below ``root``, which was written out and is therefore entered whatever its name."""
    entered: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        name = pending.pop()
        try:
            facts = os.stat(name)
            if stat.S_ISREG(facts.st_mode) and not _is_passed_over(name):
                yield _input_file(name, facts, walked=True)
            elif stat.S_ISDIR(facts.st_mode) and (facts.st_dev, facts.st_ino) not in entered:
                entered.add((facts.st_dev, facts.st_ino))
                names = sorted(os.listdir(name), reverse=True)
                pending.extend(os.path.join(name, entry) for entry in names if not is_any(entry, passed_over))
        except FileNotFoundError:
            continue  # a link that leads nowhere, or a file that went away between listing and looking
        except OSError as error:
            if error.errno == errno.ELOOP:
                continue  # a link that leads to itself
            raise _unreadable(name, error) from error


def is_any(name: str, patterns: Names) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_pattern(name: str) -> bool:
    return any(magic in name for magic in "*?[")


def _match(pattern: str, passed_over: Names) -> list[InputFile]:
    parts = _components(pattern)
    found = _match_anywhere(pattern, parts, passed_over) if "**" in parts else _match_levels(pattern, passed_over)
    if not found:
        raise InvalidJob(f"the pattern {pattern!r} matches no file")
    return found


def _components(path: str) -> list[str]:
    return (path.replace(os.altsep, os.sep) if os.altsep else path).split(os.sep)


def _match_levels(pattern: str, passed_over: Names) -> list[InputFile]:
    import glob

    found: list[InputFile] = []
    for name in sorted(glob.glob(pattern)):
        if os.path.isdir(name):
            if "__pycache__" in pattern or not is_any(os.path.basename(name), passed_over):
                found.extend(_walk(name, passed_over))
        elif os.path.exists(name) and not _is_passed_over(name):
            found.append(_input_file(name, os.stat(name), walked=False))
    return found


def _match_anywhere(pattern: str, parts: list[str], passed_over: Names) -> list[InputFile]:
    """The files that a pattern with ``**`` matches: a walk from its last component without wildcards.

    ``glob`` is not used, because it follows a loop of links until the system refuses, giving each file forty times.
    """
    fixed = next(number for number, part in enumerate(parts) if is_pattern(part))
    prefix = "".join(part + os.sep for part in parts[:fixed])
    root = prefix or os.curdir + os.sep
    if not os.path.isdir(root):
        return []
    found: list[InputFile] = []
    for file in _walk(root, passed_over):
        below = file.name[len(root) :]
        if _is_match(below.split(os.sep), parts[fixed:]):
            found.append(file._replace(name=prefix + below))
    return found


def _is_match(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        if pattern[1:] in ([], [""]):
            return True
        return any(_is_match(parts[start:], pattern[1:]) for start in range(len(parts)))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _is_match(parts[1:], pattern[1:])
