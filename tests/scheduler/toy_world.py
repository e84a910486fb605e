"""A toy world around one machine: workers that die, freeze, fail and mumble, all from one seed.

Decides: what happens next, by chance, as long as trouble lasts; then everybody behaves, and the job must end.
There is no network: a message is an event in a bag, taken out in any order, sometimes twice, sometimes never. A message
that is never delivered is in the end noticed as a worker that left or an attempt that was lost, as in the real world.

    python -m tests.scheduler.toy_world 1000      plays seeds 0 to 999; the last one printed is the one that failed
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mincemeat import limits
from mincemeat.model import AttemptId, Failure, FailureKind, Phase
from mincemeat.scheduler import (
    AttemptDone,
    AttemptFailed,
    AttemptLost,
    BlocksUnreachable,
    CancelAttempt,
    DropOutput,
    DropResult,
    Event,
    ExcludeWorker,
    ExpireWorker,
    FailJob,
    FinishJob,
    Heartbeat,
    InputExhausted,
    Instruction,
    JobRestored,
    JobState,
    Machine,
    ProduceSplit,
    ReadmitWorker,
    ReleaseWorker,
    RestoredOutput,
    SourceFailed,
    SplitsProduced,
    StartAttempt,
    Tick,
    WorkerDraining,
    WorkerJoined,
    WorkerLeft,
    invariants,
)
from mincemeat.scheduler.digests import Digests
from mincemeat.scheduler.state import AttemptState, TaskState
from tests.scheduler.kit import failure

PARTITIONS = 5
LEASE_SECONDS = 10.0
CALM_STEPS_MAX = 20_000


_OF_THE_JOB = (FailureKind.EXCESS, FailureKind.NONDETERMINISM)


@dataclass
class ToyWorker:
    name: str
    slots: int
    running: set[AttemptId] = field(default_factory=set)
    outputs: set[AttemptId] = field(default_factory=set)
    frozen: bool = False


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.splits = self.chance.randrange(0, 25)
        self.life = 0
        self.new_machine = functools.partial(
            Machine,
            partitions=PARTITIONS,
            # Mostly so many that trouble alone does not end the job; sometimes so few that it does.
            max_attempts=self.chance.choice([2, 4, 1000]),
            lost_attempts_max=self.chance.choice([3, 10_000]),
            reduce_task_bytes=self.chance.choice([1, 20, 10**6]),
            lease_seconds=LEASE_SECONDS,
            backups=self.chance.random() < 0.5,
            skips=self.chance.random() < 0.5,
            max_skipped=self.chance.choice([0, 5, None]),
            on_nondeterminism=self.chance.choice(["raise", "restart", "ignore"]),
        )
        # Whether the functions give different pairs now and then.
        self.is_moody = self.chance.random() < 0.5
        # What each map attempt gave, (split, partition) -> content; and what each reduce attempt was given to read.
        self.contents: dict[AttemptId, dict[tuple[int, int], int]] = {}
        self.reads: dict[AttemptId, dict[tuple[int, int], int]] = {}
        self.machine = self.new_machine()
        self.groups: list[int] = []
        self.now = 0.0
        self.joined = 0
        self.produced = 0
        self.workers: dict[str, ToyWorker] = {}
        self.ghosts: list[ToyWorker] = []
        self.mail: list[Event] = []
        self.requests = 0
        self.reduced: list[AttemptId] = []
        self.ends: list[Instruction] = []
        self.excluded: set[str] = set()
        self.draining: set[str] = set()
        self.starts: dict[AttemptId, StartAttempt] = {}

    # -- between world and machine -----------------------------------------------------------------------

    def send(self, event: Event) -> None:
        before = self.machine.counts().reduce_committed
        said = self.machine.handle(event, self.now)
        invariants.check(self.machine)
        dropped = [instruction.attempt for instruction in said if isinstance(instruction, DropResult)]
        for attempt in dropped:
            assert self.machine.rules.on_nondeterminism == "restart"
            self.reduced.remove(attempt)
        gained = self.machine.counts().reduce_committed - before + len(dropped)
        assert gained in (0, 1) or isinstance(event, JobRestored)
        if gained and not isinstance(event, JobRestored):
            assert isinstance(event, AttemptDone)
            self.reduced.append(event.attempt)
        for instruction in said:
            self.obey(instruction)
        if self.machine.rules.on_nondeterminism != "ignore" and self.machine.state is not JobState.FAILED:
            self.check_reads()

    def check_reads(self) -> None:
        """Every reduce attempt that counts has read what is there, or was there last."""
        ledger = self.machine.ledger
        there: dict[tuple[int, int], int] = {}
        for task in ledger.map.tasks:
            lost = ledger.lost_outputs.get(task)
            output = task.committed if lost is None else lost.attempt
            if output is not None and output.id in self.contents:
                index = task.id.index
                there.update({place: what for place, what in self.contents[output.id].items() if place[0] == index})
        for reduce in ledger.reduce.tasks:
            for attempt in reduce.attempts:
                if attempt.state in (AttemptState.RUNNING, AttemptState.COMMITTED):
                    # What an earlier coordinator knew of outputs is not known to the next one.
                    read = self.reads.get(attempt.id, {}) if not self.life else {}
                    assert all(there[place] == what for place, what in read.items()), f"{attempt.id} read a mixture"

    def obey(self, instruction: Instruction) -> None:
        assert not self.ends, f"{instruction} after the end"
        match instruction:
            case ProduceSplit():
                self.requests += 1
            case StartAttempt(worker, attempt, partitions, splits):
                assert worker not in self.excluded
                assert worker not in self.draining
                self.check_splits(attempt, splits)
                self.check_care(instruction)
                assert (partitions is None) == (attempt.task.phase is Phase.MAP)
                counts = self.machine.counts()
                assert partitions is None or counts.map_committed == counts.map_total
                assert partitions is None or self.mapped() == list(range(self.splits))
                if partitions is not None:
                    self.reads[attempt] = {
                        place: what
                        for _, output, _ in self.machine.map_outputs()
                        for place, what in self.contents[output].items()
                        if place[1] in partitions
                    }
                if worker in self.workers:
                    self.workers[worker].running.add(attempt)
                    assert len(self.workers[worker].running) <= self.workers[worker].slots
            case CancelAttempt(worker, attempt):
                if worker in self.workers:
                    self.workers[worker].running.discard(attempt)
            case DropOutput(worker, attempt):
                assert (attempt, worker) not in {(held, holder) for _, held, holder in self.machine.map_outputs()}
                if worker in self.workers:
                    self.workers[worker].outputs.discard(attempt)
            case ExcludeWorker(worker, _):
                self.excluded.add(worker)
            case ReadmitWorker(worker, _):
                self.excluded.discard(worker)
            case ExpireWorker(worker, _):
                self.workers.pop(worker, None)
            case ReleaseWorker(worker):
                assert worker in self.draining
                assert not self.workers[worker].running
                self.workers.pop(worker)
            case FinishJob() | FailJob():
                self.ends.append(instruction)

    def mapped(self) -> list[int]:
        """Every split in every output that a reduce attempt is given."""
        return [split for _, output, _ in self.machine.map_outputs() for split in self.machine.splits_of(output)]

    def check_splits(self, attempt: AttemptId, splits: int) -> None:
        assert splits >= 1
        if attempt.task.phase is Phase.MAP:
            first = attempt.task.index
            assert self.machine.splits_of(attempt) == range(first, first + splits)
            task = self.machine.ledger.find_task(attempt.task)
            assert task is not None
            was_lost = any(
                other.state in (AttemptState.LOST, AttemptState.GONE) and len(other.tasks) == splits
                for other in task.attempts
            )
            is_first = attempt.number == self.life * limits.ATTEMPTS_PER_LIFE
            # Again: alone, unless what it made together was there, and was lost.
            assert splits == 1 or is_first or self.machine.backups or was_lost

    def check_care(self, start: StartAttempt) -> None:
        """Whoever goes carefully follows a failure, over one split, and skips each record once, if at all."""
        self.starts[start.attempt] = start
        if start.careful:
            assert start.splits == 1
            assert self.machine.counts().failed_attempts or self.life
        assert len(set(start.skip)) == len(start.skip)
        assert not start.skip or (start.careful and self.machine.rules.skips)

    def skipped_in(self, attempt: AttemptId) -> int:
        """How many records the attempt set aside: those it was told to, and of some tasks one that raises."""
        start = self.starts[attempt]
        raising = attempt.task.index % 4 == 0 and attempt.task.phase is Phase.MAP
        return len(start.skip) + (start.careful and self.machine.rules.skips and raising)

    def trouble_of(self, attempt: AttemptId) -> Failure:
        """A failure; a careful attempt knows the record, of which there are three."""
        kind = self.chance.choice([kind for kind in FailureKind if kind not in _OF_THE_JOB])
        start = self.starts[attempt]
        if not start.careful:
            return failure(kind)
        left = {0, 1, 2} - {mark.record for mark in start.skip}
        record = self.chance.choice([-1, *sorted(left)])
        return failure(kind)._replace(record=record, key=str(record))

    # -- what may happen ---------------------------------------------------------------------------------

    def join(self, outputs: Iterable[AttemptId] = ()) -> None:
        worker = ToyWorker(f"w#{self.joined}", self.chance.randrange(1, 4))
        worker.outputs.update(outputs)
        self.joined += 1
        self.workers[worker.name] = worker
        self.send(WorkerJoined(worker.name, worker.slots, tuple(sorted(worker.outputs, key=str))))

    def die(self) -> None:
        if self.workers:
            worker = self.workers.pop(self.chance.choice(list(self.workers)))
            self.ghosts.append(worker)
            self.send(WorkerLeft(worker.name, "killed"))

    def drain(self) -> None:
        if self.workers:
            worker = self.workers[self.chance.choice(list(self.workers))]
            self.draining.add(worker.name)
            self.send(WorkerDraining(worker.name))

    def come_back(self) -> None:
        """One that was only cut off dials again, with what it holds."""
        if self.ghosts:
            self.join(self.ghosts.pop(self.chance.randrange(len(self.ghosts))).outputs)

    def freeze(self) -> None:
        if self.workers:
            self.chance.choice(list(self.workers.values())).frozen = True

    def produce(self) -> None:
        if self.requests:
            self.requests -= 1
            if self.produced < self.splits:
                count = min(self.chance.choice([1, 1, 2, 5]), self.splits - self.produced)
                self.groups.append(count)
                self.send(SplitsProduced(self.produced, count))
                self.produced += count
            else:
                self.requests = 0
                self.send(InputExhausted())

    def work(self, trouble: float = 0.0) -> None:
        """Some attempt comes to its end, and a message about it is on its way."""
        pairs = [
            (worker, attempt)
            for worker in self.workers.values()
            if not worker.frozen
            for attempt in sorted(worker.running, key=str)
        ]
        if not pairs:
            return
        worker, attempt = self.chance.choice(pairs)
        worker.running.discard(attempt)
        if self.chance.random() < trouble:
            maps = (self.chance.randrange(-1, self.splits + 1),)
            troubles: list[Event] = [
                AttemptFailed(worker.name, attempt, self.trouble_of(attempt)),
                AttemptLost(worker.name, attempt, "slot taken away"),
                BlocksUnreachable(worker.name, attempt, maps, "refused"),
                BlocksUnreachable(worker.name, attempt, maps, "checksum mismatch", damaged=True),
            ]
            self.mail.append(self.chance.choice(troubles))
            return
        if attempt.task.phase is Phase.REDUCE:
            gone = tuple(index for index, held, holder in self.machine.map_outputs() if not self.holds(holder, held))
            if gone:
                self.mail.append(BlocksUnreachable(worker.name, attempt, gone, "not there"))
                return
            self.mail.append(AttemptDone(worker.name, attempt, (), self.skipped_in(attempt)))
        else:
            worker.outputs.add(attempt)
            skipped = self.skipped_in(attempt)
            digests = self.map(attempt)
            self.mail.append(AttemptDone(worker.name, attempt, sizes_of(attempt), skipped, digests=digests))

    def map(self, attempt: AttemptId) -> Digests:
        """What the attempt gives, now and then another thing than the last time; its digests, which add up."""
        content: dict[tuple[int, int], int] = {}
        for split in self.machine.splits_of(attempt):
            for partition in range(PARTITIONS):
                mood = self.chance.randrange(1, 4) if self.is_moody and self.chance.random() < 0.1 else 0
                content[split, partition] = random.Random((split * PARTITIONS + partition) * 4 + mood).getrandbits(64)
        self.contents[attempt] = content
        sums = [sum(what for (_, of), what in content.items() if of == partition) for partition in range(PARTITIONS)]
        return Digests(True, b"".join([(total % 2**64).to_bytes(8, "big") for total in sums]))

    def holds(self, worker: str, output: AttemptId) -> bool:
        return worker in self.workers and output in self.workers[worker].outputs

    def deliver(self, trouble: float = 0.0) -> None:
        if not self.mail:
            return
        event = self.mail.pop(self.chance.randrange(len(self.mail)))
        fate = self.chance.random()
        if fate < trouble / 2:
            self.mail.append(event)  # and it will come again
        elif fate < trouble and isinstance(event, AttemptDone | AttemptFailed | BlocksUnreachable):
            event = AttemptLost(event.worker, event.attempt, "the message was lost")
        self.send(event)

    def restart(self) -> None:
        """The coordinator dies and another goes on from what was committed; workers that live dial again."""
        if self.ends:
            return
        old = self.machine
        self.life += 1
        self.machine = self.new_machine(life=self.life)
        self.mail.clear()
        self.requests = 0
        outputs = [
            RestoredOutput(attempt, len(old.splits_of(attempt)), f"{worker}, before", sizes_of(attempt))
            for _, attempt, worker in old.map_outputs()
        ]
        reduced = [task.committed.id for task in old.ledger.reduce.tasks if task.committed is not None]
        commits = [task.committed for phase in (old.ledger.map, old.ledger.reduce) for task in phase.tasks]
        skipped = [(commit.id, old.ledger.set_aside.get(commit.task, 0)) for commit in commits if commit is not None]
        self.send(
            JobRestored(
                tuple(self.groups),
                old.ledger.input_exhausted,
                tuple(outputs),
                tuple(old.ledger.plan),
                tuple(reduced),
                tuple((commit, count) for commit, count in skipped if count),
            )
        )
        workers, self.workers = self.workers, {}
        self.excluded.clear()
        self.draining.clear()
        for worker in workers.values():
            if not worker.frozen:
                self.join(worker.outputs)

    def mumble(self) -> None:
        """A message that makes no sense: a foreign worker, an attempt that never was."""
        worker = self.chance.choice([*self.workers, "stranger#0"])
        attempt = AttemptId.parse(f"{self.chance.choice('mr')}-{self.chance.randrange(30)}.{self.chance.randrange(4)}")
        record = self.machine.ledger.find_attempt(attempt)
        if record is None or record.worker.name != worker:
            self.send(AttemptDone(worker, attempt, (1,) * PARTITIONS))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for worker in list(self.workers.values()):
            if not worker.frozen:
                self.send(Heartbeat(worker.name))
        self.send(Tick())

    # -- the play ----------------------------------------------------------------------------------------

    def play(self) -> None:
        trouble = self.chance.choice([0.05, 0.2, 0.5])
        for _ in range(self.chance.randrange(300)):
            self.step(trouble)
        self.calm_down()
        self.check_end()

    def step(self, trouble: float) -> None:
        steps: list[tuple[Callable[[], None], float]] = [
            (self.join, 2),
            (self.die, 4 * trouble),
            (self.come_back, 2 * trouble),
            (self.freeze, trouble),
            (self.drain, trouble),
            (self.produce, 20),
            (lambda: self.work(trouble), 25),
            (lambda: self.deliver(trouble), 30),
            (self.mumble, 3),
            (self.restart, trouble),
            (lambda: self.pass_time(self.chance.choice([0.1, 1.0, 6.0])), 3),
        ]
        [(step, _)] = self.chance.choices(steps, [weight for _, weight in steps])
        step()

    def calm_down(self) -> None:
        """No more trouble: frozen workers are dead, a healthy one joins, what is in the mail arrives."""
        if not self.ends:
            self.join()
        for _ in range(CALM_STEPS_MAX):
            if self.ends:
                return
            self.produce()
            self.work()
            self.deliver()
            if not self.mail and not self.requests:
                self.pass_time(3.0)
        raise AssertionError(f"the job did not end: {self.machine.counts()}")

    def check_end(self) -> None:
        machine = self.machine
        assert len(self.ends) == 1
        if machine.state is JobState.FAILED:
            [end] = self.ends
            assert isinstance(end, FailJob)
            assert end.task is not None
            if end.failure.kind is FailureKind.EXCESS:
                assert machine.rules.max_skipped is not None
                assert machine.ledger.set_aside_total > machine.rules.max_skipped
                return
            if end.failure.kind is FailureKind.NONDETERMINISM:
                assert machine.rules.on_nondeterminism == "raise"
                assert self.is_moody
                return
            task = machine.ledger.find_task(end.task)
            assert task is not None
            assert task.failures >= machine.rules.max_attempts or task.losses > machine.rules.lost_attempts_max
            return
        assert machine.counts().map_total == self.splits
        assert machine.counts().reduce_committed == machine.counts().reduce_total
        # Of each task the records that its committed attempt set aside, and no others, however often it was made.
        skipped = 0
        for task in [*machine.ledger.map.tasks, *machine.ledger.reduce.tasks]:
            if task.committed is not None and task.committed.task is task:
                skipped += self.skipped_in(task.committed.id)
        assert machine.ledger.set_aside_total == skipped
        assert machine.rules.max_skipped is None or skipped <= machine.rules.max_skipped
        # Each reduce task committed exactly once, over the whole life of the job.
        assert sorted(attempt.task.index for attempt in self.reduced) == list(range(machine.counts().reduce_total))
        for task in machine.ledger.reduce.tasks:
            assert task.state is TaskState.COMMITTED
            assert [attempt.state for attempt in task.attempts].count(AttemptState.COMMITTED) == 1
        self.send(SourceFailed(failure()))  # nothing matters any more


def sizes_of(output: AttemptId) -> tuple[int, ...]:
    """The same whenever the task is done, as the output of a map task is."""
    return tuple(random.Random(output.task.index).choices([0, 1, 9], k=PARTITIONS))


def play(seed: int) -> World:
    """Play one seed to its end. Raises: AssertionError, or whatever the machine raised."""
    world = World(seed)
    world.play()
    return world


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        print("seed", number, flush=True)
        play(number)
