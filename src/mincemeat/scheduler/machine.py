"""The scheduler of one job: events in, instructions out.

Decides: which task is attempted where and when, what a loss or a failure means, when a worker is excluded, when the job
is over. Knows nothing of connections, processes, files, the clock or chance: time is an argument.

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
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mincemeat import limits
from mincemeat.model import AttemptId, Failure, FailureKind, Phase, TaskId, shorten
from mincemeat.scheduler import digests, events, instructions, policy
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
    LostOutput,
    TaskRecord,
    WorkerRecord,
    WorkerState,
    tell_story,
)

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
        self.max_attempts = max_attempts
        self.reduce_task_bytes = reduce_task_bytes
        self.lost_attempts_max = lost_attempts_max
        self.lease_seconds = lease_seconds
        self.backups = backups
        self.skips = skips
        self.max_skipped = max_skipped
        self.on_nondeterminism = on_nondeterminism
        # Public for invariants.py and for tests; a driver asks the queries below.
        self.ledger = Ledger(partitions, life * limits.ATTEMPTS_PER_LIFE)
        self._choose_worker = functools.partial(choose_worker, self.ledger)
        self._now = -math.inf
        self._ticked = -math.inf
        self._answer: list[Instruction] = []

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
        self._now = max(self._now, now)
        _HANDLERS[type(event)](self, event)
        if not self.is_over:
            self._advance_job()
        if not self.is_over:
            if self.ledger.draining:
                self._release_drained()
            self._assign_slots()
        answer, self._answer = self._answer, []
        return answer

    def _instruct(self, instruction: Instruction) -> None:
        self._answer.append(instruction)

    # -- queries -----------------------------------------------------------------------------------------

    @property
    def state(self) -> JobState:
        return self.ledger.job

    @property
    def is_over(self) -> bool:
        return self.ledger.job is JobState.DONE or self.ledger.job is JobState.FAILED

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
            deadline = min(deadline, max(self._now, self._ticked + limits.HEARTBEAT_SECONDS))
        return None if deadline == math.inf else deadline

    # -- workers -----------------------------------------------------------------------------------------

    def _hear(self, name: str) -> WorkerRecord | None:
        """The connected worker of that name, its lease renewed; ``None`` for a stranger and for one that has left."""
        worker = self.ledger.workers.get(name)
        if worker is None or worker.state in ABSENT:
            return None
        self.ledger.renew_lease(worker, self._now)
        return worker

    def _worker_joined(self, event: events.WorkerJoined) -> None:
        # A second joining of the same incarnation is a duplicate, and one after its end comes too late.
        if event.worker not in self.ledger.workers:
            self.ledger.add_worker(event.worker, event.slots, event.host, self._now)
            self._take_back(event.outputs, self.ledger.workers[event.worker])
        else:
            self._hear(event.worker)

    def _take_back(self, outputs: Iterable[AttemptId], worker: WorkerRecord) -> None:
        """What ``worker`` holds from before is of use where nobody has made it again."""
        for name in outputs:
            attempt = self.ledger.find_attempt(name)
            if attempt is None:
                is_wanted = False
            elif attempt.state is AttemptState.GONE:
                is_wanted = self._return_output(attempt, worker)
            else:
                # Of another worker only in name: nobody else can have the output of this very attempt. Its earlier
                # connection may seem to live until the lease has run out.
                is_wanted = attempt.state is AttemptState.COMMITTED
                if is_wanted and attempt.worker is not worker:
                    self.ledger.move_output(attempt, worker)
            if not is_wanted:
                self._instruct(instructions.DropOutput(worker.name, name))

    def _return_output(self, attempt: AttemptRecord, worker: WorkerRecord) -> bool:
        """Whether nobody has made again what ``attempt`` had made; who is about to is told to stop."""
        ledger = self.ledger
        if any(task.committed is not None or attempt not in task.attempts for task in attempt.tasks):
            return False
        for task in attempt.tasks:
            for rival in task.running_attempts():
                ledger.drop_attempt(rival, AttemptState.CANCELLED, self._now, f"the output of {attempt.id} is back")
                self._instruct(instructions.CancelAttempt(rival.worker.name, rival.id))
        ledger.return_output(attempt, worker)
        self._compare_remade(attempt)
        return True

    def _worker_left(self, event: events.WorkerLeft) -> None:
        worker = self._hear(event.worker)
        if worker is not None:
            self._remove_worker(worker, event.reason)

    def _worker_draining(self, event: events.WorkerDraining) -> None:
        worker = self._hear(event.worker)
        if worker is not None and worker.state is not WorkerState.DRAINING:
            self.ledger.drain_worker(worker)
            self._readmit_if_alone()

    def _release_drained(self) -> None:
        for worker in list(self.ledger.draining.values()):
            if not worker.running and not worker.outputs:
                self._instruct(instructions.ReleaseWorker(worker.name))
                self._remove_worker(worker, "it was not needed any more")

    def _heartbeat(self, event: events.Heartbeat) -> None:
        self._hear(event.worker)

    def _tick(self, event: events.Tick) -> None:
        del event
        self._ticked = self._now
        leases = self.ledger.leases
        while leases and not self.is_over:
            name, heard = next(iter(leases.items()))
            if heard + self.lease_seconds > self._now:
                break
            reason = f"no sign of life for {self._now - heard:.1f} s (lease {self.lease_seconds:g} s)"
            self._instruct(instructions.ExpireWorker(name, reason))
            self._remove_worker(self.ledger.workers[name], reason)
        if self.ledger.away and self._now >= self.ledger.away_until:
            for worker in list(self.ledger.away.values()):
                self._remove_worker(worker, "it has not come back")
        if self.backups and not self.is_over:
            # After the pending tasks have had their choice of the free slots.
            self._assign_slots()
            self._start_backups()

    def _remove_worker(self, worker: WorkerRecord, reason: str) -> None:
        """What it ran is lost, and so are the map outputs it held: the job is not over, so a reduce task needs them."""
        ledger = self.ledger
        ledger.remove_worker(worker, reason)
        lost = list(worker.running)
        for attempt in lost:
            self._lose_attempt(attempt, f"worker left: {reason}")
        # In index order, since a set has none that two runs would agree on.
        for index in sorted(worker.outputs):
            output = ledger.map.tasks[index].committed
            if output is not None:  # else it went with a task before
                # What it set aside would not count any more.
                may_return = ledger.set_aside.keys().isdisjoint(output.tasks)
                state = AttemptState.GONE if may_return else AttemptState.LOST
                ledger.lose_output(output, self._now, f"its output was lost, worker left: {reason}", state)
        self._readmit_if_alone()
        self._check_losses(task for attempt in lost for task in attempt.tasks)

    def _readmit_if_alone(self) -> None:
        """Nobody left but workers that fail: better than nobody at all. If they fail on, max_attempts ends the job."""
        ledger = self.ledger
        if not ledger.alive:
            for excluded in list(ledger.excluded.values()):
                ledger.readmit_worker(excluded)
                self._instruct(instructions.ReadmitWorker(excluded.name, "no other worker is left"))

    def _exclude_worker(self, worker: WorkerRecord, reason: str) -> None:
        ledger = self.ledger
        ledger.exclude_worker(worker, reason)
        self._instruct(instructions.ExcludeWorker(worker.name, reason))
        for attempt in list(worker.running):
            # Not counted as a loss of the task: it was our own decision.
            ledger.drop_attempt(attempt, AttemptState.LOST, self._now, f"worker excluded: {reason}")
            self._instruct(instructions.CancelAttempt(worker.name, attempt.id))

    def _hold_against(self, worker: WorkerRecord, task: TaskRecord) -> None:
        """``task`` failed on ``worker`` and the worker is to blame. Counted once for each task."""
        if worker.state is not WorkerState.ALIVE:
            return
        if len(worker.strikes) < limits.EXCLUDE_AFTER_FAILED_TASKS:  # more would not be looked at, only kept
            worker.strikes[task] = None
        failed = len(worker.strikes)
        if policy.should_exclude(failed_tasks=failed, code_missing=False, other_workers=self.ledger.alive - 1):
            self._exclude_worker(worker, f"{failed} different tasks failed on it, the last one {task.id}")

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
            self._fail_attempt(attempt, Failure(kind=FailureKind.SYSTEM, message=problem, worker=event.worker))
            return
        self._add_sizes(attempt, sizes)
        attempt.digests = event.digests
        ledger.commit_attempt(attempt, self._now)
        for task in attempt.tasks:
            ledger.count_set_aside(task, event.skipped if task is first else 0)
            for rival in task.running_attempts():
                if rival.started < attempt.started:
                    ledger.note_pace(rival, self._now)  # it was slow, and will never commit to tell it
                ledger.drop_attempt(rival, AttemptState.CANCELLED, self._now, f"{attempt.id} committed first")
                self._instruct(instructions.CancelAttempt(rival.worker.name, rival.id))
            # Done here, so where it failed before it was the worker's fault. Sorted, since a set has no order.
            for name in sorted(task.failed_on) if task.failed_on and not event.skipped else ():
                if name != attempt.worker.name:
                    self._hold_against(ledger.workers[name], task)
        if event.skipped:
            ledger.first_set_aside = ledger.first_set_aside or event.first_skipped
            self._check_excess(attempt)
        self._compare_remade(attempt)

    def _compare_remade(self, attempt: AttemptRecord) -> None:
        """Compare with what was lost that which is complete again, now that ``attempt`` is committed."""
        for lost in self.ledger.take_remade(attempt):
            if not self.is_over and self.on_nondeterminism != "ignore":
                self._compare_outputs(lost, attempt)

    def _compare_outputs(self, lost: LostOutput, again: AttemptRecord) -> None:
        """``lost`` is there again, the last of it by ``again``: whoever has read what is no more there is found.

        O(reduce tasks) if there is a difference.
        """
        ledger = self.ledger
        tasks = lost.attempt.tasks
        outputs = list(dict.fromkeys(task.committed for task in tasks if task.committed is not None))
        # One that is of other splits, too, tells nothing.
        known = [output.digests if set(output.tasks) <= set(tasks) else None for output in outputs]
        changed = digests.differing(lost.digests, known, self.partitions)
        if not changed:
            return
        reason = f"the output of {lost.attempt.id} was made again by {again.id}, and differs"
        committed: list[AttemptRecord] = []
        for task, partitions in zip(ledger.reduce.tasks, ledger.plan, strict=True):
            if not digests.overlap(partitions, changed):
                continue
            for attempt in task.attempts:
                if attempt.generation >= lost.generation:
                    continue
                if attempt.state is AttemptState.RUNNING:
                    ledger.drop_attempt(attempt, AttemptState.CANCELLED, self._now, reason)
                    self._instruct(instructions.CancelAttempt(attempt.worker.name, attempt.id))
                elif attempt.state is AttemptState.COMMITTED:
                    committed.append(attempt)
        if committed and self.on_nondeterminism == "raise":
            story = digests.tell_difference(
                (lost.attempt.id, lost.attempt.worker.name, lost.attempt.reason),
                (again.id, again.worker.name),
                changed,
                self.partitions,
                [attempt.task.id for attempt in committed],
            )
            self._fail_job(Failure(FailureKind.NONDETERMINISM, story, worker=again.worker.name), again)
            return
        for attempt in committed:
            ledger.reopen_result(attempt, self._now, reason)
            self._instruct(instructions.DropResult(attempt.id))

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
            self._fail_attempt(attempt, event.failure)

    def _fail_attempt(self, attempt: AttemptRecord, failure: Failure) -> None:
        ledger, task, worker = self.ledger, attempt.task, attempt.worker
        ledger.failed_attempts += 1
        failed_elsewhere = bool(task.failed_on - {worker.name})
        if failure.kind is FailureKind.EXCESS:
            ledger.drop_attempt(attempt, AttemptState.FAILED, self._now, shorten(failure.message))
            self._fail_job(failure, attempt)
            return
        if policy.calls_for_care(failure) and self._is_found(attempt, failure):
            ledger.drop_attempt(attempt, AttemptState.FAILED, self._now, shorten(failure.message))
            ledger.first_set_aside = ledger.first_set_aside or failure
            self._check_excess(attempt)
            return
        if not attempt.others or policy.is_of_the_worker(failure.kind):
            for member in attempt.tasks:
                member.failed_on |= {worker.name}
        ledger.drop_attempt(attempt, AttemptState.FAILED, self._now, shorten(failure.message))
        code_missing = failure.kind is FailureKind.CODE
        if code_missing and worker.state is WorkerState.DRAINING:
            return  # it gets no other task anyway
        if code_missing and policy.should_exclude(failed_tasks=1, code_missing=True, other_workers=ledger.alive - 1):
            # Says nothing about the task, which may meet any number of such workers; each of them only once.
            self._exclude_worker(worker, f"the job's code could not be loaded on it: {shorten(failure.message)}")
            return
        if attempt.others:
            return  # nobody knows which of them it was
        task.failures += 1
        is_damaged = policy.is_of_the_data(failure)
        if task.failures >= self.max_attempts or (is_damaged and task in ledger.damaged):
            self._fail_job(failure, attempt)
            return
        if is_damaged:
            ledger.damaged.add(task)
        if policy.counts_against_worker(failure.kind, failed_elsewhere=failed_elsewhere):
            self._hold_against(worker, task)

    def _is_found(self, attempt: AttemptRecord, failure: Failure) -> bool:
        """Have the tasks of ``attempt`` attempted carefully; whether that has shown a record which is to be skipped."""
        ledger = self.ledger
        # Of several splits a function's exception tells the one; where the process was lost it may be any.
        for task in [task for task in attempt.tasks if task.id.index == failure.split] or attempt.tasks:
            ledger.suspect(task)
        mark = policy.lost_at(failure)
        if mark is None or not self.skips or attempt.others:
            return False
        suspicion = ledger.suspect(attempt.task)
        if mark not in suspicion.lost_at:
            suspicion.lost_at.add(mark)
            return False
        ledger.skip_record(attempt.task, mark._replace(reason=shorten(failure.message, limits.SKIP_REASON_CHARS_MAX)))
        return True

    def _check_excess(self, attempt: AttemptRecord) -> None:
        ledger = self.ledger
        if policy.is_excess(ledger.set_aside_total, self.max_skipped):
            failure = policy.excess_failure(ledger.set_aside_total, self.max_skipped, ledger.first_set_aside)
            self._fail_job(failure, attempt)

    def _attempt_lost(self, event: events.AttemptLost) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is not None:
            self._lose_on_live_worker(attempt, event.reason)

    def _lose_on_live_worker(self, attempt: AttemptRecord, reason: str) -> None:
        for task in attempt.tasks:
            task.lost_on |= {attempt.worker.name}
        self._lose_attempt(attempt, reason)
        self._check_losses(attempt.tasks)

    def _lose_attempt(self, attempt: AttemptRecord, reason: str) -> None:
        for task in attempt.tasks:
            task.losses += 1
        self.ledger.drop_attempt(attempt, AttemptState.LOST, self._now, shorten(reason))

    def _blocks_unreachable(self, event: events.BlocksUnreachable) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is None:
            return
        ledger = self.ledger
        named = [ledger.map.tasks[index] for index in sorted(set(event.maps)) if 0 <= index < len(ledger.map.tasks)]
        if not named or attempt.task.id.phase is Phase.MAP:
            # Nothing to do again that would make the next attempt fare better: a plain loss, which is bounded.
            self._lose_on_live_worker(attempt, event.reason)
            return
        what = "is damaged" if event.damaged else "could not be fetched"
        if event.damaged and any(task.committed and task.committed.worker is not attempt.worker for task in named):
            # The damage may be of the fetcher's own making: its disk must not use up the losses of every map task.
            attempt.task.lost_on |= {attempt.worker.name}
        ledger.drop_attempt(attempt, AttemptState.LOST, self._now, shorten(event.reason))
        for task in named:
            # Every map task was committed when this attempt started. An output committed later replaced the one it
            # asked for, and one that is gone is being made again: neither is what could not be reached.
            output = task.committed
            if output is not None and task.generation <= attempt.generation:
                for member in output.tasks:
                    member.losses += 1
                    member.lost_on |= {output.worker.name}
                ledger.lose_output(output, self._now, f"its output {what}: {shorten(event.reason)}")
                # Else the holder keeps the files: another reduce attempt may be reading them from a place that can
                # reach it. One that still wants a damaged one is told that it is gone, and starts again, too.
                if event.damaged:
                    self._instruct(instructions.DropOutput(output.worker.name, output.id))
        self._check_losses(named)

    def _check_losses(self, tasks: Iterable[TaskRecord]) -> None:
        for task in tasks:
            if task.losses > self.lost_attempts_max:
                last = task.attempts[-1]
                failure = Failure(
                    kind=FailureKind.SYSTEM,
                    message=f"attempts of {task.id} were lost {task.losses} times; the last, {last.id}: {last.reason}",
                    worker=last.worker.name,
                )
                self._fail_job(failure, last)
                return

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
            output = ledger.restore_output(name, splits, worker, self._now)
            output.digests = known
            self._add_sizes(output, sizes)
        ledger.away_until = self._now + limits.COME_BACK_SECONDS
        ledger.input_exhausted = event.is_input_exhausted
        if event.plan:
            ledger.plan_reduce(list(event.plan), {name.task.index for name in event.reduced})
            for name in event.reduced:
                ledger.restore_result(name, self._now)
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
        self._fail_job(event.failure, None)

    def _advance_job(self) -> None:
        ledger = self.ledger
        # Not while outputs are away: how many slots there are to share the work is not known then.
        if ledger.job is JobState.MAP and ledger.input_exhausted and ledger.outputs_are_there:
            ledger.plan_reduce(policy.coalesce(ledger.partition_bytes, self.reduce_task_bytes, ledger.slots))
            if not ledger.plan:
                self._instruct(instructions.FinishJob())
        elif ledger.job is JobState.REDUCE and ledger.reduce.is_committed:
            ledger.move_job(JobState.DONE)
            self._cancel_everything()
            self._instruct(instructions.FinishJob())

    def _fail_job(self, failure: Failure, attempt: AttemptRecord | None) -> None:
        self.ledger.move_job(JobState.FAILED)
        self._cancel_everything()
        if attempt is None:
            self._instruct(instructions.FailJob(failure, None, None, 0))
        else:
            self._instruct(instructions.FailJob(failure, attempt.task.id, attempt.id, attempt.task.failures))

    def _cancel_everything(self) -> None:
        for worker in self.ledger.workers.values():
            for attempt in list(worker.running):
                self.ledger.drop_attempt(attempt, AttemptState.CANCELLED, self._now, "the job is over")
                self._instruct(instructions.CancelAttempt(worker.name, attempt.id))

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
        attempt = self.ledger.start_attempt(task, others, worker, self._now)
        partitions = self.ledger.plan[task.id.index] if task.id.phase is Phase.REDUCE else None
        suspicion = None if others else self.ledger.suspicions.get(task)
        if suspicion is None:
            self._instruct(instructions.StartAttempt(worker.name, attempt.id, partitions, 1 + len(others)))
        else:
            self._instruct(instructions.StartAttempt(worker.name, attempt.id, partitions, 1, True, suspicion.skip))

    def _start_backups(self) -> None:
        ledger = self.ledger
        if ledger.free and ledger.input_exhausted:
            # What is mapped again because its output was lost is what every reduce task waits for.
            phase = ledger.reduce if ledger.outputs_are_there else ledger.map
            for first, worker in choose_backups(ledger, phase, self._now):
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
