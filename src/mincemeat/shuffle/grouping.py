"""Decides how blocks become groups again on the reduce side.

It knows nothing of tasks, file names or where blocks come from.

    blocks in split order  -->  {key: [value, ...]} per partition  -->  reducefn
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterator, Sequence

from mincemeat.errors import BlockCorrupt
from mincemeat.model import Key, Span, Value
from mincemeat.shuffle.block import Loads, decode_columns, iter_blocks


def read_groups(
    spans: Sequence[Span], partitions: range, loads: Loads = pickle.loads
) -> Iterator[tuple[int, dict[Key, list[Value]]]]:
    """Group the blocks of ``spans`` by partition and key.

    Shape: each partition that has any key, ascending; its keys once each, in order of first appearance; the values of a
    key in the order of ``spans``, then of emission, as a list that is the receiver's own.
    Memory: all of ``spans`` decoded at the start; a partition is let go when the next is asked for.
    Raises: BlockCorrupt, naming file and byte offset, before anything is yielded; InvalidEmission for values that
    cannot be unpickled.
    """
    found: defaultdict[int, defaultdict[Key, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for span in spans:
        for block in iter_blocks(span):
            if block.partition not in partitions:
                raise BlockCorrupt(
                    f"block {block.path} at byte {block.offset}: wrong partition "
                    f"(expected one of {partitions.start} to {partitions.stop - 1}, found {block.partition})",
                    path=block.path,
                    offset=block.offset,
                    expected=partitions,
                    found=block.partition,
                )
            keys, values = decode_columns(block, loads)
            groups = found[block.partition]
            if block.single:
                for key, value in zip(keys, values, strict=True):
                    groups[key].append(value)
            else:
                for key, several in zip(keys, values, strict=True):
                    if key in groups:
                        groups[key] += several
                    else:
                        groups[key] = several
    for partition in sorted(found):
        yield partition, found.pop(partition)
