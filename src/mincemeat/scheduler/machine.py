"""The scheduler of one job: events in, instructions out.

Decides: what each event means, which task is attempted where and when, when the job is over. What follows from the end
of an attempt that did not end well, failures.py and losses.py decide; remade.py, what of a loss can be made good. Knows
nothing of connections, processes, files, the clock or chance: time is an argument.

    driver                                   machine
      | WorkerJoined ------------------------> |
      | <-- ProduceSplit, for each free slot   |
      | SplitsProduced ----------------------> |  map tasks: pending
      | <-- StartAttempt m-00000.0             |  running
      | AttemptDone m-00000.0 ---------------> |  committed
      |            ...                         |
      | InputExhausted ----------------------> |  every map task committed: the partitions are dealt to reduce tasks
      | <-- StartAttempt r-00000.0             |
      | AttemptDone r-00000.0 ---------------> |  every reduce task committed
      | <-- FinishJob                          |

What it holds to:

* Nothing is read ahead: splits are asked for only for a slot that would otherwise be idle.
* An attempt may take several splits, which the driver cut at once, into one output: they commit together, or each is
  attempted again alone, so that one which cannot be mapped fails by itself.
* A reduce attempt starts only while every map output is there. One that runs goes on when an output is lost, for it may
  have fetched it already; if not, ``BlocksUnreachable`` sends it back without blame.
* Whoever fails at a task is not given it again while somebody else could try, even if that means to wait for them.
* After a failure that a record may have caused, a task is attempted carefully. A record at which processes were lost
  twice is skipped where the job may, and the task then has all its attempts again: ``max_skipped`` bounds that.
* Only failures count towards ``max_attempts``. Losses are counted apart, with a far higher bound, so that a task which
  takes its workers down cannot do so for ever.
* No committed or running reduce attempt has read anything of a map output but what every other one reads of it, as far
  as digests tell: where an output that was made again differs, whoever has read the first one in these partitions
  starts again (``on_nondeterminism="restart"``), or is the end of the job if it was committed (``"raise"``). Attempts
  that have not committed start again in both cases. Until all tasks of a lost output are committed again nobody knows;
  should every reduce task be committed before that, they have all read the same.
* A worker that wants to leave ends what it runs, and is kept as long as a reduce task may need what it holds.
* Once the job is over every event is ignored.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

from mincemeat import limits
from mincemeat.model import AttemptId, Failure, FailureKind, Phase, TaskId
from mincemeat.scheduler import events, failures, instructions, losses, policy, remade
from mincemeat.scheduler.events import Event
from mincemeat.scheduler.instructions import Instruction
from mincemeat.scheduler.ledger import Ledger, PhaseLedger
from mincemeat.scheduler.placement import choose_backups, choose_worker
from mincemeat.scheduler.state import (
    ABSENT,
    AttemptRecord,
    AttemptState,
    Counts,
    IllegalMove,
    JobState,
    TaskRecord,
    WorkerRecord,
    WorkerState,
    tell_story,
)
from mincemeat.scheduler.turn import Rules, Turn

_PRODUCE_SPLIT: Final = instructions.ProduceSplit()


class Machine:
    """One job's scheduler. Not thread-safe; ``handle`` does not re-enter itself.

    ``partitions`` is P, at least 1. ``lease_seconds`` may be ``math.inf`` where workers cannot fall silent (slots that
    are children of this very process). ``backups``: whether ``Tick`` may start a second attempt of a slow task.
    ``skips``: attempts set bad records aside, at most ``max_skipped`` of them in the whole job (``None``: any number).
    ``on_nondeterminism``: what it means that a map output is made again and differs from what was read of it: "raise",
    "restart" or "ignore".
    """

    def __init__(
        self,
        *,
        partitions: int = limits.PARTITIONS,
        max_attempts: int = limits.MAX_ATTEMPTS,
        reduce_task_bytes: int = limits.REDUCE_TASK_BYTES,
        lost_attempts_max: int = limits.LOST_ATTEMPTS_MAX,
        lease_seconds: float = limits.LEASE_SECONDS,
        backups: bool = False,
        life: int = 0,
        skips: bool = False,
        max_skipped: int | None = limits.MAX_SKIPPED,
        on_nondeterminism: str = "raise",
    ) -> None:
        self.partitions = partitions
        self.reduce_task_bytes = reduce_task_bytes
        self.lease_seconds = lease_seconds
        self.backups = backups
        # Public for invariants.py and for tests; a driver asks the queries below.
        self.ledger = Ledger(partitions, life * limits.ATTEMPTS_PER_LIFE)
        self._turn = Turn(self.ledger, Rules(max_attempts, lost_attempts_max, skips, max_skipped, on_nondeterminism))
        self._instruct = self._turn.instruct
        self._choose_worker = functools.partial(choose_worker, self.ledger)
        self._ticked = -math.inf

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """What is to be done now that ``event`` happened.

        ``now``: seconds on any clock that does not go back; should it do so, the machine's time stands still.
        Cost: O(log n) in tasks and workers; ``Tick`` with ``backups`` is O(workers + running attempts), the event that
        ends the job and a worker's end are O(what runs or lies there).
        Raises: IllegalMove for what only a driver at fault can say (a gap between splits, a split after the last),
        because to ignore it would lose input; the machine is unchanged then.
        """
        if self.is_over:
            return []
        turn = self._turn
        turn.now = max(turn.now, now)
        _HANDLERS[type(event)](self, event)
        if not self.is_over:
            self._advance_job()
        if not self.is_over:
            if self.ledger.draining:
                self._release_drained()
            self._assign_slots()
        answer, turn.answer = turn.answer, []
        return answer

    # -- queries -----------------------------------------------------------------------------------------

    @property
    def state(self) -> JobState:
        return self.ledger.job

    @property
    def is_over(self) -> bool:
        return self.ledger.job is JobState.DONE or self.ledger.job is JobState.FAILED

    @property
    def rules(self) -> Rules:
        """What the job may and may not."""
        return self._turn.rules

    @property
    def plan(self) -> list[range]:
        """Which partitions each reduce task has; empty until the reduce phase is planned."""
        return self.ledger.plan

    @property
    def generation(self) -> int:
        """How often map outputs have been lost. While it stays the same, no committed map output changes its place."""
        return self.ledger.generation

    def is_running(self, worker: str, attempt: AttemptId) -> bool:
        """Whether ``worker`` carries out ``attempt`` as far as we know: else nobody wants its output. O(1)."""
        record = self.ledger.find_attempt(attempt)
        return record is not None and record.worker.name == worker and record.state is AttemptState.RUNNING

    def is_committed(self, attempt: AttemptId) -> bool:
        """Whether the output of ``attempt`` is its tasks'. O(1)."""
        record = self.ledger.find_attempt(attempt)
        return record is not None and record.state is AttemptState.COMMITTED

    def holder_of(self, attempt: AttemptId) -> str:
        """The worker that has the output of ``attempt``, "" where that is nobody's any more. O(1)."""
        record = self.ledger.find_attempt(attempt)
        return record.worker.name if record is not None and record.state is AttemptState.COMMITTED else ""

    def map_outputs(self) -> Iterator[tuple[int, AttemptId, str]]:
        """The committed map outputs: (index of the first map task in it, attempt, worker), in index order.

        Complete whenever a reduce attempt starts. O(map tasks): a driver with many reduce tasks keeps the answer for as
        long as ``generation`` is the same.
        """
        for task in self.ledger.map.tasks:
            if task.committed is not None and task.committed.task is task:
                yield task.id.index, task.committed.id, task.committed.worker.name

    def splits_of(self, attempt: AttemptId) -> range:
        """The splits that a map attempt takes: empty for one that is not known. O(1)."""
        record = self.ledger.find_attempt(attempt)
        first = attempt.task.index
        return range(first, first if record is None else first + 1 + len(record.others))

    def counts(self) -> Counts:
        """How the job stands. O(1)."""
        ledger = self.ledger
        return Counts(
            workers=ledger.alive,
            slots=ledger.slots,
            running=ledger.running,
            map_committed=ledger.map.committed,
            map_total=len(ledger.map.tasks),
            input_exhausted=ledger.input_exhausted,
            reduce_committed=ledger.reduce.committed,
            reduce_total=len(ledger.reduce.tasks),
            failed_attempts=ledger.failed_attempts,
        )

    def story(self, task: TaskId) -> str:
        """What happened to ``task``, a line for each of its latest attempts; says so if there is no such task."""
        record = self.ledger.find_task(task)
        return f"{task} is not a task of this job" if record is None else tell_story(record)

    def next_deadline(self) -> float | None:
        """When the next ``Tick`` is due; ``None`` if time alone changes nothing."""
        ledger = self.ledger
        if self.is_over:
            return None
        deadline = next(iter(ledger.leases.values()), math.inf) + self.lease_seconds
        if ledger.away:
            deadline = min(deadline, ledger.away_until)
        if self.backups and ledger.running and ledger.free:
            deadline = min(deadline, max(self._turn.now, self._ticked + limits.HEARTBEAT_SECONDS))
        return None if deadline == math.inf else deadline

    # -- workers -----------------------------------------------------------------------------------------

    def _hear(self, name: str) -> WorkerRecord | None:
        """The connected worker of that name, its lease renewed; ``None`` for a stranger and for one that has left."""
        worker = self.ledger.workers.get(name)
        if worker is None or worker.state in ABSENT:
            return None
        self.ledger.renew_lease(worker, self._turn.now)
        return worker

    def _worker_joined(self, event: events.WorkerJoined) -> None:
        # A second joining of the same incarnation is a duplicate, and one after its end comes too late.
        if event.worker not in self.ledger.workers:
            self.ledger.add_worker(event.worker, event.slots, event.host, self._turn.now)
            remade.take_back(self._turn, event.outputs, self.ledger.workers[event.worker])
        else:
            self._hear(event.worker)

    def _worker_left(self, event: events.WorkerLeft) -> None:
        worker = self._hear(event.worker)
        if worker is not None:
            losses.remove_worker(self._turn, worker, event.reason)

    def _worker_draining(self, event: events.WorkerDraining) -> None:
        worker = self._hear(event.worker)
        if worker is not None and worker.state is not WorkerState.DRAINING:
            self.ledger.drain_worker(worker)
            failures.readmit_if_alone(self._turn)

    def _release_drained(self) -> None:
        for worker in list(self.ledger.draining.values()):
            if not worker.running and not worker.outputs:
                self._instruct(instructions.ReleaseWorker(worker.name))
                losses.remove_worker(self._turn, worker, "it was not needed any more")

    def _heartbeat(self, event: events.Heartbeat) -> None:
        self._hear(event.worker)

    def _tick(self, event: events.Tick) -> None:
        del event
        self._ticked = self._turn.now
        leases = self.ledger.leases
        while leases and not self.is_over:
            name, heard = next(iter(leases.items()))
            if heard + self.lease_seconds > self._turn.now:
                break
            reason = f"no sign of life for {self._turn.now - heard:.1f} s (lease {self.lease_seconds:g} s)"
            self._instruct(instructions.ExpireWorker(name, reason))
            losses.remove_worker(self._turn, self.ledger.workers[name], reason)
        if self.ledger.away and self._turn.now >= self.ledger.away_until:
            for worker in list(self.ledger.away.values()):
                losses.remove_worker(self._turn, worker, "it has not come back")
        if self.backups and not self.is_over:
            # After the pending tasks have had their choice of the free slots.
            self._assign_slots()
            self._start_backups()

    # -- ends of attempts --------------------------------------------------------------------------------

    def _running_attempt(self, worker_name: str, attempt: AttemptId) -> AttemptRecord | None:
        """The attempt if that worker runs it as far as we know; else the message is late, doubled or foreign."""
        self._hear(worker_name)
        return self.ledger.find_attempt(attempt) if self.is_running(worker_name, attempt) else None

    def _attempt_done(self, event: events.AttemptDone) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is None:
            self._answer_late_output(event)
            return
        ledger, first = self.ledger, attempt.task
        sizes = event.partition_bytes
        if first.id.phase is Phase.MAP and sizes and len(sizes) != self.partitions:
            problem = f"reported the sizes of {len(sizes)} partitions, the job has {self.partitions}"
            failure = Failure(kind=FailureKind.SYSTEM, message=problem, worker=event.worker)
            failures.fail_attempt(self._turn, attempt, failure)
            return
        self._add_sizes(attempt, sizes)
        attempt.digests = event.digests
        ledger.commit_attempt(attempt, self._turn.now)
        for task in attempt.tasks:
            ledger.count_set_aside(task, event.skipped if task is first else 0)
            for rival in task.running_attempts():
                if rival.started < attempt.started:
                    ledger.note_pace(rival, self._turn.now)  # it was slow, and will never commit to tell it
                self._turn.cancel(rival, f"{attempt.id} committed first")
            # Done here, so where it failed before it was the worker's fault. Sorted, since a set has no order.
            for name in sorted(task.failed_on) if task.failed_on and not event.skipped else ():
                if name != attempt.worker.name:
                    failures.hold_against(self._turn, ledger.workers[name], task)
        if event.skipped:
            ledger.first_set_aside = ledger.first_set_aside or event.first_skipped
            failures.check_excess(self._turn, attempt)
        remade.compare_remade(self._turn, attempt)

    def _add_sizes(self, attempt: AttemptRecord, sizes: tuple[int, ...]) -> None:
        if sizes and not attempt.task.sized:
            self.ledger.partition_bytes = list(map(operator.add, self.ledger.partition_bytes, sizes))
        for task in attempt.tasks:
            task.sized = True

    def _answer_late_output(self, event: events.AttemptDone) -> None:
        """An output nobody waits for: the worker may delete it, unless it is the very one that was committed."""
        worker = self.ledger.workers.get(event.worker)
        if worker is None or worker.state in ABSENT:
            return
        record = self.ledger.find_attempt(event.attempt)
        if record is None or record.worker is not worker or record.state is not AttemptState.COMMITTED:
            self._instruct(instructions.DropOutput(event.worker, event.attempt))

    def _attempt_failed(self, event: events.AttemptFailed) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is not None:
            failures.fail_attempt(self._turn, attempt, event.failure)

    def _attempt_lost(self, event: events.AttemptLost) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is not None:
            losses.lose_on_live_worker(self._turn, attempt, event.reason)

    def _blocks_unreachable(self, event: events.BlocksUnreachable) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is not None:
            losses.lose_blocks(self._turn, attempt, event)

    # -- the input and the phases ------------------------------------------------------------------------

    def _job_restored(self, event: events.JobRestored) -> None:
        ledger = self.ledger
        if ledger.map.tasks or ledger.workers or ledger.input_exhausted:
            raise IllegalMove("the job has begun, and cannot be restored now", subject="the job")
        committed = {
            index
            for output in event.outputs
            for index in range(output.attempt.task.index, output.attempt.task.index + output.splits)
        }
        for count in event.groups:
            ledger.map.restore_tasks(count, committed)
        for name, splits, worker, sizes, known in event.outputs:
            output = ledger.restore_output(name, splits, worker, self._turn.now)
            output.digests = known
            self._add_sizes(output, sizes)
        ledger.away_until = self._turn.now + limits.COME_BACK_SECONDS
        ledger.input_exhausted = event.is_input_exhausted
        if event.plan:
            ledger.plan_reduce(list(event.plan), {name.task.index for name in event.reduced})
            for name in event.reduced:
                ledger.restore_result(name, self._turn.now)
        for name, skipped in event.skipped:
            task = ledger.find_task(name.task)
            if task is not None and task.committed is not None and task.committed.id == name:
                ledger.count_set_aside(task, skipped)

    def _splits_produced(self, event: events.SplitsProduced) -> None:
        ledger = self.ledger
        expected = len(ledger.map.tasks)
        if event.first < expected:
            return
        if event.first > expected or ledger.input_exhausted or event.count < 1:
            story = f"{expected} splits so far, input exhausted: {ledger.input_exhausted}, {event.count} to be added"
            subject = f"split {event.first}"
            raise IllegalMove(f"{subject} cannot be added ({story})", subject=subject, story=story)
        ledger.splits_outstanding = max(0, ledger.splits_outstanding - 1)
        ledger.map.add_tasks(event.count)

    def _input_exhausted(self, event: events.InputExhausted) -> None:
        del event
        self.ledger.input_exhausted = True
        self.ledger.splits_outstanding = 0

    def _source_failed(self, event: events.SourceFailed) -> None:
        self._turn.fail_job(event.failure, None)

    def _advance_job(self) -> None:
        ledger = self.ledger
        # Not while outputs are away: how many slots there are to share the work is not known then.
        if ledger.job is JobState.MAP and ledger.input_exhausted and ledger.outputs_are_there:
            ledger.plan_reduce(policy.coalesce(ledger.partition_bytes, self.reduce_task_bytes, ledger.slots))
            if not ledger.plan:
                self._instruct(instructions.FinishJob())
        elif ledger.job is JobState.REDUCE and ledger.reduce.is_committed:
            self._turn.finish_job()

    # -- giving work to slots ----------------------------------------------------------------------------

    def _assign_slots(self) -> None:
        ledger = self.ledger
        if not ledger.free:
            return
        self._assign_pending(ledger.map)
        if ledger.job is JobState.REDUCE and ledger.outputs_are_there:
            self._assign_pending(ledger.reduce)
        if not ledger.input_exhausted:
            # What is pending still, waits for other workers than those that are free.
            for _ in range(ledger.free_slots - ledger.splits_outstanding):
                self._instruct(_PRODUCE_SPLIT)
                ledger.splits_outstanding += 1

    def _assign_pending(self, phase: PhaseLedger) -> None:
        ledger = self.ledger
        while phase.pending and ledger.free:
            taken = phase.pending.pop(self._choose_worker)
            if taken is None:
                return
            index, worker = taken
            self._start_attempt(phase.tasks[index], phase.take_group(index), worker)

    def _start_attempt(self, task: TaskRecord, others: tuple[TaskRecord, ...], worker: WorkerRecord) -> None:
        attempt = self.ledger.start_attempt(task, others, worker, self._turn.now)
        partitions = self.ledger.plan[task.id.index] if task.id.phase is Phase.REDUCE else None
        suspicion = None if others else self.ledger.suspicions.get(task)
        attempt.known = -1 if suspicion is None else len(suspicion.skip)
        if suspicion is None:
            self._instruct(instructions.StartAttempt(worker.name, attempt.id, partitions, 1 + len(others)))
        else:
            self._instruct(instructions.StartAttempt(worker.name, attempt.id, partitions, 1, True, suspicion.skip))

    def _start_backups(self) -> None:
        ledger = self.ledger
        if ledger.free and ledger.input_exhausted:
            # What is mapped again because its output was lost is what every reduce task waits for.
            phase = ledger.reduce if ledger.outputs_are_there else ledger.map
            for first, worker in choose_backups(ledger, phase, self._turn.now):
                self._start_attempt(first.task, first.others, worker)


_HANDLERS: Final[dict[type[Event], Callable[[Machine, Any], None]]] = {
    events.JobRestored: Machine._job_restored,
    events.WorkerJoined: Machine._worker_joined,
    events.WorkerDraining: Machine._worker_draining,
    events.WorkerLeft: Machine._worker_left,
    events.Heartbeat: Machine._heartbeat,
    events.AttemptDone: Machine._attempt_done,
    events.AttemptFailed: Machine._attempt_failed,
    events.AttemptLost: Machine._attempt_lost,
    events.BlocksUnreachable: Machine._blocks_unreachable,
    events.SplitsProduced: Machine._splits_produced,
    events.InputExhausted: Machine._input_exhausted,
    events.SourceFailed: Machine._source_failed,
    events.Tick: Machine._tick,
}
