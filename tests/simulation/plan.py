"""What one seed plays: the job, the machines, and what goes wrong when. Drawn before anything runs.

Decides: how much trouble of which kinds. Each seed has some kinds only (swarm testing, Groce et al. 2012): a run in
which everything goes wrong at once shows little, as one fault hides the next.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# Kinds that happen at a time. ``faults.py`` has a method for each.
TIMED = (
    "worker killed",
    "worker killed at a message",
    "worker stopped",
    "machine lost",
    "worker joins",
    "worker frozen within the lease",
    "worker frozen beyond the lease",
    "coordinator frozen within the lease",
    "coordinator frozen beyond the lease",
    "connection cut",
    "direction blocked within the lease",
    "direction blocked beyond the lease",
    "both directions blocked",
    "worker slow",
    "disk full",
    "bit flipped",
    "file torn",
    "file missing",
)
# Kinds that happen to an attempt or to a message, each with a share of them.
ATTENDING = (
    "slot killed",
    "slot hangs",
    "function raises",
    "function raises on one worker",
    "code missing",
    "message doubled",
    "message overtaken",
    "message late",
    "no way between workers",
    "caller slow",
)
POISON = "record always raises"
ENDING = "coordinator killed"
KILLED_AT = "coordinator killed at a write or message"
POWER = "coordinator loses power"
WHIM = "function gives something else the second time"
# Those below came later. What they need is drawn apart, so that what other seeds play stays as it was.
# Of jobs with on_error="skip": what befalls a record or key whenever it is run, and that there are too many.
BAD_RAISES = "bad record raises"
BAD_KILLS = "bad record kills its slot"
BAD_HANGS = "bad record hangs"
BAD_KEY = "bad key"
EXCESS = "too many bad records"
DRAINED = "worker drained"
DRAINED_TWICE = "worker drained, and stopped before it was done"
COORDINATOR_FULL = "coordinator's disk full or failing"
WRITE_FAILS = "write to the journal fails"
SYNC_FAILS = "sync of the journal fails"
LATER_KINDS = (
    BAD_RAISES,
    BAD_KILLS,
    BAD_HANGS,
    BAD_KEY,
    EXCESS,
    DRAINED,
    DRAINED_TWICE,
    COORDINATOR_FULL,
    WRITE_FAILS,
    SYNC_FAILS,
)
KINDS = (*TIMED, *ATTENDING, POISON, ENDING, KILLED_AT, POWER, WHIM, *LATER_KINDS)
FOR_GOOD = 10**9


@dataclass
class Plan:
    """``faults``: (when, kind). ``shares``: of the attempts or messages, for the kinds that happen to them."""

    seed: int
    workers: int = 2
    slots: list[int] = field(default_factory=list)
    partitions: int = 4
    memory_bytes: int = 10**6
    reduce_task_bytes: int = 10**6
    max_attempts: int = 1000
    task_timeout: float | None = None
    split: int | None = 1
    attempt_seconds: float = 0.3
    limits: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[float, str]] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    poison: bool = False
    # What mapfn gives differs from attempt to attempt.
    whims: bool = False
    on_nondeterminism: str = "raise"
    backups: bool = False
    # A coordinator with a journal is started again; ``kill_at``: the writes and messages of its at which it dies.
    journal: bool = False
    kill_at: frozenset[int] = frozenset()
    loses_power: bool = False
    # Bad records and keys are set aside, at most so many. ``bad``, ``bad_keys``: how many there are, if the job has as
    # many; a slot that is killed or hangs is then at some record.
    skips: bool = False
    max_skipped: int | None = None
    bad: int = 0
    bad_keys: int = 0
    # The operations on the journal, counted over all its lives, from which on so many fail.
    disk_fails_at: frozenset[int] = frozenset()
    disk_fails_for: int = 1

    def chance(self, what: str) -> random.Random:
        """A stream of chance of its own: what one part draws must not change what another does."""
        return random.Random(f"{self.seed}/{what}")


def draw(seed: int, *, trouble: bool = True) -> Plan:
    plan = Plan(seed)
    chance = plan.chance("plan")
    plan.workers = chance.choice([1, 2, 3, 4])
    plan.slots = [chance.choice([1, 1, 2]) for _ in range(plan.workers)]
    plan.partitions = chance.choice([1, 2, 5, 8])
    plan.memory_bytes = chance.choice([500, 3000, 10**6, 10**6])
    plan.reduce_task_bytes = chance.choice([1, 300, 10**6])
    plan.max_attempts = chance.choice([3, 1000, 1000])
    plan.split = chance.choice([None, 1, 2, 3])
    plan.backups = chance.random() < 0.6
    plan.attempt_seconds = chance.choice([0.02, 0.3, 0.3, 2.0])
    for name, values in (
        ("INLINE_BODY_BYTES", (0, 150)),
        ("CHUNK_BYTES", (64, 1000)),
        ("OUTPUTS_PER_FETCH_MAX", (1, 3)),
        ("DATA_CONNECTIONS_PER_PEER", (1,)),
        ("SPLITS_PER_ATTEMPT_MAX", (1, 2)),
    ):
        if chance.random() < 0.4:
            plan.limits[name] = chance.choice(values)
    if trouble:
        _draw_trouble(plan, chance)
        _draw_bad_records(plan, plan.chance("aside"))
        _draw_drains(plan, plan.chance("leaving"))
        _draw_failing_disk(plan, plan.chance("coordinator's disk"))
    return plan


def _draw_trouble(plan: Plan, chance: random.Random) -> None:
    horizon = chance.choice([1.0, 5.0, 15.0])
    timed = chance.sample(TIMED, chance.choice([1, 1, 2, 3, 6]))
    plan.faults = sorted(
        (chance.uniform(0, horizon), chance.choice(timed)) for _ in range(chance.choice([0, 1, 2, 4, 8]))
    )
    plan.journal = chance.random() < 0.35
    if plan.journal and chance.random() < 0.6:
        plan.kill_at = frozenset(chance.randrange(1, 150) for _ in range(chance.choice([1, 1, 2, 4])))
        plan.loses_power = chance.random() < 0.3
    if chance.random() < (0.2 if plan.journal else 0.02):
        plan.faults.append((chance.uniform(0, horizon), ENDING))
    for kind in chance.sample(ATTENDING, chance.choice([0, 1, 1, 2, 3])):
        plan.shares[kind] = chance.choice([0.03, 0.1, 0.3])
    if "slot hangs" in plan.shares or chance.random() < 0.2:
        plan.task_timeout = 8.0
    plan.poison = chance.random() < 0.05
    if plan.poison:
        plan.max_attempts = 3
    plan.whims = not plan.poison and chance.random() < 0.08
    plan.on_nondeterminism = chance.choice(["raise", "restart"])
    if plan.whims:
        # Outputs are lost when some of what read them is done, which chance alone brings about rarely.
        plan.reduce_task_bytes = 1
        seconds = 3 * plan.attempt_seconds
        plan.faults += [(chance.uniform(seconds, 4 * seconds), "file missing") for _ in range(4)]


def _draw_bad_records(plan: Plan, chance: random.Random) -> None:
    if plan.poison or plan.whims or chance.random() >= 0.14:
        return
    plan.skips = True
    plan.bad = chance.choice([1, 1, 2, 3, 5])
    plan.bad_keys = chance.choice([0, 0, 1, 2])
    plan.max_skipped = chance.choice([None, 1000, 1000, plan.bad + plan.bad_keys, plan.bad - 1])
    plan.max_attempts = chance.choice([3, 1000, 1000])
    if chance.random() < 0.5:
        plan.task_timeout = 8.0
    if chance.random() < 0.4:
        plan.shares["slot killed"] = chance.choice([0.1, 0.3, 0.5])
    if chance.random() < 0.5:
        # What was set aside is to be known although outputs are made again.
        plan.faults += [
            (chance.uniform(0, 8.0), chance.choice(["worker killed", "file missing", "connection cut"]))
            for _ in range(3)
        ]
    if chance.random() < 0.4:
        plan.journal = True
        plan.kill_at |= {chance.randrange(1, 150) for _ in range(chance.choice([1, 2, 4]))}


def _draw_drains(plan: Plan, chance: random.Random) -> None:
    if chance.random() >= 0.12:
        return
    horizon = chance.choice([1.0, 5.0, 15.0])
    for _ in range(chance.choice([1, 1, 2, 4])):
        plan.faults.append((chance.uniform(0, horizon), chance.choice([DRAINED, DRAINED, DRAINED, DRAINED_TWICE])))


def _draw_failing_disk(plan: Plan, chance: random.Random) -> None:
    if chance.random() >= 0.12:
        return
    plan.journal = plan.journal or chance.random() < 0.8
    if plan.journal and chance.random() < 0.7:
        plan.disk_fails_at = frozenset(chance.randrange(1, 60) for _ in range(chance.choice([1, 1, 2, 3])))
        plan.disk_fails_for = chance.choice([1, 2, FOR_GOOD])
    else:
        horizon = chance.choice([1.0, 5.0, 15.0])
        plan.faults += [(chance.uniform(0, horizon), COORDINATOR_FULL) for _ in range(chance.choice([1, 1, 2]))]
    if plan.journal and chance.random() < 0.3:
        plan.kill_at |= {chance.randrange(1, 150)}
        plan.loses_power = chance.random() < 0.5
