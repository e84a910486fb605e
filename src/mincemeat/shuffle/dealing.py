"""Deals what a map attempt holds to the partitions, and writes it as one block for each that got any.

Decides: which partition a key goes to, in which order keys stand in a block, when the user's combiner is called, and
what the digests are made of. Does not know: how pairs were grouped, or whether the buffer is full or at its end.

Order: keys of a partition stand in the order of their first appearance since the last dealing, or ascending in a job
with sort=True; values of a key as they were emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mincemeat.decoding.coding import Coding
from mincemeat.interrupts import passing
from mincemeat.model import Key, UserFunctions, Value
from mincemeat.shuffle.blame import encode_or_blame, user_code_error
from mincemeat.shuffle.block import BlockWriter, encode_text
from mincemeat.shuffle.deflate import Deflating
from mincemeat.shuffle.digest import OutputDigest
from mincemeat.shuffle.folds import Holding
from mincemeat.shuffle.order import columns_in_order, dealt_by_range, in_order
from mincemeat.shuffle.partition import dealt_by_place, make_partitioner
from mincemeat.shuffle.recognise import MapSide
from mincemeat.shuffle.texttable import TextTable
from mincemeat.shuffle.ungrouped import Ungrouped


class Dealer:
    """Deals out to ``writer``. Each of its methods may raise UserCodeError and what ``writer`` raises.

    ``side``: what stands in for the combiner of ``functions``, as those who grouped the pairs see it.
    ``coding``: how keys and values are pickled. ``is_near``: whoever reads the blocks is most likely on this machine;
    see ``Deflating``. ``with_digest``: what is dealt out is known by its digest, see ``OutputDigest``.
    Memory: one partition at a time is pickled beside what is held.
    """

    def __init__(
        self,
        functions: UserFunctions,
        side: MapSide,
        partitions: int,
        writer: BlockWriter,
        *,
        coding: Coding,
        is_near: bool,
        with_digest: bool,
    ) -> None:
        self._side = side
        self._partitioner = make_partitioner(partitions, functions.partitionfn)
        self._is_sorted = functions.sort
        self._splitters = functions.splitters if functions.sort and functions.partitionfn is None else None
        self._stays_here = functions.stays_here
        self._dumps = coding.dumps
        self._deflating = Deflating(stays_here=functions.stays_here or is_near)
        self._digest = OutputDigest(partitions, side) if with_digest else None
        self._writer = writer

    def digests(self, spills: int) -> str:
        """Of all that was dealt out, in so many spills, as text; "" if nobody asked, or they would tell nothing."""
        return "" if self._digest is None else self._digest.text(spills)

    def deal_table(self, table: TextTable) -> None:
        """Deal out a table, which is empty then."""
        if self._splitters is not None:
            dealt = table.dealt_by_range(self._splitters)
        else:
            dealt = table.dealt(self._partitioner.partitions)
        for partition, columns in dealt:
            payload, pairs = encode_text(columns)
            single = not columns.keeps_lists
            if self._digest is not None:
                self._digest.take_table(partition, payload.data, columns)
            payload = self._deflating.packed(payload)
            self._writer.append(partition, payload, keys=columns.records, pairs=pairs, single=single)
        table.clear()

    def deal_pairs(self, holding: Ungrouped) -> None:
        """Deal out pairs that were not grouped, as they are: a key may stand in its block twice."""
        if self._splitters is not None:
            dealt = holding.dealt_by_range(self._splitters)
        else:
            if self._is_sorted:
                holding.keys, holding.values = columns_in_order(holding.keys, holding.values)
            dealt = holding.dealt_by_index(self._partitioner.indices)
        for partition, keys, values in dealt:
            payload = encode_or_blame(
                keys, values, self._dumps, single=True, function="mapfn", stays_here=self._stays_here
            )
            if self._digest is not None:
                self._digest.take_columns(partition, keys, values, single=True, folded=False)
            payload = self._deflating.packed(payload)
            self._writer.append(partition, payload, keys=len(keys), pairs=len(keys), single=True)

    def deal_groups(self, holding: Holding) -> None:
        """Combine the values of each key, unless that was done as they came, and deal out: nothing is held then."""
        held, folded = holding.held, holding.folded
        if self._digest is not None and self._side.fold is not None and not folded and held:
            self._digest.give_up()
        if self._side.collectfn is not None and not folded:
            self._combine(held, self._side.collectfn)
            folded = True
        function = "mapfn" if self._side.collectfn is None else self._side.function
        for partition, keys, columns in self._dealt(holding):
            pairs = len(keys) if folded else sum(map(len, columns))
            single = pairs == len(keys)
            if single and not folded:
                columns = [value for (value,) in columns]
            payload = encode_or_blame(
                keys, columns, self._dumps, single=single, function=function, stays_here=self._stays_here
            )
            if self._digest is not None:
                self._digest.take_columns(partition, keys, columns, single=single, folded=folded)
            payload = self._deflating.packed(payload)
            self._writer.append(partition, payload, keys=len(keys), pairs=pairs, single=single)
        holding.clear()

    def _dealt(self, holding: Holding) -> Iterator[tuple[int, list[Key], list[Any]]]:
        """Partitions, ascending, each with its keys and their values, which are no longer held then."""
        held = holding.held
        if self._splitters is not None:
            yield from dealt_by_range(held, self._splitters)
            return
        if self._is_sorted:
            held = {key: held[key] for key in in_order(held)}
        dealt = dealt_by_place(held, held.values(), self._partitioner.indices(held))
        del held
        holding.clear()
        yield from dealt

    def _combine(self, lists: dict[Key, Any], collectfn: Callable[[Key, list[Value]], Value]) -> None:
        key = None
        try:
            for key, values in lists.items():
                lists[key] = collectfn(key, values)  # replaces a value only, which a running iteration allows
        except passing():
            raise
        except BaseException as error:
            raise user_code_error(self._side.function, key, error) from error
