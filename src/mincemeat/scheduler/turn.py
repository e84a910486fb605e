"""What one event is answered from, and with: the job's ledger and rules, the time, and what is to be done now.

Decides: that what belongs together is done together. Who cancels an attempt tells its worker, and a job that fails
leaves nothing running. Does not know: why. The machine has one for a job; failures.py, losses.py and remade.py are
functions over it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mincemeat import limits
from mincemeat.model import Failure
from mincemeat.scheduler import instructions
from mincemeat.scheduler.instructions import Instruction
from mincemeat.scheduler.ledger import Ledger
from mincemeat.scheduler.state import AttemptRecord, AttemptState, JobState


class Rules(NamedTuple):
    """What a job may and may not; ``Machine`` says what each means."""

    max_attempts: int = limits.MAX_ATTEMPTS
    lost_attempts_max: int = limits.LOST_ATTEMPTS_MAX
    skips: bool = False
    max_skipped: int | None = limits.MAX_SKIPPED
    on_nondeterminism: str = "raise"


class Turn:
    """``now``: seconds on the machine's clock. ``answer``: the instructions so far, in the order to be carried out."""

    __slots__ = ("answer", "ledger", "now", "rules")

    def __init__(self, ledger: Ledger, rules: Rules) -> None:
        self.ledger = ledger
        self.rules = rules
        self.now = -math.inf
        self.answer: list[Instruction] = []

    @property
    def is_over(self) -> bool:
        job = self.ledger.job
        return job is JobState.DONE or job is JobState.FAILED

    def instruct(self, instruction: Instruction) -> None:
        self.answer.append(instruction)

    def cancel(self, attempt: AttemptRecord, reason: str) -> None:
        """Nobody wants ``attempt``, which runs, any more."""
        self.ledger.drop_attempt(attempt, AttemptState.CANCELLED, self.now, reason)
        self.instruct(instructions.CancelAttempt(attempt.worker.name, attempt.id))

    def finish_job(self) -> None:
        """Every reduce task is committed."""
        self.ledger.move_job(JobState.DONE)
        self.cancel_everything()
        self.instruct(instructions.FinishJob())

    def fail_job(self, failure: Failure, attempt: AttemptRecord | None) -> None:
        """``attempt``: whose end it is that the job fails for, ``None`` if it is none's."""
        self.ledger.move_job(JobState.FAILED)
        self.cancel_everything()
        if attempt is None:
            self.instruct(instructions.FailJob(failure, None, None, 0))
        else:
            self.instruct(instructions.FailJob(failure, attempt.task.id, attempt.id, attempt.task.failures))

    def cancel_everything(self) -> None:
        for worker in self.ledger.workers.values():
            for attempt in list(worker.running):
                self.cancel(attempt, "the job is over")
