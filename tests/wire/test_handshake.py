"""The handshake: who gets in, who does not, and what each failure means."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.errors import (
    AuthenticationError,
    ConnectionFailed,
    LocalProtocolError,
    MincemeatError,
    RemoteProtocolError,
    ServerBusy,
)
from mincemeat.wire import cpace
from mincemeat.wire.handshake import (
    CLIENT_MOVES,
    SERVER_MOVES,
    Authenticated,
    ClientHandshake,
    ClientState,
    GuessPending,
    Refused,
    Role,
    ServerHandshake,
    ServerState,
    Session,
    Step,
    normalise_password,
)
from tests.wire.pair import FINGERPRINT, PASSWORD, Outcome, join, make_client, make_server, stream_of

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "cpace_x25519_sha512.json").read_text())
INVALID_POINTS = {name: bytes.fromhex(value) for name, value in VECTORS["invalid_points"].items()}
FRAME_BYTES = {1: 38, 2: 70, 3: 32, 4: 32, 5: 32}


def completed() -> Outcome:
    return join(make_client(), make_server())


def resumed_from(session: Session) -> dict[bytes, bytes]:
    return {session.resume_id: session.resume_key}


# -- success ---------------------------------------------------------------------------------------------


def test_the_right_password_gives_both_ends_the_same_session() -> None:
    outcome = completed()
    assert outcome.client == outcome.server
    assert outcome.client is not None
    assert outcome.client.role is Role.WORKER
    assert len(outcome.client.resume_key) == 32
    assert len(outcome.client.resume_id) == 16


def test_frames_have_their_fixed_sizes() -> None:
    assert {number: len(frame) for number, frame in completed().frames.items()} == FRAME_BYTES


def test_every_byte_follows_the_specification() -> None:
    """The formulas of docs/protocol.md, computed here once more from what was on the wire and one scalar."""
    outcome = completed()
    f1, f2, yb, tag_c, tag_s = (outcome.frames[n] for n in range(1, 6))
    assert f1[:6] == b"MCM2\x01\x00"
    assert f2[:6] == b"MCM2\x01\x01"
    scalar = hashlib.shake_256(b"server" + b"1").digest(32)  # after the nonce: see pair.stream_of
    sid = hashlib.sha256(f1 + f2[:38]).digest()
    ci = cpace.lv_cat(b"mincemeat/2", b"coordinator", b"\x01", b"tls-server-end-point", FINGERPRINT)
    assert cpace.scalar_mult(scalar, cpace.calculate_generator(PASSWORD, ci, sid)) == yb
    isk = cpace.session_key(sid, cpace.scalar_mult(scalar, f2[38:]), cpace.transcript_ir(f2[38:], b"C", yb, b"S"))
    prk = hmac.digest(b"mincemeat/2", isk, "sha256")
    th = hashlib.sha256(cpace.lv_cat(f1, f2, yb, FINGERPRINT)).digest()

    def expand(info: bytes) -> bytes:
        return hmac.digest(prk, info + b"\x01", "sha256")

    assert tag_c == hmac.digest(expand(b"client confirm"), th, "sha256")
    assert tag_s == hmac.digest(expand(b"server confirm"), th, "sha256")
    assert outcome.server == Session(Role.WORKER, expand(b"resume" + th), expand(b"resume id" + th)[:16], th)


def test_golden_bytes() -> None:
    """A change of these is a change of the protocol: it needs a new version and a line in docs/protocol.md."""
    stream = b"".join(completed().frames[number] for number in range(1, 6))
    assert hashlib.sha256(stream).hexdigest() == "b5815450456f25205a16d7108d70dc30a69c501640314922b70ff3cb79f4e609"


def test_frames_may_arrive_byte_by_byte() -> None:
    server = make_server()
    ends: list[ClientHandshake | ServerHandshake] = [make_client(), server]
    step = server.start()
    for number in range(5):
        sent, step = step.send, Step()
        for byte in sent:
            assert step == Step()
            step = ends[number % 2].receive(bytes([byte]))
        if isinstance(step.event, GuessPending):
            step = server.grant()
    assert isinstance(step.event, Authenticated)


def test_bytes_behind_frame_5_are_the_first_messages() -> None:
    client = make_client()
    join(client, make_server(), lambda number, frame: frame + b"hello" if number == 5 else frame)
    assert client.state is ClientState.DONE
    assert client.trailing == b"hello"


def test_secrets_are_not_shown() -> None:
    session = completed().client
    assert session is not None
    assert session.resume_key.hex() not in repr(session)
    assert repr(session.resume_key) not in repr(session)


# -- later connections -----------------------------------------------------------------------------------


def test_a_channel_proves_the_resume_key_and_needs_no_guess() -> None:
    first = completed().client
    assert first is not None
    client = make_client(first.resume_key, role=Role.CHANNEL, resume_id=first.resume_id, seed=b"channel")
    server = make_server(resume_keys=resumed_from(first), seed=b"again")
    frame_2 = client.receive(server.start().send).send
    assert frame_2[5] == 2
    assert frame_2[6:22] == first.resume_id
    step = server.receive(frame_2)
    assert step.event is None
    assert len(step.send) == 32
    step = server.receive(client.receive(step.send).send)
    event = client.receive(step.send).event
    assert event == step.event
    assert isinstance(event, Authenticated)
    assert event.session.role is Role.CHANNEL
    assert (event.session.resume_key, event.session.resume_id) == (first.resume_key, first.resume_id)
    assert event.session.transcript_hash != first.transcript_hash


def test_an_unknown_resume_id_is_refused_like_a_wrong_key() -> None:
    client = make_client(bytes(32), role=Role.CHANNEL, resume_id=bytes(16))
    with pytest.raises(AuthenticationError, match="join again"):
        join(client, make_server())


def test_the_password_is_no_resume_key_and_a_resume_key_no_password() -> None:
    first = completed().client
    assert first is not None
    server = make_server(resume_keys=resumed_from(first))
    with pytest.raises(AuthenticationError):
        join(make_client(PASSWORD, role=Role.CHANNEL, resume_id=first.resume_id), server)
    with pytest.raises(AuthenticationError):
        join(make_client(first.resume_key), make_server(resume_keys=resumed_from(first)))


def test_resume_keys_differ_between_sessions() -> None:
    other = join(make_client(seed=b"other"), make_server()).client
    assert other is not None
    assert completed().client != other


# -- refusal ---------------------------------------------------------------------------------------------


def test_a_wrong_password_is_refused_with_zeros() -> None:
    frames: dict[int, bytes] = {}
    server = make_server()

    def note(number: int, frame: bytes) -> bytes:
        frames[number] = frame
        return frame

    with pytest.raises(AuthenticationError, match="-p value") as caught:
        join(make_client(b"wrong"), server, note)
    assert caught.value.is_certain
    assert frames[5] == bytes(32)
    assert server.state is ServerState.FAILED


def test_a_server_without_a_password_lets_nobody_in() -> None:
    for secret in (None, b""):
        with pytest.raises(AuthenticationError):
            join(make_client(b"anything"), make_server(secret))


def test_an_impostor_that_accepts_everything_is_found_out() -> None:
    impostor = make_server(b"does not know it")
    with pytest.raises(AuthenticationError, match="did not prove knowledge"):
        join(make_client(), impostor, lambda number, frame: b"\x01" * 32 if number == 5 else frame)


def test_the_end_of_the_stream_at_frame_5_is_a_refusal() -> None:
    client = make_client()
    server = make_server()
    client.receive(server.receive(client.receive(server.start().send).send).send or server.grant().send)
    with pytest.raises(AuthenticationError) as caught:
        client.receive_eof()
    assert not caught.value.is_certain, "it may have lost its place to a crowd"


@pytest.mark.parametrize("number", [1, 3])
def test_the_end_of_the_stream_before_frame_3_means_busy(number: int) -> None:
    with pytest.raises(ServerBusy):
        join(make_client(), make_server(), lambda at, frame: b"" if at == number else frame)


def test_the_busy_flag_means_busy() -> None:
    server = make_server(is_busy=True)
    greeting = server.start().send
    assert greeting[5] == 1
    assert server.state is ServerState.FAILED
    with pytest.raises(ServerBusy, match="busy"):
        make_client().receive(greeting)


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="flags"):
        join(make_client(), make_server(), lambda n, frame: frame[:5] + b"\x02" + frame[6:] if n == 1 else frame)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="role"):
        join(make_client(), make_server(), lambda n, frame: frame[:5] + b"\x09" + frame[6:] if n == 2 else frame)


@pytest.mark.parametrize("number", [1, 2])
def test_another_version_is_named(number: int) -> None:
    with pytest.raises(RemoteProtocolError, match="version 9.*same version of mincemeat"):
        join(make_client(), make_server(), lambda n, frame: frame[:4] + b"\x09" + frame[5:] if n == number else frame)


# -- attacks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", FRAME_BYTES)
def test_no_flipped_bit_of_any_byte_lets_both_ends_succeed(number: int) -> None:
    for at in range(FRAME_BYTES[number]):

        def flip(n: int, frame: bytes, at: int = at) -> bytes:
            if n != number:
                return frame
            changed = bytearray(frame)
            changed[at] ^= 1 << at % 8
            return bytes(changed)

        client, server = make_client(), make_server()
        with pytest.raises(MincemeatError) as caught:
            join(client, server, flip)
        assert not isinstance(caught.value, LocalProtocolError)
        assert client.state is not ClientState.DONE
        assert number == 5 or server.state is not ServerState.DONE


@pytest.mark.parametrize("number", FRAME_BYTES)
@pytest.mark.parametrize("kept", [0, 1, 31])
def test_no_truncated_frame_lets_both_ends_succeed(number: int, kept: int) -> None:
    with pytest.raises((RemoteProtocolError, AuthenticationError, ServerBusy, ConnectionFailed)):
        join(make_client(), make_server(), lambda n, frame: frame[:kept] if n == number else frame)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_bytes_before_their_turn_are_refused(number: int) -> None:
    with pytest.raises(RemoteProtocolError, match="turn"):
        join(make_client(), make_server(), lambda n, frame: frame + b"x" if n == number else frame)


def test_bytes_while_the_guess_is_decided_are_refused() -> None:
    server = make_server()
    server.receive(make_client().receive(server.start().send).send)
    assert server.state is ServerState.DECISION
    with pytest.raises(RemoteProtocolError, match="turn"):
        server.receive(b"x")


def test_a_recorded_client_cannot_be_replayed() -> None:
    recorded = completed().frames
    server = make_server(seed=b"another run")
    server.start()
    assert isinstance(server.receive(recorded[2]).event, GuessPending)
    server.grant()
    assert server.receive(recorded[4]).event == Refused(Role.WORKER)


def test_a_recorded_server_cannot_be_replayed() -> None:
    recorded = completed().frames
    client = make_client(seed=b"another run")
    client.receive(recorded[1])
    client.receive(recorded[3])
    with pytest.raises(AuthenticationError):
        client.receive(recorded[5])


def test_a_stranger_that_reflects_the_servers_own_frames_is_refused() -> None:
    """The original answered its peer's challenge before it had authenticated the peer: reflected, it let itself in."""
    server = make_server()
    greeting = server.start().send
    with pytest.raises(RemoteProtocolError):
        server.receive(greeting + bytes(32))
    server = make_server()
    share_c = make_client(b"unknown").receive(server.start().send).send
    server.receive(share_c)
    share_s = server.grant().send
    assert server.receive(share_s).event == Refused(Role.WORKER)


def test_a_server_that_reflects_the_clients_own_frames_is_refused() -> None:
    client = make_client()
    share_c = client.receive(make_server().start().send).send[38:]
    tag_c = client.receive(share_c).send
    with pytest.raises(AuthenticationError):
        client.receive(tag_c)


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("name", INVALID_POINTS)
def test_low_order_points_are_refused_by_both_ends(name: str, number: int) -> None:
    def replace_share(at: int, frame: bytes) -> bytes:
        return frame[:-32] + INVALID_POINTS[name] if at == number else frame

    with pytest.raises(RemoteProtocolError, match="share"):
        join(make_client(), make_server(), replace_share)


def test_a_relay_with_another_certificate_is_refused_by_both_ends() -> None:
    server = make_server()
    with pytest.raises(AuthenticationError):
        join(make_client(fingerprint=hashlib.sha256(b"the relay's").digest()), server)
    assert server.state is ServerState.FAILED


def test_control_with_the_certificate_unbound_the_relay_succeeds() -> None:
    """Without it the test above would prove nothing: the same bytes relayed, only the fingerprint left out."""
    outcome = join(make_client(fingerprint=b""), make_server(fingerprint=b""))
    assert outcome.client == outcome.server is not None


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_garbage_never_gets_into_a_server(pieces: list[bytes]) -> None:
    server = make_server()
    server.start()
    try:
        for piece in pieces:
            if server.state is ServerState.DECISION:
                server.grant()
            server.receive(piece)
    except RemoteProtocolError:
        pass
    assert server.state is not ServerState.DONE


@given(st.binary(max_size=150))
def test_garbage_never_convinces_a_client(garbage: bytes) -> None:
    client = make_client()
    try:
        for byte in make_server().start().send + garbage:
            client.receive(bytes([byte]))
    except (RemoteProtocolError, AuthenticationError):
        pass
    assert client.state is not ClientState.DONE


# -- the budget hook -------------------------------------------------------------------------------------


def test_nothing_that_depends_on_the_password_leaves_before_the_guess_is_granted() -> None:
    asked: list[Role] = []

    def lookup(role: Role, resume_id: bytes) -> bytes:
        asked.append(role)
        return PASSWORD

    server = ServerHandshake(lookup, FINGERPRINT, stream_of(b"server"))
    step = server.receive(make_client().receive(server.start().send).send)
    assert step == Step(b"", GuessPending())
    server.deny()
    assert server.state is ServerState.FAILED
    assert not asked
    with pytest.raises(LocalProtocolError):
        server.grant()


# -- strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"challenge:5f3c", "original mincemeat.py"),
        (b"auth:00", "original mincemeat.py"),
        (b"disconnect:\n", "original mincemeat.py"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"HTTP/1.1 400 Bad Request", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6", "SSH"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"\xff\xfe", "its first bytes are"),
    ],
)
def test_strangers_are_named_at_their_first_bytes(start: bytes, told: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"not a mincemeat server .*{told}"):
        make_client().receive(start)
    server = make_server()
    server.start()
    with pytest.raises(RemoteProtocolError, match=f"not a mincemeat worker .*{told}"):
        server.receive(start)


# -- use of the machines ---------------------------------------------------------------------------------


def test_a_machine_that_has_ended_takes_no_more_bytes() -> None:
    client, server = make_client(), make_server()
    join(client, server)
    with pytest.raises(LocalProtocolError):
        client.receive(b"x")
    with pytest.raises(LocalProtocolError):
        server.receive(b"x")
    with pytest.raises(LocalProtocolError):
        server.start()


def test_the_tables_of_moves_cover_every_state() -> None:
    assert set(CLIENT_MOVES) == set(ClientState)
    assert set(SERVER_MOVES) == set(ServerState)
    for end in (CLIENT_MOVES[ClientState.DONE], CLIENT_MOVES[ClientState.FAILED], SERVER_MOVES[ServerState.DONE]):
        assert not end


@pytest.mark.parametrize(
    ("role", "resume_id"), [(Role.WORKER, bytes(16)), (Role.CHANNEL, None), (Role.CHANNEL, bytes(15))]
)
def test_a_resume_id_belongs_to_a_channel(role: Role, resume_id: bytes | None) -> None:
    with pytest.raises(LocalProtocolError, match="resume id"):
        make_client(role=role, resume_id=resume_id)


def test_a_client_needs_a_secret() -> None:
    with pytest.raises(LocalProtocolError, match="secret"):
        make_client(b"")


def test_the_end_of_the_stream_is_told_to_a_server() -> None:
    server = make_server()
    server.start()
    with pytest.raises(ConnectionFailed, match="frame 2"):
        server.receive_eof()


# -- passwords -------------------------------------------------------------------------------------------


def test_text_and_bytes_of_one_password_are_the_same_secret() -> None:
    assert normalise_password("geheim") == normalise_password(b"geheim") == b"geheim"
    assert normalise_password("ä") == normalise_password("a\u0308") == "ä".encode()
    assert normalise_password(b"a\xcc\x88") == b"a\xcc\x88"
    assert normalise_password(b"\xff") == b"\xff"


@pytest.mark.parametrize("password", ["", b"", "\ud800"])
def test_a_password_that_cannot_be_one_is_refused(password: str | bytes) -> None:
    with pytest.raises(AuthenticationError):
        normalise_password(password)


def test_sessions_are_frozen() -> None:
    session = completed().client
    assert session is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        session.role = Role.CHANNEL  # type: ignore[misc]
