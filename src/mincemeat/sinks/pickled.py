"""Results as pickles one after the other, each a list of (key, result): the only format that keeps everything.

Decides: that. Python reads it without this package (for classes of the job's own, with their module):

    with open("results.pickle", "rb") as file:
        while file.peek(1):
            for key, result in pickle.load(file): ...

What is unpickled here is what the user asked to be written and names again: a pickle of somebody else's can run code.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from mincemeat.errors import BlockCorrupt, InvalidEmission
from mincemeat.model import Key, Pair, describe_key
from mincemeat.sinks.formats import Stretch
from mincemeat.sinks.lines import BytesFormat
from mincemeat.sinks.parts import PLAIN_KEYS, BytesWriter, PartWriter

_PROTOCOL: Final = 5


class PickleWriter(BytesWriter):
    """One pickle for each call of ``write``."""

    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes:
        pairs = list(zip(keys, results, strict=True))
        try:
            return pickle.dumps(pairs, protocol=_PROTOCOL)
        except MemoryError:
            raise
        except Exception as error:
            raise _unpicklable(pairs, error) from error


def _unpicklable(pairs: list[Pair], error: Exception) -> InvalidEmission:
    for pair in pairs:
        try:
            pickle.dumps(pair, protocol=_PROTOCOL)
        except Exception as found:  # noqa: BLE001 - told in what is returned
            kind = type(pair[1]).__name__
            text = f"the result for key {describe_key(pair[0])} holds a {kind} that cannot be pickled: {found}"
            return InvalidEmission(text, key=describe_key(pair[0]))
    return InvalidEmission(f"{len(pairs)} results cannot be pickled together: {error}")


class PickleFormat(BytesFormat):
    """Keys and results come back as they were."""

    exact_keys: ClassVar[frozenset[str]] = PLAIN_KEYS

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return PickleWriter(path, alone=alone)

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        for batch in self._batches(stretch):
            yield from batch

    def find(self, stretch: Stretch, key: Any) -> Any:
        for batch in self._batches(stretch):
            with contextlib.suppress(KeyError):
                return dict(batch)[key]
        raise KeyError(key)

    def _batches(self, stretch: Stretch) -> Iterator[list[Pair]]:
        end = stretch.offset + stretch.length
        with open(stretch.path, "rb") as file:
            file.seek(stretch.offset)
            while file.tell() < end:
                start = file.tell()
                try:
                    batch = pickle.load(file)
                except (pickle.UnpicklingError, EOFError) as error:
                    text = f"the results in {stretch.path} are damaged at byte {start}: {error}"
                    raise BlockCorrupt(text, path=stretch.path, offset=start) from error
                yield batch


FORMATS: Final = {"pickle": PickleFormat()}
