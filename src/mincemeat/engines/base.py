"""The contract of an engine.

Decides: what an engine is asked and may raise. Does not know: how any of them carries a job out. Imports nothing heavy,
because an engine may want to start a process before it imports the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from mincemeat.model import Job, Snapshot

if TYPE_CHECKING:
    from mincemeat.set_aside import RecordFailure
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

Observer: TypeAlias = Callable[[Snapshot], None]

# How often an observer sees a snapshot: fluent to the eye, invisible in a profile.
OBSERVE_SECONDS = 0.1


class Engine(ABC):
    """Carries out one job after the other. Construct it with the options it honours; it refuses the others by name."""

    name: str
    # How many slots share the memory of this machine, when the job does not say how much each may use.
    local_slots: int = 1

    def warm_up(self) -> None:  # noqa: B027 - optional: not every engine has something to wait for
        """Start what takes long to start, so that it does so while the caller prepares the job; ``close`` ends it."""

    def close(self) -> None:  # noqa: B027 - optional
        """End what ``warm_up`` started and no run has used, and let go of a journal."""

    def results_are_safe(self) -> None:  # noqa: B027 - optional
        """The sink is committed: what was kept for somebody who has to go on with the job may go. Before ``close``."""

    @abstractmethod
    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> tuple[RecordFailure, ...]:
        """Carry ``job`` over all records of ``source`` and write every result to ``sink``, which the caller commits.

        Returns: the records that were set aside, in the order of the input.

        Shape: pairs reach the sink in partition order, within a partition in order of the key's first appearance.
        Calls: ``source``, ``sink`` and ``observe`` are only used in the calling thread.
        Raises: the user's own exception (with JobFailed as its cause), or JobFailed; no process is left behind.
        """
