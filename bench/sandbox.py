"""What a sandbox costs: the start of a slot, and a word count on one worker, with and without, in alternation.

A slot's start is from the start of its process until it would take a job. The word count is of the standard library's
sources, by `mincemeat run --serve` and one worker process with two slots, from the start of both to the end of the job.

    python bench/sandbox.py                        20 starts, 5 rounds of 50 MB
    python bench/sandbox.py --starts 50 --rounds 3 --size 20
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

from mincemeat.cluster.seclusion import Seclusion
from mincemeat.model import NO_LIMITS
from mincemeat.sandbox.plan import Sandbox
from mincemeat.slot_channel import receive
from mincemeat.slots import SlotProcess

JOB = """
def mapfn(key, line):
    for word in line.split():
        yield word, 1

def collectfn(key, values):
    return sum(values)

reducefn = collectfn
"""


def start_seconds(seclusion: Seclusion | None) -> float:
    """From nothing to a slot that is ready, and confined if it is to be."""
    began = time.perf_counter()
    slot = SlotProcess() if seclusion is None else seclusion.start_slot()
    last = "ready" if seclusion is None else "confined"
    while receive(slot.channel)[0]["did"] != last:
        pass
    seconds = time.perf_counter() - began
    slot.kill()
    return seconds


def count_seconds(directory: Path, text: Path, options: list[str]) -> float:
    """One word count of ``text``, whose worker has ``options``."""
    environment = {**os.environ, "MINCEMEAT_PASSWORD": "changeme"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "mincemeat"]
    words = ["run", "job.py", str(text), "--serve", "127.0.0.1:0", "-o", "counts.tsv", "--no-progress"]
    with subprocess.Popen(
        [*command, *words], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        port = ""
        while not port:
            _, _, said = server.stderr.readline().partition(" -P ")
            port = said.partition(" ")[0]
        worker = subprocess.run(
            [*command, "-P", port, "-n", "2", *options, "127.0.0.1"], env=environment, capture_output=True, text=True
        )
        server.stderr.read()
        if server.wait() or worker.returncode:
            raise SystemExit(f"the job failed: {worker.stderr}")
    return time.perf_counter() - began


def told(what: str, pairs: list[tuple[float, float]], unit: float, name: str) -> str:
    """``pairs``: without and with."""
    ratios = sorted(inside / outside for outside, inside in pairs)
    medians = [statistics.median(side) * unit for side in zip(*pairs, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"{what}: {medians[0]:.4g} {name} without, {medians[1]:.4g} {name} with; ratio {spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=50, metavar="MB")
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="mincemeat-bench-") as name:
        directory = Path(name)
        (directory / "scratch").mkdir()
        seclusion = Seclusion(Sandbox(), NO_LIMITS, str(directory / "scratch"))
        print(f"mincemeat: {seclusion.sentence}")
        pairs = [(start_seconds(None), start_seconds(seclusion)) for _ in range(options.starts)]
        seclusion.close()
        print(told("start of a slot", pairs, 1000.0, "ms"))
        (directory / "job.py").write_text(JOB, "utf-8")
        text = directory / "text.txt"
        source = "".join(path.read_text("utf-8", "replace") for path in sorted(Path(os.__file__).parent.glob("*.py")))
        with text.open("w", encoding="utf-8") as file:
            while file.tell() < options.size * 10**6:
                file.write(source)
        inside = ["--sandbox", "--sandbox-read", str(text)]
        runs = [
            (count_seconds(directory, text, []), count_seconds(directory, text, inside)) for _ in range(options.rounds)
        ]
        print(told(f"word count of {options.size} MB", runs, 1.0, "s"))
        unlisted = [count_seconds(directory, text, ["--sandbox"]) for _ in range(options.rounds)]
        print(f"the same, input not listed and so sent by the server: {statistics.median(unlisted):.4g} s")


if __name__ == "__main__":
    main()
