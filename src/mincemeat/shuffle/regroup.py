"""Decides how a partition that does not fit into memory is dealt out again into parts on disk that may.

It knows nothing of when that is needed, nor of what becomes of the parts.

A rule says which part a key goes to. Several partitions are first taken apart (ByPartition). One is dealt out by the
hash that made it a partition, by other bits of it at each level (ByHash). Keys whose 32 bits are all the same, and keys
that have a place only because of the job's ``partitionfn``, are numbered in order of their first appearance and dealt
out by their numbers (ByOrdinal): for that the distinct keys, without their values, have to fit into memory. In a job
with sort=True a partition is dealt out by ranges of its keys (ByRange), whose ends are taken from keys that are met
here and there in its blocks: those that were read first may all be small, if the input is in order already.

It ends: at each level by hash there are fewer bits left, at each by number a part has fewer keys, and at each by range
there is a key on either side of each end; a part of one key is no part, because that key has a place of its own
(StoredValues).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from mincemeat import limits
from mincemeat.errors import InvalidEmission
from mincemeat.model import Key, Span, Value
from mincemeat.shuffle.blame import encode_or_blame
from mincemeat.shuffle.block import BLOCK_HEADER, BlockWriter, IndexEntry, Loads, decode_columns, iter_blocks
from mincemeat.shuffle.order import dealt_by_range, in_order, splitters_of
from mincemeat.shuffle.partition import HASH_BITS, dealt_by_place, partition_hashes
from mincemeat.shuffle.sizes import sampled_size
from mincemeat.shuffle.values import StoredValues

Groups: TypeAlias = defaultdict[Key, list[Value]]

# The odd number nearest to 2**32 divided by the golden ratio: multiplied by it, a hash lets all of its bits have a say
# in the uppermost ones, and no two hashes become one. Source: Knuth, The Art of Computer Programming 3, section 6.4.
_SPREAD: Final = 2_654_435_769
_HASH_MASK: Final = (1 << HASH_BITS) - 1
# To find the keys that deserve a place of their own, values are weighed key by key: all of few, else the longest.
_WEIGHED_MAX: Final = 1024
_LONGEST: Final = 16
_SAMPLES: Final = 32
# Which field of a block's header says how long its payload is.
_LENGTH_FIELD: Final = 7


class HashUnknown(Exception):
    """A key has no hash of ours, as it may in a job with a ``partitionfn``. Never leaves this room."""


class Part(NamedTuple):
    """Some keys of one partition, by themselves: all their values are in ``spans``, in order."""

    partition: int
    spans: list[Span]


class ByPartition:
    """Each partition is one part."""

    parts = 1

    def places(self, keys: Collection[Key]) -> list[int]:
        return [0] * len(keys)


class ByHash:
    """By ``bits`` bits of the key's hash, after the ``used`` uppermost ones of it, spread."""

    def __init__(self, used: int, bits: int) -> None:
        self.used = used
        self.bits = min(bits, HASH_BITS - used)
        self.parts = 1 << self.bits

    def places(self, keys: Collection[Key]) -> list[int]:
        """Raises: HashUnknown."""
        try:
            hashes = partition_hashes(keys)
        except InvalidEmission as error:
            raise HashUnknown from error
        shift, mask = HASH_BITS - self.used - self.bits, self.parts - 1
        return [((value * _SPREAD & _HASH_MASK) >> shift) & mask for value in hashes]


class ByOrdinal:
    """By the number of the key, counted as they come."""

    def __init__(self, parts: int) -> None:
        self.parts = max(2, parts)
        self._numbers: dict[Key, int] = {}

    def places(self, keys: Collection[Key]) -> list[int]:
        numbers, parts = self._numbers, self.parts
        return [numbers.setdefault(key, len(numbers)) % parts for key in keys]


class ByRange:
    """By the range that the key lies in, each key of ``alone`` being the end of one, too.

    ``splitters``: ascending; place 0 is below the first of them, place i from the one before on.
    """

    def __init__(self, splitters: Iterable[Key]) -> None:
        self.splitters = list(splitters)

    @property
    def parts(self) -> int:
        return len(self.splitters) + 1

    def cut_at(self, alone: Collection[Key]) -> None:
        """Make ``alone`` ends of ranges; before the first key has got its place."""
        if alone:
            self.splitters = in_order({*self.splitters, *alone})


Rule: TypeAlias = ByPartition | ByHash | ByOrdinal | ByRange


def next_rule(partitions: range, dealt_by: Rule | None, *, fraction_held: float) -> Rule:
    """How to deal out what is left of ``partitions`` after ``dealt_by``, when ``fraction_held`` of it filled memory."""
    if len(partitions) > 1:
        return ByPartition()
    bits = (parts_wanted(fraction_held) - 1).bit_length()
    if isinstance(dealt_by, ByOrdinal):
        return ByOrdinal(1 << bits)
    used = dealt_by.used + dealt_by.bits if isinstance(dealt_by, ByHash) else 0
    return ByHash(used, bits) if used < HASH_BITS else ByOrdinal(1 << bits)


def next_ranges(
    spans: Sequence[Span], held: Collection[Key], loads: Loads, *, stays_here: bool, fraction_held: float
) -> ByRange:
    """As ``next_rule``, for one partition of a job with sort=True that lies in ``spans``; ``held`` are keys of it.

    Raises: UserCodeError for keys that cannot be compared; BlockCorrupt.
    """
    sample = _keys_here_and_there(spans, loads, stays_here)
    splitters = splitters_of(in_order(sample), parts_wanted(fraction_held))
    return ByRange(splitters or splitters_of(in_order(held), 2))


def parts_wanted(fraction_held: float) -> int:
    """So many parts that each is likely to fill half of memory when ``fraction_held`` of the whole filled it, but at
    least two and no more than can have a fair share of memory when they are written."""
    wanted = int(2 / fraction_held) if fraction_held > 0 else limits.REGROUP_PARTS_MAX
    return max(2, min(wanted, limits.REGROUP_PARTS_MAX))


def _keys_here_and_there(spans: Sequence[Span], loads: Loads, stays_here: bool) -> list[Key]:
    """Different keys of ``spans``, from blocks that are evenly spread over their bytes."""
    step = sum(span.length for span in spans) / limits.REGROUP_SAMPLED_BLOCKS
    found: dict[Key, None] = {}
    passed = hits = 0
    for span in chain.from_iterable(map(_iter_block_spans, spans)):
        passed += span.length
        wanted = int(passed / step) - hits
        if wanted:
            hits += wanted
            keys = decode_columns(next(iter_blocks(span)), loads, stays_here=stays_here)[0]
            found.update(dict.fromkeys(keys[:: len(keys) // (wanted * limits.REGROUP_SAMPLED_KEYS) + 1]))
    return list(found)


def _iter_block_spans(span: Span) -> Iterator[Span]:
    """Where the blocks of ``span`` lie, by their headers alone. What is damaged is told when the block is read."""
    offset, end = span.offset, span.offset + span.length
    with open(span.path, "rb") as file:
        while end - offset > BLOCK_HEADER.size:
            file.seek(offset)
            header = file.read(BLOCK_HEADER.size)
            payload = BLOCK_HEADER.unpack(header)[_LENGTH_FIELD] if len(header) == BLOCK_HEADER.size else end
            length = min(BLOCK_HEADER.size + payload, end - offset)
            yield Span(span.path, offset, length)
            offset += length


class Alone:
    """A key that is much by itself, and has a place of its own: its values, and about how many bytes they are."""

    def __init__(self, partition: int, key: Key, values: StoredValues) -> None:
        self.partition = partition
        self.key = key
        self.values = values
        self.bytes = 0.0


class Regrouping:
    """Deals groups out to ``writer``, one bufferful after the other; all that comes of it lies in the file ``path``.

    Memory: what is handed in, pickled one part at a time; some 20 bytes a block besides, and for ByOrdinal the keys.
    """

    def __init__(self, path: str, writer: BlockWriter, rule: Rule, memory_bytes: int) -> None:
        self.path = path
        self._writer = writer
        self._rule = rule
        self._memory_bytes = memory_bytes
        self._spans: defaultdict[tuple[int, int], list[Span]] = defaultdict(list)
        self._alone: dict[Key, Alone] | None = None  # chosen when the first bufferful is there

    def alone(self) -> list[Alone]:
        """The keys that have a place of their own, in the order of their first appearance."""
        return list((self._alone or {}).values())

    def everything(self) -> Iterator[Alone | Part]:
        """First the keys that have a place of their own, then the parts."""
        yield from self.alone()
        yield from self.parts()

    def in_order(self) -> Iterator[Alone | Part]:
        """As ``everything``, in the order of the keys: only of one partition, dealt out by range."""
        assert isinstance(self._rule, ByRange)
        alone = self._alone or {}
        parts = {place: Part(partition, spans) for (partition, place), spans in self._spans.items()}
        for place, least in enumerate([None, *self._rule.splitters]):
            if place and least in alone:
                yield alone[least]
            if place in parts:
                yield parts[place]

    def parts(self) -> Iterator[Part]:
        """All other keys: partitions ascending, then in the order of the rule's places."""
        for partition, place in sorted(self._spans):
            yield Part(partition, self._spans[partition, place])

    def deal_out(self, held: dict[int, Groups]) -> None:
        """Write out ``held``, which is empty afterwards. Raises: HashUnknown; SpillSpaceExhausted."""
        for partition in sorted(held):
            groups = held.pop(partition)
            if not isinstance(self._rule, ByPartition):
                self._take_out_those_alone(partition, groups)
            for place, keys, lists in _dealt(groups, self._rule):
                entry = self._append(partition, keys, lists)
                self._spans[partition, place].append(Span(self.path, entry.offset, entry.length))

    def expect(self, partition: int, much: list[Key]) -> None:
        """Let ``much`` have places of their own, because they come in pieces of which none looks like much."""
        if self._alone is None and much and not isinstance(self._rule, ByPartition):
            self._choose(partition, much)

    def _choose(self, partition: int, chosen: list[Key]) -> None:
        if isinstance(self._rule, ByRange):
            self._rule.cut_at(chosen)
        self._alone = {key: Alone(partition, key, StoredValues(key, self.path)) for key in chosen}

    def _take_out_those_alone(self, partition: int, groups: Groups) -> None:
        if self._alone is None:
            chosen = _much_by_themselves(groups, self._memory_bytes * limits.REGROUP_ALONE_SHARE)
            self._choose(partition, chosen)
        assert self._alone is not None
        for key, alone in self._alone.items():
            values = groups.pop(key, None)
            if values is None:
                continue
            weight = _weight(values)
            alone.bytes += weight
            block_bytes = min(limits.STORED_BLOCK_BYTES, self._memory_bytes // limits.STORED_BLOCKS_MIN)
            room = max(1, int(block_bytes * len(values) / weight))
            for start in range(0, len(values), room):
                several = values[start : start + room]
                entry = self._append(partition, [key], [several])
                alone.values.append(entry.offset, entry.length, len(several))

    def _append(self, partition: int, keys: list[Key], lists: list[list[Value]]) -> IndexEntry:
        pairs = sum(map(len, lists))
        single = pairs == len(keys)
        columns: list[Any] = [value for (value,) in lists] if single else lists
        payload = encode_or_blame(keys, columns, single=single, function="mapfn", stays_here=True)
        self._writer.append(partition, payload, keys=len(keys), pairs=pairs, single=single)
        return self._writer.entries[-1]


def _dealt(groups: Groups, rule: Rule) -> Iterator[tuple[int, list[Key], list[list[Value]]]]:
    """Places, ascending, each with its keys and their values; ``groups`` is empty in the end."""
    if isinstance(rule, ByRange):
        yield from dealt_by_range(groups, rule.splitters)
        return
    dealt = dealt_by_place(groups, groups.values(), rule.places(groups))
    groups.clear()
    yield from dealt


def _much_by_themselves(groups: Groups, least_bytes: float) -> list[Key]:
    """The keys whose values hold at least ``least_bytes``, in the order of ``groups``; a key that is the only one."""
    if len(groups) == 1:
        return list(groups)  # no rule would take it apart
    longest: Collection[Key] = groups
    if len(groups) > _WEIGHED_MAX:
        longest = set(heapq.nlargest(_LONGEST, groups, key=lambda key: len(groups[key])))
    return [key for key in groups if key in longest and _weight(groups[key]) >= least_bytes]


def _weight(values: list[Value]) -> float:
    return sampled_size(values, _SAMPLES) + limits.GROUP_VALUE_BYTES * len(values)
