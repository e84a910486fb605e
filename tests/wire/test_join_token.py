"""Join tokens as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import AuthenticationError
from mincemeat.wire.join_token import JoinToken, looks_like_token, parse_token

sixteen = st.binary(min_size=16, max_size=16)
TOKEN = JoinToken(bytes(range(16)), bytes(range(240, 256)))
TEXT = "mm2-aaaqeayeaudaocajbifqydiob4-6dy7f47u6x3pp6hz7l57z7p674"


def test_its_form() -> None:
    assert TOKEN.text() == TEXT
    assert parse_token(TEXT) == TOKEN


@given(sixteen, sixteen)
def test_what_was_written_is_read_in_any_case_and_with_spaces_around(pin: bytes, secret: bytes) -> None:
    token = JoinToken(pin, secret)
    for text in (token.text(), token.text().upper(), f"  {token.text()}\n"):
        assert looks_like_token(text)
        assert parse_token(text) == token


@pytest.mark.parametrize(
    "text",
    ["", "mm2", "mm2-", "mm2--", TEXT[:-1], TEXT + "a", TEXT + "-a", TEXT.replace("mm2", "mm3"), TEXT.replace("a", "1"),
     TEXT[:-1] + "5", TEXT.replace("-6dy", "_6dy"), "mm2-" + "é" * 26 + "-" + "a" * 26],
)  # fmt: skip
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AuthenticationError, match="no join token") as refused:
        parse_token(text)
    assert text == "" or len(text) < 5 or text not in str(refused.value)


def test_a_repr_does_not_tell_the_secret() -> None:
    assert repr(TOKEN.secret) not in repr(TOKEN)


def test_a_password_is_no_token() -> None:
    assert not looks_like_token("changeme")
