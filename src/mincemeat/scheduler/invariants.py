"""What is true of a machine between two events.

Decides: nothing; it only looks, at everything, so it is O(all there is) and belongs in tests and debugging.
Each statement is made both ways: in this set exactly when in that state.
"""

from __future__ import annotations

from mincemeat.scheduler.ledger import Ledger, PhaseLedger
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.placement import choose_worker
from mincemeat.scheduler.state import ABSENT, AttemptState, JobState, TaskRecord, TaskState, WorkerState, tell_story


def check(machine: Machine) -> None:
    """Raises: AssertionError with a sentence, for the first statement that does not hold."""
    ledger = machine.ledger
    _check_workers(ledger)
    for phase in (ledger.map, ledger.reduce):
        _check_tasks(ledger, phase)
        _check_pending(phase)
    _check_outputs(ledger)
    _check_set_aside(ledger)
    _check_lost_outputs(machine)
    _check_job(machine)
    if not machine.is_over:
        _check_nobody_idles(ledger)
        for name, worker in ledger.draining.items():
            _claim(bool(worker.running or worker.outputs), f"worker {name} is released as soon as it is not needed")


def _claim(holds: bool, sentence: str, task: TaskRecord | None = None) -> None:
    """``task``: whose story is told with the sentence, which is not done in vain, as it takes time."""
    if not holds:
        raise AssertionError(sentence if task is None else f"{sentence}: {tell_story(task)}")


def _check_workers(ledger: Ledger) -> None:
    alive = [worker for worker in ledger.workers.values() if worker.state is WorkerState.ALIVE]
    for name, worker in ledger.workers.items():
        is_alive = worker.state is WorkerState.ALIVE
        _claim(name == worker.name, f"worker {worker.name} is filed under {name}")
        _claim(
            (name in ledger.free) == (is_alive and worker.free > 0),
            f"worker {name} is in `free` exactly when it is ALIVE and has a free slot ({worker.state}, {worker.free})",
        )
        _claim(
            (name in ledger.excluded) == (worker.state is WorkerState.EXCLUDED),
            f"worker {name} is in `excluded` exactly when it is EXCLUDED ({worker.state})",
        )
        _claim(
            (name in ledger.leases) == (worker.state not in ABSENT),
            f"worker {name} has a lease exactly when it is connected ({worker.state})",
        )
        _claim(
            (name in ledger.away) == (worker.state is WorkerState.AWAY)
            and bool(worker.outputs) >= (name in ledger.away),
            f"worker {name} is in `away` exactly when it is AWAY, and then holds something ({worker.state})",
        )
        _claim(
            (name in ledger.draining) == (worker.state is WorkerState.DRAINING),
            f"worker {name} is in `draining` exactly when it is DRAINING ({worker.state})",
        )
        _claim(
            is_alive or name in ledger.draining or not worker.running,
            f"worker {name} runs attempts only while ALIVE or DRAINING ({worker.state})",
        )
        _claim(0 <= worker.free <= worker.slots, f"worker {name} runs {len(worker.running)} in {worker.slots} slots")
    names = ledger.workers.keys()
    _claim(ledger.free.keys() <= names and ledger.leases.keys() <= names, "indexes name only known workers")
    _claim(
        list(ledger.leases.values()) == sorted(ledger.leases.values()), "leases are ordered by the last sign of life"
    )
    _claim(bool(alive) or not ledger.excluded, "while any worker is connected, at least one is not excluded")
    _claim(ledger.alive == len(alive), f"alive counts the ALIVE workers ({ledger.alive}, {len(alive)})")
    _claim(ledger.slots == sum(worker.slots for worker in alive), "slots counts the slots of ALIVE workers")
    _claim(
        ledger.free_slots == sum(worker.free for worker in alive), "free_slots counts the free slots of ALIVE workers"
    )
    everybody = ledger.workers.values()
    _claim(ledger.running == sum(len(worker.running) for worker in everybody), "running counts the attempts that run")


def _check_tasks(ledger: Ledger, phase: PhaseLedger) -> None:
    committed = 0
    for index, task in enumerate(phase.tasks):
        _claim(task.id.index == index and task.id.phase is phase.phase, "a task has the place of its index", task)
        states = [attempt.state for attempt in task.attempts]
        commits = states.count(AttemptState.COMMITTED)
        committed += commits
        if commits:
            expected = TaskState.COMMITTED
        elif AttemptState.RUNNING in states:
            expected = TaskState.RUNNING
        else:
            expected = TaskState.PENDING
        _claim(task.state is expected, "a task's state follows from its attempts", task)
        _claim(commits <= 1, "at most one attempt of a task is committed", task)
        _claim((task.committed is not None) == bool(commits), "`committed` is set exactly when COMMITTED", task)
        _claim(
            task.committed is None or task.committed.state is AttemptState.COMMITTED,
            "`committed` is the attempt that is COMMITTED",
            task,
        )
        _claim(not commits or AttemptState.RUNNING not in states, "nobody runs a committed task", task)
        for attempt in task.attempts:
            runs = attempt.state is AttemptState.RUNNING
            _claim((attempt in attempt.worker.running) == runs, "a worker runs exactly what is RUNNING on it", task)
            _claim((attempt.ended is None) == runs, "an attempt has an end exactly when it does not run", task)
            # One of several tasks may have forgotten it, by whose story it is found.
            is_told = attempt in attempt.task.attempts
            _claim(ledger.find_attempt(attempt.id) is (attempt if is_told else None), "found by its identity", task)
            _claim(task in attempt.tasks, "an attempt is in the story of its own tasks", task)
            commit = attempt.state is AttemptState.COMMITTED
            _claim(
                all((member.committed is attempt) == commit for member in attempt.tasks),
                "an attempt is committed for all of its tasks or for none",
                task,
            )
    _claim(phase.committed == committed, f"{phase.phase}: `committed` counts the COMMITTED tasks")


def _check_pending(phase: PhaseLedger) -> None:
    queued = sorted(task for index, _ in phase.pending for task in range(index, index + phase.groups.get(index, 1)))
    pending = [task.id.index for task in phase.tasks if task.state is TaskState.PENDING]
    _claim(queued == pending, f"{phase.phase}: a task is queued, and once, exactly when it is PENDING")
    heads = {index for index, _ in phase.pending}
    _claim(phase.groups.keys() <= heads, f"{phase.phase}: a group waits exactly while its first task is queued")
    for first, count in phase.groups.items():
        tasks = tuple(phase.tasks[first : first + count])
        fresh = all(not task.attempts_started for task in tasks)
        lost = any(
            attempt.tasks == tasks and attempt.state in (AttemptState.LOST, AttemptState.GONE)
            for attempt in tasks[0].attempts
        )
        _claim(
            count > 1 and (fresh or lost),
            f"{phase.phase}: tasks {first} and on wait together, never attempted, or because their output was lost",
        )
    for index, avoided in phase.pending:
        _claim(avoided == phase.tasks[index].avoided, "a task is queued with the workers it avoids", phase.tasks[index])


def _check_lost_outputs(machine: Machine) -> None:
    """No reduce attempt that counts has read two versions of a map output, as far as digests tell.

    While a lost output is not there again nobody starts to reduce, so all that run or are committed have read the same
    version: they started before it was lost. When it is there again it is compared, and forgotten.
    """
    ledger = machine.ledger
    _claim(
        not ledger.lost_outputs or ledger.job is not JobState.MAP,
        "a lost output is remembered when it may have been read",
    )
    for task, lost in ledger.lost_outputs.items():
        members = lost.attempt.tasks
        _claim(task in members, f"{task.id} is of the lost output {lost.attempt.id}")
        is_lost = lost.attempt.state in (AttemptState.LOST, AttemptState.GONE)
        _claim(is_lost, f"{lost.attempt.id} is remembered, so it is LOST or GONE")
        _claim(
            all(ledger.lost_outputs.get(member) is lost for member in members),
            f"{lost.attempt.id} is remembered for all of its tasks",
        )
        _claim(
            any(member.committed is None for member in members),
            f"{lost.attempt.id} is remembered until all of its tasks are committed again",
        )
        if machine.is_over:
            continue
        for reduce in ledger.reduce.tasks:
            for attempt in reduce.attempts:
                counts = attempt.state in (AttemptState.RUNNING, AttemptState.COMMITTED)
                _claim(
                    not counts or attempt.generation < lost.generation,
                    f"{attempt.id} has not started while {lost.attempt.id} is not there again",
                )


def _check_set_aside(ledger: Ledger) -> None:
    _claim(ledger.set_aside_total == sum(ledger.set_aside.values()), "set_aside_total counts what is set aside")
    _claim(all(ledger.set_aside.values()), "a task is in `set_aside` exactly when it has records there")
    for task, suspicion in ledger.suspicions.items():
        story = tell_story(task)
        skipped = {mark._replace(reason="") for mark in suspicion.skip}
        _claim(len(skipped) == len(suspicion.skip), f"no record is skipped twice: {story}")
        _claim(not suspicion.lost_at & skipped, f"nobody is at a record that is skipped: {story}")
        if suspicion.skip and task.committed is None:
            counted = ledger.set_aside.get(task)
            _claim(counted == len(suspicion.skip), f"until it commits, its skipped records count ({counted}): {story}")


def _check_outputs(ledger: Ledger) -> None:
    for worker in ledger.workers.values():
        held = {
            task.id.index for task in ledger.map.tasks if task.committed is not None and task.committed.worker is worker
        }
        _claim(worker.outputs == held, f"worker {worker.name} has exactly the outputs of map tasks committed on it")
        _claim(not held or worker.state is not WorkerState.LEFT, f"worker {worker.name} left; its outputs are lost")


def _check_job(machine: Machine) -> None:
    ledger = machine.ledger
    job = ledger.job
    reduces = len(ledger.reduce.tasks)
    _claim(reduces == len(ledger.plan), "there are as many reduce tasks as ranges in the plan")
    _claim(job is not JobState.MAP or not reduces, "the reduce phase is planned when the map phase ends")
    if ledger.plan:
        covered = [partition for partitions in ledger.plan for partition in partitions]
        _claim(covered == list(range(machine.partitions)), "the plan covers every partition once, in order")
    ready = ledger.input_exhausted and ledger.outputs_are_there
    _claim(job is not JobState.MAP or not ready, "the map phase ends as soon as everything is mapped, and is there")
    _claim(
        (job is JobState.REDUCE) == (bool(reduces) and not ledger.reduce.is_committed and job is not JobState.FAILED),
        "the job is in REDUCE exactly when it is planned, not all committed and not FAILED",
    )
    _claim(
        job is not JobState.DONE or (ledger.input_exhausted and ledger.reduce.is_committed), "DONE means all is done"
    )
    _claim(not machine.is_over or not ledger.running, "nothing runs when the job is over")
    if not machine.is_over:
        for task in (*ledger.map.tasks, *ledger.reduce.tasks):
            _claim(task.failures < machine.rules.max_attempts, "max_attempts failures end the job", task)
            _claim(task.losses <= machine.rules.lost_attempts_max, "too many losses end the job", task)


def _check_nobody_idles(ledger: Ledger) -> None:
    """A slot is free only while there is nothing that it may do."""
    phases = [ledger.map]
    if ledger.job is JobState.REDUCE and ledger.outputs_are_there:
        phases.append(ledger.reduce)
    for phase in phases:
        for index, avoided in phase.pending:
            _claim(choose_worker(ledger, avoided) is None, "a task waits although it could start", phase.tasks[index])
    _claim(
        ledger.input_exhausted or ledger.splits_outstanding >= ledger.free_slots,
        "a split is asked for on behalf of every free slot while there is input",
    )
