"""Blocks on their way between machines: what a holder sends and what a fetcher keeps.

Decides: the form of a stretch of blocks on the wire, and how long a peer may be silent in the middle of one. Does not
know: who may fetch, which way a fetch takes, what a block holds.

A stretch is, for each map output asked for and in that order, a section: map index and length as ``>IQ``, then the
blocks of the asked partitions as they lie in the holder's file. The fetcher keeps the stretch as one file and remembers
where each section's blocks begin. An output that is gone or damaged so that its blocks cannot be found has the length
2**64 - 1 and nothing behind it; what cannot be read once its length is sent, is sent as zeros, which no checksum
vouches for. So one bad file of a holder costs that output, and not all the others that were asked for with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mincemeat import limits
from mincemeat.errors import BlockCorrupt, ConnectionFailed, RemoteProtocolError
from mincemeat.model import AttemptId, Phase, Span
from mincemeat.shuffle.damage import is_damage
from mincemeat.shuffle.store import writing_file
from mincemeat.wire import messages

if TYPE_CHECKING:
    from mincemeat.cluster.connection import Connection
    from mincemeat.shuffle.store import JobStore

log = logging.getLogger("mincemeat")

_SECTION: Final = struct.Struct(">IQ")
_GONE: Final = 2**64 - 1


def encode_attempts(attempts: Iterable[AttemptId]) -> bytes:
    """The attempts whose outputs are asked for, as the body of a Get or Serve."""
    return json.dumps([str(attempt) for attempt in attempts]).encode("ascii")


def decode_attempts(body: bytes) -> list[AttemptId]:
    """Raises: RemoteProtocolError if ``body`` is not a list of attempts."""
    try:
        names = json.loads(body)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the list of map outputs is not JSON") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RemoteProtocolError("the list of map outputs is not a list of names")
    attempts = list(map(AttemptId.parse, dict.fromkeys(names)))
    # Threat: a list of the same output over and over would keep its holder busy for longer than its lease.
    if len(names) > limits.OUTPUTS_PER_FETCH_MAX or len(set(attempts)) < len(names):
        raise RemoteProtocolError(
            f"the list of map outputs has some of them twice, or more than {limits.OUTPUTS_PER_FETCH_MAX}"
        )
    if any(attempt.task.phase is not Phase.MAP for attempt in attempts):
        raise RemoteProtocolError("the list of map outputs has others in it")
    return attempts


class Stretch:
    """What a holder sends for one request. ``size`` is known before the first byte is read.

    Raises: OSError where it says nothing of an output (no descriptors are left).
    """

    def __init__(self, store: JobStore, attempts: Iterable[AttemptId], partitions: range) -> None:
        self._sections = [(attempt.task.index, _find_spans(store, attempt, partitions)) for attempt in attempts]
        self.size = sum(_SECTION.size + _length(spans or ()) for _, spans in self._sections)

    def chunks(self) -> Iterator[bytes]:
        for index, spans in self._sections:
            yield _SECTION.pack(index, _GONE if spans is None else _length(spans))
            for span in spans or ():
                yield from _read_or_zeros(span)


def _find_spans(store: JobStore, attempt: AttemptId, partitions: range) -> list[Span] | None:
    """None: its output is gone, or damaged so that nothing in it can be found."""
    try:
        return store.spans(attempt, partitions)
    except (OSError, BlockCorrupt) as error:
        if not is_damage(error):
            raise
        log.warning("the output of %s cannot be served: %s", attempt, error)
        return None


def _length(spans: Iterable[Span]) -> int:
    return sum(span.length for span in spans)


def _read_or_zeros(span: Span) -> Iterator[bytes]:
    left = span.length
    try:
        for data in read_span(span):
            yield data
            left -= len(data)
    except (OSError, BlockCorrupt) as error:
        log.warning("a part of %s is sent as zeros, because it cannot be read: %s", span.path, error)
    while left:
        data = bytes(min(left, limits.CHUNK_BYTES))
        yield data
        left -= len(data)


def read_span(span: Span) -> Iterator[bytes]:
    """The bytes of ``span`` in chunks. Raises: BlockCorrupt if the file ends before the span does."""
    left = span.length
    with open(span.path, "rb") as file:
        file.seek(span.offset)
        while left:
            data = file.read(min(left, limits.CHUNK_BYTES))
            if not data:
                raise BlockCorrupt(f"{span.path} ends {left} bytes early", path=span.path, offset=span.offset)
            left -= len(data)
            yield data


async def send_stretch(connection: Connection, stretch: Stretch) -> None:
    """Answer a Get with ``stretch``."""
    await connection.send(messages.Answer(ok=True, message="", size=stretch.size))
    await connection.send_body(stretch.chunks())


async def receive_answer(connection: Connection) -> messages.Answer:
    """Raises: RemoteProtocolError if the next message is anything else."""
    answer = await connection.receive()
    if not isinstance(answer, messages.Answer):
        raise RemoteProtocolError(f"{type(answer).__name__} came where Answer is due")
    return answer


async def timely(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """``body``, from a peer whose heartbeats do not come here: one that is frozen would else be waited for for ever.

    Raises: ConnectionFailed when nothing has come for a lease.
    """
    while True:
        try:
            async with asyncio.timeout(limits.LEASE_SECONDS):
                piece = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ConnectionFailed(f"the peer fell silent for {limits.LEASE_SECONDS:g} seconds") from None
        yield piece


async def save(body: AsyncIterator[bytes], path: Path, size: int | None = None) -> int:
    """Write a body to ``path`` as it comes; its size.

    Raises: RemoteProtocolError if that is not ``size``; SpillSpaceExhausted when the disk is full.
    """
    written = 0
    with writing_file(path) as file:
        async for data in body:
            written += len(data)
            if size is not None and written > size:
                raise RemoteProtocolError(f"a body of {size} bytes was announced and more came")
            file.write(data)
    if size is not None and written != size:
        raise RemoteProtocolError(f"a body of {size} bytes was announced and {written} came")
    return written


def read_sections(path: Path, expected: Collection[int]) -> dict[int, Span | None]:
    """Where the blocks of each map output lie in a saved stretch; None for one that its holder no longer has.

    Raises: RemoteProtocolError for one that is not ``expected`` or comes twice, and if the sections do not add up to
    the file. Threat: a stretch of nothing but heads would be as many spans in memory.
    """
    spans: dict[int, Span | None] = {}
    end = path.stat().st_size
    position = 0
    with open(path, "rb") as file:
        while position < end:
            file.seek(position)
            head = file.read(_SECTION.size)
            if len(head) < _SECTION.size:
                raise RemoteProtocolError("a stretch of blocks ends inside a section's head")
            index, length = _SECTION.unpack(head)
            if index not in expected or index in spans:
                raise RemoteProtocolError("a stretch of blocks holds other map outputs than were asked for")
            position += _SECTION.size
            if length == _GONE:
                spans[index] = None
                continue
            if position + length > end:
                raise RemoteProtocolError("a stretch of blocks ends inside a section")
            spans[index] = Span(str(path), position, length)
            position += length
    return spans
