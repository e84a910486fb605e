"""Records that fail: who is asked to go carefully, which ones are skipped, and when too many are."""

from __future__ import annotations

import pytest

from mincemeat.model import Failure, FailureKind, RecordMark, key_digest
from mincemeat.scheduler import AttemptDone, ExcludeWorker, Instruction, JobState, StartAttempt, Tick, policy
from tests.scheduler.kit import Stage, attempt, of_kind, starts, verdict
from tests.scheduler.test_backups import late_phase

KILLS = [FailureKind.CRASH, FailureKind.TIMEOUT]


def care(said: list[Instruction]) -> tuple[bool, tuple[RecordMark, ...]]:
    """Whether the one attempt that was started is careful, and what it skips."""
    [start] = of_kind(said, StartAttempt)
    assert all(mark.reason == "no" for mark in start.skip)
    return start.careful, tuple(mark._replace(reason="") for mark in start.skip)


def kill(stage: Stage, name: str, record: int, kind: FailureKind = FailureKind.CRASH) -> list[Instruction]:
    [worker] = [worker for worker, running in stage.running() if running == name]
    return stage.fail(worker, name, kind, record=record, key=f"'key {record}'")


def mark(record: int) -> RecordMark:
    return RecordMark(record, key_digest(f"'key {record}'"))


def skip_stage(**options: object) -> Stage:
    stage = Stage(skips=True, **options)
    stage.join("a", "b")
    stage.split()
    return stage


def test_a_first_attempt_runs_at_full_speed(stage: Stage) -> None:
    stage.join("a")
    assert care(stage.split()) == (False, ())


@pytest.mark.parametrize("kind", [FailureKind.USER, *KILLS])
def test_an_attempt_after_one_that_a_record_may_have_failed_is_careful(stage: Stage, kind: FailureKind) -> None:
    stage.join("a", "b")
    stage.split()
    assert care(stage.fail("a", "m-00000.0", kind)) == (True, ())


@pytest.mark.parametrize("kind", [FailureKind.SYSTEM, FailureKind.CODE])
def test_what_a_worker_failed_at_needs_no_care(stage: Stage, kind: FailureKind) -> None:
    stage.join("a", "b")
    stage.split()
    assert care(stage.fail("a", "m-00000.0", kind)) == (False, ())


def test_a_damaged_input_needs_no_care(stage: Stage) -> None:
    stage.join("a", "b")
    stage.split()
    assert care(stage.fail("a", "m-00000.0", function="datasource")) == (False, ())


def test_of_several_splits_only_the_one_that_the_exception_names_is_attempted_carefully(stage: Stage) -> None:
    stage.join("a", slots=4)
    stage.group(3)
    said = of_kind(stage.fail("a", "m-00000.0", split=1, record=7), StartAttempt)
    assert [(str(start.attempt.task), start.careful) for start in said] == [
        ("m-00000", False),
        ("m-00001", True),
        ("m-00002", False),
    ]


def test_of_several_splits_in_a_lost_process_each_is_attempted_carefully(stage: Stage) -> None:
    stage.join("a", slots=4)
    stage.group(3)
    said = of_kind(stage.fail("a", "m-00000.0", FailureKind.CRASH), StartAttempt)
    assert [start.careful for start in said] == [True] * 3


@pytest.mark.parametrize("kind", KILLS)
def test_a_record_that_lost_two_processes_is_skipped_and_the_task_has_its_attempts_again(kind: FailureKind) -> None:
    stage = skip_stage(max_attempts=3)
    assert care(stage.fail("a", "m-00000.0", kind)) == (True, ())
    assert care(kill(stage, "m-00000.1", 5, kind)) == (True, ())
    assert care(kill(stage, "m-00000.2", 5, kind)) == (True, (mark(5),))
    assert care(kill(stage, "m-00000.3", 8, kind)) == (True, (mark(5),))
    marks = mark(5), mark(8)
    assert care(kill(stage, "m-00000.4", 8, kind)) == (True, marks)
    assert stage.machine.ledger.set_aside_total == 2


def test_many_records_that_kill_use_up_no_attempts() -> None:
    stage = skip_stage(max_attempts=3)
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    for record in range(100):
        kill(stage, f"m-00000.{2 * record + 1}", record)
        kill(stage, f"m-00000.{2 * record + 2}", record)
    [(worker, name)] = stage.running()
    stage.send(AttemptDone(worker, attempt(name), (1,) * 4, 100))
    assert stage.machine.counts().map_committed == 1
    assert of_kind(stage.said, ExcludeWorker) == []


def test_a_backup_that_was_not_told_uses_up_no_attempt() -> None:
    """It had begun beside the first one, as a record that hangs is slow; with both of them the attempts were spent."""
    stage = late_phase(skips=True, max_attempts=3)
    [(backup, name)] = starts(stage.send(Tick()))
    assert of_kind(stage.fail("s", "m-00000.0", FailureKind.TIMEOUT), StartAttempt) == []
    assert care(stage.fail(backup, name, FailureKind.TIMEOUT)) == (True, ())
    assert care(kill(stage, "m-00000.2", 5, FailureKind.TIMEOUT)) == (True, ())
    assert care(kill(stage, "m-00000.3", 5, FailureKind.TIMEOUT)) == (True, (mark(5),))


def test_a_record_is_not_found_a_second_time_by_a_backup_that_was_not_told() -> None:
    stage = late_phase(skips=True, max_attempts=3)
    stage.fail("s", "m-00000.0", FailureKind.TIMEOUT)
    kill(stage, "m-00000.1", 5)
    stage.join("c")
    [(_, backup)] = starts(stage.send(Tick(), at=stage.now + 100.0))
    kill(stage, "m-00000.2", 5)
    assert care(kill(stage, backup, 5)) == (True, (mark(5),))
    assert stage.machine.ledger.set_aside_total == 1
    assert stage.machine.ledger.map.tasks[0].failures == 0


def test_where_a_process_was_lost_once_does_not_matter() -> None:
    """By chance, or because the machine ran out of memory: another record each time."""
    stage = skip_stage(max_attempts=4)
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    for number in (1, 2):
        assert care(kill(stage, f"m-00000.{number}", number)) == (True, ())
    assert verdict(kill(stage, "m-00000.3", 3)).failure.key == "'key 3'"


def test_another_key_at_the_same_place_is_another_record() -> None:
    stage = skip_stage(max_attempts=4)
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    kill(stage, "m-00000.1", 5)
    [(worker, name)] = stage.running()
    assert care(stage.fail(worker, name, FailureKind.CRASH, record=5, key="'other'")) == (True, ())


def test_without_skipping_the_job_fails_and_tells_the_record() -> None:
    stage = Stage(max_attempts=3)
    stage.join("a", "b")
    stage.split()
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    kill(stage, "m-00000.1", 5)
    end = verdict(kill(stage, "m-00000.2", 5))
    assert (end.failure.record, end.failure.key) == (5, "'key 5'")


# -- how many ----------------------------------------------------------------------------------------------------


def test_more_than_max_skipped_fails_the_job_with_the_first() -> None:
    stage = skip_stage(max_skipped=3)
    first = Failure(FailureKind.USER, "no number", "mapfn", "'k'", "ValueError", record=4, split=0, exception=b"...")
    stage.split()
    stage.send(AttemptDone("a", attempt("m-00000.0"), (1,) * 4, 3, first))
    assert stage.state is JobState.MAP
    end = verdict(stage.send(AttemptDone("b", attempt("m-00001.0"), (1,) * 4, 1, first._replace(key="'other'"))))
    assert end.failure.kind is FailureKind.EXCESS
    assert end.failure.exception == b"..."
    for part in ("4 records were set aside", "max_skipped=3", "'k' (record 4 of split 0)", "ValueError: no number"):
        assert part in end.failure.message


def test_records_that_kill_are_bounded_before_their_task_commits() -> None:
    stage = skip_stage(max_skipped=1)
    stage.fail("a", "m-00000.0", FailureKind.CRASH)
    for number, record in ((1, 5), (2, 5), (3, 6)):
        kill(stage, f"m-00000.{number}", record)
    assert verdict(kill(stage, "m-00000.4", 6)).failure.kind is FailureKind.EXCESS


def test_an_attempt_with_too_many_of_its_own_ends_the_job_at_once() -> None:
    stage = skip_stage()
    assert verdict(stage.fail("a", "m-00000.0", FailureKind.EXCESS)).attempt == attempt("m-00000.0")


def test_no_bound_is_no_bound() -> None:
    stage = skip_stage(max_skipped=None)
    stage.send(AttemptDone("a", attempt("m-00000.0"), (1,) * 4, 10**9))
    assert stage.machine.counts().map_committed == 1


def test_an_output_that_is_made_again_counts_its_records_once() -> None:
    stage = skip_stage(max_skipped=3)
    stage.split()
    stage.fail("a", "m-00000.0")
    [(worker, name)] = [(worker, name) for worker, name in stage.running() if name == "m-00000.1"] or starts(
        stage.done("b", "m-00001.0")
    )
    stage.send(AttemptDone(worker, attempt(name), (1,) * 4, 3))
    assert stage.machine.ledger.set_aside_total == 3
    said = stage.leave(worker)
    assert stage.machine.ledger.set_aside_total == 0
    assert ("m-00000.2", True) in [(str(start.attempt), start.careful) for start in of_kind(said, StartAttempt)]
    [(worker, name)] = [(worker, name) for worker, name in stage.running() if name.startswith("m-00000")]
    stage.send(AttemptDone(worker, attempt(name), (1,) * 4, 3))
    assert stage.state is not JobState.FAILED
    assert stage.machine.ledger.set_aside_total == 3


def test_setting_a_record_aside_proves_nothing_against_the_worker_on_which_it_raised() -> None:
    stage = Stage(skips=True)
    stage.join("a", "b")
    stage.split(2)
    for index in (0, 2, 3, 4):
        stage.fail("a", f"m-{index:05d}.0")
        stage.split()
    stage.done("b", "m-00001.0")
    for index in (0, 2, 3, 4):
        stage.send(AttemptDone("b", attempt(f"m-{index:05d}.1"), (1,) * 4, 1))
    assert stage.machine.counts().map_committed == 5
    assert of_kind(stage.said, ExcludeWorker) == []


# -- policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skipped", "most", "too_many"), [(0, 0, False), (1, 0, True), (5, 5, False), (6, 5, True), (10**9, None, False)]
)
def test_more_than_allowed_is_too_many(skipped: int, most: int | None, too_many: bool) -> None:
    assert policy.is_excess(skipped, most) is too_many


def test_only_a_lost_process_was_lost_somewhere() -> None:
    assert policy.lost_at(Failure(FailureKind.CRASH, "", key="'k'", record=3)) == (3, key_digest("'k'"), "")
    assert policy.lost_at(Failure(FailureKind.CRASH, "")) is None
    assert policy.lost_at(Failure(FailureKind.USER, "", key="'k'", record=3)) is None
