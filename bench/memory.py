"""Memory: the peak of the whole process tree for 1, 4 and 16 times the budget, and for one key with many values.

Workloads, each on --slots slots of the processes engine, results into a JSON Lines file:

    unique      word count where every word is new: nothing can be combined, and every word is a result
    one key     10 million values under one key, counted, summed, indexed and compared by its reducer

A size of N times the budget means that the pairs, as a group buffer holds them, are about N times what all slots
together may hold: less does not fill them, and says nothing. The peak is the
largest sum of resident sets (/proc/PID/statm) of this job's processes, looked at every 20 ms; pages that processes
share count for each of them, so it is an upper bound. Linux only.

Run: python bench/memory.py [--memory 67108864] [--slots 2] [--times 1 4 16] [--values 10000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mincemeat.shuffle import texttable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS = 0.02
# What the group buffer reckons with: a word in a table with its place and its pair, or without the compiled module a
# string with its list, its entry in a dict and its number.
_BYTES_PER_WORD = 250 if texttable.compiled is None else 96

_UNIQUE = """
def words(key, first):
    for number in range(first, first + {words}):
        yield f"word{{number:012d}}", 1

def total(key, counts):
    return sum(counts)

DATA = {{n: n * {words} for n in range({records})}}
FUNCTIONS = words, total
"""

_ONE_KEY = """
def many(key, first):
    for number in range(first, first + {words}):
        yield "k", number

def twice(key, values):
    return len(values), sum(values), values[len(values) // 2], max(values)

DATA = {{n: n * {words} for n in range({records})}}
FUNCTIONS = many, twice
"""

_RUN = """
import sys
from mincemeat import api
from mincemeat.sinks.base import sink_for_path
from mincemeat.model import UserFunctions
if __name__ == "__main__":
    api.run_job(
        DATA, UserFunctions(*FUNCTIONS), sink_for_path(sys.argv[1]), api.make_engine("processes", workers={slots}),
        memory=int(sys.argv[2]), partitions={partitions}, progress=False,
    )
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=int, default=64 * 2**20, help="bytes for each slot")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--times", type=int, nargs="*", default=[1, 4, 16], help="sizes, in budgets")
    parser.add_argument("--values", type=int, default=10_000_000, help="of the one key; 0 leaves it out")
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    budget = f"{options.slots} slots, budget {options.memory / 2**20:.0f} MiB"
    print(f"Python {platform.python_version()}, {platform.machine()}, {budget}")
    first: float | None = None
    for times in options.times:
        words = times * options.slots * options.memory // _BYTES_PER_WORD
        peak = show(f"unique {times}x ({words:,} words)", _UNIQUE, words, options)
        first = peak if first is None else first
        print(f"{'':36} {peak / first:5.2f} of the first")
    if options.values:
        show(f"one key ({options.values:,} values)", _ONE_KEY, options.values, options)


def show(name: str, program: str, pairs: int, options: argparse.Namespace) -> float:
    """Print the median peak of a workload, and return it in MiB."""
    peaks, seconds = [], []
    for _ in range(options.rounds):
        started = time.monotonic()
        peaks.append(peak_of(program, pairs, options) / 2**20)
        seconds.append(time.monotonic() - started)
    peak = statistics.median(peaks)
    spread = f"{min(peaks):.0f} to {max(peaks):.0f} in {len(peaks)} rounds"
    print(f"{name:36} {peak:5.0f} MiB ({spread}), {statistics.median(seconds):.1f} s", flush=True)
    return peak


def peak_of(program: str, pairs: int, options: argparse.Namespace) -> int:
    """Run ``program`` for about ``pairs`` pairs; the largest sum of resident bytes that was seen."""
    records = 256
    source = program.format(words=pairs // records, records=records)
    source += _RUN.format(partitions=options.partitions, slots=options.slots)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "job.py")
        script.write_text(source, "utf-8")
        command = [sys.executable, str(script), str(Path(directory, "results.jsonl")), str(options.memory)]
        process = subprocess.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(resident_bytes, tree_of(process.pid))))
            time.sleep(_LOOK_SECONDS)
        if process.returncode:
            raise SystemExit(f"the job ended with code {process.returncode}")
    return peak


def tree_of(root: int) -> list[int]:
    """The process ``root`` and all below it."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                status = Path("/proc", name, "stat").read_text("ascii", errors="replace")
            except OSError:  # ended meanwhile
                continue
            parents[int(name)] = int(status.rpartition(")")[2].split()[1])
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def resident_bytes(pid: int) -> int:
    try:
        return int(Path("/proc", str(pid), "statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main()
