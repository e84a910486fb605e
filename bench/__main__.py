"""The command: python -m bench W1 [--size 200MB] [--rounds 3] [--contenders mincemeat,pool,...]. See README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import contenders, data, harness
from bench.environments import default_cache
from bench.measure import check_platform
from bench.workloads import WORKLOADS, parse_size


def main() -> int:
    options = _parser().parse_args()
    check_platform()
    workload = WORKLOADS[options.workload]
    cache = options.cache.resolve()
    try:
        chosen = contenders.choose(options.workload, options.contenders)
        size = parse_size(options.size or workload.default_size)
    except ValueError as error:
        sys.exit(str(error))
    if workload.needs_text:
        origin = data.find_origin(cache, options.origin, options.sources)
        source = f"size {options.size or workload.default_size}, text from {origin.name}, seed {data.SEED}"
    else:
        origin = data.Origin("none", Path())
        source = f"size {options.size or workload.default_size}"
    entries = harness.prepare(options.workload, chosen, cache)
    path = workload.make(cache, origin, size)
    machine = harness.describe_machine()
    try:
        agreed = harness.compare(
            options.workload,
            entries,
            path,
            rounds=options.rounds,
            workers=options.workers,
            timeout_seconds=options.timeout,
            warm_up=not options.no_warm_up,
        )
    except harness.Disagreement as disagreement:
        sys.exit(f"the contenders disagree: {disagreement}")
    print(
        harness.header(
            f"{options.workload}: {workload.title}",
            machine,
            source=f"{source}; results {agreed[:16]}",
            rounds=options.rounds,
            workers=options.workers,
            entries=entries,
        )
    )
    print()
    print(harness.table(entries, options.baseline))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run one workload with mincemeat and its peers in alternation; print a table in Markdown.",
        epilog="workloads: " + "; ".join(f"{name} {workload.title}" for name, workload in WORKLOADS.items()),
    )
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--size", help="bytes (W1), files (W2) or records (W3, W4): 200MB, 20000, 10M")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default: 3)")
    parser.add_argument("--no-warm-up", action="store_true", help="no round before the first counted one")
    parser.add_argument("--contenders", help="comma-separated, in the order of a round (default: all)")
    parser.add_argument("--baseline", default="pool", help="ratios are to this contender (default: pool)")
    parser.add_argument("--workers", type=int, default=2, help="processes of each contender (default: 2)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run (default: 600)")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="environments and data (default: %(default)s)"
    )
    parser.add_argument("--origin", choices=["auto", "linux", "stdlib"], default="auto", help="where text comes from")
    parser.add_argument("--sources", type=Path, help="linux-source, already unpacked")
    return parser


if __name__ == "__main__":
    sys.exit(main())
