"""What a seed means: a job, workers, and what is done to them at which moment. Pure: same seed, same scenario.

Moments are told by the progress of the job (0 to 1: map phase, 1 to 2: reduce phase), so that they hit what they are
meant to hit on a fast machine and on a busy one. A fault whose moment never comes, because those before it keep the job
from getting there, happens after ``Fault.latest_seconds``.

Rules, so that every job can end, and a job that does not is a finding:

* a worker that can do nothing (no disk, no memory) is never alone for long: the first worker and the server are spared
  whatever ends or silences them in such a scenario;
* the server is killed only where it keeps a journal;
* all silences end. At the end of all faults there is a worker that works.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.chaos.jobs import KINDS, JobPlan

# The limits that users have, and shorter ones, with which more silences outlast them in the same time.
PACES: dict[str, dict[str, float]] = {
    "as users have it": {},
    "quick": {"HEARTBEAT_SECONDS": 0.6, "LEASE_SECONDS": 2.6, "COME_BACK_SECONDS": 5.0, "DRAIN_SECONDS": 8.0},
}
LEASE_SECONDS = {"as users have it": 8.0, "quick": 2.6}

# How the ends reach each other.
GROUNDS = ("proxy", "namespaces")


@dataclass(frozen=True)
class Means:
    """What a machine allows. A scenario that needs more does without."""

    grounds: tuple[str, ...] = GROUNDS
    small_disks: bool = True
    memory_groups: bool = True


ALL_MEANS = Means()

SERVER = -1


@dataclass(frozen=True)
class WorkerPlan:
    """``joins``: the progress at which it is started. ``disk``: bytes of its temporary directory if it has one of its
    own. ``memory``: it has less than each record takes there, by a limit of its own (RLIMIT_AS) or by that of a
    control group."""

    number: int
    slots: int = 1
    joins: float = 0.0
    behind_proxy: bool = True
    disk: int = 0
    memory: str = ""

    @property
    def is_sick(self) -> bool:
        return bool(self.memory or self.disk)

    @property
    def is_tiny(self) -> bool:
        return 0 < self.disk < _LARGE_DISK


@dataclass(frozen=True)
class Fault:
    """``kind`` on worker ``target`` (or SERVER) at ``when``, for ``seconds`` where it lasts. ``way``: see FAULTS."""

    kind: str
    when: float
    target: int
    seconds: float = 0.0
    way: str = ""
    amount: int = 0
    latest_seconds: float = 30.0

    def __str__(self) -> str:
        who = "the server" if self.target == SERVER else f"worker {self.target}"
        words = [f"at {self.when:.2f}", self.kind, who]
        words += [self.way] if self.way else []
        words += [f"{self.amount}"] if self.amount else []
        words += [f"for {self.seconds:.1f} s"] if self.seconds else []
        return " ".join(words)


@dataclass(frozen=True)
class Scenario:
    seed: int
    ground: str
    pace: str
    job: JobPlan
    journal: bool
    local_workers: int
    workers: tuple[WorkerPlan, ...]
    faults: tuple[Fault, ...]

    @property
    def limits(self) -> dict[str, float]:
        return PACES[self.pace]

    @property
    def kinds(self) -> set[str]:
        """What is done in it, in the words of the table."""
        return {fault.kind for fault in self.faults} | {
            word
            for worker in self.workers
            for word, so in (("tiny disk", worker.is_tiny), (f"little memory: {worker.memory}", worker.memory))
            if so
        }

    @property
    def patience_seconds(self) -> float:
        """How long the job may take behind the last fault: leases, returns, and a machine with much else to do."""
        return 60.0 if self.pace == "quick" else 100.0

    def __str__(self) -> str:
        job = self.job
        words = [job.kind, f"{job.records} records", f"split={job.split}", f"partitions={job.partitions}", self.ground]
        words += [f"limits {self.pace}"]
        words += ["journal"] if self.journal else []
        words += [f"{self.local_workers} local workers"] if self.local_workers else []
        lines = [f"seed {self.seed}: {', '.join(words)}"]
        for worker in self.workers:
            words = [f"{worker.slots} slots"] if worker.slots > 1 else []
            words += [f"joins at {worker.joins:.2f}"] if worker.joins else []
            words += ["no proxy"] if self.ground == "proxy" and not worker.behind_proxy else []
            words += [f"disk of {worker.disk} bytes"] if worker.disk else []
            words += [f"little memory: {worker.memory}"] if worker.memory else []
            lines.append(f"  worker {worker.number}: {', '.join(words) or 'one slot'}")
        lines += [f"  {fault}" for fault in self.faults]
        return "\n".join(lines)


# -- faults --------------------------------------------------------------------------------------------------

# Each makes a fault out of chance, the moment, the worker and the lease.
_Maker = Callable[[random.Random, float, int, float], Fault]


def _plain(kind: str) -> _Maker:
    return lambda chance, when, target, lease: Fault(kind, when, target)


def _lasting(kind: str, least: float, most: float, ways: tuple[str, ...] = ("",), most_amount: int = 0) -> _Maker:
    """It lasts between so many leases."""

    def make(chance: random.Random, when: float, target: int, lease: float) -> Fault:
        seconds = round(lease * chance.uniform(least, most), 1)
        amount = chance.randint(1, most_amount) if most_amount else 0
        return Fault(kind, when, target, seconds, chance.choice(ways), amount)

    return make


def _cut_after(chance: random.Random, when: float, target: int, lease: float) -> Fault:
    return Fault(
        "cut behind a byte", when, target, way=chance.choice(("RST", "FIN")), amount=int(10 ** chance.uniform(0, 5))
    )


# ``way`` of faults of the network: which end falls silent, and with "peers" between workers rather than to the server.
_WAYS = ("up", "down", "both", "up peers", "down peers", "both peers")
_LINES = ("", "peers")

PROCESS_FAULTS: dict[str, _Maker] = {
    "kill": _plain("kill"),
    "kill a slot": _plain("kill a slot"),
    "kill with slots": _plain("kill with slots"),
    "freeze": _lasting("freeze", 0.1, 0.6, ("", "with slots")),
    "freeze beyond the lease": _lasting("freeze beyond the lease", 1.2, 1.8, ("", "with slots")),
    "freeze a slot": _lasting("freeze a slot", 0.1, 0.6),
    "drain": _plain("drain"),
}
PROXY_FAULTS: dict[str, _Maker] = {
    "cut": lambda chance, when, target, lease: Fault(
        "cut", when, target, way=chance.choice(("RST", "FIN", "RST peers", "FIN peers"))
    ),
    "cut behind a byte": _cut_after,
    "silence": _lasting("silence", 0.1, 0.6, _WAYS),
    "silence beyond the lease": _lasting("silence beyond the lease", 1.2, 1.8, _WAYS),
    "lost connections": lambda chance, when, target, lease: Fault(
        "lost connections", when, target, way=chance.choice(_WAYS)
    ),
    "delay": _lasting("delay", 0.3, 1.5, _LINES, most_amount=150),  # milliseconds
    "throttle": _lasting("throttle", 0.3, 1.5, _LINES, most_amount=100),  # kilobytes a second
    "odd pieces": _lasting("odd pieces", 0.5, 2.0, _LINES),
    "garble": lambda chance, when, target, lease: Fault("garble", when, target, way=chance.choice(_LINES)),
    "flap": _lasting("flap", 0.2, 1.2, _LINES),
}
NAMESPACE_FAULTS: dict[str, _Maker] = {
    "link down": _lasting("link down", 0.1, 0.6),
    "link down beyond the lease": _lasting("link down beyond the lease", 1.2, 1.8),
    "slow link": _lasting("slow link", 0.3, 1.5, most_amount=200),  # kilobytes a second
}
SERVER_FAULTS: dict[str, _Maker] = {
    "freeze the server": _lasting("freeze the server", 0.1, 0.6),
    "freeze the server beyond the lease": _lasting("freeze the server beyond the lease", 1.2, 1.8),
}
# Where the server keeps a journal. It lasts until it is started again.
KILL_SERVER: dict[str, _Maker] = {"kill the server": _lasting("kill the server", 0.0, 0.6)}
DISK_FAULTS: dict[str, _Maker] = {"fill the disk": _lasting("fill the disk", 0.2, 1.0)}

ALL_KINDS = frozenset(
    (*PROCESS_FAULTS, *PROXY_FAULTS, *NAMESPACE_FAULTS, *SERVER_FAULTS, *KILL_SERVER, *DISK_FAULTS)
) | {"tiny disk", "little memory: limit", "little memory: group"}

# What must not happen to whom a sick worker would be alone without.
_ABSENCES = frozenset(
    (*PROCESS_FAULTS, *SERVER_FAULTS, *KILL_SERVER, *NAMESPACE_FAULTS, *PROXY_FAULTS)
) - {"delay", "odd pieces", "kill a slot", "freeze a slot"}  # fmt: skip

# Disks that hold a few map outputs, or not one.
_TINY_DISKS = (64_000, 200_000, 600_000)
# A disk with room for the job until it is filled.
_LARGE_DISK = 64 * 2**20


# -- scenarios -----------------------------------------------------------------------------------------------


def scenario(seed: int, *, means: Means = ALL_MEANS, pace: str | None = None) -> Scenario:
    """The scenario of ``seed``, as far as ``means`` allow it. ``pace``: instead of the seed's."""
    chance = random.Random(seed)
    ground = "namespaces" if chance.random() < 0.2 else "proxy"
    ground = ground if ground in means.grounds else "proxy"
    own_pace = "as users have it" if chance.random() < 0.25 else "quick"
    pace = pace or own_pace
    journal = chance.random() < 0.4
    job = _job(chance)
    count = chance.randint(2, 4)
    workers = [WorkerPlan(0, chance.choice((1, 1, 2)), behind_proxy=chance.random() < 0.8)]
    for number in range(1, count):
        joins = chance.choice((0.0, 0.0, chance.uniform(0.1, 0.9)))
        workers.append(WorkerPlan(number, chance.choice((1, 1, 2)), joins, chance.random() < 0.9))
    sickness = chance.choice(
        ("",) * 4 + ("tiny disk", "a disk to fill", "little memory: limit", "little memory: group")
    )
    sickness = "little memory: limit" if sickness == "little memory: group" and not means.memory_groups else sickness
    if "memory" in sickness or (sickness and means.small_disks):
        workers[-1] = _made_sick(workers[-1], sickness, chance)
    local_workers = chance.choice((0, 0, 0, 1, 2))
    faults = _faults(chance, ground, pace, workers, can_kill_server=journal)
    return Scenario(
        seed,
        ground,
        pace,
        job,
        journal,
        local_workers,
        tuple(workers),
        tuple(sorted(faults, key=lambda fault: fault.when)),
    )


def _job(chance: random.Random) -> JobPlan:
    kind = chance.choice(list(KINDS))
    records = chance.randint(40, 160)
    return JobPlan(
        kind=kind,
        seed=chance.getrandbits(32),
        records=records,
        split=chance.choice((1, 2, 5, None)),
        partitions=chance.choice((1, 7, 16, 64)),
        map_seconds=chance.choice((0.01, 0.03, 0.06)),
        reduce_seconds=chance.choice((0.0, 0.01, 0.03)),
    )


def _made_sick(worker: WorkerPlan, sickness: str, chance: random.Random) -> WorkerPlan:
    # It comes when others are at work: alone it would spend all attempts of its first task.
    worker = replace(worker, joins=max(worker.joins, 0.05))
    if "memory" in sickness:
        return replace(worker, memory=sickness.rpartition(" ")[2])
    return replace(worker, disk=chance.choice(_TINY_DISKS) if sickness == "tiny disk" else _LARGE_DISK)


def _faults(
    chance: random.Random, ground: str, pace: str, workers: list[WorkerPlan], *, can_kill_server: bool
) -> list[Fault]:
    lease = LEASE_SECONDS[pace]
    is_sick = any(worker.is_sick for worker in workers)
    faults: list[Fault] = []
    for _ in range(chance.randint(2, 7)):
        when = chance.choice((chance.uniform(0.02, 0.98), chance.uniform(0.02, 0.98), chance.uniform(1.02, 1.9)))
        worker = chance.choice(workers)
        when = max(when, worker.joins + 0.1 if worker.joins else 0.0)  # it has to be there first
        choices: dict[str, _Maker] = dict(PROCESS_FAULTS)
        if ground == "namespaces":
            choices |= NAMESPACE_FAULTS
        elif worker.behind_proxy:
            choices |= PROXY_FAULTS
        target = worker.number
        if worker.disk and not worker.is_tiny and chance.random() < 0.7:
            choices = DISK_FAULTS
        elif chance.random() < 0.15:
            choices, target = SERVER_FAULTS, SERVER
        elif can_kill_server and chance.random() < 0.3:
            choices, target = KILL_SERVER, SERVER
        kind = chance.choice(list(choices))
        made = choices[kind](chance, round(when, 3), target, lease)
        if is_sick and target in (SERVER, workers[0].number) and kind in _ABSENCES:
            continue
        faults.append(made)
    return faults
