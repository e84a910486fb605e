"""Results in one file, made of the parts one after the other.

Decides: nothing but that; target.py has the file's life, a format how its parts are joined.
"""

from __future__ import annotations

import contextlib
import os

from mincemeat.sinks.formats import Format, Stretch
from mincemeat.sinks.parts import PartFacts
from mincemeat.sinks.target import Identity, Target, refusal


class SingleFile:
    """The file ``path`` to be. Ended once, by ``commit`` or ``abort``.

    Raises: InvalidJob, at once, if it cannot be made, or the format's package is missing.
    """

    def __init__(self, path: str, fmt: Format) -> None:
        self._format = fmt
        self._target = Target(path)
        self.path = self._target.path
        try:
            for companion in fmt.companions:
                if os.path.exists(self.path + companion):
                    raise refusal(
                        path,
                        f"{self.path + companion!r} says that the database there is in use, or was when its program "
                        f"died. Close that program, or choose another name",
                    )
            with self.naming_full_disk():
                self._joint = fmt.joint(self._target.private_path)
        except BaseException:
            self._target.abort()
            raise

    @property
    def is_open(self) -> bool:
        return self._target.is_open

    @property
    def identity(self) -> Identity | None:
        """See ``Target``."""
        return self._target.identity

    def check_open(self) -> None:
        """Raises: MincemeatError if it has been ended."""
        self._target.check_open()

    def part_path(self) -> str:
        """Where a part that is written here should be."""
        return self._target.private_path + ".part"

    @property
    def may_keep(self) -> bool:
        """Whether ``add`` may be asked to keep a part, whose facts are behind it then."""
        return self._joint.passes_over_facts

    def add(self, path: str, facts: PartFacts, *, keep: bool = False) -> None:
        """Take the file ``path``, which is gone afterwards, or copy it."""
        with self.naming_full_disk():
            self._joint.add(path, facts)
        if not keep:
            os.unlink(path)

    def commit(self, partitions: int | None) -> list[Stretch]:
        """Put it in its place; where the results are in it. State after an error: aborted, the target untouched."""
        try:
            with self.naming_full_disk():
                found = self._joint.finish()
        except BaseException:
            self.abort()
            raise
        self._target.commit()
        if found is None:
            return [self._format.whole(self.path)]
        return [Stretch(self.path, offset, facts.bytes, facts) for offset, facts in found]

    def abort(self) -> None:
        self._joint.close()
        self._target.abort()

    def naming_full_disk(self) -> contextlib.AbstractContextManager[None]:
        return self._target.naming_full_disk()
