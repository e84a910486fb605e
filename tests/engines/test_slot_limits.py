"""What a slot may use up, on this machine: who exceeds it is told with the record, and the rest of the job goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mincemeat
from mincemeat.cluster.carrying import limits_of
from mincemeat.model import NO_LIMITS, AttemptId, FailureKind, SlotLimits
from mincemeat.positions import PositionFile
from mincemeat.slot_channel import crash_failure
from mincemeat.wire.messages import JobStart

ATTEMPT = AttemptId.parse("m-00003.1")
LIMITS = SlotLimits(300 * 2**20, 5)

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")


def hog(key: int, value: int) -> Iterator[tuple[int, int]]:
    if value == 3:
        bytearray(600 * 2**20)
    yield value % 2, value


def abort(key: int, value: int) -> Iterator[tuple[int, int]]:
    """As a library does that gets no more memory."""
    import os

    if value == 3:
        os.abort()
    yield value % 2, value


def spin(key: int, value: int) -> Iterator[tuple[int, int]]:
    while value == 3:
        pass
    yield value % 2, value


def total(key: int, values: list[int]) -> int:
    return sum(values)


@linux
@pytest.mark.slow
def test_a_record_that_wants_too_much_memory_is_set_aside_and_told() -> None:
    options = {"on_error": "skip", "slot_memory": "300MiB", "workers": 1, "progress": False}
    results = mincemeat.run(list(range(6)), hog, total, **options)  # type: ignore[arg-type]
    assert results == {0: 6, 1: 6}
    (bad,) = results.failures
    assert (bad.function, bad.key, bad.exception_type) == ("mapfn", "3", "MemoryError")
    assert bad.message.endswith(f" (its process may have {300 * 2**20:,} bytes)")


@linux
@pytest.mark.slow
def test_an_attempt_that_used_its_processor_time_is_ended_and_its_record_told() -> None:
    """Two attempts: one to see that something is wrong, one that sees where."""
    with pytest.raises(mincemeat.JobFailed) as failed:
        mincemeat.run(list(range(6)), spin, total, slot_cpu=1, max_attempts=2, workers=1, progress=False)
    assert "for key 3" in str(failed.value)
    assert "the attempt used more than slot_cpu=1 seconds of processor time and was ended" in str(failed.value)


@linux
@pytest.mark.slow
def test_a_process_that_dies_of_it_is_told_with_what_it_may_have_lacked() -> None:
    with pytest.raises(mincemeat.JobFailed, match=r"SIGABRT\); out of memory\? slot_memory allows 314,572,800 bytes"):
        mincemeat.run(list(range(6)), abort, total, slot_memory="300MiB", max_attempts=1, workers=1, progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGXCPU")
def test_processor_time_is_a_time_limit_and_its_records_fault_if_it_took_half(tmp_path: Path) -> None:
    code = -signal.SIGXCPU
    failure = crash_failure("was killed by signal 24 (SIGXCPU)", ATTEMPT, code=code, limits_kept=LIMITS)
    assert (failure.kind, failure.exception_type) == (FailureKind.TIMEOUT, "TimeoutError")
    # A record that had hardly begun when time was over.
    path = str(tmp_path / "positions")
    positions = PositionFile(path)
    positions.enter(7, "'k'", b"")
    innocent = crash_failure("was killed", ATTEMPT, path, code=code, limits_kept=LIMITS)
    assert innocent.record == -1
    assert "mapfn was at key 'k' then, which had not taken most of that time" in innocent.message
    positions.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_ends_a_slot_otherwise_is_a_crash_with_a_hint_where_memory_was_limited() -> None:
    plain = crash_failure("died", ATTEMPT, code=-signal.SIGSEGV)
    hinted = crash_failure("died", ATTEMPT, code=-signal.SIGSEGV, limits_kept=LIMITS)
    by_itself = crash_failure("exited with code 3", ATTEMPT, code=3, limits_kept=LIMITS)
    not_limited = crash_failure("died", ATTEMPT, code=-signal.SIGXCPU)
    assert {failure.kind for failure in (plain, hinted, by_itself, not_limited)} == {FailureKind.CRASH}
    assert [("out of memory?" in failure.message) for failure in (plain, hinted, by_itself)] == [False, True, False]


@pytest.mark.parametrize(
    ("numbers", "limits"),
    [((0, 0), NO_LIMITS), ((2**30, 5), SlotLimits(2**30, 5)), ((-1, -5), NO_LIMITS), ((2**30, 0), SlotLimits(2**30))],
)
def test_no_number_of_a_server_lifts_a_limit_of_the_workers_own(numbers: tuple[int, int], limits: SlotLimits) -> None:
    """RLIM_INFINITY is -1."""
    job = JobStart("j", 1, 1, None, 0.0, 0, slot_memory_bytes=numbers[0], slot_cpu_seconds=numbers[1])
    assert limits_of(job) == limits
    own = SlotLimits(2**28, 3)
    assert own.tightened(limits_of(job)) == own
