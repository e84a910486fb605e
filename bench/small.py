"""W3 and W5: what a small job costs, against a ``multiprocessing.Pool`` script in the same run.

    W3  20,000 records of one line, functions that do nothing
    W5  four lines of text, from a cold start

Each contender is a script of its own, started as a fresh process; they alternate, so that a machine that drifts drifts
for both. Prints medians of the wall clock and their ratio. Run: ``python bench/small.py [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS_W3 = """
import mincemeat
def mapfn(key, value): yield value % 7, 1
def reducefn(key, values): return len(values)
if __name__ == "__main__":
    print(sorted(mincemeat.run(dict(enumerate(range(20_000))), mapfn, reducefn, workers=2).items()))
"""
POOL_W3 = """
from multiprocessing import Pool
def mapfn(record): return [(record[1] % 7, 1)]
if __name__ == "__main__":
    groups = {}
    with Pool(2) as pool:
        for pairs in pool.imap(mapfn, enumerate(range(20_000)), chunksize=1):
            for key, value in pairs:
                groups.setdefault(key, []).append(value)
    print(sorted((key, len(values)) for key, values in groups.items()))
"""
LINES = """
data = ["Humpty Dumpty sat on a wall", "Humpty Dumpty had a great fall",
        "All the King's horses and all the King's men", "Couldn't put Humpty together again"]
"""
OURS_W5 = (
    LINES
    + """
import mincemeat
def mapfn(key, line):
    for word in line.split(): yield word, 1
def reducefn(word, counts): return sum(counts)
if __name__ == "__main__":
    print(sorted(mincemeat.run(data, mapfn, reducefn, workers=2).items()))
"""
)
POOL_W5 = (
    LINES
    + """
from multiprocessing import Pool
def mapfn(line): return [(word, 1) for word in line.split()]
if __name__ == "__main__":
    counts = {}
    with Pool(2) as pool:
        for pairs in pool.map(mapfn, data):
            for word, one in pairs:
                counts[word] = counts.get(word, 0) + one
    print(sorted(counts.items()))
"""
)


def seconds_of(script: Path) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def compare(name: str, ours: str, theirs: str, rounds: int, directory: Path) -> None:
    scripts = {"mincemeat": directory / f"{name}_mincemeat.py", "Pool": directory / f"{name}_pool.py"}
    scripts["mincemeat"].write_text(ours, "utf-8")
    scripts["Pool"].write_text(theirs, "utf-8")
    seconds: dict[str, list[float]] = {contender: [] for contender in scripts}
    outputs = set()
    for round_number in range(rounds + 1):
        for contender, script in scripts.items():
            elapsed, output = seconds_of(script)
            outputs.add(output)
            if round_number:  # the first fills caches
                seconds[contender].append(elapsed)
    assert len(outputs) == 1, "the contenders disagree"
    medians = {contender: statistics.median(times) for contender, times in seconds.items()}
    ratios = [ours / theirs for ours, theirs in zip(seconds["mincemeat"], seconds["Pool"], strict=True)]
    print(
        f"{name}  mincemeat {medians['mincemeat']:.3f} s  Pool {medians['Pool']:.3f} s  "
        f"ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}, {rounds} pairs)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    with tempfile.TemporaryDirectory() as directory:
        compare("W3", OURS_W3, POOL_W3, rounds, Path(directory))
        compare("W5", OURS_W5, POOL_W5, rounds, Path(directory))


if __name__ == "__main__":
    main()
