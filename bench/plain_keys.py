"""What the key exchange costs by `cryptography` and in plain Python, and how much of secrets shows in the time.

The event loop of a coordinator is busy for "a peer" below with everybody who gets as far as frame 2, with the right
password or not, and can do nothing else meanwhile. Times of the first table are the least of many, as noise only adds
(for a join, the mean time on the processor).
The second is a fixed-versus-random test, with a thread's time on the processor: classes of inputs whose means differ by
more than chance can be told apart with so many measurements, made in this very process, without a network in between.

    python bench/plain_keys.py
    python bench/plain_keys.py --rounds 20000      the second table, more exactly
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import random
import ssl
import statistics
import time
from collections.abc import Callable

from mincemeat.cluster import certificate
from mincemeat.cluster.connection import Connection, Listener, dial
from mincemeat.cluster.tls import client_context, server_context
from mincemeat.wire import cpace, primitives
from mincemeat.wire import x25519 as plain
from mincemeat.wire.handshake import Role, ServerHandshake

X25519 = Callable[[bytes, bytes], bytes]


def least_milliseconds(work: Callable[[], object], times: int) -> float:
    """The shortest of so many runs."""
    clock = time.perf_counter
    took = []
    for _ in range(times):
        began = clock()
        work()
        took.append(clock() - began)
    return min(took) * 1000


def serve_peer() -> None:
    """All that the server's machine computes for a peer, who needs to compute nothing."""
    machine = ServerHandshake(lambda role, resume_id: b"changeme", bytes(32), os.urandom)
    frame_1 = machine.start().send
    machine.receive(frame_1[:5] + b"\x01" + os.urandom(32) + (9).to_bytes(32, "little"))
    machine.grant()
    machine.receive(bytes(32))


def serve_tls(context: ssl.SSLContext) -> None:
    """A handshake of TLS, both ends."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context().wrap_bio(to_client, to_server)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass


def join_milliseconds(times: int) -> float:
    """The processor's time for a join over loopback, both ends, by the real listener and dialer: the mean."""

    async def nothing(connection: Connection) -> None:
        pass

    async def join_often() -> float:
        listener = Listener(b"changeme", lambda resume_id: None, nothing)
        port = await listener.start("127.0.0.1", 0)
        began = time.process_time()
        for _ in range(times):
            connection = await dial("127.0.0.1", port, role=Role.WORKER, secret=b"changeme")
            connection.close()
            await connection.wait_closed()
        took = time.process_time() - began
        await listener.close()
        return took / times * 1000

    return asyncio.run(join_often())


def print_costs(times: int) -> None:
    packaged = primitives.obstacle()
    if packaged is not None:
        raise SystemExit(f"nothing to compare with: {packaged.reason}")
    context, _ = server_context()
    scalar, point = os.urandom(32), cpace.calculate_generator(b"changeme", b"channel", b"session")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("one multiplication", lambda: primitives.x25519(scalar, point)),
        ("a generator (both ways the same)", lambda: cpace.calculate_generator(b"changeme", b"channel", b"session")),
        ("a peer: frames 1 to 5 at the server", serve_peer),
        ("TLS before that, both ends", lambda: serve_tls(context)),
        ("a certificate", certificate.make_certificate),
    ]
    by_package = [least_milliseconds(work, times) for _, work in rows] + [join_milliseconds(times)]
    decided = primitives.obstacle
    primitives.obstacle = lambda: primitives.Obstacle(False, "the bench says so")  # type: ignore[assignment]
    in_python = [least_milliseconds(work, times) for _, work in rows] + [join_milliseconds(times)]
    primitives.obstacle = decided
    print(f"{'milliseconds':36} {'cryptography':>12} {'plain':>8}")
    names = [name for name, _ in rows] + ["a join, both ends, sockets and all"]
    for name, one, other in zip(names, by_package, in_python, strict=True):
        print(f"{name:36} {one:12.3f} {other:8.3f}")


def print_leaks(rounds: int) -> None:
    """Welch's t between a fixed class and random inputs, drawn by turns; above 4.5 in size is called a leak."""
    generator = random.Random(7)
    point = generator.randbytes(31) + b"\x3f"
    scalar = generator.randbytes(32)
    classes: list[tuple[str, Callable[[], tuple[bytes, bytes]], Callable[[], tuple[bytes, bytes]]]] = [
        ("scalar: random / random", lambda: (os.urandom(32), point), lambda: (os.urandom(32), point)),
        ("scalar: one / random", lambda: (scalar, point), lambda: (os.urandom(32), point)),
        ("scalar: no bits / random", lambda: (bytes(32), point), lambda: (os.urandom(32), point)),
        ("scalar: all bits / random", lambda: (b"\xff" * 32, point), lambda: (os.urandom(32), point)),
        (
            "point: one / random, random scalars",
            lambda: (os.urandom(32), point),
            lambda: (os.urandom(32), os.urandom(31) + b"\x3f"),
        ),
        (
            "point: 9 / random, random scalars",
            lambda: (os.urandom(32), (9).to_bytes(32, "little")),
            lambda: (os.urandom(32), os.urandom(31) + b"\x3f"),
        ),
    ]
    print(
        f"\n{'plain, microseconds':40} {'means':>16} {'spread':>8} {'t':>7}"
        f"   of {rounds} each but for the slowest tenth"
    )
    for name, fixed, other in classes:
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(2 * rounds):
            which = generator.randrange(2)
            arguments = (fixed, other)[which]()
            began = time.thread_time()
            plain.x25519(*arguments)
            took[which].append((time.thread_time() - began) * 1e6)
        kept = [sorted(times)[: len(times) * 9 // 10] for times in took]
        means = [statistics.fmean(times) for times in kept]
        spreads = [statistics.stdev(times) for times in kept]
        error = math.sqrt(sum(spread**2 / len(times) for spread, times in zip(spreads, kept, strict=True)))
        t = (means[0] - means[1]) / error
        print(f"{name:40} {means[0]:7.1f} {means[1]:8.1f} {spreads[1]:8.1f} {t:7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="runs of which the least is taken")
    parser.add_argument("--rounds", type=int, default=2000, help="measurements of each class")
    options = parser.parse_args()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    print_costs(options.times)
    print_leaks(options.rounds)


if __name__ == "__main__":
    main()
