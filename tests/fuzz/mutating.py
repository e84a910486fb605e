"""Bytes that are nearly right: valid ones, changed a little, by chance that a seed repeats.

Pure noise is refused at the first byte; what lies deep inside a reader is reached by what is right up to there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

BYTES_MAX = 1 << 16
# Lengths, counts and kinds that readers stumble over.
_NUMBERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
_TOKENS = [b"\x00", b"\xff", b"{}", b"[]", b'":', b"null", b"1e999", b"-1", b"\\ud800", b"\x80\x05", b".", b"\n"]


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of ``corpus`` with a few changes, or nothing but noise."""
    if chance.random() < 0.02:
        return chance.randbytes(chance.choice([0, 1, 3, 16, 200, 5000]))
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        _change(chance, data, corpus)
    return bytes(data[:BYTES_MAX])


def _change(chance: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    start = chance.randrange(len(data) + 1)
    stop = min(len(data), start + chance.choice([1, 1, 2, 4, 8, 64]))
    match chance.randrange(8):
        case 0 if data:
            data[start % len(data)] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[start % len(data)] = chance.randrange(256)
        case 2:
            width = chance.choice([1, 2, 4, 8])
            number = chance.choice(_NUMBERS) & (1 << 8 * width) - 1
            data[start : start + width] = number.to_bytes(width, chance.choice(["big", "little"]))
        case 3:
            del data[start:]
        case 4:
            del data[start:stop]
        case 5:
            data[start:start] = data[start:stop] * chance.choice([1, 2, 50])
        case 6:
            data[start:start] = chance.choice(_TOKENS)
        case _:
            other = chance.choice(corpus)
            cut = chance.randrange(len(other) + 1)
            data[start:] = other[cut:]
