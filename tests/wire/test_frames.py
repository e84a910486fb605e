"""Frames: where one ends and the next begins, whatever the pieces they arrive in."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.errors import LocalProtocolError, RemoteProtocolError
from mincemeat.wire.frames import HEADER_BYTES, Frame, FrameDecoder, encode_frame

frames = st.builds(Frame, st.integers(0, 255), st.binary(max_size=200))


def test_a_frame_is_length_kind_payload() -> None:
    assert encode_frame(7, b"abc") == b"\x00\x00\x00\x04\x07abc"
    assert encode_frame(7, b"a", b"bc") == encode_frame(7, b"abc")
    assert encode_frame(255) == b"\x00\x00\x00\x01\xff"


@pytest.mark.slow
@given(st.lists(frames, max_size=20), st.data())
def test_frames_survive_any_cut_of_the_stream(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(*frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = FrameDecoder()
    received = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[start:stop])
    assert received == sent
    assert not decoder.has_partial


def test_a_cut_frame_is_partial() -> None:
    decoder = FrameDecoder()
    for byte in encode_frame(1, b"xy")[:-1]:
        assert decoder.feed(bytes([byte])) == []
        assert decoder.has_partial
    assert decoder.feed(b"y") == [Frame(1, b"xy")]
    assert not decoder.has_partial


def test_the_largest_frame_passes_and_the_next_larger_one_does_not() -> None:
    payload = bytes(limits.FRAME_BYTES_MAX - HEADER_BYTES)
    assert FrameDecoder().feed(encode_frame(1, payload)) == [Frame(1, payload)]
    with pytest.raises(LocalProtocolError, match="at most 1048576"):
        encode_frame(1, payload, b"x")


@pytest.mark.parametrize("length", [0, limits.FRAME_BYTES_MAX - 3, 2**32 - 1])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_bad_length_is_refused_by_its_four_bytes(length: int, is_cut: bool) -> None:
    decoder = FrameDecoder()
    header = length.to_bytes(4, "big")
    if is_cut:
        assert decoder.feed(header[:3]) == []
        header = header[3:]
    with pytest.raises(RemoteProtocolError, match="the protocol allows 5 to 1048576 bytes"):
        decoder.feed(header)
    assert not decoder.has_partial
    with pytest.raises(RemoteProtocolError):
        decoder.feed(encode_frame(1, b"good"))


def test_a_small_limit_is_kept() -> None:
    decoder = FrameDecoder(frame_bytes_max=8)
    assert decoder.feed(encode_frame(1, b"abc")) == [Frame(1, b"abc")]
    with pytest.raises(RemoteProtocolError):
        decoder.feed(encode_frame(1, b"abcd")[:4])


@given(st.binary(max_size=100))
def test_garbage_gives_frames_or_a_protocol_error(garbage: bytes) -> None:
    try:
        FrameDecoder().feed(garbage)
    except RemoteProtocolError:
        pass


def test_a_large_frame_in_small_pieces_costs_linear_time() -> None:
    """A decoder that copies what it has for every piece would move 8 GB here, which takes seconds."""
    stream = encode_frame(1, bytes(limits.FRAME_BYTES_MAX - HEADER_BYTES))
    decoder = FrameDecoder()
    began = time.process_time()
    received = []
    for start in range(0, len(stream), 64):
        received += decoder.feed(stream[start : start + 64])
    assert len(received) == 1
    assert time.process_time() - began < 1.0
