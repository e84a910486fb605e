"""What sinks that write lines of text have in common.

Decides: UTF-8, and what becomes of characters that have no UTF-8. Knows nothing of what the lines say.
"""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Iterable, Iterator

from mincemeat.model import Pair
from mincemeat.sinks.base import Sink
from mincemeat.sinks.target import Target

_BUFFER_BYTES = 256 * 2**10


class TextFileSink(Sink):
    """A file of one line per result, after an optional ``header``; line ends are ``\\n`` on every system.

    Lone surrogates, as in names of files that are no text, are written as ``\\udcff``: in a JSON string that is the
    same character again. Raises: InvalidJob when made, if nothing can be written there.
    """

    def __init__(self, path: str | os.PathLike[str], header: str = "") -> None:
        self._target = Target(path)
        self._file = open(  # noqa: SIM115 - closed by commit or abort
            self._target.private_path, "w", _BUFFER_BYTES, encoding="utf-8", errors="backslashreplace", newline=""
        )
        self._file.write(header)

    @abc.abstractmethod
    def _lines(self, pairs: Iterable[Pair]) -> Iterator[str]:
        """One line per result, line end included. Raises: InvalidEmission for what the format has no form for."""

    def write(self, pairs: Iterable[Pair]) -> None:
        self._target.check_open()
        with self._aborting_on_error():
            self._file.writelines(self._lines(pairs))

    def commit(self) -> None:
        if self._target.is_open:
            with self._aborting_on_error():
                self._file.close()
            self._target.commit()

    def abort(self) -> None:
        if self._target.is_open:
            with contextlib.suppress(OSError):  # its buffer may not fit on the disk any more, and need not
                self._file.close()
            self._target.abort()

    @contextlib.contextmanager
    def _aborting_on_error(self) -> Iterator[None]:
        """Half a batch is in the file after an error, so it must never be committed."""
        try:
            with self._target.naming_full_disk():
                yield
        except BaseException:
            self.abort()
            raise
