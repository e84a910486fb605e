"""Which stretches of map outputs cannot be read: what a reduce attempt names when it cannot go on.

Decides: which errors mean that a file is not what its writer left, and which stretches are to blame for one. Knows
nothing of what is done about it, nor of whose file it is.

An attempt reads its stretches one after the other and stops at the first that is damaged. The others are then looked
at, too, so that a disk that lost a hundred files costs one further attempt instead of a hundred.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Span
from mincemeat.shuffle.block import iter_blocks

# The file is not there, or the disk does not give it back. Not among them: what says more of this process than of the
# file (no descriptors, no memory), for then every file would be to blame.
_UNREADABLE: Final = frozenset(
    getattr(errno, name)
    for name in ("ENOENT", "ENOTDIR", "EIO", "ESTALE", "EBADMSG", "EUCLEAN", "ENXIO", "ENODATA")
    if hasattr(errno, name)
)


def is_damage(error: BaseException) -> bool:
    """Whether ``error``, raised by reading a file of blocks, means that the file is damaged or gone."""
    return isinstance(error, BlockCorrupt) or (isinstance(error, OSError) and error.errno in _UNREADABLE)


def damaged_spans(spans: Sequence[Span], error: BaseException) -> list[int]:
    """The places in ``spans`` of those that are to blame for ``error``, which reading them raised; ascending.

    Those that no checksum vouches for now, and the one that ``error`` names, whatever it is now. None: it is something
    else, for example a file of the attempt's own.
    Cost: all of ``spans`` are read once more, and nothing is decoded.
    """
    if not is_damage(error):
        return []
    return [place for place, span in enumerate(spans) if _is_named(span, error) or not is_whole(span)]


def is_whole(span: Span) -> bool:
    """Whether every block of ``span`` is as its checksum says. Raises: OSError that says nothing of the file."""
    try:
        for _ in iter_blocks(span):
            pass
    except (BlockCorrupt, OSError) as error:
        if not is_damage(error):
            raise
        return False
    return True


def _is_named(span: Span, error: BaseException) -> bool:
    if isinstance(error, BlockCorrupt):
        return error.path == span.path and span.offset <= error.offset < span.offset + span.length
    return getattr(error, "filename", None) == span.path
