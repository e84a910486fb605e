"""The five frames that prove on both ends, inside TLS, that the other knows the password: two pure machines.

Decides: each byte of frames 1 to 5, in which order they are legal, and what their failure means to a person.
Does not know: sockets, TLS, time, where random bytes come from, how many guesses an address has left.

      server                                                         client
      SENDING ----- 1: MCM2, version, flags, nonce (38) ------------> GREETING
      HELLO <------ 2: MCM2, version, role, nonce, Ya (70) ---------- |
      DECISION      GuessPending: may this peer test a guess?         SHARE
      | ----------- 3: Yb (32) -------------------------------------> |
      TAG <-------- 4: client tag (32) ------------------------------ VERDICT
      | ----------- 5: server tag, or zeros for "refused" (32) -----> |
      DONE                                                            DONE

The client confirms first, so that a guess which was not counted cannot have been tested. The fingerprint of the
server's certificate, as each end sees it, enters both the generator and the tags: with another certificate in the
middle the ends compute different keys, and both refuse.

A frame that comes before its turn is an error: neither end has a reason to speak while it is not asked, and nothing can
be smuggled into the time before the proof. A later connection of a worker (Role.CHANNEL) runs the same frames on its
resume key; the first half of its nonce is the public name of that key (see `Session.resume_id`).
"""

from __future__ import annotations

import enum
import hmac
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

from mincemeat.errors import (
    AuthenticationError,
    ConnectionFailed,
    LocalProtocolError,
    MincemeatError,
    RemoteProtocolError,
    ServerBusy,
)
from mincemeat.wire import cpace
from mincemeat.wire.first_bytes import describe_stranger
from mincemeat.wire.key_schedule import RESUME_ID_BYTES, Keys, derive_keys, session_generator

MAGIC = b"MCM2"
PROTOCOL_VERSION = 1
FLAG_BUSY = 0x01

FINGERPRINT_BYTES = 32

_NONCE_BYTES = 32
_HEAD_BYTES = len(MAGIC) + 2 + _NONCE_BYTES  # frame 1, and all of frame 2 but the share
_TAG_BYTES = 32
_REFUSED = bytes(_TAG_BYTES)

RandomBytes: TypeAlias = Callable[[int], bytes]


class Role(enum.IntEnum):
    """What the client wants the connection for; the value is its byte in frame 2."""

    WORKER = 1  # joins, and proves the password
    CHANNEL = 2  # a later connection of a worker that has joined, and proves its resume key
    TOKEN = 3  # joins, and proves the secret of its join token


# The secret of a role: the password for a worker, the token's secret for one with a token (resume_id is b"" for both),
# the key of that resume_id for a channel; or None.
LookupSecret: TypeAlias = Callable[[Role, bytes], bytes | None]


@dataclass(frozen=True)
class Session:
    """What both ends hold once each has proven the secret.

    `resume_key` (32 bytes, secret) and `resume_id` (16 bytes, public: its name) let a worker open later connections.
    The id is derived from the session like the key, but under a label of its own, so it tells nothing about the key.
    A channel carries the key and id it was opened with: a worker has one pair, that of its join, on all connections.
    `transcript_hash` covers every byte of frames 1 to 3 and the certificate.
    """

    role: Role
    resume_key: bytes = field(repr=False)
    resume_id: bytes
    transcript_hash: bytes


class GuessPending(NamedTuple):
    """Server: the peer wants to test a guess of the password. Reserve it, then call `grant`; or call `deny`."""


class Authenticated(NamedTuple):
    """The other end has proven the secret."""

    session: Session


class Refused(NamedTuple):
    """Server: the peer did not prove the secret of this role. Send what the step says, then close."""

    role: Role


Event: TypeAlias = GuessPending | Authenticated | Refused


class Step(NamedTuple):
    """What a machine wants done: bytes to send first, then what has happened, if anything has."""

    send: bytes = b""
    event: Event | None = None


class ClientState(enum.Enum):
    """What the client waits for."""

    GREETING = "frame 1"
    SHARE = "frame 3"
    VERDICT = "frame 5"
    DONE = "nothing: authenticated"
    FAILED = "nothing: failed"


class ServerState(enum.Enum):
    """What the server waits for."""

    START = "its own start"
    HELLO = "frame 2"
    DECISION = "grant or deny"
    TAG = "frame 4"
    DONE = "nothing: authenticated"
    FAILED = "nothing: failed or refused"


CLIENT_MOVES: Mapping[ClientState, frozenset[ClientState]] = {
    ClientState.GREETING: frozenset({ClientState.SHARE, ClientState.FAILED}),
    ClientState.SHARE: frozenset({ClientState.VERDICT, ClientState.FAILED}),
    ClientState.VERDICT: frozenset({ClientState.DONE, ClientState.FAILED}),
    ClientState.DONE: frozenset(),
    ClientState.FAILED: frozenset(),
}
SERVER_MOVES: Mapping[ServerState, frozenset[ServerState]] = {
    ServerState.START: frozenset({ServerState.HELLO, ServerState.FAILED}),
    ServerState.HELLO: frozenset({ServerState.DECISION, ServerState.TAG, ServerState.FAILED}),
    ServerState.DECISION: frozenset({ServerState.TAG, ServerState.FAILED}),
    ServerState.TAG: frozenset({ServerState.DONE, ServerState.FAILED}),
    ServerState.DONE: frozenset(),
    ServerState.FAILED: frozenset(),
}
_CLIENT_FRAME_BYTES = {
    ClientState.GREETING: _HEAD_BYTES,
    ClientState.SHARE: cpace.SHARE_BYTES,
    ClientState.VERDICT: _TAG_BYTES,
}
_SERVER_FRAME_BYTES = {ServerState.HELLO: _HEAD_BYTES + cpace.SHARE_BYTES, ServerState.TAG: _TAG_BYTES}

_State = TypeVar("_State", bound=enum.Enum)


def normalise_password(password: str | bytes) -> bytes:
    """The bytes that enter the key exchange: text as NFC-normalised UTF-8, bytes as they are.

    Raises: AuthenticationError for an empty password, which would let everybody in, and for text that has no UTF-8.
    """
    try:
        secret = unicodedata.normalize("NFC", password).encode() if isinstance(password, str) else bytes(password)
    except UnicodeEncodeError:
        raise AuthenticationError("the password holds half a character (a lone surrogate): give it as bytes") from None
    if not secret:
        raise AuthenticationError("the password is empty: choose one, both ends need the same")
    return secret


class _Machine(Generic[_State]):
    """Collects one fixed-size frame after the other and guards the moves between states."""

    def __init__(self, state: _State, failed: _State, moves: Mapping[_State, frozenset[_State]]) -> None:
        self._state: _State = state
        self._failed: _State = failed
        self._moves: Mapping[_State, frozenset[_State]] = moves
        self._buffer = bytearray()

    @property
    def state(self) -> _State:
        """What the machine waits for."""
        return self._state

    def _move(self, to: _State) -> None:
        if to not in self._moves[self._state]:
            raise LocalProtocolError(f"the handshake cannot go from {self._state} to {to}")
        self._state = to

    def _fail(self, message: str, error: type[MincemeatError] = RemoteProtocolError, **facts: object) -> NoReturn:
        self._move(self._failed)
        self._buffer.clear()
        raise error(message, **facts)

    def _check_head(self, peer: str) -> None:
        """Refuse a stranger by the first byte that differs, without waiting for a whole frame that may never come."""
        start = bytes(self._buffer[: len(MAGIC)])
        if start != MAGIC[: len(start)]:
            self._fail(f"this is not a mincemeat {peer} ({describe_stranger(bytes(self._buffer))})")
        if len(self._buffer) > len(MAGIC) and self._buffer[len(MAGIC)] != PROTOCOL_VERSION:
            self._fail(
                f"the {peer} speaks version {self._buffer[len(MAGIC)]} of the handshake, this side version"
                f" {PROTOCOL_VERSION}. Install the same version of mincemeat on both ends."
            )

    def _take(self, size: int) -> bytes | None:
        """The next frame once all its bytes are there. Nothing may follow it: the peer has to wait for our answer."""
        if len(self._buffer) < size:
            return None
        if len(self._buffer) > size:
            self._fail("the peer sent bytes before it was their turn")
        frame = bytes(self._buffer)
        self._buffer.clear()
        return frame


class ClientHandshake(_Machine[ClientState]):
    """The end that dials. It waits for frame 1, so it has nothing to send at first.

    `secret` is the normalised password for Role.WORKER, a join token's for Role.TOKEN, a resume key for Role.CHANNEL;
    the latter needs the `resume_id` of that key. `fingerprint` is the SHA-256 of the certificate the client sees.
    `random_bytes(n)` gives n secret bytes.
    """

    def __init__(
        self, secret: bytes, role: Role, fingerprint: bytes, random_bytes: RandomBytes, resume_id: bytes | None = None
    ) -> None:
        super().__init__(ClientState.GREETING, ClientState.FAILED, CLIENT_MOVES)
        if not secret:
            raise LocalProtocolError("the handshake needs a secret that is not empty")
        if (resume_id is not None) != (role is Role.CHANNEL):
            raise LocalProtocolError("a resume id belongs to a channel, and to nothing else")
        if resume_id is not None and len(resume_id) != RESUME_ID_BYTES:
            raise LocalProtocolError(f"a resume id has {RESUME_ID_BYTES} bytes, not {len(resume_id)}")
        self._secret = secret
        self._role = role
        self._fingerprint = fingerprint
        self._random_bytes = random_bytes
        self._resume_id = resume_id or b""
        self._frame_1 = self._frame_2 = self._scalar = b""
        self._keys: Keys | None = None

    @property
    def trailing(self) -> bytes:
        """Bytes that followed frame 5: the first of the server's messages. Meaningful in state DONE."""
        return bytes(self._buffer)

    def receive(self, data: bytes) -> Step:
        """Take bytes of the server, in pieces of any size.

        Raises: ServerBusy, AuthenticationError, RemoteProtocolError; the machine has then failed for good.
        """
        if self._state in (ClientState.DONE, ClientState.FAILED):
            raise LocalProtocolError("the handshake is over: these bytes are not for it")
        self._buffer += data
        if self._state is ClientState.GREETING:
            self._check_head("server")
        if self._state is ClientState.VERDICT:
            return self._on_verdict()
        frame = self._take(_CLIENT_FRAME_BYTES[self._state])
        if frame is None:
            return Step()
        return self._on_greeting(frame) if self._state is ClientState.GREETING else self._on_share(frame)

    def receive_eof(self) -> NoReturn:
        """The server closed the connection. Raises: what that means at this point."""
        if self._state is ClientState.VERDICT:
            # Where many push for few places, an honest peer may lose its own before it has its answer.
            self._fail(_explain_refusal(self._role), AuthenticationError, is_certain=False)
        self._fail("the server closed the connection before the password was tried: it is busy", ServerBusy)

    def _on_greeting(self, frame: bytes) -> Step:
        flags = frame[5]
        if flags & FLAG_BUSY:
            self._fail("the server is busy and asks to try again a little later", ServerBusy)
        if flags:
            self._fail(f"the server's greeting has unknown flags {flags:#04x}")
        self._frame_1 = frame
        nonce = self._resume_id + self._random_bytes(_NONCE_BYTES - len(self._resume_id))
        head = MAGIC + bytes([PROTOCOL_VERSION, self._role]) + nonce
        generator = session_generator(self._secret, self._role, self._fingerprint, frame, head)
        self._scalar = self._random_bytes(cpace.SCALAR_BYTES)
        self._frame_2 = head + cpace.scalar_mult(self._scalar, generator)
        self._move(ClientState.SHARE)
        return Step(self._frame_2)

    def _on_share(self, share_s: bytes) -> Step:
        try:
            self._keys = derive_keys(
                self._scalar,
                share_s,
                frame_1=self._frame_1,
                frame_2=self._frame_2,
                share_s=share_s,
                fingerprint=self._fingerprint,
            )
        except RemoteProtocolError as error:
            self._fail(str(error))
        self._move(ClientState.VERDICT)
        return Step(self._keys.client_tag)

    def _on_verdict(self) -> Step:
        if len(self._buffer) < _TAG_BYTES:
            return Step()
        tag = bytes(self._buffer[:_TAG_BYTES])
        assert self._keys is not None
        if not hmac.compare_digest(tag, self._keys.server_tag):
            # Zeros are the server's refusal; anything else is a server that took our proof and could not give its own.
            self._fail(
                _explain_refusal(self._role)
                if tag == _REFUSED
                else "the server did not prove knowledge of the password. Nothing was sent to it.",
                AuthenticationError,
            )
        del self._buffer[:_TAG_BYTES]
        self._move(ClientState.DONE)
        return Step(event=Authenticated(_session(self._keys, self._role, self._secret, self._resume_id)))


def _session(keys: Keys, role: Role, secret: bytes, resume_id: bytes) -> Session:
    if role is Role.CHANNEL:
        return Session(role, secret, resume_id, keys.transcript_hash)
    return Session(role, keys.resume_key, keys.resume_id, keys.transcript_hash)


def _explain_refusal(role: Role) -> str:
    if role is Role.CHANNEL:
        return "the server does not know this worker's resume key (any more): join again with the password"
    if role is Role.TOKEN:
        return "the server does not take this join token: it was replaced by a new one, or the server takes none"
    return (
        "the server refused the password, or somebody in between presents another certificate. Use the -p value the"
        " server uses."
    )


class ServerHandshake(_Machine[ServerState]):
    """The end that listens. Call `start` first.

    `lookup_secret(role, resume_id)` gives the secret of a role. Where it gives None (an unknown resume id) the machine
    goes on with a random secret, so that the peer is refused at frame 5 like one with a wrong secret.
    """

    def __init__(
        self, lookup_secret: LookupSecret, fingerprint: bytes, random_bytes: RandomBytes, *, is_busy: bool = False
    ) -> None:
        super().__init__(ServerState.START, ServerState.FAILED, SERVER_MOVES)
        self._lookup_secret = lookup_secret
        self._fingerprint = fingerprint
        self._random_bytes = random_bytes
        self._is_busy = is_busy
        self._role = Role.WORKER
        self._resume_id = b""
        self._frame_1 = self._frame_2 = self._secret = b""
        self._keys: Keys | None = None

    def start(self) -> Step:
        """Frame 1. A busy server closes after it: the machine is then in state FAILED."""
        flags = FLAG_BUSY if self._is_busy else 0
        self._frame_1 = MAGIC + bytes([PROTOCOL_VERSION, flags]) + self._random_bytes(_NONCE_BYTES)
        self._move(ServerState.FAILED if self._is_busy else ServerState.HELLO)
        return Step(self._frame_1)

    def receive(self, data: bytes) -> Step:
        """Take bytes of the client, in pieces of any size.

        Raises: RemoteProtocolError; the machine has then failed for good, and the connection is to be closed.
        """
        if self._state is ServerState.DECISION and data:
            self._fail("the peer sent bytes before it was their turn")
        if self._state not in _SERVER_FRAME_BYTES:
            raise LocalProtocolError(f"the handshake waits for {self._state.value}, not for bytes")
        self._buffer += data
        if self._state is ServerState.HELLO:
            self._check_head("worker")
        frame = self._take(_SERVER_FRAME_BYTES[self._state])
        if frame is None:
            return Step()
        return self._on_hello(frame) if self._state is ServerState.HELLO else self._on_tag(frame)

    def receive_eof(self) -> NoReturn:
        """The client closed the connection. Raises: ConnectionFailed."""
        self._fail(
            f"the peer closed the connection while the handshake waited for {self._state.value}", ConnectionFailed
        )

    def grant(self) -> Step:
        """The guess is reserved: our share may leave. Raises: RemoteProtocolError for a share of low order."""
        self._check_decision_is_due()
        return self._send_share()

    def deny(self) -> None:
        """No guess is left for this peer: close, before anything that depends on the password was computed."""
        self._check_decision_is_due()
        self._move(ServerState.FAILED)

    def _check_decision_is_due(self) -> None:
        if self._state is not ServerState.DECISION:
            raise LocalProtocolError(f"the handshake waits for {self._state.value}, not for a decision")

    def _on_hello(self, frame: bytes) -> Step:
        role = frame[5]
        if role not in Role.__members__.values():
            self._fail(f"the peer asks for the unknown role {role}")
        self._frame_2 = frame
        self._role = Role(role)
        # 128 bits and more cannot be guessed: they need no budget, and an exhausted one must not stop the workers.
        if self._role is Role.CHANNEL:
            self._resume_id = frame[6 : 6 + RESUME_ID_BYTES]
            return self._send_share()
        if self._role is Role.TOKEN:
            return self._send_share()
        self._move(ServerState.DECISION)
        return Step(event=GuessPending())

    def _send_share(self) -> Step:
        # A random secret matches nobody's: also where a lookup would let in a peer with an empty one.
        self._secret = self._lookup_secret(self._role, self._resume_id) or self._random_bytes(_TAG_BYTES)
        head, share_c = self._frame_2[:_HEAD_BYTES], self._frame_2[_HEAD_BYTES:]
        scalar = self._random_bytes(cpace.SCALAR_BYTES)
        generator = session_generator(self._secret, self._role, self._fingerprint, self._frame_1, head)
        share_s = cpace.scalar_mult(scalar, generator)
        try:
            self._keys = derive_keys(
                scalar,
                share_c,
                frame_1=self._frame_1,
                frame_2=self._frame_2,
                share_s=share_s,
                fingerprint=self._fingerprint,
            )
        except RemoteProtocolError as error:
            self._fail(str(error))
        self._move(ServerState.TAG)
        return Step(share_s)

    def _on_tag(self, tag: bytes) -> Step:
        assert self._keys is not None
        if not hmac.compare_digest(tag, self._keys.client_tag):
            self._move(ServerState.FAILED)
            return Step(_REFUSED, Refused(self._role))
        self._move(ServerState.DONE)
        return Step(
            self._keys.server_tag, Authenticated(_session(self._keys, self._role, self._secret, self._resume_id))
        )
