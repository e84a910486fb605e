"""Decides how blocks become groups again on the reduce side, within a memory budget.

It knows nothing of tasks, file names or where blocks come from.

    blocks in split order -> {key: [value, ...]} per partition --fits--> reducefn
                                 --full, and there is more--> dealt out into parts on disk (regroup.py) --> each alone

What is read first goes into one dict per partition. When that is full and blocks are left, everything is dealt out to
disk: the partitions apart if there are several, else the keys of the one by further bits of their hash, and each part
is grouped alone, in the same way. A key that is much of what was held by itself has a place of its own in the file, and
its values are a list if they fit into the budget and a sequence that reads them from disk if they do not.

Order: values of a key in input order, or sorted (value_order.py). With ``sort`` keys ascend within each partition,
dealt out or not: the parts of one are then ranges, and a key with a place of its own comes between them. Without it
keys of a partition come in the order of their first appearance if it fits; of one that was dealt out first those that
had a place of their own, then the parts in their order: that depends on the budget, on the blocks, and on how large
this version of Python makes its objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN
from mincemeat.errors import BlockCorrupt
from mincemeat.model import Key, Span, Value
from mincemeat.reducers import Fold
from mincemeat.shuffle.block import (
    BLOCK_HEADER,
    CODEC_LISTS,
    CODEC_TEXT,
    Block,
    Loads,
    decode_columns,
    iter_blocks,
    read_text_columns,
)
from mincemeat.shuffle.folded import FoldedGroups
from mincemeat.shuffle.order import in_order
from mincemeat.shuffle.regroup import (
    Alone,
    ByOrdinal,
    ByRange,
    Groups,
    HashUnknown,
    Part,
    Regrouping,
    Rule,
    next_ranges,
    next_rule,
)
from mincemeat.shuffle.sizes import sampled_size
from mincemeat.shuffle.store import RegroupFiles
from mincemeat.shuffle.texttable import TextTable
from mincemeat.shuffle.ungrouped import ListEach, Ungrouped
from mincemeat.shuffle.values import Values

if TYPE_CHECKING:
    from mincemeat.shuffle.value_order import SortBy

Held: TypeAlias = defaultdict[int, Groups | TextTable]


class _Columns(NamedTuple):
    """One block, decoded. ``values`` holds one value per key if ``single``, else a list of values per key."""

    partition: int
    keys: list[Key]
    values: list[Value]
    pairs: int
    single: bool

    def rest(self, start: int) -> _Columns:
        """Without the first ``start`` pairs."""
        if not start:
            return self
        if self.single:
            return self._replace(keys=self.keys[start:], values=self.values[start:], pairs=self.pairs - start)
        place, left = 0, start
        lists: list[Any] = self.values
        while left >= len(lists[place]):
            left -= len(lists[place])
            place += 1
        return self._replace(
            keys=self.keys[place:], values=[lists[place][left:], *lists[place + 1 :]], pairs=self.pairs - start
        )


def read_groups(
    spans: Sequence[Span],
    partitions: range,
    files: RegroupFiles,
    *,
    memory_bytes: int,
    loads: Loads = PLAIN.loads,
    stays_here: bool = False,
    fold: Fold | None = None,
    sort: bool = False,
    sort_values: bool | SortBy = False,
) -> Iterator[tuple[int, dict[Key, Values] | TextTable]]:
    """Group the blocks of ``spans`` by partition and key.

    Shape: partitions ascending, each in one dict or, if it did not fit, in several; each key once, with ``sort`` in
    order over all dicts of its partition; its values in the order of ``spans``, then of emission, or as ``sort_values``
    says (see ``UserFunctions``): a list that is the receiver's own, or StoredValues, valid until the next step. With
    ``fold``, if all values suit it, a dict is FoldedGroups and has for each key what its values come to. If all blocks
    are text columns or text lists, it is a TextTable of that instead, or of the lists.
    ``loads``, ``stays_here``: how ``spans`` are read; see ``decode_columns``. What is dealt out again is read as it was
    written here.
    Memory: about ``memory_bytes`` by sampled sizes, and one block; one dict is let go when the next is asked for.
    Raises: BlockCorrupt, naming file and byte offset (groups may have been yielded before); InvalidEmission for values
    that cannot be unpickled; UserCodeError for what cannot be sorted; SpillSpaceExhausted.
    """
    return _Grouper(files, memory_bytes, loads, stays_here, fold, sort, sort_values).groups(spans, partitions, None)


def read_columns(
    spans: Sequence[Span],
    partitions: range,
    *,
    memory_bytes: int,
    loads: Loads = PLAIN.loads,
    stays_here: bool = False,
) -> list[tuple[int, Ungrouped | TextTable]] | None:
    """All pairs of ``spans`` as they stand, if that is no loss: every block has single values, and all fit.

    Shape: partitions ascending, each once. Memory: as ``read_groups``. Raises: as ``read_groups``.
    """
    reading = _Reading(spans, partitions, loads, stays_here)
    held: dict[int, Ungrouped | TextTable] = {}
    held_bytes = 0.0
    while reading.is_more:
        block = reading.next_block()
        if not block.single or held_bytes >= memory_bytes:
            return None
        pairs = held.get(block.partition)
        if pairs is None:
            table = TextTable.for_keys() if block.codec == CODEC_TEXT else None
            pairs = Ungrouped([], []) if table is None else table
        if isinstance(pairs, TextTable):
            held_bytes -= pairs.held_bytes
            taken = read_text_columns(block, pairs.merge) if block.codec == CODEC_TEXT else 0
            held_bytes += pairs.held_bytes
            if taken < block.pairs:
                if len(pairs):
                    return None
                pairs = Ungrouped([], [])
            elif pairs.held_bytes >= limits.TABLE_BYTES_MAX:
                return None
        if isinstance(pairs, Ungrouped):
            columns = reading.decoded(block)
            pairs.keys += columns.keys
            pairs.values += columns.values
            samples = max(limits.BATCH_PAIRS_MEASURED, columns.pairs // limits.GROUPED_PAIRS_PER_SAMPLE)
            held_bytes += sampled_size(columns.keys, samples) + sampled_size(columns.values, samples)
            held_bytes += 2 * limits.GROUP_VALUE_BYTES * columns.pairs
        held[block.partition] = pairs
    return sorted(held.items(), key=itemgetter(0))


class _Grouper:
    def __init__(
        self,
        files: RegroupFiles,
        memory_bytes: int,
        loads: Loads,
        stays_here: bool,
        fold: Fold | None,
        sort: bool,
        sort_values: bool | SortBy,
    ) -> None:
        self._files = files
        self._memory_bytes = memory_bytes
        self._loads = loads
        self._stays_here = stays_here
        self._fold = fold
        self._sorts_keys = sort
        self._sorts_values = sort_values is not False
        self._may_have_tables = not self._sorts_values
        self._sort_by = None if isinstance(sort_values, bool) else sort_values

    def groups(
        self, spans: Sequence[Span], partitions: range, dealt_by: Rule | None
    ) -> Iterator[tuple[int, dict[Key, Values] | TextTable]]:
        """``dealt_by``: the rule that made ``spans`` a part, None for what the map side wrote."""
        loads, stays_here = self._loads, self._stays_here
        if dealt_by is not None:  # what was dealt out was dealt out by us
            loads, stays_here = PLAIN.loads, True
        reading = _Reading(spans, partitions, loads, stays_here)
        held: Held = defaultdict(self._no_groups)
        self._fill(held, reading)
        if not reading.is_more:
            for partition in sorted(held):
                yield partition, self._in_order(held.pop(partition))
            return
        fraction_held = reading.bytes_read / reading.bytes_total
        rule: Rule
        if self._sorts_keys and len(partitions) == 1:
            keys = _some_keys(held[partitions.start])
            rule = next_ranges(spans, keys, loads, stays_here=stays_here, fraction_held=fraction_held)
        else:
            rule = next_rule(partitions, dealt_by, fraction_held=fraction_held)
        try:
            regrouping = self._deal(held, reading, rule)
        except HashUnknown:  # of a key for which the job has a partitionfn
            held.clear()
            rule = ByOrdinal(rule.parts)
            reading = _Reading(spans, partitions, loads, stays_here)
            regrouping = self._deal(held, reading, rule)
        del reading  # the last block with it
        yield from self._regrouped(regrouping, rule)

    def _no_groups(self) -> Groups | TextTable:
        table = None
        if self._may_have_tables:
            table = TextTable.for_lists() if self._fold is None else TextTable.for_fold(self._fold)
        return self._no_plain_groups() if table is None else table

    def _no_plain_groups(self) -> Groups:
        return defaultdict(list) if self._fold is None else FoldedGroups(self._fold)

    def _regrouped(self, regrouping: Regrouping, rule: Rule) -> Iterator[tuple[int, dict[Key, Values] | TextTable]]:
        found: Iterable[Alone | Part] = regrouping.in_order() if isinstance(rule, ByRange) else regrouping.everything()
        for each in found:
            if isinstance(each, Alone):
                yield from self._alone(each)
            else:
                yield from self.groups(each.spans, range(each.partition, each.partition + 1), rule)
        self._files.drop(regrouping.path)

    def _alone(self, alone: Alone) -> Iterator[tuple[int, dict[Key, Values] | TextTable]]:
        values = alone.values
        if len(values) == 1 or alone.bytes <= self._memory_bytes:
            yield alone.partition, self._sorted({alone.key: list(values)})  # type: ignore[misc]  # as above
        elif self._sorts_values:
            from mincemeat.shuffle.value_order import sorted_values

            with sorted_values(values, self._sort_by, self._files, self._memory_bytes) as in_order:
                yield alone.partition, {alone.key: in_order}
        else:
            yield alone.partition, {alone.key: values}
        values.close()

    def _in_order(self, groups: Groups | TextTable) -> dict[Key, Values] | TextTable:
        """As ``_sorted``, for what may be a table."""
        if not isinstance(groups, TextTable):
            return self._sorted(groups)  # type: ignore[return-value]  # of lists is one of Values
        if self._sorts_keys:
            groups.sort()
        return groups

    def _sorted(self, groups: dict[Key, list[Value]]) -> dict[Key, list[Value]]:
        """``groups``, which are there as a whole, in the order that was asked for."""
        if self._sorts_keys and len(groups) > 1:
            keys = in_order(groups)
            if isinstance(groups, FoldedGroups):
                return groups.in_order(keys)
            groups = dict(zip(keys, map(groups.pop, keys), strict=True))
        if self._sorts_values:
            from mincemeat.shuffle.value_order import sort_lists

            sort_lists(groups, self._sort_by)
        return groups

    def _fill(self, held: Held, reading: _Reading) -> None:
        """Group blocks until the budget is reached or there are no more."""
        held_bytes = 0.0
        while held_bytes < self._memory_bytes and reading.is_more:
            block = reading.next_block()
            groups = held[block.partition]
            if isinstance(groups, TextTable):
                held_bytes += self._take_into_table(groups, block, held, reading)
            else:
                held_bytes += _take_in(groups, reading.decoded(block))

    def _take_into_table(self, table: TextTable, block: Block, held: Held, reading: _Reading) -> float:
        """Add a block to ``table``, or to what takes its place if the block does not suit; as ``_take_in``."""
        bytes_before = table.held_bytes
        taken = 0
        if block.codec == CODEC_LISTS:
            taken = read_text_columns(block, table.merge_lists)
        elif block.codec == CODEC_TEXT and table.keeps_lists:  # what a combiner gave, to be kept
            taken, _ = table.take(*reading.decoded(block)[1:3])
        elif block.codec == CODEC_TEXT:
            taken = read_text_columns(block, table.merge)
        if taken == block.pairs:
            is_full = table.held_bytes >= limits.TABLE_BYTES_MAX
            return self._memory_bytes if is_full else table.held_bytes - bytes_before
        self._may_have_tables = False
        if bytes_before > self._memory_bytes * limits.TABLE_UNFOLDED_SHARE:
            reading.put_back(block, taken)  # a dict of what the table holds would be several times as large
            return self._memory_bytes
        groups = held[block.partition] = self._no_plain_groups()
        grown = -float(table.held_bytes)
        if len(table):
            keys, values = table.everything().lists()
            single = not table.keeps_lists
            pairs = len(keys) if single else table.taken
            grown += _take_in(groups, _Columns(block.partition, keys, values, pairs, single))
            if isinstance(groups, FoldedGroups):
                groups.taken = table.taken
        return grown + _take_in(groups, reading.decoded(block).rest(taken))

    def _deal(self, held: Held, reading: _Reading, rule: Rule) -> Regrouping:
        """Deal out ``held``, then what is left to be read, a budget at a time."""
        with self._files.writing() as (path, writer):
            regrouping = Regrouping(path, writer, rule, self._memory_bytes)
            self._deal_out(held, regrouping)
            fold = self._fold
            if fold in (Fold.SUM, Fold.ADD):
                # What is summed from the first value on is what the user's function makes of ints. Behind values that
                # are on disk by now, perhaps floats, the sum of some ints may be another number than these one by one.
                self._fold = None
            try:
                while reading.is_more:
                    self._fill(held, reading)
                    self._deal_out(held, regrouping)
            finally:
                self._fold = fold
        return regrouping

    def _deal_out(self, held: Held, regrouping: Regrouping) -> None:
        for partition in sorted(held):
            groups = held.pop(partition)
            if isinstance(groups, TextTable):
                # Portion by portion, as a dict of everything would be several times as large.
                portion_bytes = self._memory_bytes * limits.TABLE_UNFOLDED_SHARE
                regrouping.expect(partition, groups.long_lists(self._memory_bytes * limits.REGROUP_ALONE_SHARE))
                for columns in groups.everything().portions(portion_bytes):
                    if columns.keeps_lists and columns.records == 1:  # perhaps a key that is most of it
                        for several in columns.popped(portion_bytes):
                            regrouping.deal_out({partition: defaultdict(list, {columns.first: several})})
                        continue
                    keys, values = columns.lists()
                    every = values if groups.keeps_lists else ListEach(values)
                    lists = defaultdict(list, zip(keys, every, strict=True))
                    regrouping.deal_out({partition: lists})
                continue
            if isinstance(groups, FoldedGroups):
                groups.unfold()
            regrouping.deal_out({partition: groups})


def _some_keys(groups: Groups | TextTable) -> Collection[Key]:
    if isinstance(groups, TextTable):
        return groups.everything()._replace(stop=min(len(groups), limits.REGROUP_SAMPLED_KEYS)).lists()[0]
    return groups


class _Reading:
    """Blocks decoded one at a time. It keeps none of them: lists of values are taken over and grow."""

    def __init__(self, spans: Sequence[Span], partitions: range, loads: Loads, stays_here: bool) -> None:
        self.bytes_total = sum(span.length for span in spans)
        self.bytes_read = 0
        self._blocks: Iterator[Block] = chain.from_iterable(map(iter_blocks, spans))
        self._partitions = partitions
        self._loads = loads
        self._stays_here = stays_here
        self._taken = 0  # pairs of the block that was put back

    @property
    def is_more(self) -> bool:
        return self.bytes_read < self.bytes_total

    def next_block(self) -> Block:
        """Raises: BlockCorrupt."""
        block = next(self._blocks)
        _check_partition(block, self._partitions)
        self.bytes_read += BLOCK_HEADER.size + len(block.payload)
        return block

    def put_back(self, block: Block, taken: int) -> None:
        """Have ``block`` be the next one, of which the first ``taken`` pairs have been read; it is to be decoded."""
        self.bytes_read -= BLOCK_HEADER.size + len(block.payload)
        self._blocks = chain((block,), self._blocks)
        self._taken = taken

    def decoded(self, block: Block) -> _Columns:
        """Raises: BlockCorrupt; InvalidEmission."""
        keys, values = decode_columns(block, self._loads, stays_here=self._stays_here)
        taken, self._taken = self._taken, 0
        return _Columns(block.partition, keys, values, block.pairs, block.single).rest(taken)


def _take_in(groups: Groups, block: _Columns) -> float:
    """Add a block to ``groups``; about how many bytes they have grown by."""
    keys, values = block.keys, block.values
    keys_before = len(groups)
    samples = max(limits.BATCH_PAIRS_MEASURED, block.pairs // limits.GROUPED_PAIRS_PER_SAMPLE)
    step = -(-block.pairs // samples) or 1
    flat: Iterable[Value] = values if block.single else chain.from_iterable(values)
    sample = list(islice(flat, 0, None, step))
    value_bytes = sampled_size(sample, len(sample) or 1) / (len(sample) or 1) + limits.GROUP_VALUE_BYTES
    key_bytes = sampled_size(keys, samples) / (len(keys) or 1) + limits.GROUP_BYTES
    if isinstance(groups, FoldedGroups) and groups.is_folded:
        if groups.take(keys, values, single=block.single):
            return (len(groups) - keys_before) * (key_bytes + value_bytes)
        groups.unfold()
    if block.single:
        for key, value in zip(keys, values, strict=True):
            groups[key].append(value)
    else:
        get = groups.get
        for key, several in zip(keys, values, strict=True):
            there = get(key)
            if there is None:
                groups[key] = several
            else:
                there += several
    return (len(groups) - keys_before) * key_bytes + block.pairs * value_bytes


def _check_partition(block: Block, partitions: range) -> None:
    if block.partition not in partitions:
        raise BlockCorrupt(
            f"block {block.path} at byte {block.offset}: wrong partition "
            f"(expected one of {partitions.start} to {partitions.stop - 1}, found {block.partition})",
            path=block.path,
            offset=block.offset,
            expected=partitions,
            found=block.partition,
        )
