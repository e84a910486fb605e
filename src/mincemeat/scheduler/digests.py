"""Digests of map outputs, and where two outputs of the same splits differ.

Decides: their form as text, and what can be said of two that were made in different ways. Knows nothing of pairs:
``shuffle/digest.py`` makes digests, and has what they are.

::

    text     := kind digest*       16 hexadecimal digits each, for as many ranges of partitions
    kind     := "+"  digests of outputs of several splits add up, modulo 2**64
              | "="  they tell only outputs of the same splits, made in one attempt
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mincemeat import limits
from mincemeat.model import AttemptId, TaskId

_DIGITS = 16
_BYTES = 8


class Digests(NamedTuple):
    """One output's digests: ``ranges`` has them end to end, eight bytes each, for they are kept for each output."""

    is_additive: bool
    ranges: bytes

    def numbers(self) -> list[int]:
        return [int.from_bytes(self.ranges[at : at + _BYTES], "big") for at in range(0, len(self.ranges), _BYTES)]


def parse_digests(text: str, partitions: int) -> Digests | None:
    """The digests written as ``text``; None for "". Raises: ValueError if it is not those of so many partitions."""
    if not text:
        return None
    expected = min(partitions, limits.DIGEST_RANGES_MAX)
    ranges = bytes.fromhex(text[1:])
    if text[0] not in "+=" or len(text) != 1 + _DIGITS * expected or len(ranges) != _BYTES * expected:
        raise ValueError(f"digests of {expected} ranges are due")
    return Digests(text[0] == "+", ranges)


def differing(first: Digests, again: Sequence[Digests | None], partitions: int) -> list[range]:
    """The partitions in which outputs ``again``, of the same splits together, differ from ``first``.

    Shape: ascending ranges, neighbours merged; a range is all that is known where digests are of ranges. Empty if they
    are equal, or if that cannot be told.
    """
    known = [digests for digests in again if digests is not None]
    if len(known) != len(again) or not known:
        return []
    if len(known) > 1 and not all(digests.is_additive for digests in (first, *known)):
        return []
    if any(len(digests.ranges) != len(first.ranges) for digests in known):
        return []
    before = first.numbers()
    after = [sum(column) % 2**64 for column in zip(*(digests.numbers() for digests in known), strict=True)]
    found: list[range] = []
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new:
            continue
        partitions_of = _partitions_of(place, len(before), partitions)
        if found and found[-1].stop == partitions_of.start:
            partitions_of = range(found.pop().start, partitions_of.stop)
        found.append(partitions_of)
    return found


def _partitions_of(place: int, ranges: int, partitions: int) -> range:
    """Those partitions p with p * ranges // partitions == place."""
    return range(-(-place * partitions // ranges), -(-(place + 1) * partitions // ranges))


def overlap(partitions: range, ranges: Sequence[range]) -> bool:
    """Whether any of ``partitions`` is in one of ``ranges``."""
    return any(each.start < partitions.stop and partitions.start < each.stop for each in ranges)


def tell_difference(
    lost: tuple[AttemptId, str, str],
    again: tuple[AttemptId, str],
    changed: Sequence[range],
    partitions: int,
    reduced: Sequence[TaskId],
) -> str:
    """What a person should know of an output that was made again and differs. Ends with a full stop.

    ``lost``: who made it first, where, and how it was lost; ``again``: who made the last of it the second time, where.
    ``reduced``: the reduce tasks that are committed with what they read of the first one.
    """
    first, first_worker, reason = lost
    second, second_worker = again
    shown = _listed([_shown(each) for each in changed])
    tasks = _listed([str(task) for task in reduced])
    verb = "has" if len(reduced) == 1 else "have"
    return (
        f"map task {first.task} gave other pairs when it was carried out again: the outputs of {first} on worker "
        f"{first_worker} ({reason}) and of {second} on worker {second_worker} differ in {shown} (of {partitions}), "
        f"of which {tasks} {verb} reduced what the first one held. Results would be a mixture of two runs: pairs "
        "could be missing from them, or counted twice. Something in the job's functions depends on more than the "
        "record: a random number without a seed of the record's own, the time, the order of a set, a file or a "
        'service that has changed. Mend that; or have on_nondeterminism="restart" reduce again what has changed, '
        'which holds results back until the end; or accept the mixture with "ignore".'
    )


_LISTED_MAX = 8


def _listed(words: Sequence[str]) -> str:
    if len(words) > _LISTED_MAX:
        words = [*words[: _LISTED_MAX - 1], f"{len(words) - _LISTED_MAX + 1} others"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _shown(partitions: range) -> str:
    if len(partitions) == 1:
        return f"partition {partitions.start}"
    return f"partitions {partitions.start} to {partitions.stop - 1}"
