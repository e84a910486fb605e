"""Decides where the ranges of a sorted job end, by a sample: mapfn over a few records, and the keys that it emits.

It knows nothing of who chose the records, nor of the process it is in. A sample cannot make a result wrong: a bad one
makes ranges uneven, and none makes them one. So whatever goes wrong here is left for the job itself to meet and tell.
"""

from __future__ import annotations

import io
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mincemeat import limits
from mincemeat.errors import UserCodeError
from mincemeat.interrupts import passing
from mincemeat.model import Key, MapFunction, UserFunctions
from mincemeat.shuffle.batches import is_batch
from mincemeat.shuffle.block import PICKLE_PROTOCOL
from mincemeat.shuffle.order import in_order, splitters_of
from mincemeat.shuffle.recognise import map_side
from mincemeat.sources.base import open_split


def answer_sample(load: Callable[[], UserFunctions], payloads: bytes, partitions: int) -> bytes:
    """A slot's answer to a sample: the pickled splitters for ``payloads``, a pickled list; ``b""`` for none."""
    try:
        splitters = run_sample(load(), pickle.loads(payloads), partitions)
        return pickle.dumps(splitters, protocol=PICKLE_PROTOCOL) if splitters else b""
    except passing():
        raise
    except BaseException:  # noqa: BLE001 - code that cannot be loaded, keys that cannot be pickled: the job will tell
        return b""


def run_sample(functions: UserFunctions, payloads: Sequence[bytes], partitions: int) -> tuple[Key, ...]:
    """Splitters for ``partitions`` ranges, from what ``mapfn`` emits for the records of ``payloads``.

    Shape: at most ``partitions - 1``, ascending, all different. None if nothing was emitted, or keys without an order.
    A key that is emitted often counts as often, unless pairs are combined: then it is one pair of each block.
    Cost: at most ``limits.SAMPLE_KEYS`` keys, and no record is begun after ``limits.SAMPLE_SECONDS``. What ``mapfn``
    raises is passed over, with the rest of its record.
    """
    give_up_at = time.monotonic() + limits.SAMPLE_SECONDS
    each = -(-limits.SAMPLE_KEYS // max(1, len(payloads)))
    keys: list[Key] = []
    for payload in _far_apart_first(payloads):
        if time.monotonic() >= give_up_at:
            break
        keys += _keys_of(functions.mapfn, payload, each, give_up_at)
    side = map_side(functions)
    try:
        ordered = in_order(set(keys) if side.collectfn is not None or side.fold is not None else keys)
    except (UserCodeError, TypeError):  # without an order, or without a hash
        return ()
    return splitters_of(ordered, partitions)


def _far_apart_first(payloads: Sequence[bytes]) -> Iterator[bytes]:
    """All of them, so that those that are not reached in time are not all at one end."""
    for start in (0, 4, 2, 6, 1, 5, 3, 7):
        yield from payloads[start::8]


def _keys_of(mapfn: MapFunction | None, payload: bytes, keys_max: int, give_up_at: float) -> list[Key]:
    found: list[Key] = []
    records = _readable(payload)
    while len(found) < keys_max and time.monotonic() < give_up_at and (record := next(records, None)) is not None:
        try:
            key, value = record
            emitted = ((key, value),) if mapfn is None else mapfn(key, value)
            _gather(emitted, found, keys_max)
        except passing():
            raise
        except BaseException:  # noqa: BLE001 - mapfn, or what it emits: the job will tell
            continue
    return found


def _readable(payload: bytes) -> Iterator[tuple[Any, Any]]:
    """The records of ``payload`` up to one that cannot be read."""
    try:
        with io.BytesIO(payload) as stream:
            yield from open_split(stream)
    except Exception:  # noqa: BLE001 - the job will tell
        return


def _gather(emitted: Any, found: list[Key], keys_max: int) -> None:
    for element in (emitted,) if is_batch(emitted) else emitted:
        if is_batch(element):
            keys = list(element) if isinstance(element, dict) else element.keys
            found += keys[:: len(keys) // (keys_max - len(found)) + 1]
        else:
            key, _value = element
            hash(key)
            found.append(key)
        if len(found) >= keys_max:
            return
