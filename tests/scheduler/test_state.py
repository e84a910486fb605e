"""Legal moves, illegal ones, and whether the invariants notice what is wrong."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mincemeat.scheduler import IllegalMove, JobState, invariants
from mincemeat.scheduler.ledger import Ledger
from mincemeat.scheduler.state import (
    ATTEMPT_MOVES,
    JOB_MOVES,
    TASK_MOVES,
    WORKER_MOVES,
    AttemptState,
    TaskState,
    WorkerState,
    check_move,
)
from tests.scheduler.kit import Stage, attempt

TABLES: list[tuple[type[enum.Enum], Mapping[Any, Mapping[Any, str]]]] = [
    (JobState, JOB_MOVES),
    (TaskState, TASK_MOVES),
    (AttemptState, ATTEMPT_MOVES),
    (WorkerState, WORKER_MOVES),
]
PAIRS = [
    pytest.param(moves, source, target, id=f"{states.__name__}-{source.name}-{target.name}")
    for states, moves in TABLES
    for source, target in itertools.product(states, repeat=2)
]


@pytest.mark.parametrize(("moves", "source", "target"), PAIRS)
def test_move_is_legal_exactly_when_the_table_has_it(moves: Any, source: enum.Enum, target: enum.Enum) -> None:
    if target in moves[source]:
        check_move(moves, source, target, "m-00001")
    else:
        with pytest.raises(IllegalMove, match=f"m-00001 cannot move from {source.name} to {target.name}"):
            check_move(moves, source, target, "m-00001")


def test_illegal_move_carries_the_story() -> None:
    stage = Stage()
    stage.join("a")
    stage.split()
    stage.done("a", "m-00000.0")
    ledger = stage.machine.ledger
    [record] = ledger.map.tasks[0].attempts
    with pytest.raises(IllegalMove) as caught:
        ledger.drop_attempt(record, AttemptState.FAILED, 9.0, "too late")
    assert (caught.value.subject, caught.value.source, caught.value.target) == ("m-00000.0", "COMMITTED", "FAILED")
    assert "m-00000.0 on a from 0.002 s: COMMITTED at 0.003 s" in caught.value.story
    assert caught.value.story in str(caught.value)
    invariants.check(stage.machine)


def test_output_that_is_not_there_cannot_be_lost() -> None:
    stage = Stage()
    stage.join("a")
    stage.split()
    stage.fail("a", "m-00000.0")
    record = stage.machine.ledger.find_attempt(attempt("m-00000.0"))
    assert record is not None
    with pytest.raises(IllegalMove, match="m-00000.0 cannot move from FAILED to LOST"):
        stage.machine.ledger.lose_output(record, 0.0, "gone")


def _forget_free(ledger: Ledger) -> None:
    ledger.free.clear()


def _miscount_alive(ledger: Ledger) -> None:
    ledger.alive += 1


def _miscount_committed(ledger: Ledger) -> None:
    ledger.map.committed += 1


def _forget_output(ledger: Ledger) -> None:
    ledger.workers["a"].outputs.clear()


def _queue_twice(ledger: Ledger) -> None:
    ledger.map.pending.push(0, frozenset())


def _claim_reduce(ledger: Ledger) -> None:
    ledger.job = JobState.REDUCE


def _forget_lease(ledger: Ledger) -> None:
    ledger.leases.clear()


def _change_state(ledger: Ledger) -> None:
    ledger.map.tasks[0].state = TaskState.PENDING


def _forget_request(ledger: Ledger) -> None:
    ledger.splits_outstanding = 0


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_forget_free, "in `free` exactly when"),
        (_miscount_alive, "alive counts"),
        (_miscount_committed, "`committed` counts"),
        (_forget_output, "has exactly the outputs"),
        (_queue_twice, "exactly when it is PENDING"),
        (_claim_reduce, "in REDUCE exactly when"),
        (_forget_lease, "has a lease exactly when"),
        (_change_state, "state follows from its attempts"),
        (_forget_request, "on behalf of every free slot"),
    ],
)
def test_invariants_notice(damage: Callable[[Ledger], None], sentence: str) -> None:
    stage = Stage()
    stage.join("a", slots=2)
    stage.split()
    stage.done("a", "m-00000.0")
    damage(stage.machine.ledger)
    with pytest.raises(AssertionError, match=sentence):
        invariants.check(stage.machine)
