"""CPace against the draft's vectors, with X25519 by `cryptography` and in plain Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import RemoteProtocolError
from mincemeat.wire import cpace
from tests.kit.plain import WAYS, chosen_ways, use

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "cpace_x25519_sha512.json").read_text())
RUN = {name: bytes.fromhex(value) for name, value in VECTORS["run"].items()}
INVALID = {name: bytes.fromhex(value) for name, value in VECTORS["invalid_points"].items()}


@pytest.fixture(params=WAYS, scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    with chosen_ways() as taken, use(request.param):
        yield request.param
    assert set(taken) == {request.param}


def test_generator() -> None:
    assert cpace.calculate_generator(RUN["PRS"], RUN["CI"], RUN["sid"]) == RUN["g"]


def test_shares() -> None:
    assert cpace.scalar_mult(RUN["ya"], RUN["g"]) == RUN["Ya"]
    assert cpace.scalar_mult(RUN["yb"], RUN["g"]) == RUN["Yb"]


def test_both_ends_agree_on_the_shared_point() -> None:
    assert cpace.scalar_mult(RUN["ya"], RUN["Yb"]) == cpace.scalar_mult(RUN["yb"], RUN["Ya"]) == RUN["K"]


def test_session_key_and_transcript_in_initiator_responder_order() -> None:
    transcript = cpace.transcript_ir(RUN["Ya"], RUN["ADa"], RUN["Yb"], RUN["ADb"])
    assert cpace.session_key(RUN["sid"], RUN["K"], transcript) == RUN["ISK_IR"]
    assert hashlib.sha512(b"CPaceSidOutput" + transcript).digest() == RUN["sid_output_ir"]


def test_session_key_and_transcript_in_symmetric_order() -> None:
    """Not our order; the vector checks that the session key takes any transcript as the draft says."""
    parts = [cpace.lv_cat(RUN["Ya"], RUN["ADa"]), cpace.lv_cat(RUN["Yb"], RUN["ADb"])]
    transcript = b"oc" + b"".join(sorted(parts, reverse=True))
    assert cpace.session_key(RUN["sid"], RUN["K"], transcript) == RUN["ISK_SY"]
    assert hashlib.sha512(b"CPaceSidOutput" + transcript).digest() == RUN["sid_output_oc"]


@pytest.mark.parametrize("name", INVALID)
def test_low_order_and_invalid_points_are_errors(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="share"):
        cpace.scalar_mult(RUN["ya"], INVALID[name])


def test_there_are_twelve_invalid_points() -> None:
    assert len(INVALID) == 12


@pytest.mark.parametrize("point", [b"", bytes(31), RUN["Ya"] + b"\0"])
def test_a_share_of_another_length_is_an_error(point: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        cpace.scalar_mult(RUN["ya"], point)


@pytest.mark.parametrize(
    ("length", "prefix"), [(0, b"\0"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_lengths_are_leb128(length: int, prefix: bytes) -> None:
    assert cpace.prepend_len(bytes(length)) == prefix + bytes(length)


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_lv_cat_tells_lists_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (cpace.lv_cat(*one) == cpace.lv_cat(*other)) == (one == other)


@given(st.binary(min_size=1, max_size=300))
def test_every_password_gives_a_generator_that_shares_can_be_made_of(password: bytes) -> None:
    generator = cpace.calculate_generator(password, b"channel", b"session")
    assert len(cpace.scalar_mult(RUN["ya"], generator)) == cpace.SHARE_BYTES
