"""Decides where in files a look is taken before a job starts: small pieces, evenly spread over all their bytes.

It knows nothing of what the look is for. Pieces are as of pieces.py, so whoever reads them reads whole lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from mincemeat import limits
from mincemeat.sources.base import evenly
from mincemeat.sources.paths import is_url
from mincemeat.sources.pieces import Piece, head_of


def places_in(
    pieces: Sequence[Piece],
    places: int,
    is_cut: Callable[[Piece, int], bool],
    needs_heads: bool,
    is_record: bool,
) -> list[Piece]:
    """At most ``places`` pieces of ``pieces``, which are whole files, and stretches of pipes that were laid down.

    ``is_cut(piece, 2)``: whether its file can be read from anywhere. ``needs_heads``: pieces that do not start a file
    need its first line. ``is_record``: a whole file is one record, so large ones are passed over.
    Shape: in the order of ``pieces``. Raises: SplitUnreadable, InvalidJob if a first line cannot be read.
    """
    if is_record:
        small = [piece for piece in pieces if 0 <= piece.size <= limits.SAMPLE_FILE_BYTES_MAX]
        return [small[index] for index in evenly(len(small), _affordable(small, places))]
    ends = list(accumulate(map(_weight, pieces)))
    total = ends[-1] if ends else 0
    found: list[Piece] = []
    at = 0
    wanted = max(len(pieces), -(-total // limits.SAMPLE_PIECE_BYTES))
    for point in evenly(total, min(_affordable(pieces, places), wanted)):
        while ends[at] <= point:
            at += 1
        piece = pieces[at]
        if piece.stop is None and not is_cut(piece, 2):
            if not found or found[-1] != piece:  # an archive is looked at from its start, however large it is
                found.append(piece)
            continue
        stop = piece.size if piece.stop is None else piece.stop
        offset = piece.start + point - (ends[at] - _weight(piece))
        start = max(piece.start, min(offset, stop - limits.SAMPLE_PIECE_BYTES))
        head = piece.head or (head_of(piece) if needs_heads and start else "")
        piece = piece._replace(start=start, stop=min(start + limits.SAMPLE_PIECE_BYTES, stop), head=head)
        if not found or found[-1] != piece:
            found.append(piece)
    return found


def _weight(piece: Piece) -> int:
    if piece.stop is not None:
        return piece.stop - piece.start
    return max(piece.size, 1) * (limits.UNFOLDED_PER_ARCHIVE_BYTE if piece.codec else 1)


def _affordable(pieces: Sequence[Piece], places: int) -> int:
    is_dear = any(piece.codec or is_url(piece.path) for piece in pieces)
    return min(places, limits.SAMPLE_PLACES_DEAR) if is_dear else places
