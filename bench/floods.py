"""How long an honest worker takes to join while somebody floods the server, and what memory the server has then.

The server is a process of its own with a real coordinator and a job that waits for workers. Each flood is another
process: so many peers in all, so many at a time, each of which does its worst until it is dropped or done. Meanwhile an
honest client, from another address, joins again and again, and tries again when it is told to, as a worker does.

    half-open   connects, and says nothing
    slow        a ClientHello, byte by byte
    garbage     random bytes, at once
    giant       announces the largest ClientHello there is, and sends without end
    strangers   TLS, then zeros where frame 2 is due, without end
    guesses     TLS and the whole handshake with a wrong password

    python bench/floods.py                          10,000 peers of each kind, 200 at a time
    python bench/floods.py --peers 500 --kinds slow guesses

Prints a table in Markdown. Exit code 1: under a flood the median join takes more than --most-times as long as a quiet
one and more than --most-seconds, or the server has more than --most-megabytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from mincemeat.cluster.connection import dial
from mincemeat.cluster.tls import client_context
from mincemeat.engines.cluster import ClusterEngine
from mincemeat.errors import MincemeatError, ServerBusy
from mincemeat.model import Job, UserFunctions
from mincemeat.sinks.memory import MemorySink
from mincemeat.sources.base import as_source
from mincemeat.wire.handshake import Role

LOOPBACK: Final = "127.0.0.1"
# Linux has all of 127.0.0.0/8: limits are by address, and an attacker is not where the workers are.
ATTACKER: Final = "127.66.6.6"
PASSWORD: Final = b"changeme"
QUIET: Final = "(quiet)"
JOINS_LEAST: Final = 20
# A flood that has no more peers to send is over; one that is held back is not waited for.
FLOOD_SECONDS_MOST: Final = 30.0
PEER_SECONDS_MOST: Final = 15.0


# -- the server -------------------------------------------------------------------------------------------


def serve() -> None:
    engine = ClusterEngine(password=PASSWORD, host=LOOPBACK, port=0, on_listening=lambda port: print(port, flush=True))
    engine.run(Job("floods", UserFunctions()), as_source([0]), MemorySink())


def peak_megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# -- floods -----------------------------------------------------------------------------------------------


async def _connected(port: int) -> socket.socket:
    plain = socket.socket()
    plain.setblocking(False)
    plain.bind((ATTACKER, 0))
    await asyncio.get_running_loop().sock_connect(plain, (LOOPBACK, port))
    return plain


async def _until_dropped(plain: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(plain, 65536):
        pass


async def half_open(port: int) -> None:
    with await _connected(port) as plain:
        await _until_dropped(plain)


def _client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def slow(port: int) -> None:
    loop = asyncio.get_running_loop()
    with await _connected(port) as plain:
        for byte in _client_hello():
            await loop.sock_sendall(plain, bytes([byte]))
            await asyncio.sleep(0.2)
        await _until_dropped(plain)


async def garbage(port: int) -> None:
    with await _connected(port) as plain:
        await asyncio.get_running_loop().sock_sendall(plain, os.urandom(1024))
        await _until_dropped(plain)


async def giant(port: int) -> None:
    loop = asyncio.get_running_loop()
    with await _connected(port) as plain:
        await loop.sock_sendall(plain, b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")
        while True:
            await loop.sock_sendall(plain, bytes(65536))


async def strangers(port: int) -> None:
    reader, writer = await asyncio.open_connection(
        LOOPBACK, port, ssl=client_context(), local_addr=(ATTACKER, 0), server_hostname=""
    )
    try:
        while not reader.at_eof():
            writer.write(bytes(65536))
            await writer.drain()
            await asyncio.sleep(0)
    finally:
        writer.transport.abort()


async def guesses(port: int) -> None:
    # The real client has no choice of its own address: the limits for the attacker's are then those of everybody here.
    connection = await dial(LOOPBACK, port, role=Role.WORKER, secret=os.urandom(8))
    connection.abort()


FLOODS: Final[dict[str, Callable[[int], Awaitable[None]]]] = {
    "half-open": half_open,
    "slow": slow,
    "garbage": garbage,
    "giant": giant,
    "strangers": strangers,
    "guesses": guesses,
}


def flood(kind: str, port: int, peers: int, at_a_time: int) -> None:
    """Send ``peers`` of one kind; prints how many were sent when it ends, as a line."""
    attack = FLOODS[kind]
    left = peers

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            with contextlib.suppress(OSError, MincemeatError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(PEER_SECONDS_MOST):
                    await attack(port)

    async def everybody() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLOOD_SECONDS_MOST):
                await asyncio.gather(*(one_after_the_other() for _ in range(at_a_time)))

    print("ready", flush=True)
    asyncio.run(everybody())
    print(peers - left, flush=True)


# -- the honest worker ------------------------------------------------------------------------------------


async def join(port: int) -> float:
    """Seconds until one honest client is in, further attempts included."""
    began = time.perf_counter()
    while True:
        try:
            connection = await dial(LOOPBACK, port, role=Role.WORKER, secret=PASSWORD)
        except (ServerBusy, MincemeatError):
            await asyncio.sleep(0.1)
            continue
        seconds = time.perf_counter() - began
        connection.abort()
        return seconds


def joins_while(port: int, is_going_on: Callable[[], bool]) -> list[float]:
    async def again_and_again() -> list[float]:
        found: list[float] = []
        while is_going_on() or len(found) < JOINS_LEAST:
            found.append(await join(port))
            await asyncio.sleep(0.05)
        return found

    return asyncio.run(again_and_again())


def role(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, words)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def measure(kind: str, peers: int, at_a_time: int) -> tuple[int, list[float], float]:
    """How many peers there were, what each join took, and the server's peak in megabytes."""
    server = role("--role", "server")
    attacker: subprocess.Popen[str] | None = None
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        if kind == QUIET:
            return 0, joins_while(port, lambda: False), peak_megabytes(server.pid)
        attacker = role("--role", kind, "--port", port, "--peers", peers, "--at-a-time", at_a_time)
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == "ready\n"
        took = joins_while(port, lambda: attacker.poll() is None)
        return int(attacker.stdout.readline()), took, peak_megabytes(server.pid)
    finally:
        for process in (server, attacker):
            if process is not None:
                process.kill()
                process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--at-a-time", type=int, default=200)
    parser.add_argument("--kinds", nargs="+", choices=list(FLOODS), default=list(FLOODS))
    parser.add_argument("--most-times", type=float, default=5.0)
    parser.add_argument("--most-seconds", type=float, default=0.5)
    parser.add_argument("--most-megabytes", type=float, default=100.0)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "server":
        serve()
        return 0
    if options.role is not None:
        flood(options.role, options.port, options.peers, options.at_a_time)
        return 0
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}\n")
    print("| flood | peers | joins | median | worst | times as long as quiet | server, peak |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    missed: list[str] = []
    quiet = 0.0
    for kind in (QUIET, *options.kinds):
        peers, took, megabytes = measure(kind, options.peers, options.at_a_time)
        median = statistics.median(took)
        quiet = quiet or median
        print(
            f"| {kind} | {peers:,} | {len(took)} | {median * 1000:.0f} ms | {max(took) * 1000:.0f} ms "
            f"| {median / quiet:.2f} | {megabytes:.0f} MB |",
            flush=True,
        )
        if median > max(options.most_times * quiet, options.most_seconds):
            missed.append(f"{kind}: joining takes {median / quiet:.1f} times as long")
        if megabytes > options.most_megabytes:
            missed.append(f"{kind}: the server had {megabytes:.0f} MB")
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
