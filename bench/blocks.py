"""Blocks: what it costs to make a block's payload and to read it again, by codec, for blocks of different kinds.

    words    40,000 words of Python's standard library, each with a count    (word count with a combiner)
    index    10,000 identifiers, each with four of 300 file names, which are the same objects again and again
    lines    10,000 keys of 10 random printable bytes, each with 90 more     (sort)
    floats   40,000 words, each with a random float

For each: bytes a pair, CPU nanoseconds a pair to encode and to decode, and both together beside pickle's in the same
round (median of the rounds, codecs in turn).

Deflated: how small a pickled payload becomes, and the break-even: the rate at which sending and receiving the bytes
that are saved would take as long as deflating and inflating. Slower than that for each slot, it pays. Beside it what
this machine does: bytes through a TCP connection on loopback, and written to and read from a file in its cache.

Run: PYTHONPATH=src python bench/blocks.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import gc
import io
import marshal
import pickle
import platform
import random
import re
import socket
import statistics
import sysconfig
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mincemeat.shuffle.block import Block, decode_columns, encode_columns


class Columns(NamedTuple):
    keys: list[Any]
    values: list[Any]
    single: bool

    @property
    def pairs(self) -> int:
        return len(self.keys) if self.single else sum(map(len, self.values))


def make_blocks() -> dict[str, Columns]:
    chance = random.Random(0)
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in sources)
    counts = list(Counter(text.split()).items())[:40_000]
    chance.shuffle(counts)
    words = [word for word, _ in counts]
    identifiers = sorted(set(re.findall(r"[A-Za-z_]\w+", text)))[:10_000]
    chance.shuffle(identifiers)
    files = [f"/usr/src/linux/drivers/net/ethernet/vendor/file{number}.c" for number in range(300)]

    def printable(length: int) -> list[bytes]:
        return [bytes(chance.choices(range(32, 127), k=length)) for _ in range(10_000)]

    return {
        "words": Columns(words, [count for _, count in counts], True),
        "index": Columns(identifiers, [chance.choices(files, k=4) for _ in identifiers], False),
        "lines": Columns(printable(10), printable(90), True),
        "floats": Columns(words, [chance.random() for _ in words], True),
    }


def loopback_rate(size: int) -> float:
    """MB a second of CPU and waiting through a TCP connection of this machine, without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sender = threading.Thread(target=_send, args=(listening, bytes(size)))
        sender.start()
        with socket.create_connection(listening.getsockname()) as connection:
            started = time.perf_counter()
            while connection.recv(2**18):
                pass
            seconds = time.perf_counter() - started
        sender.join()
    return size / seconds / 1e6


def _send(listening: socket.socket, data: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.sendall(data)


def file_rate(size: int) -> float:
    """MB a second written to a file and read again, from the system's cache."""
    data = bytes(size)
    with tempfile.TemporaryFile() as file:
        started = time.perf_counter()
        file.write(data)
        file.seek(0)
        file.read()
        return size / (time.perf_counter() - started) / 1e6


def report_deflating(kind: str, columns: Columns, rounds: int) -> None:
    data = pickle.dumps((columns.keys, columns.values), protocol=5)
    for level in (1, 6):
        deflating, inflating = [], []
        for _ in range(rounds):
            started = time.process_time()
            deflated = zlib.compress(data, level)
            between = time.process_time()
            zlib.decompress(deflated)
            inflating.append(time.process_time() - between)
            deflating.append(between - started)
        down, up = statistics.median(deflating), statistics.median(inflating)
        print(
            f"  deflated at level {level}: {len(deflated) / len(data):.2f} of the size,"
            f" {len(data) / down / 1e6:.0f} MB/s, inflated {len(data) / up / 1e6:.0f} MB/s;"
            f" break-even {(len(data) - len(deflated)) / (down + up) / 1e6:.0f} MB/s"
        )


Coder = tuple[Callable[[Columns], bytes], Callable[[bytes, Columns], Any]]


def ours(stays_here: bool) -> Coder:
    def encode(columns: Columns) -> bytes:
        return encode_columns(columns.keys, columns.values, single=columns.single, stays_here=stays_here).data

    def decode(data: bytes, columns: Columns) -> Any:
        flags = 1 if columns.single else 0
        block = Block(0, int(stays_here), flags, columns.pairs, len(columns.keys), data, "", 0)
        return decode_columns(block, stays_here=stays_here)

    return encode, decode


CODERS: dict[str, Coder] = {
    "pickle": ours(stays_here=False),
    "marshal, types checked": ours(stays_here=True),
    "marshal 4 bare": (
        lambda columns: marshal.dumps((columns.keys, columns.values), 4),
        lambda data, _: marshal.loads(data),
    ),
    "marshal 2 bare": (
        lambda columns: marshal.dumps((columns.keys, columns.values), 2),
        lambda data, _: marshal.loads(data),
    ),
    "pickle bare": (
        lambda columns: pickle.dumps((columns.keys, columns.values), protocol=5),
        lambda data, _: pickle.loads(data),
    ),
}


def copied(columns: Columns) -> Columns:
    """The same as a group buffer deals it out: nothing else refers to the keys."""
    back = pickle.load(io.BytesIO(pickle.dumps(columns)))
    assert isinstance(back, Columns)
    return back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}; {options}")
    print(f"loopback {loopback_rate(2**28):.0f} MB/s, file {file_rate(2**28):.0f} MB/s")
    gc.disable()
    blocks = {kind: copied(made) for kind, made in make_blocks().items()}
    for kind, columns in blocks.items():
        encoding: defaultdict[str, list[float]] = defaultdict(list)
        decoding: defaultdict[str, list[float]] = defaultdict(list)
        sizes = {}
        for _ in range(options.rounds):
            for name, (encode, decode) in CODERS.items():
                started = time.process_time()
                data = encode(columns)
                encoded = time.process_time()
                decode(data, columns)
                decoding[name].append(time.process_time() - encoded)
                encoding[name].append(encoded - started)
                sizes[name] = len(data)
        print(f"{kind}: {columns.pairs} pairs, {len(columns.keys)} keys")
        for name in CODERS:
            together = [sum(both) for both in zip(encoding[name], decoding[name], strict=True)]
            pickled = [sum(both) for both in zip(encoding["pickle"], decoding["pickle"], strict=True)]
            ratio = statistics.median(mine / theirs for mine, theirs in zip(together, pickled, strict=True))
            print(
                f"  {name:24} {sizes[name] / columns.pairs:6.1f} B"
                f" {statistics.median(encoding[name]) / columns.pairs * 1e9:6.0f} ns"
                f" {statistics.median(decoding[name]) / columns.pairs * 1e9:6.0f} ns   {ratio:.2f} x pickle"
            )
        report_deflating(kind, columns, options.rounds)


if __name__ == "__main__":
    main()
