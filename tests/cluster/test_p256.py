"""P-256 in plain Python against RFC 6979's vectors and `cryptography`."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.cluster import p256

# RFC 6979, appendix A.2.5.
KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
PUBLIC = (
    0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6,
    0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299,
)
INFINITY = (0, 1, 0)
KEYS = st.one_of(
    st.integers(1, p256.ORDER - 1),
    st.integers(1, 20),
    st.integers(1, 20).map(lambda below: p256.ORDER - below),
    st.integers(0, 255).map(lambda bit: 2**bit),
)


def test_the_public_key_of_rfc_6979() -> None:
    assert p256.public_key(KEY) == PUBLIC


@pytest.mark.parametrize(
    ("message", "r", "s"),
    [
        (
            b"sample",
            0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
            0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
        ),
        (
            b"test",
            0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
            0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
        ),
    ],
)
def test_the_signatures_of_rfc_6979(message: bytes, r: int, s: int) -> None:
    assert p256.sign(KEY, message) == (r, s)


@settings(max_examples=25)
@given(KEYS, st.binary(max_size=200))
def test_the_package_has_the_same_public_key_and_accepts_the_signature(private: int, message: bytes) -> None:
    public = ec.derive_private_key(private, ec.SECP256R1()).public_key()
    numbers = public.public_numbers()
    assert p256.public_key(private) == (numbers.x, numbers.y)
    public.verify(encode_dss_signature(*p256.sign(private, message)), message, ec.ECDSA(hashes.SHA256()))


def test_a_nonce_that_does_not_do_is_followed_by_others_that_do() -> None:
    """The first one is taken but once in 2^32 times, so nothing else would run the rest of RFC 6979's step h."""
    nonces = p256._iter_nonces(KEY, bytes(32))
    taken = [next(nonces) for _ in range(50)]
    assert len(set(taken)) == 50
    assert all(0 < nonce < p256.ORDER for nonce in taken)


def test_addition_knows_no_special_cases() -> None:
    one = p256._multiply_base(1)
    x, y, z = one
    opposite = (x, p256.PRIME - y, z)
    for two in (p256._add(one, one), p256._multiply_base(2)):
        assert p256._affine(two) == p256.public_key(2)
    assert p256._add(one, opposite)[2] == 0
    assert p256._add(INFINITY, INFINITY)[2] == 0
    assert p256._affine(p256._add(INFINITY, one)) == p256._affine(p256._add(one, INFINITY)) == p256._affine(one)
    assert p256._multiply_base(p256.ORDER)[2] == 0
    assert p256._affine(p256._multiply_base(p256.ORDER - 1)) == p256._affine(opposite)


def test_a_private_key_is_drawn_again_rather_than_reduced() -> None:
    order = p256.ORDER
    drawn = iter([0, order, order + 1, 2**256 - 1, order - 1])
    assert p256.private_key(lambda size: next(drawn).to_bytes(size, "big")) == order - 1
    assert next(drawn, None) is None
