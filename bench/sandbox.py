"""What a sandbox costs: the start of a slot, and a word count on one worker, with and without, in alternation.

A slot's start is from the start of its process until it would take a job. The word count is of the standard library's
sources, by `mincemeat run --serve` and one worker process with two slots, from the start of both to the end of the job.
CPU seconds are those of all processes in it, and mean more than wall clock on a machine that is busy otherwise.

    python bench/sandbox.py                        20 starts, 5 rounds of 50 MB
    python bench/sandbox.py --starts 50 --rounds 3 --size 20
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

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


class Cost(NamedTuple):
    """Seconds on the wall, and of processors."""

    wall: float
    cpu: float


def cost_of(work: Callable[[], None]) -> Cost:
    """Of what ``work`` starts and waits for."""
    before, began = children_seconds(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - began, children_seconds() - before)


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(seclusion: Seclusion | None) -> None:
    """From nothing to a slot that is ready, and confined if it is to be."""
    slot = SlotProcess() if seclusion is None else seclusion.start_slot()
    last = "ready" if seclusion is None else "confined"
    while receive(slot.channel)[0]["did"] != last:
        pass
    slot.kill()


def count(directory: Path, text: Path, options: list[str]) -> None:
    """One word count of ``text``, whose worker has ``options``."""
    environment = {**os.environ, "MINCEMEAT_PASSWORD": "changeme"}
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


def told(what: str, pairs: list[tuple[Cost, Cost]]) -> str:
    """``pairs``: without and with."""
    lines = []
    for field in Cost._fields:
        without, inside = ([getattr(pair[side], field) for pair in pairs] for side in (0, 1))
        ratios = sorted(one / other for other, one in zip(without, inside, strict=True))
        lines.append(
            f"{what}, {field}: {statistics.median(without):.3g} s without, {statistics.median(inside):.3g} s with; "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    return "\n".join(lines)


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
        pairs = [(cost_of(lambda: start(None)), cost_of(lambda: start(seclusion))) for _ in range(options.starts)]
        seclusion.close()
        print(told("start of a slot", pairs))
        (directory / "job.py").write_text(JOB, "utf-8")
        text = directory / "text.txt"
        source = "".join(path.read_text("utf-8", "replace") for path in sorted(Path(os.__file__).parent.glob("*.py")))
        with text.open("w", encoding="utf-8") as file:
            while file.tell() < options.size * 10**6:
                file.write(source)
        plain: list[str] = []
        listed, unlisted = ["--sandbox", "--sandbox-read", str(text)], ["--sandbox"]
        for what, inside in (("input listed", listed), ("input sent by the server", unlisted)):
            runs = [
                tuple(cost_of(partial(count, directory, text, words)) for words in (plain, inside))
                for _ in range(options.rounds)
            ]
            print(told(f"word count of {options.size} MB, {what}", [(one, other) for one, other in runs]))


if __name__ == "__main__":
    main()
