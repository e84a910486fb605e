"""Compressed inputs as streams.

Decides: which ending means which compression. Knows nothing of records. Everything is by stream: a block of 64 KiB can
unfold into 64 MiB, so nothing here ever holds what a block unfolds into.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from mincemeat.errors import InvalidJob, MincemeatError, UserCodeError
from mincemeat.model import describe_key

# Measured: lines of 40 bytes come out fastest from blocks of 32 to 128 KiB, whose lines fit into a processor cache.
BLOCK_BYTES: Final = 64 * 2**10
_CODECS: Final = {".gz": "gz", ".bz2": "bz2", ".xz": "xz"}


def codec_of(path: str) -> str:
    """``"gz"``, ``"bz2"`` or ``"xz"`` by the ending of ``path``, ``""`` for anything else."""
    return _CODECS.get(os.path.splitext(path)[1].lower(), "")


def open_decompressed(stream: BinaryIO, codec: str) -> BinaryIO:
    """The decompressed content of ``stream``, which stays the caller's to close. Concatenated archives are one."""
    if codec == "gz":
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    if codec == "bz2":
        import bz2

        return cast(BinaryIO, bz2.BZ2File(stream))
    import lzma

    return cast(BinaryIO, lzma.LZMAFile(stream))


def decompressed(blocks: Iterator[bytes], codec: str, name: str) -> Iterator[bytes]:
    """The decompressed content of the compressed ``blocks``, in blocks of at most ``BLOCK_BYTES``.

    Raises: UserCodeError from InvalidJob naming the file if the archive is damaged; what ``blocks`` raises.
    """
    with (
        io.BufferedReader(BlockReader(blocks), BLOCK_BYTES) as raw,
        open_decompressed(cast(BinaryIO, raw), codec) as file,
    ):
        while True:
            try:
                block = file.read(BLOCK_BYTES)
            except MincemeatError:
                raise  # from `blocks`, not about the archive
            except Exception as error:  # noqa: BLE001 - EOFError, OSError, zlib.error, LZMAError: nothing else in common
                damage = InvalidJob(f"the input {name!r} cannot be decompressed as {codec}: {error}")
                raise UserCodeError(str(damage), function="datasource", key=describe_key(name)) from damage
            if not block:
                return
            yield block


class BlockReader(io.RawIOBase):
    """An iterator of blocks as the raw file that the decompressors want."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what RawIOBase.read really passes
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
