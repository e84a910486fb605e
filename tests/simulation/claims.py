"""What must be true of the whole world, whatever goes wrong in it.

Decides: nothing; it looks. After every event that the scheduler is told, and at the end. What is claimed here is said
without the program's own bookkeeping wherever that can be: from the messages and files that the world itself saw.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from mincemeat import limits
from mincemeat.cluster.coordinator import Coordinator
from mincemeat.errors import BlockCorrupt, SpillSpaceExhausted
from mincemeat.model import AttemptId, FailureKind, Phase, TaskId
from mincemeat.scheduler import events, instructions, invariants, policy
from mincemeat.scheduler.events import Event
from mincemeat.scheduler.instructions import Instruction
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import AttemptState, WorkerState
from mincemeat.shuffle.partition import make_partitioner
from tests.simulation.broken import Broken, claim
from tests.simulation.plan import COORDINATOR_FULL, POISON

if TYPE_CHECKING:
    from tests.simulation.jobs import SimJob
    from tests.simulation.loop import Process
    from tests.simulation.world import World

# Ticks come every half second, and a coordinator that was frozen ticks first of all.
_TICK_SECONDS = 0.75
_ROUNDING = 1e-6


class Watch:
    """Stands between a coordinator and its machine, and looks at each event and each answer."""

    def __init__(self, world: World, coordinator: Coordinator) -> None:
        machine = coordinator._machine
        self._world = world
        self._coordinator = coordinator
        self.machine: Machine = machine
        self._handle = machine.handle
        machine.handle = self.handle  # type: ignore[method-assign]
        self.committed: dict[TaskId, tuple[AttemptId, str]] = {}
        self.running: dict[AttemptId, str] = {}
        self._heard: dict[str, float] = {}
        self._left: set[str] = set()
        self._excluded: set[str] = set()
        self._draining: dict[str, None] = {}
        self.released: dict[str, None] = {}
        self._process = world.coordinating
        self._joined: dict[str, None] = {}
        # By task, where an attempt of it has failed.
        self._failed_on: dict[TaskId, set[str]] = {}
        # By task, how many of its records are known to end processes: what failed before is nobody's fault.
        self._skipped: dict[TaskId, int] = {}
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
        match event:
            case events.WorkerJoined():
                self._joined[event.worker] = None
            case events.WorkerLeft():
                self._left.add(event.worker)
            case events.WorkerDraining():
                self._draining[event.worker] = None
            case events.AttemptFailed():
                self._note_failure(event)
        was_over = self.machine.is_over
        before = self._running_on(event.worker) if isinstance(event, events.WorkerDraining) else []
        if not was_over:
            self._check_tables()  # when what the event before brought about is done
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
        if isinstance(event, events.WorkerDraining):
            after = self._running_on(event.worker)
            claim(before == after, f"{event.worker} wants to leave: it ran {before}, and is counted on for {after}")
        if not was_over:
            self._check_needless()
            self._check_exclusion(event)
            self._check_leases(now)
        if isinstance(event, events.Tick):
            self._world.check_orphans(now)
        return answer

    def _running_on(self, worker: str) -> list[AttemptId]:
        """What the scheduler believes to be carried out there."""
        record = self.machine.ledger.workers.get(worker)
        is_there = record is not None and record.state is not WorkerState.LEFT
        return [attempt.id for attempt in record.running] if record is not None and is_there else []

    def _needs(self, worker: str) -> list[AttemptId]:
        """What ``worker`` carries out, and the map outputs that it holds."""
        running = [attempt for attempt, name in self.running.items() if name == worker]
        held = [
            attempt for task, (attempt, name) in self.committed.items() if name == worker and task.phase is Phase.MAP
        ]
        return running + held

    def _check_needless(self) -> None:
        """Who wants to leave and is not needed is told that it may."""
        for worker in self._draining:
            if worker in self._joined and worker not in self._left and not self.machine.is_over:
                claim(self._needs(worker), f"{worker} wants to leave, and nobody needs it, and it is not released")

    def _check_instruction(self, instruction: Instruction, now: float) -> None:
        claim(not self.ended or isinstance(instruction, instructions.CancelAttempt), f"{instruction} after the end")
        match instruction:
            case instructions.StartAttempt(worker=worker, attempt=attempt):
                claim(worker not in self._left, f"{attempt} is started on {worker}, which has left")
                claim(worker not in self._excluded, f"{attempt} is started on {worker}, which is excluded")
                claim(worker not in self._draining, f"{attempt} is started on {worker}, which wants to leave")
                claim(attempt not in self._world.started, f"{attempt} is started a second time")
                self.running[attempt] = self._world.started[attempt] = worker
                if len(instruction.skip) > self._skipped.get(attempt.task, 0):
                    self._skipped[attempt.task] = len(instruction.skip)
                    self._failed_on.pop(attempt.task, None)
                failed_on = self._failed_on.get(attempt.task, set())
                record = self.machine.ledger.find_task(attempt.task)
                lost_on = frozenset() if record is None else record.lost_on
                claim(
                    worker not in failed_on or not self._available() - failed_on - lost_on,
                    f"{attempt} is given to {worker}, where {attempt.task} has failed, and others are there",
                )
            case instructions.CancelAttempt(attempt=attempt):
                self.running.pop(attempt, None)
            case instructions.DropOutput(worker=worker, attempt=attempt):
                claim(
                    all(commit != (attempt, worker) for commit in self.committed.values()),
                    f"{worker} is told to delete {attempt}, which is committed there",
                )
            case instructions.ReleaseWorker(worker=worker):
                claim(worker in self._draining, f"{worker} is released, and did not want to leave")
                claim(not self._needs(worker), f"{worker} is released, and has {self._needs(worker)}")
                self.released[worker] = None
                self._left.add(worker)
            case instructions.ExcludeWorker(worker=worker):
                self._excluded.add(worker)
            case instructions.ReadmitWorker(worker=worker):
                self._excluded.discard(worker)
            case instructions.FinishJob() | instructions.FailJob():
                claim(not self.ended, "the job ends a second time")
                self.ended.append(instruction)

    def _available(self) -> set[str]:
        """Who may be given work."""
        return self._joined.keys() - self._left - self._excluded - self._draining.keys()

    def _note_failure(self, event: events.AttemptFailed) -> None:
        if self.running.get(event.attempt) != event.worker:
            return
        splits = self.machine.splits_of(event.attempt)
        # Of several it is not known which one failed, unless none of them is to blame.
        if len(splits) <= 1 or policy.is_of_the_worker(event.failure.kind):
            for index in splits or [event.attempt.task.index]:
                task = TaskId(event.attempt.task.phase, index)
                self._failed_on.setdefault(task, set()).add(event.worker)

    def _check_exclusion(self, event: Event) -> None:
        """Where the job's code cannot be loaded, nothing more is tried while there are others."""
        if not isinstance(event, events.AttemptFailed) or event.failure.kind is not FailureKind.CODE:
            return
        record = self.machine.ledger.find_attempt(event.attempt)
        if record is None or record.state is not AttemptState.FAILED:
            return  # it was cancelled or lost before it could be told to have failed
        if event.worker in self._available() and self._available() - {event.worker} and not self.machine.is_over:
            raise Broken(f"the code cannot be loaded on {event.worker}, and it gets further attempts")

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
        if isinstance(event, events.JobRestored):
            self._check_restored(event, found)
            self.committed = found
            return
        for task_id, commit in found.items():
            before = self.committed.get(task_id)
            if before != commit:
                is_back = isinstance(event, events.WorkerJoined) and before is not None and before[0] == commit[0]
                claim(before is None or is_back, f"{task_id} was committed as {before} and is now {commit}")
                self._check_new_commit(event, task_id, *commit)
        for task_id, commit in self.committed.items():
            if task_id not in found:
                self._check_lost_commit(event, task_id, *commit)
        self.committed = found
        self._world.acknowledged |= {task_id: attempt for task_id, (attempt, _) in found.items()}
        if isinstance(event, events.AttemptDone | events.AttemptFailed | events.AttemptLost | events.BlocksUnreachable):
            self.running.pop(event.attempt, None) if self._is_over(event.attempt) else None

    def _check_restored(self, event: events.JobRestored, found: dict[TaskId, tuple[AttemptId, str]]) -> None:
        """What was acknowledged in an earlier life is known in this one, and nothing that nobody ever did."""
        world = self._world
        for output in event.outputs:
            world.makers.setdefault(output.attempt, output.worker)
        for task, (attempt, _) in found.items():
            claim(attempt in world.started, f"{task} goes on as committed by {attempt}, which never was")
            if task.phase is Phase.REDUCE:
                world.check_output(attempt, "")
        may_differ = world.plan.whims or not world.aside.is_steady
        for task, acknowledged in world.acknowledged.items():
            if f"{acknowledged}.result" in world.damaged_results or (may_differ and task.phase is Phase.REDUCE):
                continue
            restored = found.get(task, ("nothing", ""))[0]
            claim(
                restored == acknowledged or (task.phase is Phase.MAP and world.may_be_lost(acknowledged)),
                f"{task} was committed as {acknowledged}, and a coordinator that goes on knows {restored}",
            )

    def _is_over(self, attempt: AttemptId) -> bool:
        record = self.machine.ledger.find_attempt(attempt)
        return record is None or record.state is not AttemptState.RUNNING

    def _check_new_commit(self, event: Event, task: TaskId, attempt: AttemptId, worker: str) -> None:
        if isinstance(event, events.WorkerJoined):
            self._check_returned(event, attempt, worker)
            return
        claim(
            isinstance(event, events.AttemptDone) and (event.attempt, event.worker) == (attempt, worker),
            f"{task} is committed as {attempt} on {worker} by {event}",
        )
        claim(
            self.running.get(attempt) == worker,
            f"{attempt} is committed on {worker} and was started on {self.running.get(attempt)}",
        )
        claim(worker not in self._left, f"{attempt} is committed on {worker}, which has left")
        claim(self._process not in self._world.paper.failed, f"{attempt} is committed, and cannot be recorded any more")
        self._world.check_output(attempt, worker)
        self._world.makers[attempt] = worker

    def _check_returned(self, event: events.WorkerJoined, attempt: AttemptId, worker: str) -> None:
        """A worker that was cut off is back, with what it had done: it, and no other one."""
        claim(event.worker == worker and attempt in event.outputs, f"{attempt} is back on {worker} by {event}")
        maker = self._world.makers.get(attempt, "nobody")
        claim(
            self._world.process_named(maker) is self._world.process_named(worker),
            f"{attempt} was made by {maker} and is taken for that of {worker}",
        )
        self._world.check_output(attempt, worker)

    def _check_lost_commit(self, event: Event, task: TaskId, attempt: AttemptId, worker: str) -> None:
        """An acknowledged commit is never redone while its output survives, and can be had."""
        plan = self._world.plan
        may_differ = plan.whims or not self._world.aside.is_steady
        if task.phase is Phase.REDUCE and may_differ and plan.on_nondeterminism == "restart":
            self._world.acknowledged.pop(task, None)  # taken back, which a coordinator that goes on may know
            return
        claim(task.phase is Phase.MAP, f"the result of {task} was committed and is to be made again ({event})")
        if worker in self._left:
            return
        if worker.endswith("(before)"):
            claim(isinstance(event, events.Tick), f"{attempt} is not waited for any more because of {event}")
            claim(self._world.may_be_lost(attempt), f"{attempt} of {worker} is made again, and nothing kept it away")
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
        coordinator, ledger = self._coordinator, self.machine.ledger
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
    if plan.whims:
        _check_whims(sink.results, job)
    elif plan.skips:
        _check_aside(world, sink.results)
    else:
        claim(sink.results == job.answer, f"the answer is wrong: {_difference(sink.results, job.answer)}")
    assert world.coordinator is not None
    assert watch is not None
    # Results come by partitions, which are ranges if they are to be sorted.
    order = list(sink.results if job.functions.sort else map(make_partitioner(plan.partitions), sink.results))
    claim(order == sorted(order), f"results came out of order: {order}")
    snapshot = world.caller.caller._ledger.snapshot(world.coordinator.counts())
    claim(snapshot.records == len(job.records), f"{snapshot.records} of {len(job.records)} records were counted")
    claim([type(end) for end in watch.ended] == [instructions.FinishJob], f"the job ended with {watch.ended}")
    claim(not world.caller.source._payloads, "the datasource keeps payloads of splits that are committed")


def _check_aside(world: World, results: dict[Any, Any]) -> None:
    """What is told as set aside is what had to be, and the answer is the one without it."""
    assert world.caller is not None
    listed = world.aside.check(world.caller.caller.failures(), world.acknowledged.values())
    answer = world.job.answer_without(listed)
    claim(results == answer, f"the answer is wrong: {_difference(results, answer)}")


def check_told(world: World, process: Process, error: OSError) -> None:
    """The coordinator's own disk is told to be at fault: it is, and in words that help."""
    claim(world.disk_has_failed(process), f"no disk of the coordinator's has failed, and the job ended with {error!r}")
    if error.errno == errno.EIO:
        return
    claim(isinstance(error, SpillSpaceExhausted), f"a full disk is told as {error!r}")
    claim("is full" in str(error) and "make room there" in str(error), f"it does not say what to do: {error}")


def _check_whims(results: dict[Any, Any], job: SimJob) -> None:
    """What a record gave is of one attempt, wherever it went."""
    claim(results.keys() == job.answer.keys(), f"the answer is wrong: {_difference(results, job.answer)}")
    for record in job.records:
        one, other = results[f"a{record}"], results[f"b{record}"]
        claim(
            one == other and len(one) == 1,
            f"of record {record} there is {one} in one partition and {other} in another",
        )


def check_failure(world: World, error: BaseException) -> None:
    """A job may fail, for reasons that are really there."""
    watch, plan = world.watch, world.plan
    if world.faults.happened["coordinator killed"] and isinstance(error, world.Killed):
        return
    end_of_job = watch.ended[0] if watch is not None and watch.ended else None
    failure = end_of_job.failure if isinstance(end_of_job, instructions.FailJob) else None
    if world.aside.check_excess(error, failure):
        return
    if isinstance(error, OSError) and not plan.journal and world.faults.happened[COORDINATOR_FULL]:
        return  # there was no room for results, and no journal to go on from
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
    if (plan.whims or not world.aside.is_steady) and end.failure.kind is FailureKind.NONDETERMINISM:
        claim(plan.on_nondeterminism == "raise", "the job failed, and was to be restarted where it matters")
        return
    spent = task.failures >= plan.max_attempts and world.aside.may_spend_attempts
    # One fault may lose one task a few times, but not so often.
    struck = world.faults.is_network_troubled or sum(world.faults.happened.values()) > limits.LOST_ATTEMPTS_MAX / 3
    lost = task.losses > limits.LOST_ATTEMPTS_MAX and struck
    claim(spent or lost, f"the job failed without need: {end.failure}")


def check_leftovers(world: World) -> None:
    """Nobody is there any more: neither is anything that they had."""
    for process, times in world.paper.failed.items():
        claim(not times, f"{process} wrote {times} times to its journal behind a write or a sync that had failed")
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
            is_kept = path == "journal.files" and world.end != "answered"
            claim(
                is_kept or whole in machine.outside.scratches,
                f"{machine.host} has a file that nobody will remove: {path}",
            )


def _difference(found: dict[object, object], expected: dict[object, object]) -> str:
    missing = [key for key in expected if key not in found]
    more = [key for key in found if key not in expected]
    other = [(key, found[key], expected[key]) for key in found if key in expected and found[key] != expected[key]]
    return f"missing {missing[:3]}, beyond {more[:3]}, other {other[:2]}"
