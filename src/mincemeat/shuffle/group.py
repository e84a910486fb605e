"""Decides how pairs become groups on the map side: the group buffer of a map attempt.

It knows nothing of tasks, file names, partitions or where records come from.

    records -> mapfn -> batch -> {key: [value, ...]}  --full, or the end-->  combine, deal  -->  one block per partition

The loop over pairs contains no call of ours: a batch is collected from the user's iterables by ``list.extend`` and
grouped, or combined at once where the combiner is understood, by a loop of ``folds``; looking at sizes and at the
budget happens between batches. Errors are therefore noticed a few records late, and the batch remembers where each
record's pairs begin so that the culprit can still be named.

Pairs of text with whole numbers, or with None, go from the iterable into a table without a batch where they can
(``texttable``). The first one of another kind ends that: what the table holds is dealt out, and everything from that
pair on goes the plain way.

Order: values of a key stand in the order in which they were emitted, spills follow one another in the file, and the
reduce side reads splits in their order. Where keys go, and in which order, is decided in ``dealing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, groupby, islice
from typing import Any, Protocol

from mincemeat import limits
from mincemeat.decoding.coding import PLAIN, Coding
from mincemeat.errors import UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, Pair, UserFunctions
from mincemeat.shuffle.batches import Columns, columns_of, is_batch
from mincemeat.shuffle.blame import (
    Record,
    as_pair,
    blamed_pair,
    refused_answer,
    refused_pair,
    user_code_error,
)
from mincemeat.shuffle.block import BlockWriter
from mincemeat.shuffle.dealing import Dealer
from mincemeat.shuffle.folds import Holding, StoppedAt, holding_of
from mincemeat.shuffle.recognise import map_side
from mincemeat.shuffle.sizes import deep_size, sampled_size
from mincemeat.shuffle.texttable import TextTable
from mincemeat.shuffle.ungrouped import Ungrouped, ungroup

_PLAIN_PAIRS = {tuple, list}
_OF_ONE_SIZE = {int, float, bool}


class Overseer(Protocol):
    """Who watches over a careful attempt (careful.py)."""

    def paused(self) -> AbstractContextManager[None]: ...


def _identity(key: Any, value: Any) -> Iterable[Pair]:
    return ((key, value),)


class GroupBuffer:
    """Groups what ``mapfn`` emits, and deals it to ``writer`` as blocks whenever ``memory_bytes`` are reached.

    Memory: about ``memory_bytes`` and an eighth, by sampled sizes; values that suddenly grow may overshoot by one batch
    of ``limits.BATCH_PAIRS_MAX``. Dealing out pickles one partition at a time beside that. A ``Pairs`` or dict that
    ``mapfn`` gives is there beside it as a whole.
    ``coding``, ``is_near``, ``with_digest``: see ``Dealer``.
    Counts: ``records`` read, ``pairs`` emitted (before any combiner), ``spills``: how often the buffer was dealt out
    because it was full, so 0 when everything fitted.
    """

    def __init__(
        self,
        functions: UserFunctions,
        partitions: int,
        memory_bytes: int,
        writer: BlockWriter,
        *,
        coding: Coding = PLAIN,
        is_near: bool = False,
        with_digest: bool = False,
    ) -> None:
        self._mapfn = functions.mapfn or _identity
        self._side = map_side(functions)
        self.coding = coding
        self._dealer = Dealer(
            functions, self._side, partitions, writer, coding=coding, is_near=is_near, with_digest=with_digest
        )
        self._budget_bytes = memory_bytes
        self._holding: Holding | Ungrouped = Holding(self._side)
        self._held_bytes = 0.0
        self._may_ungroup = self._side.collectfn is None and self._side.fold is None
        # A table deals keys out by their hash or by splitters, and knows no partitionfn.
        self._may_have_table = functions.partitionfn is None
        self._table_bytes = min(memory_bytes, limits.TABLE_BYTES_MAX)
        self._table = self._new_table() if self._may_have_table else None
        self._looked_at = 0  # pairs of this bufferful, until it was judged whether their keys repeat
        self._batch: list[Any] = []  # pairs, unless mapfn gives many at once or breaks its word
        self._marks: list[tuple[int, Key]] = []  # where in the batch each record's pairs begin
        self._room = 1  # grows from the first measured pair on
        self._affordable = limits.BATCH_PAIRS_MAX  # pairs, until some were weighed
        self._turn = 0
        self._overseer: Overseer | None = None
        self.records = 0
        self.pairs = 0
        self.spills = 0

    def drain(self, records: Iterable[tuple[Any, Any]]) -> None:
        """Call ``mapfn`` for each record and take in all that it emits. What remains is dealt out by ``finish``.

        Raises: UserCodeError from what a function of the job raised or from the InvalidEmission it caused; whatever
        iterating ``records`` or writing blocks raises.
        """
        for key, value in records:
            self.records += 1
            emitted: Iterator[Any] | None = self._emitted(key, value)
            while emitted is not None:
                self._marks.append((len(self._batch), key))
                if not self._pull(emitted, key):
                    break
                self._absorb()
                while self._table is not None and emitted is not None:  # whoever emits much needs no batches
                    emitted = self._pull_into(self._table, emitted, key)

    def oversee(self, overseer: Overseer) -> None:
        """``overseer`` hears when the buffer is dealt out, which is no record's fault."""
        self._overseer = overseer

    @property
    def room(self) -> int:
        """How many pairs the buffer takes at once without a look at its size."""
        return self._room

    def emitted(self, key: Any, value: Any) -> list[Any]:
        """All that ``mapfn`` emits for the next record, which counts as read. Raises: UserCodeError."""
        try:
            return list(self._emitted(key, value))
        except passing(UserCodeError):
            raise
        except BaseException as error:
            raise user_code_error("mapfn", key, error, self.records - 1) from error

    def take(self, columns: Columns, record: Record) -> None:
        """Group pairs that were checked; ``record`` is one of theirs. Raises: as ``drain``."""
        self._group_whole(columns, record)

    def _new_table(self) -> TextTable | None:
        """For what understands neither a fold nor a combiner of the user's own, one that keeps values."""
        if self._side.fold is not None:
            return TextTable.for_fold(self._side.fold)
        return TextTable.for_lists() if self._side.collectfn is None else None

    @property
    def digests(self) -> str:
        """Of all that was dealt out, as text; "" if nobody asked, or they would tell nothing."""
        return self._dealer.digests(self.spills)

    def finish(self) -> None:
        """Deal out what is left. Raises: as ``drain``."""
        self._absorb()
        self._deal_out()

    def _emitted(self, key: Any, value: Any) -> Iterator[Any]:
        try:
            answer = self._mapfn(key, value)
            if is_batch(answer):
                return iter((answer,))
            if hasattr(type(answer), "__iter__") or hasattr(type(answer), "__getitem__"):
                return iter(answer)
        except passing():
            raise
        except BaseException as error:  # sys.exit() in a function of the job is a failure of the attempt like any other
            raise user_code_error("mapfn", key, error, self.records - 1) from error
        raise refused_answer(Record(key, self.records - 1), answer)

    def _pull(self, emitted: Iterator[Any], key: Any) -> bool:
        """Fill the batch from ``emitted``; whether it is full, so that there may be more."""
        batch = self._batch
        try:
            batch.extend(islice(emitted, self._room - len(batch)))
        except passing():
            raise
        except BaseException as error:
            raise user_code_error("mapfn", key, error, self.records - 1) from error
        return len(batch) >= self._room

    def _pull_into(self, table: TextTable, emitted: Iterator[Any], key: Any) -> Iterator[Any] | None:
        """Fill the table from ``emitted``, for a while; what is left then, None if nothing is."""
        try:
            taken, rejected, is_over = table.drain(emitted, limits.TABLE_PAIRS_MAX, self._table_bytes)
        except passing():
            raise
        except BaseException as error:
            raise user_code_error("mapfn", key, error, self.records - 1) from error
        self._took(table, taken)
        if rejected is None:
            return None if is_over else emitted
        if len(rejected) == 1 and is_batch(rejected[0]):
            self._group_whole(columns_of(rejected[0]), Record(key, self.records - 1))
            return emitted
        self._give_up_table()
        return chain(rejected, emitted)

    def _absorb(self) -> None:
        """Group the batch, and deal the buffer out if that filled it."""
        batch = self._batch
        # So that no dict of two is taken for a pair; a set of the types would take half as long again.
        if {kind for kind, _ in groupby(batch, type)} <= _PLAIN_PAIRS:
            self._group(batch, self._record_at)
        else:
            self._absorb_piecewise()
        batch.clear()
        self._marks.clear()

    def _absorb_piecewise(self) -> None:
        """As ``_absorb``, for a batch with other things than tuples and lists in it."""
        run: list[Pair] = []
        places: list[int] = []

        def record_of(index: int) -> Record:
            return self._record_at(places[index])

        met_batch = False
        for place, element in enumerate(self._batch):
            if is_batch(element):
                self._group(run, record_of)
                run.clear()
                places.clear()
                self._group_whole(columns_of(element), self._record_at(place))
                met_batch = True
            else:
                run.append(self._taken_apart(element, place))
                places.append(place)
        self._group(run, record_of)
        if met_batch:
            self._room = 1  # the next may be as large, and is to be weighed before the one after it is made

    def _group_whole(self, columns: Columns, record: Record) -> None:
        """Group the many pairs that were emitted at once for ``record``; the budget is checked between portions."""
        start = 0
        while start < len(columns):
            if self._table is not None:
                start += self._take_columns(self._table, columns, start)
                continue
            size = max(1, min(self._affordable, limits.BATCH_COLUMNS_MAX))
            self._group(columns.portion(start, size), lambda _index: record)
            start += size

    def _taken_apart(self, element: Any, place: int) -> Pair:
        pair = as_pair(element)
        if pair is None:
            raise refused_pair(self._record_at(place), element)
        return pair

    def _group(self, pairs: list[Pair] | Columns, record_of: Callable[[int], Record]) -> None:
        """Group ``pairs``, whose records are known to ``record_of``, and deal the buffer out if that filled it."""
        taken = self._take_pairs(pairs) if self._table is not None and isinstance(pairs, list) else 0
        if taken < len(pairs):
            rest = pairs[taken:] if isinstance(pairs, list) else pairs
            self._group_plainly(rest, lambda index: record_of(taken + index))

    def _take_pairs(self, pairs: list[Pair]) -> int:
        """How many of ``pairs``, from the first, a table has taken. If not all, there is none any more."""
        taken = 0
        emitted = iter(pairs)
        while self._table is not None and taken < len(pairs):
            table = self._table
            more, rejected, _ = table.drain(emitted, len(pairs), self._table_bytes)
            taken += more
            self._took(table, more)
            if rejected is not None:
                self._give_up_table()
        return taken

    def _take_columns(self, table: TextTable, columns: Columns, start: int) -> int:
        """How many pairs of ``columns``, from ``start``, the table has taken: all, or until it was full or given up."""
        taken, suits = table.take(columns.keys, columns.values, start, self._table_bytes)
        self._took(table, taken)
        if not suits:
            self._give_up_table()
        return taken

    def _took(self, table: TextTable, pairs: int) -> None:
        """Count ``pairs`` more in the table, and deal it out if that filled it."""
        self.pairs += pairs
        held_bytes = table.held_bytes
        if held_bytes:
            self._affordable = int(self._budget_bytes * limits.BATCH_BUDGET_SHARE * len(table) / held_bytes)
        self._room = max(1, min(self._affordable, 2 * self._room, limits.BATCH_PAIRS_MAX))
        if held_bytes >= self._table_bytes:
            self.spills += 1
            self._deal_out()

    def _give_up_table(self) -> None:
        """Go on plainly, for good, with what the table holds, unless a dict of it could be too much for the budget."""
        table = self._table
        # Where values are None, those of the first pairs are looked at once more: a table of nothing but keys may do.
        self._may_have_table = table is not None and table.keeps_lists
        if table is None:  # dealt out just now
            return
        if table.held_bytes > self._budget_bytes * limits.TABLE_UNFOLDED_SHARE:
            self.spills += 1
            self._deal_out()
        elif len(table):
            keys, values = table.everything().lists()
            self._held_bytes = sampled_size(keys, limits.BATCH_PAIRS_MEASURED) + limits.GROUP_BYTES * len(keys)
            self._held_bytes += table.held_bytes if table.keeps_lists else 0
            is_grouped = table.folds or table.keeps_lists
            self._holding = holding_of(self._side, keys, values) if is_grouped else Ungrouped(keys, values)
        self._table = None

    def _group_plainly(self, pairs: list[Pair] | Columns, record_of: Callable[[int], Record]) -> None:
        keys_before = len(self._holding)
        try:
            self._holding.take(pairs)
        except StoppedAt as stop:
            blamed = blamed_pair(record_of(stop.place), pairs[stop.place], stop.reason)
            raise blamed from blamed.__cause__
        self.pairs += len(pairs)
        self._weigh(pairs, len(self._holding) - keys_before)
        if self._may_ungroup and self._looked_at < limits.UNREPEATED_AMONG_PAIRS:
            self._look_for_repeats(len(pairs))
        if self._held_bytes >= self._budget_bytes:
            self.spills += 1
            self._deal_out()

    def _weigh(self, pairs: list[Pair] | Columns, new_keys: int) -> None:
        """Add the size of ``pairs`` to the buffer's, by a sample, and size the next batch by it.

        The sample moves on from batch to batch, so that records which emit in a rhythm are not always met at the same
        beat, and an object met twice (the path of a file, emitted with each of its words) counts once.
        """
        portions = -(-len(pairs) // limits.BATCH_PAIRS_MAX)
        step = -(-len(pairs) // (portions * limits.BATCH_PAIRS_MEASURED))
        start = self._turn % step
        self._turn += 1
        sample = pairs[start::step]
        keys = {id(key): key for key, _value in sample}
        values = {id(value): value for _key, value in sample}
        is_grouped = isinstance(self._holding, Holding)
        entry_bytes = limits.GROUP_BYTES if is_grouped else limits.GROUP_VALUE_BYTES
        key_bytes = sum(map(deep_size, keys.values())) / len(keys) + entry_bytes
        value_bytes = sum(map(deep_size, values.values())) / len(sample) + limits.GROUP_VALUE_BYTES
        # What is folded does not grow by further numbers; a str or list to which more is added does.
        folded = (
            isinstance(self._holding, Holding)
            and self._holding.folded
            and {*map(type, values.values())} <= _OF_ONE_SIZE
        )
        self._held_bytes += new_keys * key_bytes + (new_keys if folded else len(pairs)) * value_bytes
        self._affordable = int(self._budget_bytes * limits.BATCH_BUDGET_SHARE / (key_bytes + value_bytes))
        self._room = max(1, min(self._affordable, 2 * self._room, limits.BATCH_PAIRS_MAX))

    def _look_for_repeats(self, more: int) -> None:
        """Group no further in this bufferful if among its first pairs hardly any key was there twice."""
        self._looked_at += more
        if self._looked_at < limits.UNREPEATED_AMONG_PAIRS or not isinstance(self._holding, Holding):
            return
        if len(self._holding) >= self._looked_at * limits.UNREPEATED_SHARE:
            self._held_bytes -= len(self._holding) * (limits.GROUP_BYTES - limits.GROUP_VALUE_BYTES)
            ungrouped = ungroup(self._holding.held)
            table = TextTable.for_keys() if self._may_have_table else None
            if table is not None and table.take(ungrouped.keys, ungrouped.values)[1]:
                self._table, self._holding, self._held_bytes = table, Holding(self._side), 0.0
            else:
                self._holding = ungrouped

    def _deal_out(self) -> None:
        """Deal what is held to the partitions and append one block for each that got any."""
        with nullcontext() if self._overseer is None else self._overseer.paused():
            self._deal_out_all()

    def _deal_out_all(self) -> None:
        if self._table is not None:
            self._dealer.deal_table(self._table)
            if not (self._table.folds or self._table.keeps_lists):
                self._table = None  # until it is seen again that keys hardly repeat
        if isinstance(self._holding, Holding):
            self._dealer.deal_groups(self._holding)
        else:
            self._dealer.deal_pairs(self._holding)
            self._holding = Holding(self._side)
        self._held_bytes = 0.0
        self._looked_at = 0

    def _record_at(self, place: int) -> Record:
        """The record whose pairs are at ``place`` of the batch, the last of whose marks is the latest record's."""
        back, key = next((back, key) for back, (start, key) in enumerate(reversed(self._marks)) if start <= place)
        return Record(key, self.records - 1 - back)
