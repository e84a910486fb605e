"""X25519 in plain Python, for machines on which nothing can be installed.

Decides: the product of a scalar and a u-coordinate, by the Montgomery ladder of RFC 7748, section 5. Does not know:
when it is to be used (primitives.py), what a product is for (cpace.py).

Not constant in time, because Python's integers are not: they take a little longer when they happen to have more digits.
What can be had is had. Each bit of the scalar costs the same operations in the same order, on numbers of nearly the
same size and without a sign; bits choose by indexing, so no branch depends on them; the inverse is a power with a fixed
exponent. An index stands for the masks of the RFC's conditional swap, because a mask that is zero makes an integer of
Python's short, and its use quick. docs/threats.md says what is left, and what limits the damage.

Time: three quarters of a millisecond. A quarter is saved by folding 2^255 to 19 instead of `%`. A window method on the
Edwards form would save a tenth of the multiplications, and needs a table that is indexed by secrets.
measured: bench/plain_keys.py
"""

from __future__ import annotations

PRIME = 2**255 - 19

_A24 = 121_665  # (486662 - 2) / 4
_BYTES = 32
_LOW_BITS = 2**255 - 1
_CLAMP_AND = 2**254 - 8
_CLAMP_OR = 2**254


def x25519(scalar: bytes, point: bytes) -> bytes:
    """The u-coordinate of scalar * point, 32 bytes each; bit 255 of the point is not looked at.

    Raises: ValueError if the product is all zeros (the point has low order), and for other lengths.
    """
    if len(scalar) != _BYTES or len(point) != _BYTES:
        raise ValueError("X25519 takes a scalar and a point of 32 bytes each")
    k = int.from_bytes(scalar, "little") & _CLAMP_AND | _CLAMP_OR
    product = _ladder(k, (int.from_bytes(point, "little") & _LOW_BITS) % PRIME)
    if product == 0:
        raise ValueError("the point is of low order: the product is all zeros")
    return product.to_bytes(_BYTES, "little")


def _ladder(k: int, u: int) -> int:
    """The u-coordinate of k times a point, from the point's; 0 for infinity. `k` has 255 bits, `u` is below PRIME.

    2^255 is 19 modulo PRIME, so `(n & low) + 19 * (n >> 255)` is n again, and shorter. Each x and z is folded twice and
    below 2^255 + 2^43; what is folded once, and what that is multiplied to, is below 2^545.
    """
    low, a24 = _LOW_BITS, _A24
    # Multiples of PRIME that keep differences positive.
    above_x, above_square = 2 * PRIME, PRIME << 8
    # Two points u = x / z whose difference is the one that came in. The second is one step ahead where a bit is 0, the
    # first where it is 1: so they change places where a bit differs from the one above it.
    x2, z2, x3, z3 = 1, 0, u, 1
    for swap in map(int, format(k ^ k >> 1, "0255b")):
        stay = 1 - swap
        sums = x2 + z2, x3 + z3
        differences = x2 - z2 + above_x, x3 - z3 + above_x
        a, c = sums[swap], sums[stay]
        b, d = differences[swap], differences[stay]
        aa = a * a
        aa = (aa & low) + 19 * (aa >> 255)
        bb = b * b
        bb = (bb & low) + 19 * (bb >> 255)
        da = d * a
        da = (da & low) + 19 * (da >> 255)
        cb = c * b
        cb = (cb & low) + 19 * (cb >> 255)
        e = aa - bb + above_square
        x2 = aa * bb
        x2 = (x2 & low) + 19 * (x2 >> 255)
        x2 = (x2 & low) + 19 * (x2 >> 255)
        z2 = e * (aa + a24 * e)
        z2 = (z2 & low) + 19 * (z2 >> 255)
        z2 = (z2 & low) + 19 * (z2 >> 255)
        x3 = da + cb
        x3 *= x3
        x3 = (x3 & low) + 19 * (x3 >> 255)
        x3 = (x3 & low) + 19 * (x3 >> 255)
        z3 = da - cb
        z3 *= z3
        z3 = ((z3 & low) + 19 * (z3 >> 255)) * u
        z3 = (z3 & low) + 19 * (z3 >> 255)
        z3 = (z3 & low) + 19 * (z3 >> 255)
    last = k & 1
    x, z = (x2, x3)[last], (z2, z3)[last]
    return x * pow(z, PRIME - 2, PRIME) % PRIME
