"""One seed, played: a coordinator with its caller, workers on machines of their own, and what goes wrong.

Decides: who is started, killed and waited for, and when everything has to be over. All of the program that takes part
is the real one, apart from sockets, TLS, slot processes and clocks.

::

    plan.py     what is played           loop.py     virtual time, processes
    faults.py   what goes wrong          network.py  connections; outside.py  what a machine's processes see
    jobs.py     the job, the oracle      slots.py    attempts, disks; caller.py  the calling thread
    claims.py   what must be true        trace.py    what happened
    aside.py    bad records              paper.py    the journal and its disk
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mincemeat import limits
from mincemeat.cluster.connection import format_address
from mincemeat.cluster.coordinator import Coordinator
from mincemeat.cluster.worker import Proof, _Worker
from mincemeat.engines.resuming import Resumable
from mincemeat.errors import ConnectionFailed, InvalidJob
from mincemeat.model import AttemptId, Job, Phase, TaskId
from mincemeat.wire.handshake import Role
from tests.simulation import claims, jobs, slots
from tests.simulation.aside import AsideBook
from tests.simulation.broken import Broken, claim
from tests.simulation.caller import SimCaller
from tests.simulation.faults import Faults
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import Network, SimStream
from tests.simulation.outside import SimOutside
from tests.simulation.paper import Paper, open_journal
from tests.simulation.plan import COORDINATOR_FULL, Plan
from tests.simulation.trace import Trace

_PORT = 11235
_PASSWORD = b"secret"
# Trouble has to be over by then, and the job so much later: leases, timeouts and pauses add up to less.
_CALM_SECONDS = 45.0
_END_SECONDS = 400.0
_HOME_SECONDS = 120.0
# Longer than any report is under way, without trouble in the network.
_ORPHAN_SECONDS = 3.0
# Who drains has ended so much later than it is documented to: it says that it leaves, and closes what it had.
_DRAIN_GRACE_SECONDS = 3.0
# ... and where reports may be overtaken, or their coordinator is away for a while.
_ORPHAN_SECONDS_LATE = 30.0
_CALLBACKS_MAX = 400_000
_MESSAGES_MAX = 60_000
# What is left of a first record has to be so long to be taken for a journal's (tests/journal).
_HEAD_BYTES_TOLD = 25


class SimMachine:
    """A computer: an address, a disk, and the processes that have run on it."""

    def __init__(self, world: World, host: str) -> None:
        self.host = host
        self.is_lost = False
        self.disk = slots.Disk(os.path.join(world.directory, f"machine-{host}"))
        os.mkdir(self.disk.directory)
        slots.mount(host, self.disk)
        self.outside = SimOutside(
            world.network, world.plan.chance(f"spread {host}"), self.disk.directory, lambda: slots.SimSlot(world)
        )
        self.processes: list[Process] = []
        self.slots = 0


class World:
    """Everything of one seed. Play it once."""

    class Killed(Exception):
        """The coordinator's process was killed, and with it its job."""

    def __init__(self, plan: Plan, *, is_shown: bool = False) -> None:
        self.plan = plan
        self.loop = VirtualLoop()  # type: ignore[abstract]  # what the program does not use
        self.trace = Trace(is_shown=is_shown)
        self.network = Network(self.loop, plan.chance("network"), self.trace)
        self.job = jobs.make(
            plan.chance("job"),
            poison=plan.poison,
            whims=plan.whims,
            bad=plan.bad,
            bad_keys=plan.bad_keys,
            hangs=plan.task_timeout is not None,
        )
        self.directory = ""
        self.machines: list[SimMachine] = []
        self.faults = Faults(self, plan)
        self.network.mischief = self.faults
        self.network.happened = self.faults.happened
        self.aside = AsideBook(plan, self.job, self.faults.happened)
        self.coordinating = Process("coordinator", "10.0.0.1")
        self.coordinator: Coordinator | None = None
        self.caller: SimCaller | None = None
        self.watch: claims.Watch | None = None
        self.outcome: tuple[BaseException | None] | None = None
        self.broken: AssertionError | None = None
        self._mains: dict[Process, asyncio.Task[None]] = {}
        self._workers: dict[Process, _Worker] = {}
        self._orphans: dict[str, float] = {}
        self.paper = Paper(plan, self.faults.moment, self.faults.hit)
        # Who was asked to drain, and when; who of them may leave earlier than because nobody needs it.
        self.drained: dict[Process, float] = {}
        self._hurried: set[Process] = set()
        self.lives = 0
        self._restarts = plan.chance("restarts")
        # Over all lives: which attempts were started, and on whom; what was acknowledged as committed, and by whom.
        self.started: dict[AttemptId, str] = {}
        self.makers: dict[AttemptId, str] = {}
        self.acknowledged: dict[TaskId, AttemptId] = {}
        self.damaged_results: set[str] = set()

    # -- the play ----------------------------------------------------------------------------------------

    def play(self) -> None:
        """Raises: Broken if something is not as it should be."""
        try:
            with (
                _temporary_directory() as self.directory,
                slots.in_process(self.loop.time),
                self._limits(),
                _quiet(self.trace),
            ):
                self._begin()
                try:
                    self._run(self.is_over, until=_CALM_SECONDS, or_later=True)
                    self._calm()
                    self._run(self.is_over, until=self.loop.time() + _END_SECONDS)
                    self._go_home()
                    self._check_unexpected()
                    claims.check_end(self)
                    claims.check_leftovers(self)
                finally:
                    self._bury()
        except AssertionError:
            raise
        except Exception as error:
            raise Broken(f"the simulation broke: {type(error).__name__}: {error}") from error

    def _begin(self) -> None:
        machine = self._add_machine(self.coordinating.host)
        machine.processes.append(self.coordinating)
        self.paper.disk = machine.disk
        self._mains[self.coordinating] = self.loop.start(self.coordinating, self._serve(self.coordinating))
        for number in range(self.plan.workers):
            self.add_worker(self.plan.slots[number])
        self.faults.schedule()

    def _run(self, is_over: object, *, until: float, or_later: bool = False) -> None:
        ended = self.loop.run(self._is_done_or_broken, callbacks_max=_CALLBACKS_MAX, until=until)
        self._check_unexpected()
        if not ended and not or_later:
            counts = self.coordinator.counts() if self.coordinator is not None else None
            raise Broken(f"the job did not end by {self.loop.time():.1f} s: {counts}")

    def _is_done_or_broken(self) -> bool:
        return self.broken is not None or bool(self.loop.unexpected) or self.is_over()

    def is_over(self) -> bool:
        # With a journal it is over when that is gone: until then somebody may go on.
        may_be_over = not self.plan.journal or self._mains[self.coordinating].done()
        if self.outcome is None and self.caller is not None and may_be_over:
            self.outcome = self.caller.outcome
        return self.outcome is not None

    def _calm(self) -> None:
        self.trace.note(self.loop.time(), "calm", "world")
        self.faults.calm()
        self.network.firewalls.clear()
        if not self.is_over() and not self.workers():
            self.add_worker(1)

    def _go_home(self) -> None:
        """The job is over: who is there finds out, or gives up."""
        # A worker that lost a server with a journal waits for it to come back.
        patience = limits.KEEP_OUTPUTS_SECONDS if self.plan.journal else 0.0
        self._run_until_nobody(self.loop.time() + patience + _HOME_SECONDS)
        alive = [process for process in self._mains if process.is_alive and not self._mains[process].done()]
        claim(not alive, f"{alive} do not end although the job is over")

    def _run_until_nobody(self, until: float) -> None:
        self.loop.run(
            lambda: all(main.done() or not process.is_alive for process, main in self._mains.items()),
            callbacks_max=_CALLBACKS_MAX,
            until=until,
        )
        # What is closing has a moment to close.
        self.loop.run(lambda: False, callbacks_max=_CALLBACKS_MAX, until=self.loop.time() + 2 * limits.CLOSE_SECONDS)

    def _check_unexpected(self) -> None:
        if self.broken is not None:
            raise self.broken
        for context in self.loop.unexpected:
            error = context.get("exception")
            if isinstance(error, AssertionError):
                raise error
            raise Broken(f"an error that nobody expects: {context['message']}: {error!r}") from error
        sent = sum(self.network.sent.values())
        claim(sent <= _MESSAGES_MAX, f"{sent} messages were sent for {len(self.job.records)} records")
        for process, main in self._mains.items():
            if process.is_alive and main.done() and not main.cancelled():
                error = main.exception()
                if error is not None and not isinstance(error, ConnectionFailed):
                    raise Broken(f"{process} ended with {error!r}") from error

    def _bury(self) -> None:
        """End the coroutines of dead processes, now that nothing they do can be seen."""
        self.network.mischief = None
        self.trace.lines, lines = self.trace.lines.copy(), self.trace.lines
        left = [task for machine in self.machines for process in machine.processes for task in process.tasks]
        for machine in self.machines:
            for process in machine.processes:
                for stream in self.network.open_streams(process):
                    stream.vanish()
                process.is_alive = True
                self.loop.thaw(process)
        for task in left:
            task.cancel()
        self.loop.run(lambda: all(task.done() for task in left), callbacks_max=_CALLBACKS_MAX, until=float("inf"))
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()
        self.loop.close()
        self.trace.lines = lines

    # -- processes ---------------------------------------------------------------------------------------

    async def _serve(self, process: Process) -> None:
        """The coordinator's process, to the end: the job's, or that of its disk, where somebody starts it again."""
        self.lives += 1
        self.machines[0].disk.times_full = 0
        try:
            await self._carry_out(process)
            error = None if self.caller is None or self.caller.outcome is None else self.caller.outcome[0]
        except OSError as error_:  # before there was a job
            error = error_
            claim(self.disk_has_failed(process), f"the job cannot begin, and no disk has failed: {error!r}")
        except InvalidJob as error_:
            claim(self.plan.skips, f"the job cannot go on: {error_}")
            self.outcome = (error_,)
            return
        if isinstance(error, OSError) and not self._has_ended_by_itself:
            claims.check_told(self, process, error)
            if self.machines[0].disk.times_full:
                self.faults.hit(COORDINATOR_FULL, process)
            if self.plan.journal:
                self.machines[0].disk.room = None
                self.coordinator = self.caller = None
                self.loop.later(self._restarts.choice([0.2, 2.0, 9.0]), self._restart_coordinator, [])

    def disk_has_failed(self, process: Process) -> bool:
        """Whether the coordinator ``process`` could not write something."""
        return process in self.paper.failed or self.machines[0].disk.times_full > 0

    @property
    def _has_ended_by_itself(self) -> bool:
        """Whether the scheduler has ended the job in this life: else it was the coordinator's own disk, or a fault."""
        return self.coordinator is not None and self.watch is not None and bool(self.watch.ended)

    async def _carry_out(self, process: Process) -> None:
        """What ``cluster_run.carry_out`` does in two threads."""
        plan, machine = self.plan, self.machines[0]
        self.coordinator = self.caller = None
        job = Job(
            "job-1",
            self.job.functions,
            partitions=plan.partitions,
            memory_bytes=plan.memory_bytes,
            max_attempts=plan.max_attempts,
            task_timeout_seconds=plan.task_timeout,
            reduce_task_bytes=plan.reduce_task_bytes,
            backups=plan.backups,
            skips=plan.skips,
            max_skipped=plan.max_skipped,
            on_nondeterminism=plan.on_nondeterminism,
        )
        with contextlib.ExitStack() as cleanup:
            resumable: Resumable | None = None
            if plan.journal:
                resumable = open_journal(self.paper, process, machine.disk.directory, job)
                if resumable.is_new:
                    resumable.begin(job)
                job = resumable.job
                scratch = resumable.results_directory()
            else:
                scratch = Path(cleanup.enter_context(machine.outside.scratch()))
            caller = SimCaller(
                self.loop, process, job, self.job.records, plan.split, self.faults.caller_pause, resumable
            )
            coordinator = Coordinator(
                job,
                self.job.code,
                _PASSWORD,
                scratch,
                caller.caller,
                journal=None if resumable is None else resumable.journal,
                outside=machine.outside,
            )
            self.coordinator, self.caller = coordinator, caller
            self.watch = claims.Watch(self, coordinator)
            if resumable is not None:
                cleanup.callback(resumable.close)
            await coordinator.start("", _PORT, caller.caller.go_on())
            caller.begin(coordinator)
            await coordinator.serve_until_stopped()
            if resumable is not None and caller.outcome == (None,):
                resumable.journal.remove()

    def _add_machine(self, host: str) -> SimMachine:
        machine = SimMachine(self, host)
        self.machines.append(machine)
        return machine

    def add_worker(self, slot_count: int) -> None:
        machine = self._add_machine(f"10.0.0.{len(self.machines) + 1}")
        machine.slots = slot_count
        self._start_worker(machine)

    def restart_worker(self, machine: SimMachine, former: Process) -> None:
        """Start the program again where ``former`` ran, unless that is still there."""
        is_there = former.is_alive and not (former in self.drained and self._mains[former].done())
        if not is_there and not machine.is_lost and not self.is_over():
            self._start_worker(machine)

    def _start_worker(self, machine: SimMachine) -> None:
        process = Process(f"{machine.host}#{len(machine.processes) + 1}", machine.host)
        machine.processes.append(process)
        worker = _Worker(
            self.coordinating.host,
            _PORT,
            Proof(Role.WORKER, _PASSWORD),
            machine.slots,
            limits.WAIT_SECONDS,
            False,
            lambda sentence: self.trace.note(self.loop.time(), "says", process, ""),
            outside=machine.outside,
        )
        self._workers[process] = worker
        self.trace.note(self.loop.time(), "start", process)
        main = self._mains[process] = self.loop.start(process, worker.serve())
        main.add_done_callback(lambda _: self._check_closed(process))

    def _check_closed(self, process: Process) -> None:
        """A worker that ends by itself has closed everything, and does not leave that to others."""
        left = [stream for stream in self.network.open_streams(process) if stream.is_open]
        if left and self.outcome is None:
            self.broken = self.broken or Broken(f"{process} ends and leaves {left} open")
        if process.is_alive and process in self.drained and self.outcome is None:
            self._check_drained(process)

    def _check_drained(self, process: Process) -> None:
        """Who is asked to leave stays as long as somebody needs it, and its time is not over."""
        is_released = self.watch is not None and any(
            self.process_named(worker) is process for worker in self.watch.released
        )
        patience_is_over = self.loop.time() >= self.drained[process] + limits.DRAIN_SECONDS
        faults = self.faults
        if not (
            is_released
            or patience_is_over
            or process in self._hurried
            or process in faults.troubled
            or faults.is_network_troubled
            or self.lives > 1
            or self.coordinator is None
            or self.coordinator._ended
        ):
            self.broken = self.broken or Broken(f"{process} leaves although it is needed, and its time is not over")

    def _check_has_left(self, process: Process) -> None:
        """A while after it was asked to."""
        if process in self.workers() and process not in self.faults.troubled:
            raise Broken(f"{process} was asked to leave at {self.drained[process]:.3f} s, and is still there")

    def kill(self, process: Process, *, loses_power: bool = False) -> None:
        """As ``kill -9``: nothing that it would still have done is done. Or its machine's power fails."""
        self.trace.note(self.loop.time(), "kill", process)
        process.is_alive = False
        silent = self.network.end_of(process, is_told=not loses_power)
        if process is not self.coordinating or self.is_over() or self._mains[process].done():
            return
        if not self.plan.journal:
            self.outcome = (self.Killed(),)
            return
        self.coordinator = self.caller = None
        if loses_power:
            self._lose_power()
        pause = self._restarts.choice([0.2, 2.0, 9.0])
        self.loop.later(pause, self._restart_coordinator, silent)

    def _lose_power(self) -> None:
        """Files that were not synced are what the disk made of them."""
        self.paper.lose_power(self._restarts)
        results = os.path.join(self.machines[0].disk.directory, "journal.files", "results")
        for name in sorted(_listed(results)):
            if self._restarts.random() < 0.3:
                path = os.path.join(results, name)
                os.truncate(path, self._restarts.randrange(os.path.getsize(path) + 1))
                self.damaged_results.add(name)

    def _restart_coordinator(self, silent: list[SimStream]) -> None:
        """Somebody starts the same script again. ``silent``: ends that nobody had told; now they find out."""
        machine = self.machines[0]
        for stream in silent:
            if not stream.is_lost and stream.process.is_alive:
                stream.reset(loses=True)
        if len(self.paper.data.strip(b"\0")) < _HEAD_BYTES_TOLD:
            # Too little to know a journal by: it is refused, and the user, who is told so, removes it.
            self.paper.data, self.paper.synced = b"", 0
        process = self.coordinating = Process(f"coordinator#{len(machine.processes) + 1}", machine.host)
        machine.processes.append(process)
        self.trace.note(self.loop.time(), "start", process)
        self._mains[process] = self.loop.start(process, self._serve(process))

    def drain(self, process: Process) -> None:
        """As SIGTERM to ``mincemeat worker``."""
        worker = self._workers[process]
        self.drained.setdefault(process, self.loop.time())
        if worker._session is None or not worker._session._has_joined:
            self._hurried.add(process)  # nobody knows of it
        process.context.copy().run(worker.drain)
        due = limits.DRAIN_SECONDS + _DRAIN_GRACE_SECONDS
        self.loop.later(due, self._check_has_left, process)

    def stop(self, process: Process) -> None:
        """As Ctrl-C, and as a second SIGTERM."""
        self._hurried.add(process)
        process.context.copy().run(self._workers[process].stop)

    def workers(self) -> list[Process]:
        """Worker processes that are there, frozen or not."""
        return [process for process in self._workers if process.is_alive and not self._mains[process].done()]

    def machine_of(self, process: Process) -> SimMachine:
        return next(machine for machine in self.machines if process in machine.processes)

    @property
    def end(self) -> str:
        """How it ended, in a word or two."""
        if self.outcome is None:
            return "not at all"
        [error] = self.outcome
        if error is None:
            return "answered"
        return "killed" if isinstance(error, self.Killed) else "failed rightly"

    @property
    def events(self) -> int:
        """How many events the scheduler was told."""
        return 0 if self.watch is None else self.watch.events

    # -- what claims ask ---------------------------------------------------------------------------------

    def process_named(self, worker: str) -> Process | None:
        """The process behind a name that the coordinator has given."""
        return self.network.owners.get(worker.removesuffix(" (before)").partition("/")[0])

    def output_files(self) -> list[str]:
        """The committed files of all live workers, in an order that every run agrees on."""
        found = []
        for machine in self.machines[1:]:
            for scratch, process in machine.outside.scratches.items():
                directory = os.path.join(scratch, "blocks")
                if process.is_alive and os.path.isdir(directory):
                    names = sorted(name for name in os.listdir(directory) if name.endswith(".blocks"))
                    found += [os.path.join(directory, name) for name in names]
        return found

    def check_output(self, attempt: AttemptId, worker: str) -> None:
        """``attempt`` was just committed: its output is there, and whole."""
        if attempt.task.phase is Phase.REDUCE:
            assert self.coordinator is not None
            path = self.coordinator._supply._scratch / f"{attempt}.result"
            claim(path.exists(), f"{attempt} is committed and its result is not there")
            return
        process = self.process_named(worker)
        if process is None:
            raise Broken(f"{attempt} is committed on {worker}, whom nobody knows")
        if not any(format_address(*stream.local) == worker and stream.is_open for stream in self.network.streams):
            return  # it has gone meanwhile, which the coordinator is about to hear
        paths = [
            os.path.join(scratch, "blocks", f"{attempt}.blocks")
            for scratch, owner in self.machine_of(process).outside.scratches.items()
            if owner is process
        ]
        claim(
            any(os.path.exists(path) or path in self.faults.damaged for path in paths),
            f"{attempt} is committed on {worker} and is not there",
        )

    def check_orphans(self, now: float) -> None:
        """Files of attempts that are neither carried out nor committed do not stay for long."""
        # When the job has ended everything goes with it, as soon as the caller, who may be slow, has taken note.
        if self.faults.is_network_troubled or self.watch is None or self.is_over() or self.watch.machine.is_over:
            return
        committed = {attempt: self.process_named(worker) for attempt, worker in self.watch.committed.values()}
        orphans: dict[str, float] = {}
        for machine in self.machines[1:]:
            for scratch, process in machine.outside.scratches.items():
                session = self._workers[process]._session
                if session is None or not process.is_alive or process in self.faults.troubled:
                    continue
                for name in [*os.listdir(scratch), *_listed(os.path.join(scratch, "blocks"))]:
                    attempt = ".".join(name.split(".")[:2])
                    if name[:2] not in ("m-", "r-") or attempt in session._running:
                        continue
                    if committed.get(AttemptId.parse(attempt)) is not process:
                        path = os.path.join(scratch, name)
                        orphans[path] = self._orphans.get(path, now)
        self._orphans = orphans
        is_orderly = "message overtaken" not in self.plan.shares and not self.plan.journal
        patience = _ORPHAN_SECONDS if is_orderly else _ORPHAN_SECONDS_LATE
        for path, since in orphans.items():
            claim(now - since < patience, f"{os.path.basename(path)} belongs to nobody and stays")

    def may_be_unreachable(self, attempt: AttemptId, worker: str) -> bool:
        """Whether something was in the way of whoever wanted the output of ``attempt``."""
        process = self.process_named(worker)
        faults = self.faults
        return (
            faults.is_network_troubled
            or process is None
            or process not in self.workers()
            or process in faults.troubled
            or any(
                f"/machine-{process.host}/" in path and path.endswith(f"/{attempt}.blocks") for path in faults.damaged
            )
        )

    def may_be_lost(self, attempt: AttemptId) -> bool:
        """Whether the output of ``attempt`` may rightly be given up: who made it is gone, or could not come back."""
        maker = self.makers.get(attempt)
        return maker is None or self.may_be_unreachable(attempt, maker)

    def coordinator_was_frozen_since(self, when: float) -> bool:
        return self.coordinating in self.faults.troubled and when < self.faults.last_thaw

    # -- surroundings ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _limits(self) -> Iterator[None]:
        former = {name: getattr(limits, name) for name in self.plan.limits}
        for name, value in self.plan.limits.items():
            setattr(limits, name, value)
        try:
            yield
        finally:
            for name, value in former.items():
                setattr(limits, name, value)


def _listed(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


@contextlib.contextmanager
def _temporary_directory() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="simulated-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _quiet(trace: Trace) -> Iterator[None]:
    """The program's log goes into the trace if that is shown, else nowhere."""
    log = logging.getLogger("mincemeat")
    former = log.level
    log.setLevel(logging.INFO if trace.is_shown else logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(former)


def play(plan: Plan, *, is_shown: bool = False) -> World:
    """Play ``plan`` to its end. Raises: Broken, with the world's trace as ``world``."""
    world = World(plan, is_shown=is_shown)
    try:
        world.play()
    except AssertionError as error:
        error.world = world  # type: ignore[attr-defined]
        raise
    return world


__all__ = ["Broken", "World", "play"]
