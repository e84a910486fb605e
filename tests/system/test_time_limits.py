"""``task_timeout`` on a cluster: whatever hangs is ended, with its process, and told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from mincemeat.errors import JobFailed
from tests.kit.clusters import worker_process
from tests.kit.gates import wait_until
from tests.kit.serving import ServedJob
from tests.kit.silence import wire_to

pytestmark = pytest.mark.slow

HANGS = 7
# A slot that has to start first does so within it, on a busy machine, too.
LIMIT_SECONDS = 2.0
HASTY = "from mincemeat import limits; limits.ATTEMPT_SECONDS = 0.5"


def hang(directory: Path) -> None:
    """For ever, with a note of which process and which other one that it started."""
    child = os.fork()
    if not child:
        while True:
            time.sleep(60)
    (directory / f"{os.getpid()}.{child}.hangs").touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - as stubborn as user code can be
            continue


def mapping(directory: Path, hanging: int | None) -> Callable[[int, int], Iterator[tuple[int, int]]]:
    def mapfn(key: int, value: int) -> Iterator[tuple[int, int]]:
        if value == hanging:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            hang(directory)
        yield value % 2, value

    return mapfn


def reducing(directory: Path) -> Callable[[int, list[int]], int]:
    def reducefn(key: int, values: list[int]) -> int:
        if key:
            hang(directory)
        return sum(values)

    return reducefn


def is_alive(process: int) -> bool:
    """Whether it runs: who was killed and not reaped yet (the child of a killed parent) does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def check_ended(directory: Path, attempts: int) -> None:
    notes = [path.name.split(".")[:2] for path in directory.glob("*.hangs")]
    assert len(notes) >= attempts
    for slot, child in notes:
        wait_until(lambda slot=slot, child=child: not is_alive(int(slot)) and not is_alive(int(child)), "all are ended")  # type: ignore[misc]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("records", "splits_per_attempt"), [(1 + HANGS, 1), (100, 64)], ids=["alone", "among many splits of one attempt"]
)
def test_a_map_attempt_that_hangs_is_ended(
    records: int, splits_per_attempt: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", splits_per_attempt)
    data = dict(enumerate(range(records)))
    with (
        ServedJob(data, mapping(tmp_path, HANGS), max_attempts=2, task_timeout_seconds=LIMIT_SECONDS) as job,
        worker_process(job.port, "-n", "1", prelude=HASTY) as first,
        worker_process(job.port, "-n", "1", prelude=HASTY) as second,
    ):
        with pytest.raises(JobFailed, match=rf"m-0000{HANGS} failed 2 times.*longer than task_timeout=2 seconds"):
            job.results()
        assert [first.wait(20), second.wait(20)] == [0, 0]
    check_ended(tmp_path, 2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_reduce_attempt_that_hangs_is_ended_and_the_slot_works_on(tmp_path: Path) -> None:
    data = dict(enumerate(range(20)))
    options: dict[str, Any] = {"max_attempts": 2, "task_timeout_seconds": LIMIT_SECONDS, "reduce_task_bytes": 1}
    with (
        ServedJob(data, mapping(tmp_path, None), reducing(tmp_path), **options) as job,
        worker_process(job.port, "-n", "1") as worker,
    ):
        with pytest.raises(JobFailed, match=r"failed 2 times.*longer than task_timeout=2 seconds"):
            job.results()
        assert worker.wait(20) == 0
    check_ended(tmp_path, 2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_backup_that_hangs_as_well_is_ended_as_well(tmp_path: Path) -> None:
    """Two attempts of one task run at the same time; each has its own time, and both count."""
    with (
        ServedJob({0: HANGS}, mapping(tmp_path, HANGS), max_attempts=2, task_timeout_seconds=LIMIT_SECONDS) as job,
        wire_to(job.port, "127.0.0.2") as wire,
        worker_process(job.port, "-n", "1") as first,
        worker_process(wire.port, "-n", "1") as second,
    ):
        with pytest.raises(JobFailed, match=r"m-00000 failed 2 times.*longer than task_timeout=2 seconds"):
            job.results()
        assert [first.wait(20), second.wait(20)] == [0, 0]
    check_ended(tmp_path, 2)
