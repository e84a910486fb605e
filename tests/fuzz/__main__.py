"""Fuzz what reads foreign bytes.

    python -m tests.fuzz                                   5,000 runs of each target
    python -m tests.fuzz --runs 1000000 --target blocks    many, of one
    python -m tests.fuzz --target blocks --first 1234 --runs 1    one run again

Each run is decided by its target and number. A process that fuzzes may have so much memory and no more; a run may take
a second of the processor. Exit code 1: something was found, and the command that repeats it was printed.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import signal
import sys
import time
from types import FrameType

from tests.fuzz.mutating import mutated
from tests.fuzz.targets import TARGETS

MEMORY_BYTES = 256 * 2**20
RUN_SECONDS = 1.0


class TooLong(BaseException):
    """A run has no end."""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"not done within {RUN_SECONDS:g} s of the processor")


def limit_memory() -> None:
    """What this process has now, and ``MEMORY_BYTES`` more."""
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, resource.RLIM_INFINITY))


def run(name: str, number: int) -> BaseException | None:
    """What the run found, which is nothing most of the time."""
    target = TARGETS[name]
    chance = random.Random(f"{name}/{number}")
    data = target.repair(mutated(chance, target.corpus))
    signal.setitimer(signal.ITIMER_PROF, RUN_SECONDS)
    try:
        target.read(data, chance)
    except target.expected:
        pass
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - it is the finding
        return error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--target", choices=list(TARGETS), action="append")
    options = parser.parse_args()
    faulthandler.enable()
    limit_memory()
    signal.signal(signal.SIGPROF, _too_long)
    found = 0
    for name in options.target or TARGETS:
        began = time.monotonic()
        for number in range(options.first, options.first + options.runs):
            finding = run(name, number)
            if finding is not None:
                found += 1
                print(f"FOUND {name}, run {number}: {type(finding).__name__}: {str(finding)[:200]}")
                print(f'python -m tests.fuzz --target "{name}" --first {number} --runs 1', flush=True)
                if options.runs == 1:
                    raise finding
                break
        else:
            print(f"{name:30} {options.runs:>10,} runs  {time.monotonic() - began:6.1f} s", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
