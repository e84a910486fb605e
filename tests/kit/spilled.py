"""A group buffer that deals out into memory, and the error that a function of a job comes to in one."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest

from mincemeat.errors import UserCodeError
from mincemeat.model import Span, UserFunctions
from mincemeat.shuffle.block import BlockWriter
from mincemeat.shuffle.group import GroupBuffer


class Spilled:
    """What a group buffer dealt out, block by block, in memory."""

    def __init__(self, functions: UserFunctions, partitions: int = 4, memory_bytes: int = 2**20) -> None:
        self.file = io.BytesIO()
        self.writer = BlockWriter(self.file)
        self.buffer = GroupBuffer(functions, partitions, memory_bytes, self.writer)

    def run(self, records: Iterable[tuple[Any, Any]]) -> Spilled:
        self.buffer.drain(records)
        self.buffer.finish()
        return self

    def span(self, path: Any) -> Span:
        path.write_bytes(self.file.getvalue())
        entries = self.writer.entries
        return Span(str(path), entries[0].offset, sum(entry.length for entry in entries))


def emit(pairs: Any) -> UserFunctions:
    return UserFunctions(mapfn=lambda _key, _value: pairs)


def fail(functions: UserFunctions, records: Iterable[tuple[Any, Any]] = ((3, "x"),), **options: Any) -> UserCodeError:
    with pytest.raises(UserCodeError) as caught:
        Spilled(functions, **options).run(records)
    return caught.value
