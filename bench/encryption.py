"""What encryption costs: the same program with TLS as it is, and with the bytes as they are, by turns in the same run.

    direct    blocks from worker to worker: the real HolderServer and Fetcher, on loopback, to disk
    relayed   the same blocks by way of the real coordinator
    job       a word count on a cluster of two worker processes on loopback, to its end

In clear is a stream of this file, in place of ``TlsStream``: nothing in the program can be told to do without TLS. All
that proves who is there (five frames, pins, tickets) is the same in both. Blocks go from this process to this process:
their seconds are those of both ends, and of the coordinator, on one core.

    python bench/encryption.py                          256 MiB each, five rounds; 64 MB of text
    python bench/encryption.py --megabytes 64 --rounds 3 --no-job

Prints a table in Markdown: medians, and how much longer TLS takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import resource
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mincemeat  # noqa: E402
from mincemeat.cluster import dialing, listening, stream, tls  # noqa: E402
from mincemeat.cluster.blocks import encode_attempts, read_sections  # noqa: E402
from mincemeat.cluster.connection import Connection  # noqa: E402
from mincemeat.cluster.fetching import Channels, Fetcher, Holder, HolderServer  # noqa: E402
from mincemeat.model import AttemptId  # noqa: E402
from mincemeat.shuffle.block import Payload  # noqa: E402
from mincemeat.shuffle.store import JobStore  # noqa: E402
from mincemeat.wire import messages  # noqa: E402
from mincemeat.wire.tickets import ticket, ticket_key  # noqa: E402
from tests.kit.desk import JOB, coordinating  # noqa: E402

LOOPBACK: Final = "127.0.0.1"
OUTPUTS: Final = 16
WORDS: Final = 2_000
# Says to the workers of a job whether they speak in clear.
CLEAR: Final = "MINCEMEAT_BENCH_IN_CLEAR"


# -- without TLS --------------------------------------------------------------------------------------------------


class _Said:
    """What the certificate and ALPN of this connection would have said."""

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint

    def selected_alpn_protocol(self) -> str:
        return tls.ALPN


class ClearStream(stream.TlsStream):
    """As TlsStream, and the bytes go as they are. The server says its fingerprint, as TLS does by its certificate."""

    def begin_tls(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        self._is_server = is_server
        self._clear: list[bytes] = []
        self._own = _fingerprints.get(id(context), b"")
        if not is_server:
            self._plain.write(_HELLO)

    async def finish_tls(self) -> Any:
        if self._is_server:
            self._take_exactly(len(_HELLO), await self._at_least(len(_HELLO)))
            self._plain.write(_ANSWER + self._own)
            return _Said(self._own)
        size = len(_ANSWER) + 32
        return _Said(self._take_exactly(size, await self._at_least(size))[len(_ANSWER) :])

    async def _at_least(self, size: int) -> bytes:
        return await self.first_bytes(lambda data: len(data) >= size)

    def _take_exactly(self, size: int, data: bytes) -> bytes:
        self._arrived.clear()
        self._arrived_bytes = 0
        if data[size:]:
            self._clear.append(data[size:])
        return data[:size]

    def _take_arrived(self) -> None:
        self._clear += self._arrived
        self._arrived.clear()
        self._arrived_bytes = 0
        if self._is_paused:
            self._is_paused = False
            if not self._plain.is_closing():
                self._plain.resume_reading()

    def _decrypt(self) -> bytes:
        data = b"".join(self._clear)
        self._clear.clear()
        return data

    async def write(self, data: bytes) -> None:
        self._check_is_open()
        self._sent_bytes += len(data)
        self._plain.write(data)
        if not self._writable.is_set():
            await self._wait_until_writable()
            self._check_is_open()


# What looks like a ClientHello, and like an answer to one, so that the looks at first bytes are the same.
_HELLO: Final = b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c" + bytes(44)
_ANSWER: Final = b"\x16\x03\x03"
_fingerprints: dict[int, bytes] = {}  # of contexts, by identity
_contexts: list[ssl.SSLContext] = []


def take_tls_out() -> None:
    """Have this process speak in clear for good."""
    make = tls.server_context

    def server_context(pem: bytes = b"") -> tuple[ssl.SSLContext, bytes]:
        context, fingerprint = make(pem)
        _contexts.append(context)
        _fingerprints[id(context)] = fingerprint
        return context, fingerprint

    for module, name, value in (
        (listening, "TlsStream", ClearStream),
        (dialing, "TlsStream", ClearStream),
        (listening, "server_context", server_context),
        (dialing, "peer_fingerprint", lambda said: said.fingerprint),
    ):
        setattr(module, name, value)


@contextlib.contextmanager
def in_clear(wanted: bool) -> Iterator[None]:
    names = (
        (listening, "TlsStream"),
        (dialing, "TlsStream"),
        (listening, "server_context"),
        (dialing, "peer_fingerprint"),
    )
    before = [(module, name, getattr(module, name)) for module, name in names]
    if wanted:
        take_tls_out()
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


# -- blocks -------------------------------------------------------------------------------------------------------


def write_outputs(directory: Path, megabytes: int) -> JobStore:
    """Map outputs of so much together, in blocks of a megabyte that no compression would make smaller."""
    store = JobStore(directory / "blocks")
    for index in range(OUTPUTS):
        attempt = AttemptId.parse(f"m-{index:05d}.0")
        with store.writing(attempt) as writer:
            for _ in range(megabytes // OUTPUTS):
                writer.append(0, Payload(os.urandom(2**20), 0), keys=1, pairs=1, single=False)
        store.commit(attempt)
    return store


class _NoRelay(Channels):
    def __init__(self) -> None:
        pass

    async def get(self, request: messages.Get, path: Path, *, bytes_max: int | None = None) -> None:
        raise AssertionError("the direct way should have been taken")


@contextlib.asynccontextmanager
async def holding(store: JobStore) -> AsyncIterator[Holder]:
    server = HolderServer()
    port = await server.start(LOOPBACK)
    key = ticket_key(b"root", "holder", 0)
    server.admit(key, "job", store)
    try:
        yield Holder("holder", LOOPBACK, port, server.fingerprint.hex(), ticket(key, "job", "fetcher"))
    finally:
        await server.close()


async def directly(store: JobStore, path: Path) -> None:
    async with holding(store) as holder:
        fetcher = Fetcher("fetcher", LOOPBACK, _NoRelay())
        found = await fetcher.fetch("job", holder, store.outputs(), range(1), path)
        assert len(found) == OUTPUTS
        fetcher.close()


async def relayed(store: JobStore, path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        async with coordinating(Path(name), splits=0) as desk, desk.liar() as fetcher, desk.honest():
            directory = Path(name, "honest")
            while not (directory / "job").exists():  # until then it removes what it finds
                await asyncio.sleep(0.001)
            (directory / "blocks").mkdir(exist_ok=True)
            for output in store.outputs():
                os.link(store.path(output), directory / "blocks" / Path(store.path(output)).name)
            everybody = desk.coordinator._roster.everybody()
            (holder,) = [record.worker for record in everybody if record.worker != fetcher.name]
            beating = asyncio.get_running_loop().create_task(_beat(fetcher.connection))
            body = encode_attempts(store.outputs())
            request = messages.Get("relay", JOB, holder, 0, 0, 1, "", fetcher.name, body=body)
            channels = Channels((LOOPBACK, desk.port), fetcher.connection)
            await channels.get(request, path)
            assert len(read_sections(path, range(OUTPUTS))) == OUTPUTS
            channels.close()
            beating.cancel()


async def _beat(connection: Connection) -> None:
    while True:
        await connection.send(messages.Heartbeat())
        await asyncio.sleep(1)


# -- a job --------------------------------------------------------------------------------------------------------


def words(key: Any, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def write_text(path: Path, megabytes: int) -> None:
    line = b" ".join(b"word%d" % (number * number % 50_021) for number in range(WORDS)) + b"\n"
    with open(path, "wb") as file:
        for _ in range(megabytes * 10**6 // len(line)):
            file.write(line)


# Read by each interpreter at its start, in both kinds of runs, so that both load the same.
IN_WORKERS: Final = """
import os, sys
if "{variable}" in os.environ:
    sys.path.insert(0, {bench!r})
    import encryption
    if os.environ["{variable}"] == "1":
        encryption.take_tls_out()
"""


def job(directory: Path, clear: bool) -> None:
    customised = IN_WORKERS.format(variable=CLEAR, bench=str(Path(__file__).resolve().parent))
    (directory / "sitecustomize.py").write_text(customised, "utf-8")
    os.environ.update({CLEAR: str(int(clear)), "PYTHONPATH": str(directory)})
    lines = mincemeat.lines(str(directory / "text.txt"))
    try:
        found = mincemeat.run(lines, words, mincemeat.reducers.sum, engine="cluster", workers=2)
    finally:
        del os.environ[CLEAR], os.environ["PYTHONPATH"]
    assert len(found) > WORDS // 100


# -- the table ----------------------------------------------------------------------------------------------------


def processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measure(what: Any, clear: bool) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    with in_clear(clear):
        started, busy = time.perf_counter(), processor_seconds()
        what(clear)
        return time.perf_counter() - started, processor_seconds() - busy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256, help="of blocks")
    parser.add_argument("--text", type=int, default=64, help="megabytes of text for the job")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-job", action="store_true")
    options = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{platform.python_version()}, {os.cpu_count()} cores, {ssl.OPENSSL_VERSION}, load {load} before")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = write_outputs(directory, options.megabytes)
        write_text(directory / "text.txt", options.text)
        target = directory / "fetched"
        ways: dict[str, Any] = {
            f"direct, {options.megabytes} MiB": lambda _: asyncio.run(directly(store, target)),
            f"relayed, {options.megabytes} MiB": lambda _: asyncio.run(relayed(store, target)),
        }
        if not options.no_job:
            ways[f"job, {options.text} MB of text"] = lambda clear: job(directory, clear)
        print("\n| | TLS | in clear | times as long | processor: TLS | in clear | times as much |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for way, what in ways.items():
            for clear in (False, True):  # what is loaded once, and caches
                measure(what, clear)
            found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for round_number in range(options.rounds):
                for clear in (False, True) if round_number % 2 else (True, False):
                    found[clear].append(measure(what, clear))
            (tls, tls_busy), (clear_, clear_busy) = (
                tuple(map(statistics.median, zip(*found[kind], strict=True))) for kind in (False, True)
            )
            print(
                f"| {way} | {tls:.2f} s | {clear_:.2f} s | {tls / clear_:.2f} "
                f"| {tls_busy:.2f} s | {clear_busy:.2f} s | {tls_busy / clear_busy:.2f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
