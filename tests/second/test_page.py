"""The second implementation says what docs/protocol.md says: the same messages, and the same bytes in its examples."""

from __future__ import annotations

import re
import secrets

import pytest

from tests.kit.pages import DOCS, data, examples
from tests.second import peer

EXAMPLES = examples("protocol.md")


def test_it_knows_the_messages_that_the_page_lists() -> None:
    page = (DOCS / "protocol.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w+)\*? \| (.*) \|$", page, re.MULTILINE)
    listed = {name: (int(kind), re.findall(r"(\w+): ", fields)) for kind, name, fields in rows}
    assert {name: listed.get(name) for name in peer.TABLE} == peer.TABLE
    assert listed.keys() == peer.TABLE.keys()


class Played(peer.Stream):
    """A server that says what it is told to."""

    def __init__(self, *says: bytes) -> None:
        self.says = list(says)
        self.heard: list[bytes] = []

    def read(self, count: int) -> bytes:
        said = self.says.pop(0)
        assert len(said) == count
        return said

    def write(self, data: bytes) -> None:
        self.heard.append(data)


def test_it_proves_the_password_by_the_bytes_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {what: data(value) for what, value in EXAMPLES["proof"].items()}
    chances = iter([bytes(range(0x20, 0x40)), bytes(range(0x40, 0x60))])
    monkeypatch.setattr(secrets, "token_bytes", lambda size: next(chances))
    server = Played(told["frame 1"], told["frame 3"], told["frame 5"])
    proven = peer.prove(server, told["fingerprint"], peer.ROLE_WORKER, b"changeme")
    assert server.heard == [told["frame 2"], told["frame 4"]]
    assert proven == peer.Proven(told["fingerprint"], told["resume key"], told["resume id"])


@pytest.mark.parametrize("frame_5", [bytes(32), bytes(range(32))], ids=["refused", "garbage"])
def test_it_believes_no_server_without_the_password(frame_5: bytes) -> None:
    told = {what: data(value) for what, value in EXAMPLES["proof"].items()}
    server = Played(told["frame 1"], told["frame 3"], frame_5)
    with pytest.raises(peer.Refused, match="does not know our secret"):
        peer.prove(server, told["fingerprint"], peer.ROLE_WORKER, b"changeme")


def test_it_reads_the_token_of_the_page_in_any_case() -> None:
    told = EXAMPLES["token"]
    expected = (data(told["fingerprint"])[:16], data(told["secret"]))
    assert peer.read_token(told["token"]) == expected
    assert peer.read_token(told["token"].upper()) == expected


def test_it_makes_frames_tickets_and_digests_as_on_the_page() -> None:
    frames = [peer.encode("Heartbeat"), peer.encode("Answer", ok=True, message="", size=3)]
    frames += [peer.encode("Chunk", b"abc"), peer.encode("End")]
    assert frames == [data(value) for value in EXAMPLES["frames"].values()]
    key = data(EXAMPLES["ticket"]["K_H"])
    assert peer.make_ticket(key, "8f3a61c02b9d", "10.0.0.8:50110") == EXAMPLES["ticket"]["ticket"].split()[0]
    assert peer.read_records(data(EXAMPLES["split"]["split"])) == [("a", 1)]
    assert peer.make_digests([{"a": [1, 2], "b": ["x"]}]) == next(iter(EXAMPLES["digests"].values()))
