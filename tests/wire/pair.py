"""Both ends of a handshake, joined in memory: what the tests of the handshake stand on."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from mincemeat.wire.handshake import (
    Authenticated,
    ClientHandshake,
    GuessPending,
    Refused,
    Role,
    ServerHandshake,
    Session,
    Step,
)

FINGERPRINT = hashlib.sha256(b"the server's certificate").digest()
PASSWORD = b"secret"

# Changes frame `number` (1 to 5) on its way.
Tamper = Callable[[int, bytes], bytes]


def stream_of(seed: bytes) -> Callable[[int], bytes]:
    """A reproducible source of random bytes, different for each seed."""
    counter = itertools.count()

    def random_bytes(size: int) -> bytes:
        return hashlib.shake_256(seed + b"%d" % next(counter)).digest(size)

    return random_bytes


def untouched(number: int, frame: bytes) -> bytes:
    return frame


@dataclass
class Outcome:
    """How a joined handshake ended: the session of each end that authenticated the other, and all frames as sent."""

    client: Session | None = None
    server: Session | None = None
    is_refused: bool = False
    frames: dict[int, bytes] = field(default_factory=dict)


def make_client(
    secret: bytes = PASSWORD,
    fingerprint: bytes = FINGERPRINT,
    *,
    role: Role = Role.WORKER,
    resume_id: bytes | None = None,
    seed: bytes = b"client",
) -> ClientHandshake:
    return ClientHandshake(secret, role, fingerprint, stream_of(seed), resume_id)


def make_server(
    secret: bytes | None = PASSWORD,
    fingerprint: bytes = FINGERPRINT,
    *,
    resume_keys: dict[bytes, bytes] | None = None,
    seed: bytes = b"server",
    is_busy: bool = False,
) -> ServerHandshake:
    def lookup(role: Role, resume_id: bytes) -> bytes | None:
        return secret if role is Role.WORKER else (resume_keys or {}).get(resume_id)

    return ServerHandshake(lookup, fingerprint, stream_of(seed), is_busy=is_busy)


def join(client: ClientHandshake, server: ServerHandshake, tamper: Tamper = untouched) -> Outcome:
    """Run both machines against each other to the end. Raises: what either raises.

    An end whose peer has nothing more to say sees the end of the stream.
    """
    outcome = Outcome()
    step = server.start()
    for number in itertools.count(1):
        if isinstance(step.event, GuessPending):
            step = server.grant()
        if isinstance(step.event, Refused):
            outcome.is_refused = True
        if isinstance(step.event, Authenticated):
            if number % 2 == 0:  # the client authenticates the server with frame 5, which came last
                outcome.client = step.event.session
                return outcome
            outcome.server = step.event.session
        outcome.frames[number] = step.send
        to: ClientHandshake | ServerHandshake = client if number % 2 else server
        arriving = tamper(number, step.send)
        step = to.receive(arriving) if arriving else Step()
        if not step.send and step.event is None:
            to.receive_eof()
    raise AssertionError("unreachable")
