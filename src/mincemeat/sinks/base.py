"""What a driver asks of a sink, and which sink a path stands for.

Decides: the contract (nothing can be seen before ``commit``, nothing is left after ``abort``) and the known endings.
Knows nothing of where results come from.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from mincemeat.errors import InvalidJob
from mincemeat.model import Job, Pair

if TYPE_CHECKING:
    from mincemeat.sinks.output import OutputSink

# Ending of a path -> format (sinks/parts.py has the modules).
ENDINGS: Final = {
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".sqlite": "sqlite",
    ".db": "sqlite",
    ".parquet": "parquet",
    ".pickle": "pickle",
    ".pkl": "pickle",
}


class Sink(abc.ABC):
    """Stores results. Used by one thread at a time; made before the job starts, so that it can refuse in time.

    As a context manager it aborts if the body raises and commits if it does not; a body that has ended the sink itself
    is fine, because ending a sink again does nothing.

    ``form``: "" for a sink that takes pairs. A sink of files names the form of parts (sinks/parts.py) in which reduce
    attempts then write their results themselves, and takes those parts.
    """

    form: str = ""
    # The file that a commit replaces, if it is one.
    target: str = ""

    def prepare(self, job: Job) -> None:
        """``job`` begins. What it is matters only to sinks that say later where a key is."""
        return

    @abc.abstractmethod
    def write(self, pairs: Iterable[Pair]) -> None:
        """Take some results, each key of the job once over all calls; they are iterated once, during the call."""

    def take_part(self, path: str, *, keep: bool = False) -> int:
        """Take the file ``path``, a part in ``form`` with its facts; how many results it has.

        It is gone afterwards, or with ``keep`` as it was, for somebody who may need it again.
        Asked of sinks with a ``form`` only, in the order of results. Raises: BlockCorrupt if it is not whole.
        """
        raise NotImplementedError(f"{type(self).__name__} has a form and takes no parts")

    @abc.abstractmethod
    def commit(self) -> None:
        """Make everything that was written visible, at once. Does nothing after a commit or an abort."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Leave nothing behind. Does nothing after a commit or an abort."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.commit()
        else:
            self.abort()


def sink_for_path(path: str | os.PathLike[str]) -> OutputSink:
    """The sink that writes the format which the ending of ``path`` names, whatever its case.

    A path that ends in a slash is a directory of part files, any other one file.
    Raises: InvalidJob if the ending is unknown, its package is not installed, or nothing can be written there.
    """
    from mincemeat.sinks.output import OutputSink

    shown, is_directory = layout_of(path)
    return OutputSink(shown, format_name(shown), is_directory=is_directory)


def layout_of(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """``path`` without the slash at its end, and whether it had one. (A ``pathlib.Path`` never has.)"""
    text = os.fspath(path)
    stripped = text.rstrip("/" if os.altsep is None and os.sep == "/" else "/" + os.sep)
    return stripped, stripped != text


def format_name(path: str) -> str:
    """The format that the ending of ``path`` names. Raises: InvalidJob if it is unknown."""
    ending = os.path.splitext(path)[1].lower()
    if ending in ENDINGS:
        return ENDINGS[ending]
    *others, last = ENDINGS
    what = f"the ending {ending!r}" if ending else "a name without an ending"
    raise InvalidJob(
        f"cannot tell from {what} how to write or read {path!r}: the known endings are {', '.join(others)} and {last}"
    )
