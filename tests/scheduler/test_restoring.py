"""A job goes on where an earlier coordinator left it."""

from __future__ import annotations

from typing import Any

import pytest

from mincemeat import limits
from mincemeat.model import AttemptId, Phase
from mincemeat.scheduler import (
    AttemptDone,
    BlocksUnreachable,
    CancelAttempt,
    DropOutput,
    FinishJob,
    Heartbeat,
    IllegalMove,
    InputExhausted,
    JobRestored,
    JobState,
    Machine,
    ProduceSplit,
    RestoredOutput,
    SplitsProduced,
    StartAttempt,
    Tick,
    WorkerJoined,
    WorkerLeft,
    invariants,
)
from mincemeat.scheduler.digests import Digests
from mincemeat.scheduler.events import Event
from mincemeat.scheduler.instructions import Instruction

SIZES = (3, 0, 9)


def name(text: str) -> AttemptId:
    return AttemptId.parse(text)


class Restored:
    """A machine in its second life: splits 0 to 3 were cut, 0 and 1 in one output on A, 2 on B, 3 is not mapped."""

    def __init__(self, **changes: Any) -> None:
        self.now = 100.0
        self.machine = Machine(partitions=3, reduce_task_bytes=1, life=1)
        told = JobRestored(
            groups=(2, 1, 1),
            is_input_exhausted=False,
            outputs=(
                RestoredOutput(name("m-00000.0"), 2, "A", SIZES),
                RestoredOutput(name("m-00002.1"), 1, "B", SIZES),
            ),
            plan=(),
            reduced=(),
        )
        self.said = self.handle(told._replace(**changes))

    def handle(self, event: Event) -> list[Instruction]:
        said = self.machine.handle(event, self.now)
        invariants.check(self.machine)
        return said

    def restored_late(self) -> list[Instruction]:
        self.now += limits.COME_BACK_SECONDS
        for worker in list(self.machine.ledger.leases):
            assert self.handle(Heartbeat(worker)) == []
        return self.handle(Tick())


def all_mapped(**changes: Any) -> Restored:
    return Restored(groups=(2, 1), is_input_exhausted=True, plan=(range(2), range(2, 3)), **changes)


def test_only_what_was_not_committed_is_attempted() -> None:
    world = Restored()
    assert world.said == []
    assert world.handle(WorkerJoined("C", 2)) == [StartAttempt("C", name("m-00003.10000"), None), ProduceSplit()]
    assert world.machine.counts().map_committed == 3


def test_new_attempts_have_names_that_no_earlier_one_had() -> None:
    world = Restored()
    world.handle(WorkerJoined("C", 1))
    assert world.machine.is_running("C", name("m-00003.10000"))
    assert not world.machine.is_running("C", name("m-00003.0"))


def test_outputs_come_back_with_their_worker() -> None:
    world = Restored()
    world.handle(WorkerJoined("A'", 1, (name("m-00000.0"),)))
    assert next(world.machine.map_outputs()) == (0, name("m-00000.0"), "A'")
    world.restored_late()
    # B has not come back.
    assert [index for index, _, _ in world.machine.map_outputs()] == [0]
    assert world.machine.counts().map_committed == 2


def test_what_nobody_knows_of_is_dropped() -> None:
    world = Restored()
    said = world.handle(WorkerJoined("A'", 1, (name("m-00003.0"), name("m-00000.0"), name("m-00099.0"))))
    assert [one for one in said if isinstance(one, DropOutput)] == [
        DropOutput("A'", name("m-00003.0")),
        DropOutput("A'", name("m-00099.0")),
    ]


def test_an_output_that_comes_back_late_is_of_use_until_it_is_made_again() -> None:
    world = Restored()
    world.handle(WorkerJoined("C", 1))
    world.restored_late()
    world.handle(AttemptDone("C", name("m-00003.10000"), SIZES))
    world.handle(AttemptDone("C", name("m-00000.10001"), SIZES))
    said = world.handle(WorkerJoined("AB", 1, (name("m-00000.0"), name("m-00002.1"))))
    assert DropOutput("AB", name("m-00000.0")) in said
    assert [index for index, _, _ in world.machine.map_outputs()] == [0, 2, 3]


def test_nothing_is_reduced_before_all_outputs_are_back() -> None:
    world = all_mapped()
    assert world.machine.state is JobState.REDUCE
    assert world.handle(WorkerJoined("A'", 2, (name("m-00000.0"),))) == []
    said = world.handle(WorkerJoined("B'", 2, (name("m-00002.1"),)))
    assert [one.partitions for one in said if isinstance(one, StartAttempt)] == [range(2), range(2, 3)]


def test_outputs_that_do_not_come_back_are_made_again_before_anything_is_reduced() -> None:
    world = all_mapped()
    world.handle(WorkerJoined("A'", 1, (name("m-00000.0"),)))
    said = world.restored_late()
    assert said == [StartAttempt("A'", name("m-00002.10001"), None)]
    said = world.handle(AttemptDone("A'", name("m-00002.10001"), SIZES))
    assert [one.attempt for one in said if isinstance(one, StartAttempt)] == [name("r-00000.10000")]


def test_the_machine_asks_to_be_woken_when_nobody_has_come_back() -> None:
    world = Restored()
    assert world.machine.next_deadline() == world.now + limits.COME_BACK_SECONDS


def test_reduced_tasks_are_not_reduced_again() -> None:
    world = all_mapped(reduced=(name("r-00001.0"),))
    world.handle(WorkerJoined("A'", 2, (name("m-00000.0"), name("m-00002.1"))))
    assert world.machine.counts().reduce_committed == 1
    assert world.handle(AttemptDone("A'", name("r-00000.10000"))) == [FinishJob()]


def test_a_job_that_was_done_but_for_its_end_ends_at_once() -> None:
    world = all_mapped(reduced=(name("r-00000.0"), name("r-00001.3")))
    assert world.said == [FinishJob()]


def test_sizes_of_restored_outputs_count_once() -> None:
    world = Restored()
    assert world.machine.ledger.partition_bytes == [6, 0, 18]
    world.handle(WorkerJoined("C", 1))
    world.restored_late()  # both are lost, and made again
    world.handle(AttemptDone("C", name("m-00003.10000"), SIZES))
    world.handle(AttemptDone("C", name("m-00000.10001"), SIZES))
    assert world.machine.ledger.partition_bytes == [9, 0, 27]


@pytest.mark.parametrize(("again", "is_failed"), [(b"\1" * 24, False), (b"\2" * 24, True)])
def test_what_an_earlier_life_knew_of_an_output_is_compared_when_it_is_made_again(
    again: bytes, is_failed: bool
) -> None:
    world = all_mapped(
        outputs=(
            RestoredOutput(name("m-00000.0"), 2, "A", SIZES, Digests(True, b"\1" * 24)),
            RestoredOutput(name("m-00002.1"), 1, "B", SIZES, Digests(True, b"\1" * 24)),
        ),
        reduced=(name("r-00000.0"),),
    )
    world.handle(WorkerJoined("B'", 1, (name("m-00002.1"),)))
    said = world.restored_late()  # A has not come back
    assert said == [StartAttempt("B'", name("m-00000.10001"), None, 2)]
    world.handle(AttemptDone("B'", name("m-00000.10001"), SIZES, digests=Digests(True, again)))
    assert (world.machine.state is JobState.FAILED) is is_failed


def test_part_of_what_was_cut_together_may_be_committed() -> None:
    world = Restored(groups=(3,), outputs=(RestoredOutput(name("m-00001.2"), 1, "A", SIZES),), is_input_exhausted=True)
    said = world.handle(WorkerJoined("C", 3))
    assert [(one.attempt, one.splits) for one in said if isinstance(one, StartAttempt)] == [
        (name("m-00000.10000"), 1),
        (name("m-00002.10000"), 1),
    ]


def test_a_job_that_has_begun_is_not_restored() -> None:
    machine = Machine(partitions=3)
    machine.handle(WorkerJoined("A", 1), 0.0)
    machine.handle(SplitsProduced(0), 0.0)
    with pytest.raises(IllegalMove, match="has begun"):
        machine.handle(JobRestored((), False, (), (), ()), 1.0)


def test_an_empty_job_is_restored_to_its_end() -> None:
    machine = Machine(partitions=3, life=1)
    assert machine.handle(JobRestored((), True, (), (), ()), 0.0) == [FinishJob()]


# -- a worker that was cut off comes back ------------------------------------------------------------------------


class CutOff:
    """Splits 0 and 1 are in one output on A, split 2 on B; all is mapped but split 3; then A's connection breaks."""

    def __init__(self) -> None:
        self.machine = Machine(partitions=3, reduce_task_bytes=1)
        self.handle(WorkerJoined("A", 1))
        self.handle(SplitsProduced(0, 2))
        self.handle(AttemptDone("A", name("m-00000.0"), SIZES))
        self.said = self.handle(WorkerLeft("A", "cut off"))

    def handle(self, event: Event) -> list[Instruction]:
        said = self.machine.handle(event, 0.0)
        invariants.check(self.machine)
        return said

    def come_back(self) -> list[Instruction]:
        return self.handle(WorkerJoined("A'", 1, (name("m-00000.0"),)))


def test_what_nobody_has_begun_to_make_again_is_taken_back() -> None:
    world = CutOff()
    world.come_back()
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.0"), "A'")]
    assert world.machine.counts().map_committed == 2


def test_who_is_making_it_again_is_told_to_stop() -> None:
    world = CutOff()
    world.handle(WorkerJoined("B", 2))
    said = world.come_back()
    assert said[:1] == [CancelAttempt("B", name("m-00000.1"))]
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.0"), "A'")]
    late = world.handle(AttemptDone("B", name("m-00000.1"), SIZES))
    assert DropOutput("B", name("m-00000.1")) in late


def test_what_was_made_again_already_is_dropped() -> None:
    world = CutOff()
    world.handle(WorkerJoined("B", 1))
    world.handle(AttemptDone("B", name("m-00000.1"), SIZES))
    assert DropOutput("A'", name("m-00000.0")) in world.come_back()
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.1"), "B")]


def test_what_could_not_be_fetched_is_not_taken_back() -> None:
    """Whoever holds it may believe that it is whole."""
    world = CutOff()
    world.come_back()
    world.handle(InputExhausted())
    world.handle(WorkerJoined("B", 1))
    [start] = [one for one in running(world.machine) if one.task.phase is Phase.REDUCE][:1]
    reducer = next(worker for worker in ("A'", "B") if world.machine.is_running(worker, start))
    world.handle(BlocksUnreachable(reducer, start, (0,), "flipped bit"))
    world.handle(WorkerLeft("A'", "cut off"))
    assert DropOutput('A"', name("m-00000.0")) in world.handle(WorkerJoined('A"', 1, (name("m-00000.0"),)))


def test_sizes_of_what_came_back_count_once() -> None:
    world = CutOff()
    world.come_back()
    assert world.machine.ledger.partition_bytes == list(SIZES)


def running(machine: Machine) -> list[AttemptId]:
    return [attempt.id for worker in machine.ledger.workers.values() for attempt in worker.running]


def test_a_worker_that_is_back_before_its_end_was_noticed_keeps_its_outputs() -> None:
    """They were dropped, for the first connection seemed to live, and then lost with that when its lease ran out."""
    world = CutOff()
    world.come_back()  # as A'
    said = world.handle(WorkerJoined('A"', 1, (name("m-00000.0"),)))
    assert not [one for one in said if isinstance(one, DropOutput)]
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.0"), 'A"')]
    world.handle(WorkerLeft("A'", "no sign of life"))
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.0"), 'A"')]


def test_what_asked_the_earlier_connection_in_vain_does_not_lose_the_output() -> None:
    world = CutOff()
    world.come_back()
    world.handle(InputExhausted())
    world.handle(WorkerJoined("B", 1))
    start = next(one for one in running(world.machine) if one.task.phase is Phase.REDUCE)
    reducer = next(worker for worker in ("A'", "B") if world.machine.is_running(worker, start))
    world.handle(WorkerJoined('A"', 1, (name("m-00000.0"),)))
    world.handle(BlocksUnreachable(reducer, start, (0,), "connection refused"))
    assert list(world.machine.map_outputs()) == [(0, name("m-00000.0"), 'A"')]


def test_work_is_shared_out_when_it_is_known_among_how_many() -> None:
    """The plan was made before anybody had joined, as for a single slot."""
    sizes = (10_000,) * 64
    machine = Machine(partitions=64, reduce_task_bytes=640_000 // 2, life=1)
    output = RestoredOutput(name("m-00000.0"), 1, "A", sizes)
    assert machine.handle(JobRestored((1,), True, (output,), (), ()), 0.0) == []
    machine.handle(WorkerJoined("A'", 8, (name("m-00000.0"),)), 1.0)
    invariants.check(machine)
    assert len(machine.plan) == 8
