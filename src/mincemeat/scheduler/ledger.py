"""The state of one job, and every change to it.

Decides: that moves are legal, and that counters and indexes agree with the records at the end of each method here.
Knows nothing of events, instructions or policies: ``machine.py`` and those it asks decide which move comes next.

Cost: a method is O(log n) in tasks and workers, except where it says what it walks over. That is what the indexes are
for: ``free`` (workers with a free slot, longest waiting first), ``leases`` (longest silent first), ``excluded``, each
worker's ``running`` and ``outputs``. ``invariants.py`` states what each holds.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Set

from mincemeat import limits
from mincemeat.model import AttemptId, Failure, Phase, RecordMark, TaskId
from mincemeat.scheduler.pending import TaskQueue
from mincemeat.scheduler.state import (
    ATTEMPT_MOVES,
    JOB_MOVES,
    NOBODY,
    TASK_MOVES,
    WORKER_MOVES,
    AttemptRecord,
    AttemptState,
    JobState,
    LostOutput,
    Suspicion,
    TaskRecord,
    TaskState,
    WorkerRecord,
    WorkerState,
    check_move,
    tell_story,
)


class PhaseLedger:
    """The tasks of one phase: ``tasks[i].id.index == i``."""

    __slots__ = ("committed", "groups", "pending", "phase", "seconds", "tasks")

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.tasks: list[TaskRecord] = []
        self.pending = TaskQueue()
        # First index -> count, for tasks that shall be attempted together: only the first is queued. They were never
        # attempted, or their output was lost: the same splits in one attempt give the same output.
        self.groups: dict[int, int] = {}
        self.committed = 0
        # How long the latest committed attempts took: enough for a median, and no more however many tasks there are.
        self.seconds: deque[float] = deque(maxlen=limits.BACKUP_DURATIONS_KEPT)

    def add_tasks(self, count: int = 1) -> None:
        """``count`` more tasks, for one attempt."""
        first = len(self.tasks)
        self.tasks += [TaskRecord(TaskId(self.phase, index)) for index in range(first, first + count)]
        self.pending.push(first, NOBODY)
        if count > 1:
            self.groups[first] = count

    def restore_tasks(self, count: int, committed: Set[int]) -> None:
        """``count`` tasks that were cut together, of which those in ``committed`` will be said to be so next."""
        first = len(self.tasks)
        if committed.isdisjoint(range(first, first + count)):
            self.add_tasks(count)
            return
        for index in range(first, first + count):
            self.tasks.append(TaskRecord(TaskId(self.phase, index)))
            if index not in committed:
                self.pending.push(index, NOBODY)

    def take_group(self, first: int) -> tuple[TaskRecord, ...]:
        """The tasks that are attempted with task ``first``, just taken from the queue, besides it."""
        count = self.groups.pop(first, 1)
        return tuple(self.tasks[first + 1 : first + count])

    @property
    def is_committed(self) -> bool:
        return self.committed == len(self.tasks)


class Ledger:
    def __init__(self, partitions: int, first_number: int = 0) -> None:
        # What attempts of this life of the job are numbered from, so that none of an earlier one has its name.
        self.first_number = first_number
        self.job = JobState.MAP
        self.map = PhaseLedger(Phase.MAP)
        self.reduce = PhaseLedger(Phase.REDUCE)
        self.workers: dict[str, WorkerRecord] = {}
        self.excluded: dict[str, WorkerRecord] = {}
        self.draining: dict[str, WorkerRecord] = {}
        # Those of an earlier life that are expected back until ``away_until``, each holding an output at least.
        self.away: dict[str, WorkerRecord] = {}
        self.away_until = math.inf
        self.free: OrderedDict[str, WorkerRecord] = OrderedDict()
        # When each connected worker was last heard of.
        self.leases: OrderedDict[str, float] = OrderedDict()
        # Sums over the workers that are ALIVE.
        self.alive = 0
        self.slots = 0
        self.free_slots = 0
        # Of all workers: those that drain run attempts, too.
        self.running = 0
        # How often map outputs have been lost. Whenever every map task is committed, it names the set of outputs.
        self.generation = 0
        self.input_exhausted = False
        self.splits_outstanding = 0
        self.failed_attempts = 0
        # Tasks whose input was found damaged once.
        self.damaged: set[TaskRecord] = set()
        # Tasks that are attempted carefully.
        self.suspicions: dict[TaskRecord, Suspicion] = {}
        # How many records of a task are set aside: by its committed attempt, else those that are not run any more.
        self.set_aside: dict[TaskRecord, int] = {}
        self.set_aside_total = 0
        self.first_set_aside: Failure | None = None
        # Outputs that reduce attempts may have read and that are being made again, by each of their tasks.
        self.lost_outputs: dict[TaskRecord, LostOutput] = {}
        # Sizes over all map tasks, and what each reduce task reduces: the plan, made once.
        self.partition_bytes = [0] * partitions
        self.plan: list[range] = []

    # -- look-ups ----------------------------------------------------------------------------------------

    def phase(self, phase: Phase) -> PhaseLedger:
        return self.map if phase is Phase.MAP else self.reduce

    def phase_of(self, task: TaskId) -> PhaseLedger:
        return self.phase(task.phase)

    def find_task(self, task: TaskId) -> TaskRecord | None:
        tasks = self.phase_of(task).tasks
        return tasks[task.index] if 0 <= task.index < len(tasks) else None

    def find_attempt(self, attempt: AttemptId) -> AttemptRecord | None:
        """``None`` for one that never was, and for one so old that its task's story has forgotten it."""
        task = self.find_task(attempt.task)
        if task is None:
            return None
        place = attempt.number - self.first_number - (task.attempts_started - len(task.attempts))
        record = task.attempts[place if 0 <= place < len(task.attempts) else 0] if task.attempts else None
        return record if record is not None and record.id == attempt else None

    @property
    def outputs_are_there(self) -> bool:
        """Whether every map output could be fetched now."""
        return self.map.is_committed and not self.away

    def is_alive(self, worker: str) -> bool:
        return self.workers[worker].state is WorkerState.ALIVE

    # -- job ---------------------------------------------------------------------------------------------

    def move_job(self, target: JobState) -> None:
        check_move(JOB_MOVES, self.job, target, "the job")
        self.job = target

    def plan_reduce(self, plan: list[range], committed: Set[int] = frozenset()) -> None:
        """``committed``: reduce tasks that will be said to be so next."""
        self.move_job(JobState.REDUCE if plan else JobState.DONE)
        self.plan = plan
        for _ in plan:
            self.reduce.restore_tasks(1, committed)

    # -- from an earlier life ----------------------------------------------------------------------------

    def restore_output(self, attempt: AttemptId, splits: int, worker_name: str, now: float) -> AttemptRecord:
        """A map output that was committed on a worker which is expected back."""
        worker = self.away.get(worker_name)
        if worker is None:
            worker = self.workers[worker_name] = self.away[worker_name] = WorkerRecord(worker_name, 0)
            worker.state = WorkerState.AWAY
        first = attempt.task.index
        return self._restore_commit(self.map.tasks[first : first + splits], worker, attempt.number, now)

    def restore_result(self, attempt: AttemptId, now: float) -> None:
        """A reduce task whose results are in the driver's hands."""
        nobody = WorkerRecord("an earlier life", 0)
        nobody.state = WorkerState.LEFT
        self._restore_commit([self.reduce.tasks[attempt.task.index]], nobody, attempt.number, now)

    def _restore_commit(self, tasks: list[TaskRecord], worker: WorkerRecord, number: int, now: float) -> AttemptRecord:
        attempt = AttemptRecord(tasks[0], tuple(tasks[1:]), worker, now, self.generation, number)
        self._move_attempt(attempt, AttemptState.COMMITTED, now, "in an earlier life")
        for task in tasks:
            self._move_task(task, TaskState.RUNNING)
            task.attempts_started += 1
            task.attempts.append(attempt)
        self._take_output(attempt)
        return attempt

    def move_output(self, attempt: AttemptRecord, worker: WorkerRecord) -> None:
        """The committed output of ``attempt`` has come back with ``worker``."""
        held, attempt.worker = attempt.worker, worker
        self.generation += 1
        for task in attempt.tasks:
            held.outputs.discard(task.id.index)
            worker.outputs.add(task.id.index)
            task.generation = self.generation
        if held.state is WorkerState.AWAY and not held.outputs:
            self.remove_worker(held, "all it held has come back")

    # -- workers -----------------------------------------------------------------------------------------

    def add_worker(self, name: str, slots: int, host: str, now: float) -> None:
        if slots < 1:
            raise ValueError(f"worker {name} offers {slots} slots; a worker needs at least one")
        worker = self.workers[name] = WorkerRecord(name, slots, host)
        self.leases[name] = now
        self._admit(worker)

    def renew_lease(self, worker: WorkerRecord, now: float) -> None:
        self.leases[worker.name] = now
        self.leases.move_to_end(worker.name)

    def exclude_worker(self, worker: WorkerRecord, reason: str) -> None:
        """No more attempts for it. Those it runs are the caller's to end next."""
        self._move_worker(worker, WorkerState.EXCLUDED, reason)
        self._retire(worker)
        self.excluded[worker.name] = worker

    def readmit_worker(self, worker: WorkerRecord) -> None:
        self._move_worker(worker, WorkerState.ALIVE, "")
        del self.excluded[worker.name]
        worker.strikes.clear()
        self._admit(worker)

    def drain_worker(self, worker: WorkerRecord) -> None:
        """No more attempts for it; those it runs go on."""
        was_alive = worker.state is WorkerState.ALIVE
        self._move_worker(worker, WorkerState.DRAINING, "")
        if was_alive:
            self._retire(worker)
        self.excluded.pop(worker.name, None)
        self.draining[worker.name] = worker

    def remove_worker(self, worker: WorkerRecord, reason: str) -> None:
        """It has left. What it runs and holds is the caller's to end and to lose next."""
        was_alive = worker.state is WorkerState.ALIVE
        self._move_worker(worker, WorkerState.LEFT, reason)
        if was_alive:
            self._retire(worker)
        self.excluded.pop(worker.name, None)
        self.draining.pop(worker.name, None)
        self.away.pop(worker.name, None)
        self.leases.pop(worker.name, None)
        worker.strikes.clear()

    def _admit(self, worker: WorkerRecord) -> None:
        self.alive += 1
        self.slots += worker.slots
        self.free_slots += worker.free
        self.free[worker.name] = worker

    def _retire(self, worker: WorkerRecord) -> None:
        self.alive -= 1
        self.slots -= worker.slots
        self.free_slots -= worker.free
        self.free.pop(worker.name, None)

    def _move_worker(self, worker: WorkerRecord, target: WorkerState, reason: str) -> None:
        check_move(WORKER_MOVES, worker.state, target, f"worker {worker.name}", worker.reason)
        worker.state = target
        worker.reason = reason

    # -- records that are set aside ----------------------------------------------------------------------

    def suspect(self, task: TaskRecord) -> Suspicion:
        """``task`` is attempted carefully from now on."""
        return self.suspicions.setdefault(task, Suspicion())

    def skip_record(self, task: TaskRecord, mark: RecordMark) -> None:
        """Processes were lost at ``mark``, which is not run any more. What failed before was nobody's fault."""
        suspicion = self.suspect(task)
        suspicion.lost_at.clear()
        if len(suspicion.skip) >= limits.SKIP_REASONS_MAX:
            mark = mark._replace(reason="it ended its process, as others did before")
        suspicion.skip += (mark,)
        task.failures = 0
        for name in task.failed_on:
            self.workers[name].strikes.pop(task, None)
        task.failed_on = NOBODY
        self.count_set_aside(task, len(suspicion.skip))

    def count_set_aside(self, task: TaskRecord, count: int) -> None:
        """So many records of ``task`` are set aside, in place of what was counted before."""
        self.set_aside_total += count - self.set_aside.pop(task, 0)
        if count:
            self.set_aside[task] = count

    # -- attempts and their tasks ------------------------------------------------------------------------

    def start_attempt(
        self, task: TaskRecord, others: tuple[TaskRecord, ...], worker: WorkerRecord, now: float
    ) -> AttemptRecord:
        """Give ``task`` and ``others``, just taken from the queue or running already, to a free slot of ``worker``."""
        number = self.first_number + task.attempts_started
        attempt = AttemptRecord(task, others, worker, now, self.generation, number)
        for member in attempt.tasks:
            if member.state is not TaskState.RUNNING:
                self._move_task(member, TaskState.RUNNING)
            member.attempts_started += 1
            member.attempts.append(attempt)
            while len(member.attempts) > limits.STORY_ATTEMPTS_MAX and member.attempts[0].state not in _HELD:
                del member.attempts[0]
        worker.running[attempt] = None
        self.running += 1
        self.free_slots -= 1
        if worker.free:
            self.free.move_to_end(worker.name)
        else:
            del self.free[worker.name]
        return attempt

    def commit_attempt(self, attempt: AttemptRecord, now: float) -> None:
        """Its output becomes its tasks'. Other attempts of them that run are the caller's to end next."""
        self._end_attempt(attempt, AttemptState.COMMITTED, now, "")
        self._take_output(attempt)
        self.note_pace(attempt, now)
        self.phase_of(attempt.task.id).seconds.append(now - attempt.started)
        worker = attempt.worker
        if worker.strikes:
            del worker.strikes[next(iter(worker.strikes))]

    def note_pace(self, attempt: AttemptRecord, now: float) -> None:
        """How long its worker has taken for it tells what to expect of its next one."""
        attempt.worker.latest = attempt.task.id.phase, now - attempt.started

    def _take_output(self, attempt: AttemptRecord) -> None:
        phase = self.phase_of(attempt.task.id)
        for task in attempt.tasks:
            self._move_task(task, TaskState.COMMITTED)
            task.committed = attempt
            task.generation = self.generation
            phase.committed += 1
            if phase is self.map:
                attempt.worker.outputs.add(task.id.index)

    def drop_attempt(self, attempt: AttemptRecord, state: AttemptState, now: float, reason: str) -> None:
        """It ends FAILED, LOST or CANCELLED. Its tasks are pending again, each alone, unless another attempt runs."""
        self._end_attempt(attempt, state, now, reason)
        for task in attempt.tasks:
            if task.state is TaskState.RUNNING and not task.running_attempts():
                self._make_pending(task)

    def lose_output(
        self, attempt: AttemptRecord, now: float, reason: str, state: AttemptState = AttemptState.LOST
    ) -> None:
        """The output of a committed map attempt is LOST, or GONE with a worker that may come back.

        Its tasks are pending again, together as they were, unless one of them is under suspicion.
        Raises: IllegalMove if it is not committed.
        """
        self._move_attempt(attempt, state, now, reason)
        self.generation += 1
        for task in attempt.tasks:
            attempt.worker.outputs.discard(task.id.index)
            task.committed = None
            self.map.committed -= 1
            if task in self.set_aside:  # until it is attempted again
                self.count_set_aside(task, len(self.suspect(task).skip))
        self._remember_output(attempt)
        if attempt.others and self.suspicions.keys().isdisjoint(attempt.tasks):
            for task in attempt.tasks:
                self._move_task(task, TaskState.PENDING)
            first = attempt.task
            self.map.groups[first.id.index] = len(attempt.tasks)
            self.map.pending.push(first.id.index, first.avoided)
        else:
            for task in attempt.tasks:
                self._make_pending(task)

    def _remember_output(self, attempt: AttemptRecord) -> None:
        """For whoever has read it. Nobody has where there is no reduce phase, nor if one of its tasks was being made
        again when it was committed: reduce attempts start only when all are there, and then nothing is remembered."""
        digests = attempt.digests
        if attempt.state is AttemptState.LOST:
            attempt.digests = None  # one that is GONE may come back
        if digests is not None and self.job is JobState.REDUCE and self.lost_outputs.keys().isdisjoint(attempt.tasks):
            lost = LostOutput(attempt, digests, self.generation)
            self.lost_outputs.update(dict.fromkeys(attempt.tasks, lost))

    def take_remade(self, attempt: AttemptRecord) -> list[LostOutput]:
        """The lost outputs all of whose tasks are committed again, now that ``attempt`` is: each is told once."""
        remade: list[LostOutput] = []
        for task in attempt.tasks if self.lost_outputs else ():
            lost = self.lost_outputs.get(task)
            if lost is not None and all(member.committed is not None for member in lost.attempt.tasks):
                for member in lost.attempt.tasks:
                    del self.lost_outputs[member]
                remade.append(lost)
        return remade

    def reopen_result(self, attempt: AttemptRecord, now: float, reason: str) -> None:
        """The result of a committed reduce attempt does not count any more. Raises: IllegalMove if it is not."""
        self._move_attempt(attempt, AttemptState.LOST, now, reason)
        task = attempt.task
        task.committed = None
        self.reduce.committed -= 1
        if task in self.set_aside:  # until it is attempted again
            self.count_set_aside(task, len(self.suspect(task).skip))
        self._make_pending(task)

    def return_output(self, attempt: AttemptRecord, worker: WorkerRecord) -> None:
        """The output that was GONE is here again, on ``worker``, and every task of it is PENDING."""
        self._move_attempt(attempt, AttemptState.COMMITTED, attempt.started, "")
        attempt.worker = worker
        self.generation += 1
        together = self.map.groups.pop(attempt.task.id.index, 1) == len(attempt.tasks)
        for task in attempt.tasks[:1] if together else attempt.tasks:
            self.map.pending.remove(task.id.index, task.avoided)
        for task in attempt.tasks:
            self._move_task(task, TaskState.RUNNING)
            lost = self.lost_outputs.get(task)
            if lost is not None and lost.attempt is attempt:  # it is what it was
                del self.lost_outputs[task]
        self._take_output(attempt)

    def _end_attempt(self, attempt: AttemptRecord, state: AttemptState, now: float, reason: str) -> None:
        self._move_attempt(attempt, state, now, reason)
        worker = attempt.worker
        del worker.running[attempt]
        self.running -= 1
        if worker.state is WorkerState.ALIVE:
            self.free_slots += 1
            self.free[worker.name] = worker

    def _make_pending(self, task: TaskRecord) -> None:
        self._move_task(task, TaskState.PENDING)
        self.phase_of(task.id).pending.push(task.id.index, task.avoided)

    def _move_task(self, task: TaskRecord, target: TaskState) -> None:
        if target not in TASK_MOVES[task.state]:  # asked here first, because telling the story takes time
            check_move(TASK_MOVES, task.state, target, task.id, tell_story(task))
        task.state = target

    def _move_attempt(self, attempt: AttemptRecord, target: AttemptState, now: float, reason: str) -> None:
        if target not in ATTEMPT_MOVES[attempt.state]:
            check_move(ATTEMPT_MOVES, attempt.state, target, attempt.id, tell_story(attempt.task))
        attempt.state = target
        attempt.ended = now
        attempt.reason = reason


# A story may forget attempts that are over, never one whose end is still to come.
_HELD = frozenset({AttemptState.RUNNING, AttemptState.COMMITTED})
