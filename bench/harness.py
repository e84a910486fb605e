"""Decides how contenders are compared: alternating rounds, the same result from each, ratios pair by pair.

A machine that drifts drifts for all contenders of a round, so each ratio is of two runs of the same round, and what is
told is their median. Knows nothing of what the workloads are.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders import Contender
from bench.environments import Environment, Unavailable, describe_python
from bench.measure import Measurement, RunFailed, run

_READ_BYTES = 2**20


class Disagreement(Exception):
    """Contenders that wrote different results: nothing that was measured means anything."""


@dataclass
class Entry:
    """What became of one contender: a measurement and a checksum for each round, or the reason why there is none."""

    contender: Contender
    environment: Environment | None = None
    rounds: list[Measurement] = field(default_factory=list)
    skipped: str = ""


def checksum(output: Path) -> str:
    """SHA-256 of a file, or of the part files of a directory (``part-*``) one after the other."""
    parts = sorted(output.glob("part-*")) if output.is_dir() else [output]
    digest = hashlib.sha256()
    for part in parts:
        with open(part, "rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()


def prepare(
    workload: str, contenders: Sequence[Contender], cache: Path, here: Environment | None = None
) -> list[Entry]:
    """An entry for each contender, its environment installed; ``here`` is used instead of installing, if given."""
    entries = []
    for contender in contenders:
        entry = Entry(contender)
        try:
            entry.environment = here or contender.install(workload, cache)
        except Unavailable as reason:
            entry.skipped = str(reason)
        entries.append(entry)
    return entries


def compare(
    workload: str,
    entries: Sequence[Entry],
    source: str,
    *,
    rounds: int,
    workers: int,
    timeout_seconds: float,
    warm_up: bool = True,
) -> str:
    """Run all ``rounds`` and fill in the entries; the checksum on which all agreed ("" if none ran).

    ``warm_up``: a round before the first that is not counted, for caches and compiled modules.
    A contender that fails or takes too long is not run again. Raises: Disagreement.
    """
    agreed = ""
    found_by = ""
    for number in range(0 if warm_up else 1, rounds + 1):
        for entry in entries:
            if entry.skipped:
                continue
            try:
                measurement, found = _run_once(workload, entry, source, workers, timeout_seconds)
            except RunFailed as failure:
                entry.skipped = str(failure)
                print(f"{entry.contender.name} {failure}", file=sys.stderr, flush=True)
                continue
            name = entry.contender.name
            if agreed and found != agreed:
                raise Disagreement(f"{workload}: {name} wrote {found[:16]}, {found_by} wrote {agreed[:16]}")
            agreed, found_by = found, found_by or name
            print(f"round {number}: {name} {measurement.wall_seconds:.2f} s", file=sys.stderr, flush=True)
            if number:
                entry.rounds.append(measurement)
    return agreed


def _run_once(
    workload: str, entry: Entry, source: str, workers: int, timeout_seconds: float
) -> tuple[Measurement, str]:
    assert entry.environment is not None
    with tempfile.TemporaryDirectory(prefix="mincemeat-bench-") as scratch:
        output = Path(scratch, "output")
        command = entry.contender.command(workload, entry.environment, source, str(output), workers)
        measurement = run(
            command,
            timeout_seconds=timeout_seconds,
            environment={**entry.environment.variables, **entry.contender.settings},
        )
        if not output.exists():
            raise RunFailed("wrote no result")
        return measurement, checksum(output)


# -- the table -------------------------------------------------------------------------------------------


def describe_machine() -> str:
    """Processor, cores, memory, system: what seconds depend on."""
    processor = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{processor}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, load before {load:.1f}"
    )


def header(title: str, machine: str, *, source: str, rounds: int, workers: int, entries: Sequence[Entry]) -> str:
    """What must be known to read the table, as a Markdown list."""
    versions = [version for entry in entries if entry.environment for version in entry.environment.versions]
    return "\n".join(
        [
            f"**{title}**",
            "",
            f"* {time.strftime('%Y-%m-%d')}; {machine}",
            f"* {', '.join([describe_python(), *dict.fromkeys(versions)])}",
            f"* {source}; {workers} workers; {rounds} rounds, alternating; medians (least to most)",
        ]
    )


def table(entries: Sequence[Entry], baseline: str) -> str:
    """The entries as Markdown, with ratios to ``baseline`` wherever both ran in a round."""
    reference = next((entry.rounds for entry in entries if entry.contender.name == baseline), [])
    lines = [
        f"| | wall, s | ratio to {baseline} | CPU, s | peak PSS of the tree, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        if entry.skipped or not entry.rounds:
            lines.append(f"| {entry.contender.name} | {' '.join(entry.skipped.split())} | | | |")
            continue
        walls = [measurement.wall_seconds for measurement in entry.rounds]
        ratios = [
            mine.wall_seconds / theirs.wall_seconds for mine, theirs in zip(entry.rounds, reference, strict=False)
        ]
        cpu = statistics.median(measurement.cpu_seconds for measurement in entry.rounds)
        peak = statistics.median(measurement.peak_bytes for measurement in entry.rounds) / 10**6
        lines.append(f"| {entry.contender.name} | {_spread(walls)} | {_spread(ratios)} | {cpu:.2f} | {peak:.0f} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = 1 if min(values) >= 10 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
