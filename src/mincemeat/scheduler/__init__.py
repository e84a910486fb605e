"""The scheduler: a pure machine that turns what happened to a job into what is to be done next.

Reading order: ``state.py`` (the theory: states, legal moves, records), ``events.py`` and ``instructions.py`` (what goes
in and out), ``policy.py`` (judgements), ``ledger.py`` (every change of state) with its ``pending.py``, ``placement.py``
(who gets an attempt), ``turn.py`` (what an event is answered from), ``machine.py`` (event by event), ``failures.py``,
``losses.py`` and ``remade.py`` (what follows when something went wrong), ``invariants.py`` (what is true in between).
docs/scheduler.md tells the same in prose and pictures.
"""

from mincemeat.scheduler.events import (
    AttemptDone,
    AttemptFailed,
    AttemptLost,
    BlocksUnreachable,
    Event,
    Heartbeat,
    InputExhausted,
    JobRestored,
    RestoredOutput,
    SourceFailed,
    SplitsProduced,
    Tick,
    WorkerDraining,
    WorkerJoined,
    WorkerLeft,
)
from mincemeat.scheduler.instructions import (
    CancelAttempt,
    DropOutput,
    DropResult,
    ExcludeWorker,
    ExpireWorker,
    FailJob,
    FinishJob,
    Instruction,
    ProduceSplit,
    ReadmitWorker,
    ReleaseWorker,
    StartAttempt,
)
from mincemeat.scheduler.machine import Machine
from mincemeat.scheduler.state import Counts, IllegalMove, JobState

__all__ = [
    "AttemptDone",
    "AttemptFailed",
    "AttemptLost",
    "BlocksUnreachable",
    "CancelAttempt",
    "Counts",
    "DropOutput",
    "DropResult",
    "Event",
    "ExcludeWorker",
    "ExpireWorker",
    "FailJob",
    "FinishJob",
    "Heartbeat",
    "IllegalMove",
    "InputExhausted",
    "Instruction",
    "JobRestored",
    "JobState",
    "Machine",
    "ProduceSplit",
    "ReadmitWorker",
    "ReleaseWorker",
    "RestoredOutput",
    "SourceFailed",
    "SplitsProduced",
    "StartAttempt",
    "Tick",
    "WorkerDraining",
    "WorkerJoined",
    "WorkerLeft",
]
