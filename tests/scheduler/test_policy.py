"""Each judgement by itself, with numbers one can check by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.model import Failure, FailureKind
from mincemeat.scheduler import policy

MB = 2**20


def test_small_total_is_one_reduce_task() -> None:
    assert policy.coalesce([10, 0, 20, 5], reduce_task_bytes=100, slots=16) == [range(4)]


def test_total_at_the_limit_is_one_reduce_task() -> None:
    assert policy.coalesce([50, 50], reduce_task_bytes=100, slots=16) == [range(2)]


def test_nothing_emitted_is_no_reduce_task() -> None:
    assert policy.coalesce([0] * 64, reduce_task_bytes=100, slots=4) == []


def test_large_partitions_are_a_task_each() -> None:
    assert policy.coalesce([500] * 4, reduce_task_bytes=100, slots=1) == [range(i, i + 1) for i in range(4)]


def test_neighbours_share_a_task_of_about_the_wanted_size() -> None:
    assert policy.coalesce([50] * 8, reduce_task_bytes=100, slots=1) == [range(i, i + 2) for i in (0, 2, 4, 6)]


def test_tasks_shrink_so_that_every_slot_has_one() -> None:
    assert len(policy.coalesce([MB] * 16, reduce_task_bytes=8 * MB, slots=8)) == 8


def test_tasks_do_not_shrink_below_the_eighth_part() -> None:
    assert len(policy.coalesce([MB] * 16, reduce_task_bytes=8 * MB, slots=10_000)) == 16
    assert len(policy.coalesce([MB // 4] * 64, reduce_task_bytes=8 * MB, slots=10_000)) == 16


def test_empty_partitions_join_their_neighbours() -> None:
    assert policy.coalesce([0, 0, 900, 0, 0, 900, 0, 0], 100, slots=1) == [range(3), range(3, 8)]


def test_one_huge_partition_leaves_the_rest_together() -> None:
    assert policy.coalesce([1, 1000, 1, 1], 100, slots=1) == [range(2), range(2, 4)]


@given(
    st.lists(st.one_of(st.just(0), st.integers(0, 10**9)), min_size=1, max_size=80),
    st.integers(1, 10**9),
    st.integers(0, 500),
)
def test_plan_covers_every_partition_once_and_no_task_is_empty(sizes: list[int], task_bytes: int, slots: int) -> None:
    plan = policy.coalesce(sizes, task_bytes, slots)
    if not any(sizes):
        assert plan == []
        return
    assert [partition for partitions in plan for partition in partitions] == list(range(len(sizes)))
    assert all(any(sizes[partition] for partition in partitions) for partitions in plan)
    if sum(sizes) <= task_bytes:
        assert len(plan) == 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=80), st.integers(1, 5000))
def test_no_task_exceeds_the_wanted_size_by_more_than_a_partition(sizes: list[int], task_bytes: int) -> None:
    for partitions in policy.coalesce(sizes, task_bytes, slots=1):
        assert sum(sizes[partition] for partition in partitions) < task_bytes + max(sizes) + 1


@pytest.mark.parametrize("kind", [FailureKind.CRASH, FailureKind.TIMEOUT])
def test_crash_and_timeout_count_at_once_only_for_the_first_worker_they_happen_on(kind: FailureKind) -> None:
    assert policy.counts_against_worker(kind, failed_elsewhere=False)
    assert not policy.counts_against_worker(kind, failed_elsewhere=True)


def test_system_failures_always_count_at_once() -> None:
    assert policy.counts_against_worker(FailureKind.SYSTEM, failed_elsewhere=False)
    assert policy.counts_against_worker(FailureKind.SYSTEM, failed_elsewhere=True)


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.CODE])
def test_user_and_code_failures_never_count_at_once(kind: FailureKind) -> None:
    assert not policy.counts_against_worker(kind, failed_elsewhere=False)


def test_worker_is_excluded_at_the_third_failed_task() -> None:
    assert not policy.should_exclude(failed_tasks=2, code_missing=False, other_workers=1)
    assert policy.should_exclude(failed_tasks=3, code_missing=False, other_workers=1)


def test_missing_code_excludes_at_once() -> None:
    assert policy.should_exclude(failed_tasks=1, code_missing=True, other_workers=1)


@pytest.mark.parametrize("code_missing", [True, False])
def test_last_worker_is_never_excluded(code_missing: bool) -> None:
    assert not policy.should_exclude(failed_tasks=99, code_missing=code_missing, other_workers=0)


def test_first_split_has_one_record() -> None:
    assert policy.next_split_records(0, 0.0, 0) == 1


def test_splits_do_not_grow_before_anything_is_committed() -> None:
    assert policy.next_split_records(0, 0.0, 1) == 1


def test_splits_grow_by_a_bounded_factor() -> None:
    assert policy.next_split_records(1, 1e-6, 1) == limits.SPLIT_GROWTH
    assert policy.next_split_records(9, 1e-5, 8) == 8 * limits.SPLIT_GROWTH


def test_splits_aim_at_their_share_of_seconds() -> None:
    assert policy.next_split_records(1000, 1.0, 500) == 1000 * limits.SPLIT_SECONDS


def test_splits_of_huge_records_have_one_record() -> None:
    assert policy.next_split_records(10, 100.0, 1) == 1


def test_splits_have_a_largest_size() -> None:
    assert policy.next_split_records(10**9, 1.0, 90_000) == limits.SPLIT_RECORDS_MAX


def test_a_clock_too_coarse_for_the_records_is_no_division_by_zero() -> None:
    assert policy.next_split_records(5, 0.0, 4) == 4 * limits.SPLIT_GROWTH


@given(st.integers(0, 10**12), st.floats(0, 1e6), st.integers(0, limits.SPLIT_RECORDS_MAX))
def test_a_split_always_has_a_legal_size(records: int, seconds: float, previous: int) -> None:
    assert 1 <= policy.next_split_records(records, seconds, previous) <= limits.SPLIT_RECORDS_MAX


def straggles_after(*seconds: float, committed: int = 90, total: int = 100) -> float:
    return policy.straggler_seconds(committed=committed, total=total, recent_seconds=seconds)


def test_straggler_has_run_three_times_the_median() -> None:
    assert straggles_after(1.0, 50.0, 2.0, 0.5, 4.0) == 3 * 2.0


def test_no_straggler_before_three_quarters_are_committed() -> None:
    assert straggles_after(2.0, committed=74) == math.inf
    assert straggles_after(2.0, committed=75) == 6.0


def test_attempt_of_a_worker_that_was_slow_straggles_as_soon_as_others_were_done() -> None:
    assert policy.straggler_seconds(committed=75, total=100, recent_seconds=[2.0], was_slow=True) == 2.0
    assert policy.straggler_seconds(committed=74, total=100, recent_seconds=[2.0], was_slow=True) == math.inf
    assert policy.slow_seconds([2.0]) == 6.0
    assert policy.slow_seconds([]) == math.inf


def test_small_phase_has_stragglers_as_soon_as_one_task_is_committed() -> None:
    assert straggles_after(2.0, committed=1, total=9) == 6.0


def test_no_straggler_without_a_median() -> None:
    assert straggles_after() == math.inf
    assert straggles_after(total=1, committed=0) == math.inf


def test_no_straggler_within_the_time_that_its_slot_takes_to_start_again() -> None:
    assert straggles_after(0.001) == limits.BACKUP_SECONDS_LEAST


def test_small_phase_is_cloned_when_others_were_done_and_not_within_a_second() -> None:
    assert policy.clone_seconds(total=9, recent_seconds=[]) == limits.BACKUP_SECONDS_LEAST
    assert policy.clone_seconds(total=9, recent_seconds=[60.0]) == 60.0
    assert policy.clone_seconds(total=limits.SMALL_JOB_TASKS, recent_seconds=[60.0]) == math.inf


def room(running: int, *, backups: int = 0, idle: int = 50, total: int = 100) -> int:
    return policy.backup_room(running_total=running, backups_running=backups, idle_slots=idle, total=total)


def test_backups_are_at_most_a_tenth_of_what_runs_but_one_is_allowed() -> None:
    assert [room(running) for running in (1, 19, 20, 29, 30)] == [1, 1, 2, 2, 3]


def test_backups_that_run_are_counted() -> None:
    assert room(20, backups=1) == 1
    assert room(5, backups=3) < 1


def test_backups_have_no_more_than_the_idle_slots() -> None:
    assert room(1000, idle=3) == 3
    assert room(5, idle=0) == 0


def test_small_phase_may_be_repeated_on_all_idle_slots() -> None:
    assert room(5, backups=5, idle=7, total=9) == 7


@pytest.mark.parametrize(
    ("task_timeout", "splits", "seconds"), [(60.0, 1, 60.0), (60.0, 1024, 64.0), (0.5, 3, 1.5), (0.5, 1000, 4.5)]
)
def test_an_attempt_over_many_splits_is_not_given_the_time_of_all(
    task_timeout: float, splits: int, seconds: float
) -> None:
    assert policy.attempt_timeout(task_timeout, splits) == seconds


@pytest.mark.parametrize(
    ("kind", "exception_type", "message"),
    [
        (FailureKind.CRASH, "", "the process that ran the user's function exited with code 3"),
        (FailureKind.TIMEOUT, "TimeoutError", "the attempt ran longer than task_timeout=2 seconds and was ended"),
    ],
)
def test_what_is_told_of_a_skipped_record_is_how_its_process_was_lost(
    kind: FailureKind, exception_type: str, message: str
) -> None:
    """A record whose time was over had no exception_type when it was set aside."""
    failure = Failure(kind, message, "mapfn", "7", exception_type, record=3)
    mark = policy.lost_at(failure)
    assert mark is not None
    told = policy.skipped_failure(mark._replace(reason=policy.reason_to_skip(failure)), "mapfn")
    assert told == Failure(kind, message, "mapfn", exception_type=exception_type)
