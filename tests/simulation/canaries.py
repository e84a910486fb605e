"""Faults planted in our own code, to see that the simulation finds them.

Each is switched on alone, by a patch from here: nothing of it is in the program.

    python -m tests.simulation --canaries      each with the first seed that finds it
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mincemeat.cluster import carrying, gathering, supply
from mincemeat.cluster.committing import Committer
from mincemeat.cluster.coordinator import Coordinator
from mincemeat.cluster.fetching import Channels, Fetcher, HolderServer
from mincemeat.cluster.recording import Recorder
from mincemeat.cluster.session import WorkerSession
from mincemeat.cluster.worker import _Worker
from mincemeat.engines import bookkeeping
from mincemeat.engines.resuming import Resumable
from mincemeat.errors import SpillSpaceExhausted
from mincemeat.journal.journal import Journal
from mincemeat.journal.log import Log
from mincemeat.model import AttemptId, RecordMark, TaskId
from mincemeat.scheduler import events, failures, instructions, losses, machine, policy, remade
from mincemeat.scheduler.ledger import Ledger
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import AttemptState, JobState, TaskRecord
from mincemeat.scheduler.turn import Turn
from mincemeat.set_aside import SetAside
from mincemeat.shuffle import block
from mincemeat.shuffle.store import JobStore
from mincemeat.sources.mapping import MappingSource
from tests.simulation.plan import draw
from tests.simulation.world import play

SEEDS_MAX = 10_000


@dataclass(frozen=True)
class Canary:
    """``where`` and ``name`` say what is replaced, an attribute or an entry; ``plant`` makes it of what was there."""

    says: str
    where: Any
    name: Any
    plant: Callable[[Any], Any]

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        if isinstance(self.where, dict):
            former = self.where[self.name]
            self.where[self.name] = self.plant(former)
        else:
            former = vars(self.where)[self.name]
            setattr(self.where, self.name, self.plant(former))
        try:
            yield
        finally:
            if isinstance(self.where, dict):
                self.where[self.name] = former
            else:
                setattr(self.where, self.name, former)


CANARIES: dict[str, Canary] = {}


def _canary(where: Any, name: Any) -> Callable[[Callable[[Any], Any]], None]:
    def add(plant: Callable[[Any], Any]) -> None:
        CANARIES[plant.__name__.strip("_")] = Canary(plant.__doc__ or "", where, name, plant)

    return add


def find(canary: Canary, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first of ``seeds`` that finds ``canary``, and what it says."""
    with canary.planted():
        for seed in seeds:
            try:
                play(draw(seed))
            except AssertionError as error:
                return seed, str(error)
    return None


# -- the scheduler ------------------------------------------------------------------------------------------


@_canary(Machine, "is_running")
def _no_attempt_check(was: Any) -> Any:
    """What an attempt says is believed whatever has become of it meanwhile."""

    def is_running(self: Machine, worker: str, attempt: AttemptId) -> bool:
        record = self.ledger.find_attempt(attempt)
        return record is not None and record.worker.name == worker and record.state is not AttemptState.FAILED

    return is_running


@_canary(Machine, "is_running")
def _late_done_is_believed(was: Any) -> Any:
    """An attempt that was lost or cancelled still commits, if its task has no other commit."""

    def is_running(self: Machine, worker: str, attempt: AttemptId) -> bool:
        record = self.ledger.find_attempt(attempt)
        if record is not None and record.state is AttemptState.LOST and record.task.committed is None:
            return True
        answer: bool = was(self, worker, attempt)
        return answer

    return is_running


@_canary(machine._HANDLERS, events.Tick)
def _lease_never_expires(was: Any) -> Any:
    """A worker that fell silent is waited for for ever."""
    return lambda self, event: setattr(self, "_ticked", self._turn.now)


@_canary(machine._HANDLERS, events.Heartbeat)
def _heartbeat_is_not_counted(was: Any) -> Any:
    """A heartbeat does not renew the lease: who is busy for long is given up."""
    return lambda self, event: None


@_canary(Ledger, "lose_output")
def _lost_output_is_not_made_again(was: Any) -> Any:
    """The outputs of a worker that left count as there."""
    return lambda self, attempt, now, reason: None


@_canary(machine._HANDLERS, events.BlocksUnreachable)
def _unreachable_is_only_a_loss(was: Any) -> Any:
    """The attempt is given again, and the output that it could not have is not made again."""

    def handle(self: Machine, event: events.BlocksUnreachable) -> None:
        attempt = self._running_attempt(event.worker, event.attempt)
        if attempt is not None:
            losses.lose_on_live_worker(self._turn, attempt, event.reason)

    return handle


@_canary(machine._HANDLERS, events.BlocksUnreachable)
def _too_much_is_made_again(was: Any) -> Any:
    """One output that cannot be had, and all of its holder's are made again."""

    def handle(self: Machine, event: events.BlocksUnreachable) -> None:
        holders = {
            task.committed.worker.name
            for index in event.maps
            if index < len(self.ledger.map.tasks) and (task := self.ledger.map.tasks[index]).committed
        }
        maps = tuple(index for index, _, worker in self.map_outputs() if worker in holders)
        was(self, event._replace(maps=maps))

    return handle


@_canary(Machine, "_answer_late_output")
def _committed_output_is_dropped(was: Any) -> Any:
    """A report that comes twice has the committed output deleted."""

    def answer(self: Machine, event: events.AttemptDone) -> None:
        self._instruct(instructions.DropOutput(event.worker, event.attempt))

    return answer


@_canary(Ledger, "exclude_worker")
def _excluded_worker_is_given_work(was: Any) -> Any:
    """It stays among those that are free."""

    def exclude(self: Ledger, worker: Any, reason: str) -> None:
        free = worker.name in self.free
        was(self, worker, reason)
        if free:
            self.free[worker.name] = worker

    return exclude


@_canary(policy, "should_exclude")
def _nobody_is_excluded(was: Any) -> Any:
    """Workers that cannot even load the job's code get one attempt after the other."""
    return lambda **_: False


@_canary(Machine, "_assign_slots")
def _reduce_does_not_wait_for_maps(was: Any) -> Any:
    """Reduce attempts start although a map output was lost meanwhile and is being made again."""

    def assign(self: Machine) -> None:
        was(self)
        if self.ledger.job is JobState.REDUCE and self.ledger.free:
            self._assign_pending(self.ledger.reduce)

    return assign


@_canary(losses, "check_losses")
def _first_loss_fails_the_job(was: Any) -> Any:
    """Losses count as failures do."""

    def check(turn: Turn, tasks: Any) -> None:
        turn.rules = turn.rules._replace(lost_attempts_max=0)
        was(turn, tasks)

    return check


@_canary(TaskRecord, "avoided")
def _failure_is_not_remembered(was: Any) -> Any:
    """A task goes back to the worker on which it failed, though another one could take it."""
    return property(lambda self: frozenset())


@_canary(Turn, "cancel_everything")
def _attempts_outlive_the_job(was: Any) -> Any:
    """Nothing is cancelled when the job is over."""
    return lambda self: None


@_canary(remade, "compare_remade")
def _differences_are_not_noticed(was: Any) -> Any:
    """A map output is made again, and nobody asks whether it is what reduce tasks have read."""
    return lambda turn, attempt: turn.ledger.take_remade(attempt) and None


# -- the coordinator ----------------------------------------------------------------------------------------


@_canary(Coordinator, "_send_map")
def _split_of_the_neighbour(was: Any) -> Any:
    """What was cut together and is attempted again alone, is one off."""

    def send(self: Coordinator, record: Any, start: Any, splits: range) -> None:
        payloads = self._supply.payloads
        if start.attempt.number and len(splits) == 1 and splits.start + 1 in payloads:
            here, there = splits.start, splits.start + 1
            former = payloads[here]
            payloads[here] = payloads[there]
            try:
                was(self, record, start, splits)
            finally:
                payloads[here] = former
            return
        was(self, record, start, splits)

    return send


@_canary(Committer, "_commit_map")
def _payloads_are_kept(was: Any) -> Any:
    """The splits of committed tasks stay in memory."""

    def commit(self: Committer, worker: str, attempt: AttemptId, *rest: Any) -> None:
        kept = dict(self._supply.payloads)
        was(self, worker, attempt, *rest)
        self._supply.payloads.update(kept)

    return commit


@_canary(supply.Supply, "inputs_for")
def _inputs_are_not_looked_up_again(was: Any) -> Any:
    """A reduce attempt is told where map outputs lay when the first one started."""

    def inputs_for(self: Any, fetcher: Any) -> bytes:
        if self._inputs is not None:
            self._inputs = supply._Inputs(self._machine.generation, self._inputs.holders, self._inputs.maps)
        answer: bytes = was(self, fetcher)
        return answer

    return inputs_for


@_canary(supply.Supply, "_relay")
def _relay_is_refused(was: Any) -> Any:
    """Whoever cannot reach a holder directly does not get its blocks."""

    async def relay(self: Any, connection: Any, get: Any) -> None:
        await supply._refuse(connection, "no")

    return relay


@_canary(Coordinator, "handle")
def _only_the_lease_notices_an_end(was: Any) -> Any:
    """The end of a connection is told to nobody: what its worker held is taken for there."""

    def handle(self: Coordinator, event: Any) -> None:
        if not isinstance(event, events.WorkerLeft):
            was(self, event)

    return handle


# -- the worker ---------------------------------------------------------------------------------------------


@_canary(JobStore, "commit")
def _commit_before_the_output_is_there(was: Any) -> Any:
    """An attempt is told to be done, and its file has its private name still."""
    return lambda self, attempt: None


@_canary(JobStore, "drop")
def _cancelled_output_is_kept(was: Any) -> Any:
    """What an attempt has left on the disk when it is cancelled, fails or is not wanted stays there."""
    return lambda self, attempt: None


@_canary(gathering.Gathering, "spans")
def _wrong_order_of_spans(was: Any) -> Any:
    """Blocks are read in the order in which they were fetched, and not in that of the splits."""
    return property(lambda self: was.fget(self)[::-1])


@_canary(gathering.Gathering, "_find_own")
def _own_blocks_of_the_first_spill_only(was: Any) -> Any:
    """Of an output that was spilled in several blocks, one is read."""

    def find(self: Any, holder: Any, outputs: Any) -> None:
        was(self, holder, outputs)
        for output in outputs:
            self._found[output.task.index] = self._found[output.task.index][:1]

    return find


@_canary(JobStore, "spans")
def _partition_is_skipped(was: Any) -> Any:
    """The last one of a range is not sent."""

    def spans(self: JobStore, attempt: AttemptId, partitions: range) -> Any:
        return was(self, attempt, partitions[:-1] if len(partitions) > 1 else partitions)

    return spans


@_canary(block, "_block_crc")
def _checksums_are_not_looked_at(was: Any) -> Any:
    """A flipped bit in a block is taken for what was written."""
    return lambda header, payload: 0


@_canary(shutil, "rmtree")
def _fetched_blocks_are_kept(was: Any) -> Any:
    """What a reduce attempt fetched stays on the disk."""
    return lambda path, **options: None if str(path).endswith(".fetched") else was(path, **options)


@_canary(WorkerSession, "_upload_blocks")
def _nothing_is_uploaded(was: Any) -> Any:
    """A holder that is asked to send its blocks by way of the server does nothing."""

    async def upload(self: Any, serve: Any) -> None:
        return None

    return upload


@_canary(carrying, "attempt_timeout")
def _no_time_limit(was: Any) -> Any:
    """An attempt that hangs is not ended."""
    return lambda limit, splits: 1e9


@_canary(Channels, "close")
def _connections_are_left_open(was: Any) -> Any:
    """A worker that goes leaves its data connections to the server."""
    return lambda self: None


@_canary(Fetcher, "close")
def _fetchers_connections_are_left_open(was: Any) -> Any:
    """A worker that goes leaves its connections to other workers."""
    return lambda self: None


@_canary(HolderServer, "close")
def _holder_goes_on_listening(was: Any) -> Any:
    """A worker that goes still listens."""

    async def close(self: Any) -> None:
        return None

    return close


@_canary(WorkerSession, "_close")
def _tasks_are_left(was: Any) -> Any:
    """A session that ends leaves what it began."""

    async def close(self: Any) -> None:
        self._tasks.clear()
        await was(self)

    return close


# -- the caller ---------------------------------------------------------------------------------------------


@_canary(bookkeeping.ResultDrain, "drain")
def _results_out_of_order(was: Any) -> Any:
    """Results reach the sink as they come."""

    def drain(self: Any) -> None:
        for index in list(self._ready):
            self._next = index
            was(self)

    return drain


@_canary(bookkeeping.Ledger, "map_done")
def _records_are_counted_again(was: Any) -> Any:
    """A map task that is made again counts again."""

    def map_done(self: Any, splits: range, report: Any) -> None:
        for index in splits:
            self._split_bytes.setdefault(index, 0)
        was(self, splits, report)

    return map_done


@_canary(MappingSource, "release")
def _source_keeps_everything(was: Any) -> Any:
    """The datasource keeps what was committed."""
    return lambda self, index: None


# -- the journal --------------------------------------------------------------------------------------------


@_canary(Recorder, "commit")
def _commit_before_it_is_recorded(was: Any) -> Any:
    """What waits for a record to be on the disk does not wait."""

    def commit(self: Recorder, write: Any, then: Any) -> None:
        self.note(write)
        then()

    return commit


@_canary(Journal, "sync")
def _commit_before_sync(was: Any) -> Any:
    """A record that was written counts as one that survives a power cut."""
    return lambda self: None


@_canary(Journal, "go_on")
def _torn_record_is_left(was: Any) -> Any:
    """What a kill left of a record stays, and the next one is written behind it."""

    def go_on(self: Journal) -> None:
        self._make_directory()
        self._append({"life": 0 if self.history is None else self.history.lives})
        self.sync()

    return go_on


@_canary(Resumable, "restored")
def _resume_without_outputs(was: Any) -> Any:
    """Map tasks that are done are done again."""
    return lambda self, outputs: was(self, [])


@_canary(Resumable, "_take_results")
def _resume_without_results(was: Any) -> Any:
    """Reduce tasks that are done are done again."""
    return lambda self, *rest: None


@_canary(Resumable, "tell_set_aside")
def _resume_without_plan(was: Any) -> Any:
    """The reduce phase is planned anew, for the slots that happen to be there."""

    def tell(self: Resumable, set_aside: Any) -> None:
        was(self, set_aside)
        if self.journal.history is not None:
            self.journal.history.plan = []

    return tell


@_canary(Machine, "__init__")
def _lives_are_not_told_apart(was: Any) -> Any:
    """Attempts of a coordinator that goes on have the names of earlier ones."""

    def init(self: Machine, **options: Any) -> None:
        was(self, **{**options, "life": 0})

    return init


@_canary(Coordinator, "_receive_holding")
def _nobody_listens_to_who_comes_back(was: Any) -> Any:
    """What a worker says that it holds is not heard."""

    async def receive(self: Coordinator, connection: Any, hello: Any) -> tuple[AttemptId, ...]:
        await was(self, connection, hello)
        return ()

    return receive


# -- bad records --------------------------------------------------------------------------------------------


@_canary(failures, "_is_found")
def _once_is_enough(was: Any) -> Any:
    """A record at which a process was lost once is not run any more: it may have been chance."""

    def is_found(turn: Turn, attempt: Any, failure: Any) -> bool:
        mark = policy.lost_at(failure)
        if mark is not None and turn.rules.skips and not attempt.others:
            turn.ledger.suspect(attempt.task).lost_at.add(RecordMark(mark.record, mark.digest))
        answer: bool = was(turn, attempt, failure)
        return answer

    return is_found


@_canary(SetAside, "committed")
def _set_aside_is_told_twice(was: Any) -> Any:
    """What an attempt set aside stays listed when its task is attempted again."""

    def committed(self: SetAside, attempt: AttemptId, report: str, worker: str = "") -> None:
        before = self._reports.get(attempt.task)
        was(self, attempt, report, worker)
        if before is not None:
            self._reports[TaskId(attempt.task.phase, 10_000 * attempt.number + attempt.task.index)] = before

    return committed


@_canary(Resumable, "tell_set_aside")
def _set_aside_is_forgotten(was: Any) -> Any:
    """A coordinator that goes on does not know what was set aside before."""
    return lambda self, set_aside: None


@_canary(policy, "is_excess")
def _any_number_is_set_aside(was: Any) -> Any:
    """max_skipped bounds nothing."""
    return lambda skipped, max_skipped: False


@_canary(failures, "_tells_nothing_new")
def _backups_that_were_not_told_count(was: Any) -> Any:
    """A backup that runs into a record which is suspected since uses up an attempt, too."""
    return lambda turn, attempt, failure: False


# -- draining -----------------------------------------------------------------------------------------------


@_canary(Ledger, "drain_worker")
def _draining_worker_is_given_work(was: Any) -> Any:
    """It stays among those that are free."""

    def drain(self: Ledger, worker: Any) -> None:
        free = worker.name in self.free
        was(self, worker)
        if free:
            self.free[worker.name] = worker

    return drain


@_canary(Machine, "_release_drained")
def _nobody_is_released(was: Any) -> Any:
    """Who wants to leave waits for its time to be over, though nobody needs it."""
    return lambda self: None


@_canary(machine._HANDLERS, events.WorkerDraining)
def _who_wants_to_leave_is_gone(was: Any) -> Any:
    """What it runs and holds counts as lost at once."""
    return lambda self, event: self._worker_left(events.WorkerLeft(event.worker, "it wants to leave"))


@_canary(_Worker, "drain")
def _drain_is_to_stop(was: Any) -> Any:
    """A worker that is asked to leave does so at once."""
    return lambda self: self.stop()


@_canary(WorkerSession, "drain")
def _draining_knows_no_end(was: Any) -> Any:
    """A worker that is needed stays for as long as it is."""

    def drain(self: WorkerSession) -> int | None:
        answer: int | None = was(self)
        if answer is not None and not self._is_over:
            self._patience.reschedule(1e6)
        return answer

    return drain


# -- the coordinator's disk ---------------------------------------------------------------------------------


@_canary(Log, "append")
def _failed_write_is_taken_for_one(was: Any) -> Any:
    """A record that the disk did not take counts as written."""

    def append(self: Log, record: Any) -> None:
        try:
            was(self, record)
        except OSError:
            self._failure = None

    return append


@_canary(Journal, "sync")
def _failed_sync_is_taken_for_one(was: Any) -> Any:
    """The disk says that it has failed, and what waits for it goes on."""

    def sync(self: Journal) -> None:
        with contextlib.suppress(OSError):
            was(self)

    return sync


@_canary(Coordinator, "crashed")
def _own_full_disk_is_passed_over(was: Any) -> Any:
    """A coordinator whose disk is full waits for better times."""

    def crashed(self: Coordinator, error: BaseException) -> None:
        if not isinstance(error, SpillSpaceExhausted):
            was(self, error)

    return crashed


# Where each was found when it was last looked for from seed 0 on (--canaries): tried first, to save time.
FOUND_AT: dict[str, int] = {
    "no_attempt_check": 9,
    "late_done_is_believed": 123,
    "heartbeat_is_not_counted": 7,
    "unreachable_is_only_a_loss": 35,
    "too_much_is_made_again": 35,
    "committed_output_is_dropped": 9,
    "reduce_does_not_wait_for_maps": 12,
    "failure_is_not_remembered": 11,
    "attempts_outlive_the_job": 30,
    "differences_are_not_noticed": 30,
    "inputs_are_not_looked_up_again": 21,
    "relay_is_refused": 18,
    "own_blocks_of_the_first_spill_only": 330,
    "checksums_are_not_looked_at": 285,
    "fetched_blocks_are_kept": 30,
    "nothing_is_uploaded": 18,
    "no_time_limit": 13,
    "connections_are_left_open": 9,
    "fetchers_connections_are_left_open": 9,
    "commit_before_sync": 65,
    "torn_record_is_left": 20,
    "resume_without_outputs": 11,
    "resume_without_plan": 77,
    "nobody_listens_to_who_comes_back": 29,
    "once_is_enough": 39,
    "set_aside_is_told_twice": 81,
    "set_aside_is_forgotten": 115,
    "any_number_is_set_aside": 220,
    "backups_that_were_not_told_count": 70,
    "draining_worker_is_given_work": 45,
    "nobody_is_released": 116,
    "who_wants_to_leave_is_gone": 39,
    "drain_is_to_stop": 39,
    "draining_knows_no_end": 188,
    "failed_sync_is_taken_for_one": 222,
}
