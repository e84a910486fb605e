"""X25519 in plain Python: RFC 7748's vectors, and the same as the package's for everything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mincemeat.wire import primitives
from mincemeat.wire import x25519 as plain

X25519 = Callable[[bytes, bytes], bytes]

BOTH = pytest.mark.parametrize("x25519", [plain.x25519, primitives.packaged_x25519], ids=["plain", "packaged"])
BASE_POINT = (9).to_bytes(32, "little")

# Points of low order: of the curve 0, 1 and two more, of its twist 0 and -1; and larger numbers that mean the same.
ORDER_8 = [
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]
LOW_ORDER = sorted(
    {
        point + multiple * plain.PRIME
        for point in (0, 1, plain.PRIME - 1, *ORDER_8)
        for multiple in (0, 1, 2)
        if point + multiple * plain.PRIME < 2**255
    }
)


@BOTH
@pytest.mark.parametrize(
    ("scalar", "point", "product"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (  # bit 255 of the point is set, and is not looked at
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_products_of_rfc_7748_section_5_2(x25519: X25519, scalar: str, point: str, product: str) -> None:
    assert x25519(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product


@pytest.mark.parametrize(
    ("times", "result"),
    [
        (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
        pytest.param(1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", marks=pytest.mark.slow),
    ],
)
@BOTH
def test_iterations_of_rfc_7748_section_5_2(x25519: X25519, times: int, result: str) -> None:
    scalar = point = BASE_POINT
    for _ in range(times):
        scalar, point = x25519(scalar, point), scalar
    assert scalar.hex() == result


@BOTH
def test_diffie_hellman_of_rfc_7748_section_6_1(x25519: X25519) -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice_public, bob_public = x25519(alice, BASE_POINT), x25519(bob, BASE_POINT)
    assert alice_public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob_public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert x25519(alice, bob_public).hex() == x25519(bob, alice_public).hex() == shared


@BOTH
@pytest.mark.parametrize("bit_255", [0, 1])
@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_is_an_error_however_it_is_written(x25519: X25519, point: int, bit_255: int) -> None:
    with pytest.raises(ValueError):
        x25519(bytes(range(32)), (point | bit_255 << 255).to_bytes(32, "little"))


@BOTH
@pytest.mark.parametrize("length", [0, 31, 33])
def test_another_length_is_an_error(x25519: X25519, length: int) -> None:
    for scalar, point in ((bytes(length), BASE_POINT), (BASE_POINT, bytes(length))):
        with pytest.raises(ValueError):
            x25519(scalar, point)


# Every u is on the curve or on its twist, half of them each. Numbers near the ends of the field and beyond, and powers
# of two, are where folding and carries go wrong.
NEAR = st.integers(-70, 70)
NUMBERS = st.one_of(
    st.integers(0, 2**256 - 1),
    NEAR.map(lambda near: (plain.PRIME + near) % 2**256),
    NEAR.map(lambda near: near % 2**256),
    NEAR.map(lambda near: 2**255 + near),
    st.builds(lambda bit, near: (2**bit + near) % 2**256, st.integers(0, 255), NEAR),
)
WRITTEN = NUMBERS.map(lambda number: number.to_bytes(32, "little"))


@given(st.one_of(st.binary(min_size=32, max_size=32), WRITTEN), WRITTEN)
@example(b"\xff" * 32, b"\xff" * 32)
@example(bytes(32), BASE_POINT)
def test_both_ways_agree_on_every_scalar_and_point(scalar: bytes, point: bytes) -> None:
    assert product(plain.x25519, scalar, point) == product(primitives.packaged_x25519, scalar, point)


def product(x25519: X25519, scalar: bytes, point: bytes) -> bytes | None:
    try:
        return x25519(scalar, point)
    except ValueError:
        return None


def test_numbers_stay_within_the_bounds_that_the_ladder_counts_on() -> None:
    """What the ladder's docstring says, for one step on the largest numbers that may enter it."""
    coordinate = 2**255 + 2**43
    above_x, above_square = 2 * plain.PRIME, plain.PRIME << 8
    assert above_x > coordinate
    total, difference = 2 * coordinate, coordinate + above_x
    aa, bb, product = (folded_most(number) for number in (total**2, difference**2, total * difference))
    assert above_square > bb
    e = aa + above_square
    sum_squared = (2 * product) ** 2
    last = [aa * bb, e * (aa + 121_665 * e), sum_squared, folded_most(sum_squared) * plain.PRIME]
    assert max(last) < 2**545
    assert all(folded_most(folded_most(number)) < coordinate for number in last)


def folded_most(number: int) -> int:
    """The most that folding can make of any number up to this one."""
    return 2**255 - 1 + 19 * (number >> 255)
