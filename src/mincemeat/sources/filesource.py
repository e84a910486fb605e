"""The source of files: which pieces of which files make a split.

Decides: the plan. It depends on the files and on ``split_bytes`` alone, never on the workers, so that a job has the
same splits wherever and however often it runs. Knows nothing of how pieces are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from mincemeat import limits
from mincemeat.errors import MincemeatError
from mincemeat.sources.base import Source, SplitInfo
from mincemeat.sources.compression import codec_of
from mincemeat.sources.decode import FILES, UTF8, Reading, ends_lines_with_a_byte
from mincemeat.sources.paths import InputFile, Paths, expand, is_among, is_url
from mincemeat.sources.pieces import Piece, data_parts, describe, head_of, rechunked
from mincemeat.sources.spool import Spool


class FileSource(Source):
    """The source of the inputs that ``paths`` names, to be read as ``reading`` says; its users call ``mincemeat.text``.

    Memory: some hundred bytes per file and per piece. Stdin and pipes are laid down in temporary files until ``close``;
    ``next_split`` reads them when it comes to them. Raises: InvalidJob if an input is not there or cannot be read.
    """

    def __init__(self, paths: Paths, reading: Reading, exclude: Iterable[str] = ()) -> None:
        self._inputs = expand(paths, exclude)
        self._reading = reading
        # What is not cut at lines is one piece a file.
        self._is_cut_at_lines = (
            reading.form != FILES
            and ends_lines_with_a_byte(reading.encoding or UTF8)
            and not (reading.csv is not None and reading.csv.multiline)
        )
        self._needs_heads = reading.csv is not None and reading.csv.header is True
        self._spools: list[Spool] = []
        self._splits: list[list[Piece]] = []
        self._plan = self._iter_splits()
        self._cut_early: list[list[Piece]] = []  # to look at what comes through a pipe
        self._failure: MincemeatError | None = None

    def next_split(self, records_wanted: int) -> SplitInfo | None:
        if self._failure is not None:
            raise self._failure
        try:
            pieces = self._cut_early.pop() if self._cut_early else next(self._plan, None)
        except MincemeatError as error:
            self._failure = error
            raise
        if pieces is None:
            return None
        self._splits.append(pieces)
        return SplitInfo(len(self._splits) - 1, None, sum(map(_planned_bytes, pieces)))

    def payload(self, index: int) -> bytes:
        return describe(self._reading, self._splits[index])

    def data_chunks(self, index: int) -> Iterator[bytes]:
        return rechunked(data_parts(self._reading, self._splits[index]))

    def sample(self, places: int) -> list[bytes]:
        """As the contract says. If a pipe comes first, the first split is cut, which waits for it as the job would."""
        from mincemeat.sources.look import places_in

        if self._inputs and self._inputs[0].stream:
            try:
                self._cut_early = [*islice(self._plan, 1)]
            except MincemeatError as error:
                self._failure = error
        ahead = [piece for split in self._cut_early for piece in split]
        files = [self._whole(file) for file in self._inputs if not file.stream]
        try:
            found = places_in(ahead + files, places, self._is_cut, self._needs_heads, self._reading.form == FILES)
        except (MincemeatError, OSError):
            return []
        return [describe(self._reading, [piece]) for piece in found]

    def reads(self, path: str) -> bool:
        return is_among(path, self._inputs)

    @property
    def can_be_cut_again(self) -> bool:
        return not any(file.stream for file in self._inputs)

    @property
    def is_readable_in_any_thread(self) -> bool:
        return True

    @property
    def input_bytes_total(self) -> int | None:
        if any(file.stream or file.size < 0 for file in self._inputs):
            return None
        return sum(file.size for file in self._inputs)

    def close(self) -> None:
        for spool in self._spools:
            spool.close()

    def _iter_splits(self) -> Iterator[list[Piece]]:
        """Consecutive pieces up to the weight of a split, archives weighing what they may unfold to."""
        batch: list[Piece] = []
        weight, weight_max = 0, self._reading.record_bytes
        for file in self._inputs:
            for piece in self._iter_pieces(file):
                more = _planned_bytes(piece) * (limits.UNFOLDED_PER_ARCHIVE_BYTE if piece.codec else 1)
                if batch and weight + more > weight_max:
                    yield batch
                    batch, weight = [], 0
                batch.append(piece)
                weight += more
                # At once when it is full, because the next piece may have to wait for a pipe.
                if weight >= weight_max or len(batch) == limits.FILES_PER_SPLIT_MAX:
                    yield batch
                    batch, weight = [], 0
        if batch:
            yield batch

    def _iter_pieces(self, file: InputFile) -> Iterator[Piece]:
        if file.stream:
            yield from self._iter_spooled(file)
            return
        whole = self._whole(file)
        # Equal pieces rather than full ones and a rest: no slot waits long for the last.
        pieces = -(-file.size // self._reading.record_bytes)
        if not self._is_cut(whole, pieces):
            yield whole
            return
        head = head_of(whole) if self._needs_heads and pieces > 1 else ""
        for number in range(pieces):
            start, stop = number * file.size // pieces, (number + 1) * file.size // pieces
            yield whole._replace(start=start, stop=stop, head=head if number else "")

    def _whole(self, file: InputFile) -> Piece:
        # Of a URL, the first link of a chain is what is read, and behind ? stands no name.
        codec = codec_of(_name_in_url(file.path) if is_url(file.path) else file.path)
        may_be_binary = self._may_be_binary(file)
        return Piece(
            file.name, file.path, 0, None, file.size, file.mtime_ns, codec, may_be_binary, version=file.version
        )

    def _is_cut(self, whole: Piece, pieces: int) -> bool:
        """Whether the file of ``whole`` can be read from anywhere, as it must if there are to be several ``pieces``."""
        is_cut = not whole.codec and whole.size >= 0 and self._is_cut_at_lines
        return is_cut and (pieces <= 1 or _can_be_cut(whole.path))

    def _may_be_binary(self, file: InputFile) -> bool:
        encoding = self._reading.encoding
        return file.walked and encoding is not None and not encoding.startswith(("utf-16", "utf-32"))

    def _iter_spooled(self, file: InputFile) -> Iterator[Piece]:
        spool = Spool(file.path)
        self._spools.append(spool)
        piece = Piece(file.name, spool.path, 0, None, -1, 0, "", may_be_binary=False)
        if not self._is_cut_at_lines:
            stretch = spool.cut(None)
            if stretch is not None or self._reading.form == FILES:
                yield piece
            return
        while (stretch := spool.cut(self._reading.record_bytes)) is not None:
            start, stop = stretch
            if start and self._needs_heads and not piece.head:
                piece = piece._replace(head=head_of(piece))
            yield piece._replace(start=start, stop=stop)


def _name_in_url(url: str) -> str:
    return next(link for link in url.split("::") if "://" in link).partition("?")[0]


def _can_be_cut(path: str) -> bool:
    if not is_url(path):
        return True
    from mincemeat.sources.urls import can_be_cut

    return can_be_cut(path)


def _planned_bytes(piece: Piece) -> int:
    return max(piece.size, 0) if piece.stop is None else piece.stop - piece.start
