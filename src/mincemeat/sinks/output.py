"""The sink of files: it puts together what reduce attempts have written.

Decides: that results which are handed over as pairs go the same way, through the writer of a part. Knows no format;
single.py and directory.py are where parts go.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.errors import MincemeatError
from mincemeat.model import Job, Pair
from mincemeat.sinks.base import Sink
from mincemeat.sinks.parts import PartWriter, format_called, open_part, read_facts, take_facts
from mincemeat.sinks.single import SingleFile

if TYPE_CHECKING:
    from mincemeat.sinks.directory import PartDirectory
    from mincemeat.sinks.results import Results


class OutputSink(Sink):
    """Writes the file ``path``, or with ``is_directory`` part files in the directory ``path``.

    ``results`` is there after the commit. Raises: InvalidJob when made, if nothing can be written there or a package
    is missing; SpillSpaceExhausted for a full disk; InvalidEmission for pairs that the format has no form for. After
    an error it is aborted: half a batch may be written.
    """

    def __init__(self, path: str, format_name: str, *, is_directory: bool) -> None:
        self.form = f"{format_name}/" if is_directory else format_name
        self.target = "" if is_directory else path
        self._shown = path
        self._format = format_called(format_name)
        self._destination: PartDirectory | SingleFile
        if is_directory:
            from mincemeat.sinks.directory import PartDirectory

            self._destination = PartDirectory(path, self._format, format_name)
        else:
            self._destination = SingleFile(path, self._format)
        self._own: PartWriter | None = None
        self._partitions: int | None = None
        self._count = 0
        self._results: Results | None = None

    @property
    def results(self) -> Results:
        """What was written. Raises: MincemeatError if it was not committed."""
        if self._results is None:
            raise MincemeatError(f"there are no results in {self._shown!r}: they were not committed")
        return self._results

    def prepare(self, job: Job) -> None:
        self._partitions = job.partitions

    def write(self, pairs: Iterable[Pair]) -> None:
        self._destination.check_open()
        with self._aborting_on_error():
            pairs = iter(pairs)
            while batch := list(itertools.islice(pairs, limits.RESULTS_PER_BLOCK)):
                with self._destination.naming_full_disk():
                    if self._own is None:
                        self._own = open_part(self.form, self._destination.part_path())
                    self._own.write([key for key, _ in batch], [result for _, result in batch])

    def take_part(self, path: str, *, keep: bool = False) -> int:
        self._destination.check_open()
        with self._aborting_on_error():
            self._add_own()
            if keep and not self._destination.may_keep:
                # Where it can, the file system shares the bytes.
                copy = self._destination.part_path()
                with self._destination.naming_full_disk():
                    shutil.copyfile(path, copy)
                return self._add(copy)
            return self._add(path, keep=keep)

    def commit(self) -> None:
        if self._destination.is_open:
            with self._aborting_on_error():
                self._add_own()
                stretches = self._destination.commit(self._partitions)
            from mincemeat.sinks.results import Results

            self._results = Results(
                self._shown, self._format, stretches, self._partitions, self._count, self._destination.identity
            )

    def abort(self) -> None:
        if not self._destination.is_open:
            return
        own, self._own = self._own, None
        if own is not None:
            own.close()
            with suppress(OSError):  # a part that could not even be begun
                os.unlink(own.path)
        self._destination.abort()

    def _add_own(self) -> None:
        """What was written as pairs comes before the parts that follow."""
        own = self._own
        if own is None:
            return
        with self._destination.naming_full_disk():
            own.finish()
        self._own = None
        self._add(own.path)

    def _add(self, path: str, *, keep: bool = False) -> int:
        facts = read_facts(path) if keep else take_facts(path)
        self._destination.add(path, facts, keep=keep)
        self._count += facts.results
        return facts.results

    @contextmanager
    def _aborting_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise
