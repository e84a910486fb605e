"""Decides what tells one map output from another: a digest of each partition's pairs.

A map attempt whose output was lost is carried out again, and reduce tasks may have read the first output. Whether the
second one is the same is seen from digests, so a digest is of content and of nothing else:

* it is a sum over pairs, modulo 2**64, so the order of keys and values, spills, blocks and the way that pairs went
  (compiled or plain, pickled or marshalled, deflated or not) do not matter;
* a key weighs as much as the hash that deals it to a partition, the same everywhere, and one;
* of values, plain ones count with what they are: str, bytes, numbers, bool, None, and tuples and lists of these, one
  level deep. Others (sets, dicts, objects) count only as being there: their pickles differ from process to process;
* what a combiner that is understood to add has added up counts as the sum, however it was cut. What another combiner
  gives depends on how often it was called, which memory decides: then there is a digest only of an attempt that dealt
  out once, and none where pairs were folded until one did not suit, for how many were is decided by batches.

::

    a pair          weight * (PAIR + term)        term of a number n: n * NUMBER; of data: CRC-32 * DATA; else 0
    a sum s         weight * s

It is against accidents (a random number, the time, a file that has changed), not against malice. Partitions are summed
in a few ranges (``limits.DIGEST_RANGES_MAX``), since a scheduler keeps them for each output.

Cost: compiled (native/digest.h) some nanoseconds a record of a table, a few tens a pair of plain columns; in plain
Python (``digest_sums``) 100 to 500, which is a sixth to a half of all the rest of a map attempt. So who has asked for
``on_nondeterminism="ignore"`` is spared it. measured: bench/digest.py
"""

from __future__ import annotations

from typing import Any, Final

from mincemeat import limits
from mincemeat.model import Key
from mincemeat.reducers import Fold
from mincemeat.shuffle import texttable
from mincemeat.shuffle.digest_sums import hash_of_key, sum_of_columns
from mincemeat.shuffle.recognise import MapSide
from mincemeat.shuffle.texttable import TextColumns

_MASK: Final = 2**64 - 1
_SUMS: Final = {Fold.SUM, Fold.ADD, Fold.COUNT}
_INTEGERS: Final = {int, bool}


class OutputDigest:
    """The digests of one map output, as it is dealt out. ``side``: what becomes of values on the map side."""

    def __init__(self, partitions: int, side: MapSide) -> None:
        self._partitions = partitions
        self._ranges = [0] * min(partitions, limits.DIGEST_RANGES_MAX)
        self._adds = side.fold in _SUMS
        self._met_pairs = self._met_sums = self._met_others = self._is_vague = False

    def take_table(self, partition: int, payload: bytes, columns: TextColumns) -> None:
        """``columns`` have become the block ``payload`` of ``partition``, which is not deflated yet."""
        if columns.keeps_lists:
            self._add(partition, texttable.compiled.digest_lists(payload))
            self._met_pairs = True
            return
        is_sum = self._note(folded=columns.folds, are_integers=True)
        self._add(partition, texttable.compiled.digest(payload, is_sum))

    def take_columns(self, partition: int, keys: list[Key], values: list[Any], *, single: bool, folded: bool) -> None:
        """These are a block of ``partition``. ``folded``: values are what a combiner has made of them."""
        are_integers = folded and self._adds and set(map(type, values)) <= _INTEGERS
        is_sum = self._note(folded=folded, are_integers=are_integers)
        if texttable.compiled is not None:
            digest = texttable.compiled.digest_columns(keys, values, single or folded, is_sum, hash_of_key)
        else:
            digest = sum_of_columns(keys, values, single=single or folded, is_sum=is_sum)
        self._add(partition, digest)

    def give_up(self) -> None:
        """What was dealt out depends on more than the pairs that were emitted."""
        self._is_vague = True

    def _note(self, *, folded: bool, are_integers: bool) -> bool:
        """Whether what comes now are sums."""
        is_sum = folded and self._adds and are_integers
        if is_sum:
            self._met_sums = True
        elif folded:
            self._met_others = True
        else:
            self._met_pairs = True
        return is_sum

    def _add(self, partition: int, digest: int) -> None:
        place = partition * len(self._ranges) // self._partitions
        self._ranges[place] = (self._ranges[place] + digest) & _MASK

    def text(self, spills: int) -> str:
        """As it travels (``scheduler/digests.py``), of an attempt that has spilled so often; "" if it says nothing."""
        is_additive = not self._met_others and not (self._met_sums and self._met_pairs)
        if self._is_vague or (spills and not is_additive):
            return ""
        return ("+" if is_additive else "=") + "".join([f"{digest:016x}" for digest in self._ranges])
