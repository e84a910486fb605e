"""What must be true of the whole world, whatever goes wrong in it.

Decides: nothing; it looks. After every event that the scheduler is told, and at the end. What is claimed here is said
without the program's own bookkeeping wherever that can be: from the messages and files that the world itself saw.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mincemeat import limits
from mincemeat.errors import BlockCorrupt
from mincemeat.model import AttemptId, Phase, TaskId
from mincemeat.scheduler import events, instructions, invariants
from mincemeat.scheduler.events import Event
from mincemeat.scheduler.instructions import Instruction
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import AttemptState
from tests.simulation.plan import POISON

if TYPE_CHECKING:
    from tests.simulation.world import World

# Ticks come every half second, and a coordinator that was frozen ticks first of all.
_TICK_SECONDS = 0.75
_ROUNDING = 1e-6


class Broken(AssertionError):
    """A claim does not hold."""


def claim(holds: object, sentence: str) -> None:
    if not holds:
        raise Broken(sentence)


class Watch:
    """Stands between a coordinator and its machine, and looks at each event and each answer."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self.machine = machine
        self._handle = machine.handle
        machine.handle = self.handle  # type: ignore[method-assign]
        self.committed: dict[TaskId, tuple[AttemptId, str]] = {}
        self.running: dict[AttemptId, str] = {}
        self._heard: dict[str, float] = {}
        self._left: set[str] = set()
        self._excluded: set[str] = set()
        self.ended: list[Instruction] = []
        self.events = 0

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """In the place of ``Machine.handle``."""
        try:
            return self._look(event, now)
        except AssertionError as error:
            self._world.broken = self._world.broken or error  # the program must not make a failed job of it
            raise

    def _look(self, event: Event, now: float) -> list[Instruction]:
        self.events += 1
        self._world.trace.note(now, "event", type(event).__name__, _about(event))
        name = getattr(event, "worker", None)
        if name is not None and name not in self._left:
            self._heard[name] = now
        if isinstance(event, events.WorkerLeft):
            self._left.add(event.worker)
        was_over = self.machine.is_over
        answer = self._handle(event, now)
        invariants.check(self.machine)
        for instruction in answer:
            if isinstance(instruction, instructions.ExpireWorker):
                self._check_expired(instruction.worker, now)
        if not was_over:
            self._check_commits(event)
        for instruction in answer:
            self._world.trace.note(now, "  so", type(instruction).__name__, _about(instruction))
            self._check_instruction(instruction, now)
        if not was_over:
            self._check_leases(now)
            self._check_tables()
        return answer

    def _check_instruction(self, instruction: Instruction, now: float) -> None:
        claim(not self.ended or isinstance(instruction, instructions.CancelAttempt), f"{instruction} after the end")
        match instruction:
            case instructions.StartAttempt(worker=worker, attempt=attempt):
                claim(worker not in self._left, f"{attempt} is started on {worker}, which has left")
                claim(worker not in self._excluded, f"{attempt} is started on {worker}, which is excluded")
                claim(attempt not in self.running, f"{attempt} is started a second time")
                self.running[attempt] = worker
            case instructions.CancelAttempt(attempt=attempt):
                self.running.pop(attempt, None)
            case instructions.DropOutput(worker=worker, attempt=attempt):
                claim(
                    all(commit != (attempt, worker) for commit in self.committed.values()),
                    f"{worker} is told to delete {attempt}, which is committed there",
                )
            case instructions.ExcludeWorker(worker=worker):
                self._excluded.add(worker)
            case instructions.ReadmitWorker(worker=worker):
                self._excluded.discard(worker)
            case instructions.FinishJob() | instructions.FailJob():
                claim(not self.ended, "the job ends a second time")
                self.ended.append(instruction)

    def _check_expired(self, worker: str, now: float) -> None:
        silent = now - self._heard[worker]
        claim(silent > limits.LEASE_SECONDS - _ROUNDING, f"{worker} is given up after a silence of {silent:.3f} s")
        self._left.add(worker)

    def _check_commits(self, event: Event) -> None:
        """What has been committed and what has been lost by ``event``, and whether it may have been."""
        machine = self.machine
        found: dict[TaskId, tuple[AttemptId, str]] = {}
        for phase in (machine.ledger.map, machine.ledger.reduce):
            for task in phase.tasks:
                if task.committed is not None:
                    found[task.id] = task.committed.id, task.committed.worker.name
        for task_id, commit in found.items():
            before = self.committed.get(task_id)
            if before != commit:
                claim(before is None, f"{task_id} was committed as {before} and is now {commit}")
                self._check_new_commit(event, task_id, *commit)
        for task_id, commit in self.committed.items():
            if task_id not in found:
                self._check_lost_commit(event, task_id, *commit)
        self.committed = found
        if isinstance(event, events.AttemptDone | events.AttemptFailed | events.AttemptLost | events.BlocksUnreachable):
            self.running.pop(event.attempt, None) if self._is_over(event.attempt) else None

    def _is_over(self, attempt: AttemptId) -> bool:
        record = self.machine.ledger.find_attempt(attempt)
        return record is None or record.state is not AttemptState.RUNNING

    def _check_new_commit(self, event: Event, task: TaskId, attempt: AttemptId, worker: str) -> None:
        claim(
            isinstance(event, events.AttemptDone) and (event.attempt, event.worker) == (attempt, worker),
            f"{task} is committed as {attempt} on {worker} by {event}",
        )
        claim(
            self.running.get(attempt) == worker,
            f"{attempt} is committed on {worker} and was started on {self.running.get(attempt)}",
        )
        claim(worker not in self._left, f"{attempt} is committed on {worker}, which has left")
        self._world.check_output(attempt, worker)

    def _check_lost_commit(self, event: Event, task: TaskId, attempt: AttemptId, worker: str) -> None:
        """An acknowledged commit is never redone while its output survives, and can be had."""
        claim(task.phase is Phase.MAP, f"the result of {task} was committed and is to be made again ({event})")
        if worker in self._left:
            return
        claim(
            isinstance(event, events.BlocksUnreachable),
            f"{attempt} is made again because of {event}, and {worker} still has it",
        )
        claim(
            self._world.may_be_unreachable(attempt, worker),
            f"{attempt} on {worker} is made again as unreachable, and nothing was in its way",
        )

    def _check_leases(self, now: float) -> None:
        if self._world.coordinator_was_frozen_since(now - limits.LEASE_SECONDS - _TICK_SECONDS):
            return
        for name in self.machine.ledger.leases:
            silent = now - self._heard[name]
            claim(
                silent <= limits.LEASE_SECONDS + _TICK_SECONDS,
                f"{name} has been silent for {silent:.3f} s and still has its lease",
            )

    def _check_tables(self) -> None:
        """Memory is bounded: what is kept belongs to something that is not done yet."""
        coordinator = self._world.coordinator
        assert coordinator is not None
        ledger = self.machine.ledger
        for index in coordinator._supply.payloads:
            known = index < len(ledger.map.tasks)
            # Those cut just now are not tasks yet.
            claim(
                not known or ledger.map.tasks[index].committed is None,
                f"the payload of split {index} is kept although it is committed",
            )
        for record in coordinator._roster.everybody():
            claim(len(record.channels) <= limits.CHANNELS_PER_WORKER_MAX, f"{record.worker} has too many channels")
            claim(record.outbox.qsize() <= 200, f"{record.outbox.qsize()} messages wait for {record.worker}")
        claim(len(self.running) <= 200, "attempts that nobody knows of any more are kept")


def _about(said: Event | Instruction) -> str:
    """What of an event or an instruction belongs into the trace: no texts, which may name a directory of this run."""
    names = ("worker", "attempt", "first", "count", "maps", "partitions", "task")
    return " ".join(str(getattr(said, name)) for name in said._fields if name in names)


def check_end(world: World) -> None:
    """The job is over, and everybody has gone home."""
    outcome = world.outcome
    watch, plan, job = world.watch, world.plan, world.job
    claim(outcome is not None, "the job has no end")
    assert outcome is not None
    [error] = outcome
    if error is not None:
        check_failure(world, error)
        return
    claim(not plan.poison or job.poison is None, "the job ended well although a record can never be mapped")
    assert world.caller is not None
    sink = world.caller.sink
    claim(sink.is_committed, "the results were not committed")
    claim(all(times == 1 for times in sink.times.values()), f"keys came more than once: {sink.times}")
    claim(sink.results == job.answer, f"the answer is wrong: {_difference(sink.results, job.answer)}")
    assert world.coordinator is not None
    assert watch is not None
    snapshot = world.caller.caller._ledger.snapshot(world.coordinator.counts())
    claim(snapshot.records == len(job.records), f"{snapshot.records} of {len(job.records)} records were counted")
    claim([type(end) for end in watch.ended] == [instructions.FinishJob], f"the job ended with {watch.ended}")
    claim(not world.caller.source._payloads, "the datasource keeps payloads of splits that are committed")


def check_failure(world: World, error: BaseException) -> None:
    """A job may fail, for reasons that are really there."""
    watch, plan = world.watch, world.plan
    if world.faults.happened["coordinator killed"] and isinstance(error, world.Killed):
        return
    assert watch is not None
    if isinstance(error, BlockCorrupt) and any(
        os.path.basename(path).startswith("r-") for path in world.faults.damaged
    ):
        return  # a result was damaged where it was made, and its checksum tells
    claim(len(watch.ended) == 1, f"the job failed with {error!r}, and the scheduler says {watch.ended}")
    [end] = watch.ended
    claim(isinstance(end, instructions.FailJob), f"the job failed with {error!r}, and the scheduler says {end}")
    assert isinstance(end, instructions.FailJob)
    if end.task is None:
        raise Broken(f"the source failed: {end.failure}")
    task = watch.machine.ledger.find_task(end.task)
    assert task is not None
    if plan.poison and end.failure.exception_type.endswith("Unlucky"):
        world.faults.happened[POISON] += 1
        return
    spent = task.failures >= plan.max_attempts
    claim(spent or task.losses > limits.LOST_ATTEMPTS_MAX, f"the job failed without need: {end.failure}")


def check_leftovers(world: World) -> None:
    """Nobody is there any more: neither is anything that they had."""
    for machine in world.machines:
        for process in machine.processes:
            if process.is_alive:
                claim(not process.tasks, f"{process} has ended and left tasks: {list(process.tasks)}")
                left = world.network.open_streams(process)
                claim(not left, f"{process} has ended and left {len(left)} connections")
                doors = [door for door in world.network.doors.values() if door.process is process]
                claim(not doors, f"{process} has ended and still listens")
        for path, process in machine.outside.scratches.items():
            claim(not process.is_alive, f"{process} has ended and left {path}")
        for path in os.listdir(machine.disk.directory):
            whole = os.path.join(machine.disk.directory, path)
            claim(whole in machine.outside.scratches, f"{machine.host} has a file that nobody will remove: {path}")


def _difference(found: dict[object, object], expected: dict[object, object]) -> str:
    missing = [key for key in expected if key not in found]
    more = [key for key in found if key not in expected]
    other = [(key, found[key], expected[key]) for key in found if key in expected and found[key] != expected[key]]
    return f"missing {missing[:3]}, beyond {more[:3]}, other {other[:2]}"
