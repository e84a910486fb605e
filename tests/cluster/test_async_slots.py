"""What a worker does about a slot that says what it should not: user code can write to the channel, too."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.cluster.async_slots import AsyncSlot, SlotDied
from mincemeat.slot_channel import encode
from mincemeat.slots import SlotProcess


class Saying:
    """A slot process that says ``words`` and nothing else."""

    exit_code = 0

    def __init__(self, words: bytes) -> None:
        import socket

        self.channel, self.other = socket.socketpair()
        self.other.sendall(words)
        self.other.shutdown(socket.SHUT_WR)

    def describe_exit(self) -> str:
        return "exited with code 0"

    def close(self) -> None:
        self.channel.close()
        self.other.close()


def heard(words: bytes) -> tuple[dict[str, Any], bytes]:
    process = Saying(words)

    async def exchange() -> tuple[dict[str, Any], bytes]:
        stand_in: Any = process
        slot: SlotProcess = stand_in
        return await AsyncSlot(slot).exchange({"do": "map"})

    try:
        return asyncio.run(exchange())
    finally:
        process.close()


def test_an_answer_is_heard_behind_what_a_slot_says_first() -> None:
    words = encode({"did": "ready"}) + encode({"did": "confined"}) + encode({"did": "done"}, b"body")
    assert heard(words) == ({"did": "done"}, b"body")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (struct.pack(">II", 2, 2**32 - 1) + b"{}", f"5 bytes came (at most {limits.SLOT_MESSAGE_BYTES_MAX:,})"),
        (struct.pack(">II", 2**32 - 1, 0), "a message of 4,294,967,303 bytes came"),
        (struct.pack(">II", 4, 0) + b"?!?!", "bytes came that are no message"),
        (struct.pack(">II", 2, 0) + b"[]", "bytes came that are no message"),
        (struct.pack(">II", 100_000, 0) + b"[" * 100_000, "bytes came that are no message"),
        (encode({"done": True}), "bytes came that are no message"),
    ],
)  # fmt: skip
def test_what_is_no_message_ends_the_slot_and_not_the_worker(words: bytes, told: str) -> None:
    with pytest.raises(SlotDied) as died:
        heard(words)
    assert told in str(died.value)
    assert str(died.value).startswith("was ended for what it said: ")


def test_a_slot_that_ends_instead_says_how() -> None:
    with pytest.raises(SlotDied, match="exited with code 0"):
        heard(encode({"did": "ready"}))
