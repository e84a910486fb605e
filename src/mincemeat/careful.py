"""What a careful attempt does before and after each record: says where it is, and sets aside what fails.

Decides: which errors are a record's own, and that too many end the attempt. Does not know: how records are mapped or
keys reduced, or why the attempt is a careful one. Runs in the process of the attempt.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple

from mincemeat import limits
from mincemeat.describing import describe_failure
from mincemeat.errors import TooManySkipped, UserCodeError
from mincemeat.model import Failure, RecordMark, key_digest, key_text
from mincemeat.positions import PositionFile
from mincemeat.scheduler.policy import excess_failure, is_excess, skipped_failure
from mincemeat.set_aside import Report


class Care(NamedTuple):
    """How a careful attempt goes: ``positions`` is the path of the file that it says in where it is, "" for nowhere.

    ``skips``: records that fail are set aside, up to ``max_skipped``; those of ``skip`` are not even run.
    """

    positions: str = ""
    skips: bool = False
    max_skipped: int | None = None
    skip: tuple[RecordMark, ...] = ()


class Entered(NamedTuple):
    """A record that the function was called for: its number, the text of its key, and itself, pickled."""

    record: int
    key: str
    data: bytes


class Overseer:
    """Oversees the calls of ``function`` in one attempt; ``split`` is what it maps, -1 for none."""

    def __init__(self, care: Care, function: str, split: int) -> None:
        self.skips = care.skips
        self._function = function
        self._split = split
        self._max_skipped = care.max_skipped
        self._skip = {mark.record: mark for mark in care.skip}
        self._file = PositionFile(care.positions) if care.positions else None
        self.report = Report()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def enter(self, record: int, key: Any, value: Any) -> Entered | None:
        """The function is to be called for this record now. None: it is not; the record is set aside.

        Raises: TooManySkipped.
        """
        entered = Entered(record, key_text(key), pickled_record(key, value))
        mark = self._skip.get(record)
        if mark is not None and mark.digest == key_digest(entered.key):
            self._add(skipped_failure(mark, self._function), entered)
            return None
        if self._file is not None:
            self._file.enter(*entered)
        return entered

    def leave(self) -> None:
        """The function is done with the record."""
        if self._file is not None:
            self._file.leave()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in between is no record's fault."""
        if self._file is None:
            yield
            return
        self._file.pause()
        try:
            yield
        finally:
            self._file.resume()

    def overseen(self, records: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """The same records; between one and the next the function is called for the first."""
        for number, (key, value) in enumerate(records):
            self.enter(number, key, value)
            yield key, value
            self.leave()

    def set_aside(self, error: UserCodeError, entered: Entered) -> None:
        """The record has failed so. Raises: ``error`` if that is not its own fault; TooManySkipped."""
        if error.function != self._function:
            raise error from error.__cause__
        self._add(describe_failure(error), entered)

    def _add(self, failure: Failure, at: Entered) -> None:
        self.report.add(failure._replace(key=at.key, record=at.record, split=self._split, data=at.data))
        if is_excess(self.report.count, self._max_skipped):
            told = excess_failure(self.report.count, self._max_skipped, self.report.first)
            raise TooManySkipped(told.message, failure=told)


def pickled_record(key: Any, value: Any) -> bytes:
    """The record as it can be run again elsewhere; ``b""`` if it is large, or nothing can pickle it."""
    try:
        if isinstance(value, Sized) and len(value) > limits.RECORD_DATA_BYTES_MAX:  # values that are on disk, perhaps
            return b""
        data = pickle.dumps((key, value), protocol=5)
    except Exception:  # noqa: BLE001 - the user's own __reduce__ may raise anything; then it is found by its position
        return b""
    return data if len(data) <= limits.RECORD_DATA_BYTES_MAX else b""
