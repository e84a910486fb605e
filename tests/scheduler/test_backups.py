"""Several attempts of one task: the first commit wins."""

from __future__ import annotations

import math
from typing import Any

from mincemeat import limits
from mincemeat.model import FailureKind
from mincemeat.scheduler import CancelAttempt, DropOutput, JobState, StartAttempt, Tick
from tests.scheduler.kit import Stage, attempt, of_kind, starts


def late_phase(**options: Any) -> Stage:
    """Of 12 map tasks 11 are committed; m-00000.0 has run on worker s for 100 s; a and b are idle. Next tick is due."""
    stage = Stage(**{"backups": True, **options})
    stage.join("s")
    stage.split()
    stage.join("a", "b")
    for _ in range(11):
        stage.split()
        worker, name = next(pair for pair in stage.running() if pair[0] != "s")
        stage.done(worker, name)
    stage.exhaust()
    assert stage.running() == [("s", "m-00000.0")]
    stage.now += 100.0
    return stage


def test_straggler_gets_a_backup_on_another_worker() -> None:
    stage = late_phase()
    [(worker, name)] = starts(stage.send(Tick()))
    assert (worker in "ab", name) == (True, "m-00000.1")


def test_no_backups_unless_they_were_asked_for() -> None:
    assert late_phase(backups=False).send(Tick()) == []


def test_a_task_has_one_backup_at_a_time() -> None:
    stage = late_phase()
    stage.send(Tick())
    assert stage.send(Tick(), at=stage.now + 1000) == []


def test_backup_that_commits_first_cancels_the_straggler() -> None:
    stage = late_phase()
    [(worker, name)] = starts(stage.send(Tick()))
    said = stage.done(worker, name)
    assert of_kind(said, CancelAttempt) == [CancelAttempt("s", attempt("m-00000.0"))]
    assert stage.state is JobState.REDUCE
    assert stage.done("s", "m-00000.0") == [DropOutput("s", attempt("m-00000.0"))]


def test_straggler_that_commits_after_all_cancels_the_backup() -> None:
    stage = late_phase()
    [(worker, name)] = starts(stage.send(Tick()))
    assert of_kind(stage.done("s", "m-00000.0"), CancelAttempt) == [CancelAttempt(worker, attempt(name))]
    assert (0, attempt("m-00000.0"), "s") in stage.machine.map_outputs()


def test_backup_that_fails_leaves_the_straggler_running() -> None:
    stage = late_phase()
    [(worker, name)] = starts(stage.send(Tick()))
    assert starts(stage.fail(worker, name)) == []
    assert stage.running() == [("s", "m-00000.0")]
    # The next backup goes to the one that has not failed it.
    [(second, _)] = starts(stage.send(Tick()))
    assert {worker, second} == {"a", "b"}


def test_straggler_that_is_lost_leaves_the_backup_running() -> None:
    stage = late_phase()
    [backup] = starts(stage.send(Tick()))
    assert starts(stage.leave("s")) == []
    assert stage.running() == [backup]


def test_excluding_a_worker_that_runs_a_backup_keeps_the_other_attempt() -> None:
    stage = late_phase()
    [(worker, name)] = starts(stage.send(Tick()))
    stage.fail(worker, name, FailureKind.CODE)
    assert stage.running() == [("s", "m-00000.0")]


def test_no_backup_on_the_stragglers_own_worker() -> None:
    stage = Stage(backups=True)
    stage.join("s", slots=2)
    stage.split()
    stage.exhaust()
    stage.now += 100.0
    assert stage.machine.counts().running == 1
    assert starts(stage.send(Tick())) == []
    stage.join("a")
    assert starts(stage.send(Tick())) == [("a", "m-00000.1")]


def test_no_backup_while_there_is_input() -> None:
    stage = Stage(backups=True)
    stage.join("s", "a")
    stage.split(1)
    stage.now += 1000.0
    assert starts(stage.send(Tick())) == []


def test_straggling_reduce_attempt_gets_a_backup_with_the_same_partitions() -> None:
    stage = Stage(backups=True)
    stage.reduce_phase()
    stage.now += 100.0
    first = of_kind(stage.said, StartAttempt)[-1]
    [second] = of_kind(stage.send(Tick()), StartAttempt)
    assert (str(second.attempt), second.partitions) == ("r-00000.1", first.partitions)
    stage.done(second.worker, "r-00000.1")
    assert stage.state is JobState.DONE


def test_a_map_task_that_is_attempted_again_in_the_reduce_phase_gets_a_backup() -> None:
    """Every reduce task waits for it, and only attempts of reduce tasks were looked at."""
    stage = Stage(backups=True)
    stage.reduce_phase(workers=("a", "b", "c"))
    [(reducer, _)] = stage.running()
    [holder, *_] = {worker for _, _, worker in stage.machine.map_outputs()} - {reducer}
    stage.leave(holder)
    [(mapper, name)] = [pair for pair in stage.running() if pair[1].startswith("m")]
    stage.join("d")
    [(second, backup)] = starts(stage.send(Tick(), at=stage.now + 100.0))
    assert (second, backup) == ("d", f"{name[:-1]}{int(name[-1]) + 1}")
    assert mapper != second


def test_a_small_phase_is_cloned_on_another_machine_only() -> None:
    """Beside a server with four workers on two cores, clones took the cores from what they were to speed up."""
    stage = Stage(backups=True)
    stage.join("s", "beside", host="here")
    stage.split()
    stage.exhaust()
    assert starts(stage.send(Tick(), at=stage.now + 100.0)) == []
    stage.join("a", host="there")
    assert starts(stage.send(Tick())) == [("a", "m-00000.1")]


def test_a_straggler_gets_a_backup_on_its_own_machine_too() -> None:
    stage = Stage(backups=True)
    stage.join("s", "beside", host="here")
    stage.split(2)
    stage.exhaust()
    stage.done("beside", "m-00001.0")
    assert starts(stage.send(Tick(), at=stage.now + 100.0)) == [("beside", "m-00000.1")]


def test_an_attempt_that_cannot_be_cloned_takes_no_place_from_one_that_can() -> None:
    stage = Stage(backups=True)
    stage.join("s", host="here")
    stage.split()
    stage.join("t", host="there")
    stage.split()
    stage.join("beside", host="here")
    stage.exhaust()
    assert starts(stage.send(Tick(), at=stage.now + 100.0)) == [("beside", "m-00001.1")]


def test_a_worker_that_was_slow_before_is_not_waited_for_as_long_as_another() -> None:
    """One of 1,746 workers took ten times as long: three times the median had to pass again for its last attempt."""
    stage = Stage(backups=True)
    stage.join("s")
    stage.split()
    stage.join("a")
    for number in range(1, 11):
        stage.split()
        stage.now += 10.0
        stage.done("a", f"m-{number:05d}.0")
    stage.done("s", "m-00000.0")
    stage.split(2)
    stage.exhaust()
    names = dict(stage.running())
    stage.done("a", names["a"])
    assert starts(stage.send(Tick(), at=stage.now + 9.0)) == []
    assert starts(stage.send(Tick(), at=stage.now + 6.0)) == [("a", names["s"].replace(".0", ".1"))]


def test_a_worker_that_a_backup_overtook_was_slow() -> None:
    """It never commits anything, as a backup is always first: so it seemed like any other."""
    stage = Stage(backups=True)
    stage.join("s")
    stage.split()
    stage.join("a", "b")
    for number in range(1, 12):
        stage.split()
        [worker] = [worker for worker, name in stage.running() if name == f"m-{number:05d}.0"]
        stage.now += 10.0
        stage.done(worker, f"m-{number:05d}.0")
    stage.exhaust()
    [(worker, name)] = starts(stage.send(Tick(), at=stage.now + 1.0))
    stage.done(worker, name)
    slow = stage.machine.ledger.workers["s"]
    assert slow.latest is not None
    assert slow.latest[1] > 110.0
    assert all(
        worker.latest is None or worker.latest[1] < 11.0
        for worker in stage.machine.ledger.workers.values()
        if worker is not slow
    )


def test_splits_that_failed_together_get_no_further_backup() -> None:
    """One of them hung: each attempt at all of them was backed up before it failed, so none was attempted alone."""
    stage = Stage(backups=True)
    stage.join("s", "a", "b")
    stage.group(3)
    stage.exhaust()
    [(_, backup)] = starts(stage.send(Tick(), at=stage.now + 100.0))
    stage.fail("s", "m-00000.0", FailureKind.TIMEOUT)
    assert starts(stage.send(Tick(), at=stage.now + 100.0)) == []
    [(worker, name)] = stage.running()
    assert name == backup
    alone = starts(stage.fail(worker, name, FailureKind.TIMEOUT))
    assert {attempt(name).task.index for _, name in alone} == {0, 1, 2}


def test_no_backup_within_the_first_second() -> None:
    stage = Stage(backups=True)
    stage.join("s", "a")
    stage.split()
    stage.exhaust()
    assert starts(stage.send(Tick(), at=stage.now + 0.9 * limits.BACKUP_SECONDS_LEAST)) == []
    assert starts(stage.send(Tick(), at=stage.now + 0.2 * limits.BACKUP_SECONDS_LEAST)) == [("a", "m-00000.1")]


def test_ticks_are_due_while_a_backup_may_be() -> None:
    stage = late_phase()
    deadline = stage.machine.next_deadline()
    assert deadline is not None
    stage.send(Tick())
    assert stage.machine.next_deadline() == stage.now + limits.HEARTBEAT_SECONDS


def test_no_tick_is_due_when_every_slot_is_busy() -> None:
    stage = Stage(backups=True, lease_seconds=math.inf)
    stage.join("a")
    stage.split()
    assert stage.machine.next_deadline() is None
