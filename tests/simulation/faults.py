"""What goes wrong, when the plan says so, and how often it did.

Decides: whom it hits. Everything here ends: a frozen process thaws, a blocked direction opens, and after ``calm``
nothing goes wrong any more.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mincemeat.model import AttemptId, Phase
from mincemeat.slot_channel import Header
from mincemeat.wire import messages
from mincemeat.wire.messages import KINDS
from tests.simulation.jobs import Fate
from tests.simulation.loop import Process
from tests.simulation.plan import COORDINATOR_FULL, DRAINED, DRAINED_TWICE, ENDING, KILLED_AT, POWER, WHIM, Plan

if TYPE_CHECKING:
    from tests.simulation.world import SimMachine, World

# What a worker says and the coordinator may hear twice, late, and out of order.
_REPORTS = frozenset(
    kind
    for kind, cls in KINDS.items()
    if cls
    in (
        messages.Heartbeat,
        messages.MapDone,
        messages.ReduceDone,
        messages.AttemptFailed,
        messages.BlocksUnreachable,
    )
)
# What a worker may hear twice: to begin twice is no message's way, as no connection doubles one.
_ORDERS = frozenset(
    kind for kind, cls in KINDS.items() if cls in (messages.AttemptCancel, messages.DropOutputs, messages.Heartbeat)
)
_DOUBLED = _REPORTS | _ORDERS


class Faults:
    """Carries the plan out. ``happened`` counts what really took effect, by kind."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._chance = plan.chance("faults")
        self._fates = plan.chance("fates")
        self._mail = plan.chance("mail")
        # Of what came later, so that what came before is drawn as it was.
        self._stops = plan.chance("stops")
        self._drains = plan.chance("drains of workers")
        self._spaces = plan.chance("coordinator's space")
        self.happened: Counter[str] = Counter()
        self.is_calm = False
        # Workers whose outputs may rightly be taken for lost, and whether that goes for all of them.
        self.troubled: set[Process] = set()
        self.is_network_troubled = False
        self.damaged: set[str] = set()
        self.last_thaw = -1.0  # of the coordinator
        self.moments = 0
        self._versions = 0
        self._slow: dict[Process, float] = {}
        self._doomed: dict[Process, int] = {}
        self._without_code: dict[Process, bool] = {}
        self._raising: dict[Process, bool] = {}

    def schedule(self) -> None:
        loop = self._world.loop
        for when, kind in self._plan.faults:
            loop.later(when, self._strike, kind)
        shares = self._plan.shares
        network = self._world.network
        network.spike_share = shares.get("message late", 0.0)
        self.is_network_troubled = bool(network.spike_share)  # several late ones in a row outlast any patience
        if "no way between workers" in shares:
            hosts = [machine.host for machine in self._world.machines[1:]]
            network.firewalls = {
                (one, other) for one in hosts for other in hosts if one != other and self._chance.random() < 0.6
            }

    def calm(self) -> None:
        """No more trouble, and what was in trouble recovers."""
        world = self._world
        self.is_calm = True
        world.network.spike_share = 0.0
        world.network.blocked.clear()
        self._slow.clear()
        self._doomed.clear()
        world.paper.is_calm = True
        for machine in world.machines:
            machine.disk.room = None
            for process in machine.processes:
                self._thaw(process)

    def caller_pause(self) -> float:
        if not self.is_calm and self._mail.random() < self._plan.shares.get("caller slow", 0.0):
            self.happened["caller slow"] += 1
            return self._mail.choice([0.5, 4.0])
        return self._mail.choice([0.0, 0.0001, 0.002])

    # -- attempts ----------------------------------------------------------------------------------------

    def fate_of(self, worker: Process, header: Header) -> Fate:
        chance = self._fates
        seconds = self._plan.attempt_seconds * chance.uniform(0.3, 2.0)
        fate = Fate(seconds, chance.choice([0.05, 0.5, 0.95]))
        if self._plan.whims:
            attempt = AttemptId.parse(header["attempt"])
            self._versions += 1
            fate.version = self._versions
            self._befalls(attempt.task.phase is Phase.MAP and attempt.number > 0, WHIM)
        if self.is_calm:
            return fate
        fate.seconds *= self._slow.get(worker, 1.0)
        shares = self._plan.shares
        fate.kills = self._befalls(chance.random() < shares.get("slot killed", 0.0), "slot killed")
        if self._plan.task_timeout is not None:
            fate.hangs = self._befalls(chance.random() < shares.get("slot hangs", 0.0), "slot hangs")
        fate.raises = self._befalls(chance.random() < shares.get("function raises", 0.0), "function raises")
        if self._is_chosen(worker, self._raising, "function raises on one worker"):
            fate.raises = True
        fate.code_is_missing = self._is_chosen(worker, self._without_code, "code missing")
        if self._plan.skips and (fate.kills or fate.hangs):
            fate.stops_at = self._stops.choice([-1, 0, 0, 1, 2])
        return fate

    def _befalls(self, does: bool, kind: str) -> bool:
        if does:
            self.happened[kind] += 1
        return does

    def _is_chosen(self, worker: Process, chosen: dict[Process, bool], kind: str) -> bool:
        """Whether ``worker`` is one of those with this trouble, whatever it does. Never all of them."""
        if kind not in self._plan.shares:
            return False
        if worker not in chosen:
            others = any(not is_chosen for is_chosen in chosen.values())
            chosen[worker] = others and self._fates.random() < 0.5
        return self._befalls(chosen[worker], kind)

    # -- messages ----------------------------------------------------------------------------------------

    def sent(self, sender: Process, kind: int) -> None:
        """A message is about to leave: the sender may die of it."""
        if sender is self._world.coordinating:
            self.moment(sender, f"before {KINDS[kind].__name__}")
            return
        left = self._doomed.get(sender)
        if left is not None:
            self._doomed[sender] = left - 1
            if not left:
                del self._doomed[sender]
                self.hit("worker killed at a message", sender, KINDS[kind].__name__)
                self._world.kill(sender)

    def moment(self, process: Process, what: str) -> None:
        """One of those at which a coordinator with a journal may die: they are counted, over all its lives."""
        if not self._plan.journal or process is not self._world.coordinating or not process.is_alive:
            return
        self.moments += 1
        if self.moments in self._plan.kill_at:
            self.hit(KILLED_AT, process, f"{what} ({self.moments})")
            self.end_coordinator()

    def end_coordinator(self) -> None:
        if self._plan.loses_power:
            self.hit(POWER, self._world.coordinating)
        self._world.kill(self._world.coordinating, loses_power=self._plan.loses_power)

    def copies(self, sender: Process, kind: int, is_control: bool) -> list[float]:
        if self.is_calm or not is_control or kind not in _DOUBLED:
            return []
        if self._mail.random() >= self._plan.shares.get("message doubled", 0.0):
            return []
        self.happened["message doubled"] += 1
        return [self._mail.choice([0.0, 0.5, 5.0])]

    def is_held_back(self, sender: Process, kind: int, is_control: bool) -> bool:
        if self.is_calm or not is_control or kind not in _REPORTS:
            return False
        if self._mail.random() >= self._plan.shares.get("message overtaken", 0.0):
            return False
        self.happened["message overtaken"] += 1
        return True

    # -- at a time ---------------------------------------------------------------------------------------

    def _strike(self, kind: str) -> None:
        if not self.is_calm and not self._world.is_over():
            _STRIKES[kind](self)

    def hit(self, kind: str, whom: object, text: str = "") -> None:
        self.happened[kind] += 1
        self._world.trace.note(self._world.loop.time(), "FAULT", whom, f"{kind} {text}")

    def _pick(self, *, frozen: bool = False) -> Process | None:
        """Some live worker process."""
        found = [process for process in self._world.workers() if frozen or not process.is_frozen]
        return self._chance.choice(found) if found else None

    def _kill_worker(self) -> None:
        if (process := self._pick(frozen=True)) is not None:
            self.hit("worker killed", process)
            self._world.kill(process)
            self._return(process)

    def _kill_worker_at_message(self) -> None:
        if (process := self._pick()) is not None:
            self._doomed[process] = self._chance.randrange(12)
            self._return(process)

    def _lose_machine(self) -> None:
        """Its power fails: nobody is told."""
        if (process := self._pick(frozen=True)) is not None:
            self.hit("machine lost", process)
            network = self._world.network
            for other in self._world.machines:
                network.blocked[process.host, other.host] = float("inf")
                network.blocked[other.host, process.host] = float("inf")
            self._world.machine_of(process).is_lost = True
            self._world.kill(process)

    def _stop_worker(self) -> None:
        if (process := self._pick(frozen=True)) is not None:
            self.hit("worker stopped", process)
            self._world.stop(process)
            self._return(process)

    def _drain_worker(self, kind: str) -> None:
        """As SIGTERM; ``DRAINED_TWICE``: and once more, or Ctrl-C."""
        # A second signal is another kind.
        workers = [process for process in self._world.workers() if process not in self._world.drained]
        if not workers:
            return
        process = self._drains.choice(workers)
        self.hit(DRAINED, process)
        self._world.drain(process)
        if kind == DRAINED_TWICE:
            self._world.loop.later(self._drains.uniform(0.1, 8.0), self._stop_drained, process)
        machine = self._world.machine_of(process)
        if self._drains.random() < 0.7:
            self._world.loop.later(self._drains.uniform(0.1, 30.0), self._world.restart_worker, machine, process)

    def _stop_drained(self, process: Process) -> None:
        if process in self._world.workers():
            self.hit(DRAINED_TWICE, process)
            self._world.stop(process)

    def _return(self, process: Process) -> None:
        """Somebody starts it again, perhaps."""
        machine = self._world.machine_of(process)
        if self._chance.random() < 0.7:
            self._world.loop.later(self._chance.uniform(0.1, 20.0), self._world.restart_worker, machine, process)

    def _join(self) -> None:
        if len(self._world.machines) < 9:
            self.hit("worker joins", "world")
            self._world.add_worker(self._chance.choice([1, 2]))

    def _freeze(self, process: Process | None, kind: str, seconds: float) -> None:
        if process is None or process.is_frozen:
            return
        self.hit(kind, process, f"for {seconds:.3f} s")
        process.is_frozen = True
        self.troubled.add(process)
        if process is self._world.coordinating:
            self.is_network_troubled = True
        self._world.loop.later(seconds, self._thaw, process)

    def _thaw(self, process: Process) -> None:
        if process.is_alive and process.is_frozen:
            self._world.trace.note(self._world.loop.time(), "thaw", process)
            self._world.loop.thaw(process)
            if process is self._world.coordinating:
                self.last_thaw = self._world.loop.time()

    def _within(self) -> float:
        return self._chance.uniform(0.5, 7.0)

    def _beyond(self) -> float:
        return self._chance.uniform(11.0, 25.0)

    def _cut(self) -> None:
        streams = [stream for stream in self._world.network.streams if not stream.is_lost]
        if streams:
            stream = self._chance.choice(streams)
            loses = self._chance.random() < 0.5
            self.hit("connection cut", stream.process, f"to {stream.peer[0]}, loses: {loses}")
            self.is_network_troubled = True
            self._world.network.cut(stream, loses=loses)

    def _block(self, kind: str, seconds: float, *, both: bool = False) -> None:
        one, other = self._chance.sample([machine.host for machine in self._world.machines], 2)
        self.hit(kind, one, f"to {other} for {seconds:.3f} s")
        self.is_network_troubled = True
        blocked = self._world.network.blocked
        until = self._world.loop.time() + seconds
        blocked[one, other] = max(until, blocked.get((one, other), 0.0))
        if both:
            blocked[other, one] = max(until, blocked.get((other, one), 0.0))

    def _slow_down(self) -> None:
        if (process := self._pick()) is not None:
            self.hit("worker slow", process)
            self._slow[process] = 10.0

    def _fill_disk(self) -> None:
        if (process := self._pick(frozen=True)) is not None:
            machine = self._world.machine_of(process)
            self.hit("disk full", machine.host)
            machine.disk.room = self._chance.choice([0, 30, 300])
            self._world.loop.later(self._chance.uniform(0.5, 10.0), self._empty_disk, machine)

    def _fill_coordinators_disk(self) -> None:
        machine = self._world.machines[0]
        machine.disk.room = self._spaces.choice([0, self._spaces.randrange(600), self._spaces.randrange(3000)])
        machine.disk.errno = self._spaces.choice([errno.ENOSPC, errno.ENOSPC, errno.EIO])
        told = f"{errno.errorcode[machine.disk.errno]} behind {machine.disk.room} bytes"
        self._world.trace.note(self._world.loop.time(), "fills", machine.host, told)
        if self._spaces.random() < 0.5:
            self._world.loop.later(self._spaces.uniform(0.05, 5.0), self._empty_disk, machine)

    def _empty_disk(self, machine: SimMachine) -> None:
        machine.disk.room = None

    def _damage(self, kind: str) -> None:
        """Some file of map output, committed, is not any more what was written."""
        files = self._world.output_files()
        if not files:
            return
        path = self._chance.choice(files)
        self.hit(kind, os.path.basename(path))
        self.damaged.add(path)
        size = os.path.getsize(path)
        if kind == "file missing":
            os.unlink(path)
        elif kind == "file torn":
            os.truncate(path, self._chance.randrange(size) if size else 0)
        elif size:
            with open(path, "r+b") as file:
                file.seek(position := self._chance.randrange(size))
                byte = file.read(1)[0]
                file.seek(position)
                file.write(bytes([byte ^ 1 << self._chance.randrange(8)]))

    def _kill_coordinator(self) -> None:
        process = self._world.coordinating
        if process.is_alive:
            self.hit(ENDING, process)
            self.end_coordinator()


_STRIKES: dict[str, Any] = {
    "worker killed": Faults._kill_worker,
    "worker killed at a message": Faults._kill_worker_at_message,
    "worker stopped": Faults._stop_worker,
    "machine lost": Faults._lose_machine,
    "worker joins": Faults._join,
    "worker frozen within the lease": lambda self: self._freeze(
        self._pick(), "worker frozen within the lease", self._within()
    ),
    "worker frozen beyond the lease": lambda self: self._freeze(
        self._pick(), "worker frozen beyond the lease", self._beyond()
    ),
    "coordinator frozen within the lease": lambda self: self._freeze(
        self._world.coordinating, "coordinator frozen within the lease", self._within()
    ),
    "coordinator frozen beyond the lease": lambda self: self._freeze(
        self._world.coordinating, "coordinator frozen beyond the lease", self._beyond()
    ),
    "connection cut": Faults._cut,
    "direction blocked within the lease": lambda self: self._block(
        "direction blocked within the lease", self._within()
    ),
    "direction blocked beyond the lease": lambda self: self._block(
        "direction blocked beyond the lease", self._beyond()
    ),
    "both directions blocked": lambda self: self._block("both directions blocked", self._beyond(), both=True),
    "worker slow": Faults._slow_down,
    "disk full": Faults._fill_disk,
    "bit flipped": lambda self: self._damage("bit flipped"),
    "file torn": lambda self: self._damage("file torn"),
    "file missing": lambda self: self._damage("file missing"),
    ENDING: Faults._kill_coordinator,
    DRAINED: lambda self: self._drain_worker(DRAINED),
    DRAINED_TWICE: lambda self: self._drain_worker(DRAINED_TWICE),
    COORDINATOR_FULL: Faults._fill_coordinators_disk,
}
