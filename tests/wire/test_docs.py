"""docs/protocol.md says what the code does, where a table can be compared."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import re
from collections.abc import Callable

from mincemeat import limits
from mincemeat.shuffle.digest_sums import sum_of_columns
from mincemeat.shuffle.partition import partition_hash
from mincemeat.sources.base import open_split
from mincemeat.wire import cpace, messages, tickets
from mincemeat.wire.codec import decode, encode
from mincemeat.wire.frames import FrameDecoder
from mincemeat.wire.handshake import Authenticated, ClientHandshake, Role, ServerHandshake
from mincemeat.wire.join_token import JoinToken
from mincemeat.wire.key_schedule import session_generator
from mincemeat.wire.messages import KINDS
from tests.kit.pages import DOCS, data, examples

PAGE = (DOCS / "protocol.md").read_text(encoding="utf-8")
EXAMPLES = examples("protocol.md")


def test_the_page_lists_exactly_the_messages_with_their_fields() -> None:
    rows = PAGE.partition("| kind | message | fields |")[2].strip().split("\n\n")[0].splitlines()[1:]
    expected = []
    for kind, cls in KINDS.items():
        fields = ", ".join(f"{f.name}: {f.type}" for f in dataclasses.fields(cls) if f.name != "body") or "-"
        star = "*" if cls.carries_body else ""
        expected.append(f"| {kind} | {cls.__name__}{star} | {fields.replace('|', chr(92) + '|')} |")
    assert rows == expected


def test_the_page_names_the_limits() -> None:
    assert f"{limits.FRAME_BYTES_MAX:,} bytes" in PAGE
    assert f"{limits.HANDSHAKE_SECONDS:g} s covers everything" in PAGE
    assert f"At most {limits.UNAUTHENTICATED_MAX} peers" in PAGE
    assert f"{limits.UNAUTHENTICATED_PER_ADDRESS_MAX} per address" in PAGE
    assert f"has {limits.GUESS_BURST} guesses" in PAGE
    assert f"every {1 / limits.GUESS_REFILL_PER_SECOND:g} s" in PAGE
    assert f"holds {limits.GUESS_ADDRESSES_MAX};" in PAGE


def counting_up(*starts: int) -> Callable[[int], bytes]:
    """Random bytes that are none: each time 32 that count up from the next of ``starts``."""
    left = list(starts)

    def random_bytes(size: int) -> bytes:
        start = left.pop(0)
        return bytes(range(start, start + size))

    return random_bytes


def test_the_key_exchange_has_the_bytes_of_the_page() -> None:
    fingerprint = hashlib.sha256(b"the server's certificate").digest()
    client = ClientHandshake(b"changeme", Role.WORKER, fingerprint, counting_up(0x20, 0x40))
    server = ServerHandshake(lambda role, resume_id: b"changeme", fingerprint, counting_up(0x00, 0x60))
    frame_1 = server.start().send
    frame_2 = client.receive(frame_1).send
    server.receive(frame_2)
    frame_3 = server.grant().send
    frame_4 = client.receive(frame_3).send
    frame_5 = server.receive(frame_4).send
    event = client.receive(frame_5).event
    assert isinstance(event, Authenticated)
    assert {what: data(value) for what, value in EXAMPLES["proof"].items()} == {
        "fingerprint": fingerprint,
        "frame 1": frame_1,
        "sid": hashlib.sha256(frame_1 + frame_2[:38]).digest(),
        "g": session_generator(b"changeme", Role.WORKER, fingerprint, frame_1, frame_2[:38]),
        "frame 2": frame_2,
        "frame 3": frame_3,
        "K": cpace.scalar_mult(bytes(range(0x40, 0x60)), frame_3),
        "th": event.session.transcript_hash,
        "frame 4": frame_4,
        "frame 5": frame_5,
        "resume key": event.session.resume_key,
        "resume id": event.session.resume_id,
    }


def test_frames_have_the_bytes_of_the_page() -> None:
    for what, value in EXAMPLES["frames"].items():
        name, fields = re.fullmatch(r"(\w+)\((.*)\)", what).groups()  # type: ignore[union-attr]
        call = ast.parse(f"dict({fields})", mode="eval").body
        assert isinstance(call, ast.Call)
        arguments = {each.arg or "": ast.literal_eval(each.value) for each in call.keywords}
        assert encode(getattr(messages, name)(**arguments)) == data(value)
    assert len(EXAMPLES["frames"]) == 4


def test_fields_may_have_any_order_and_white_space_between_them() -> None:
    text = b' {"size": 3,\n"message": "", "ok": true }'
    (frame,) = FrameDecoder().feed((5 + len(text)).to_bytes(4, "big") + b"\x42" + len(text).to_bytes(4, "big") + text)
    assert decode(frame) == messages.Answer(ok=True, message="", size=3)


def test_tickets_have_the_bytes_of_the_page() -> None:
    key = tickets.ticket_key(bytes(range(32)), "10.0.0.7:41832", 0)
    ticket = bytes.fromhex(tickets.ticket(key, "8f3a61c02b9d", "10.0.0.8:50110"))
    told = {what: data(value) for what, value in EXAMPLES["ticket"].items()}
    assert told == {"root": bytes(range(32)), "K_H": key, "ticket": ticket}


def test_a_join_token_is_that_of_the_page() -> None:
    told = EXAMPLES["token"]
    assert JoinToken(data(told["fingerprint"])[:16], data(told["secret"])).text() == told["token"]


def test_a_split_has_the_bytes_of_the_page() -> None:
    assert list(open_split(io.BytesIO(data(EXAMPLES["split"]["split"])))) == [("a", 1)]


def test_keys_have_the_hashes_of_the_page() -> None:
    told = {ast.literal_eval(what): int.from_bytes(data(value), "big") for what, value in EXAMPLES["hashes"].items()}
    assert told == {key: partition_hash(key) for key in told}
    assert len(told) == 5


def test_digests_are_those_of_the_page() -> None:
    pairs = sum_of_columns(["a", "b"], [[1, 2], ["x"]], single=False)
    total = sum_of_columns(["a"], [3], single=True, is_sum=True)
    assert list(EXAMPLES["digests"].values()) == [f"+{pairs:016x}", f"+{total:016x}"]


def test_every_section_that_is_referred_to_is_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings


def test_the_page_names_the_limits_of_a_job() -> None:
    assert f"A body of up to {limits.INLINE_BODY_BYTES:,} bytes" in PAGE
    assert f"and may have {limits.CHANNELS_PER_WORKER_MAX}." in PAGE
    assert f"at most {limits.OUTPUTS_PER_FETCH_MAX:,} attempts" in PAGE
    assert f"at most {limits.HELD_OUTPUTS_PER_MESSAGE:,} in each" in PAGE
    assert f"lets {limits.OUTBOX_MESSAGES_MAX:,} messages pile up" in PAGE
    assert f"r = min(partitions, {limits.DIGEST_RANGES_MAX})" in PAGE
    assert f"are at most {limits.DECODED_DEPTH_MAX:,} deep" in " ".join(PAGE.split())
    assert f"is silent for {limits.LEASE_SECONDS:g} s" in PAGE
    assert limits.CHUNK_BYTES == 256 * 2**10
    assert "at most 256 KiB" in PAGE
