"""The blocks that one reduce attempt reads: this worker's own where they lie, all others fetched.

Decides: what is fetched from whom, that a damaged copy is fetched a second time, and which map tasks are named when
blocks cannot be had. Does not know: which way a fetch takes, slots, what the server does about it.

A copy that turns out damaged was damaged on its way over this machine's memory and disk, for TLS lets nothing else
through, or was so where it came from. The second copy tells: if it is whole, nobody needs to know; if it is not, the
holder has to be told. An own output has no second copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from mincemeat import limits
from mincemeat.cluster.fetching import Fetcher, Holder, Unreachable
from mincemeat.errors import BlockCorrupt
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle.damage import is_damage
from mincemeat.shuffle.store import JobStore

log = logging.getLogger("mincemeat")


class Gathering:
    """What the reduce attempt that reduces ``partitions`` reads. ``inputs``: the coordinator's list, as of
    ``orders.decode_inputs``.

    Copies lie in ``directory``, which is the caller's to remove.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        store: JobStore,
        job: str,
        partitions: range,
        inputs: tuple[list[Holder], list[tuple[AttemptId, int]]],
        directory: Path,
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._job = job
        self._partitions = partitions
        self._directory = directory
        self._holders, self._outputs = inputs
        self._found: dict[int, list[Span]] = {}
        self._rounds = 0

    @property
    def spans(self) -> list[Span]:
        """All blocks, in map order, once they are gathered."""
        return list(chain.from_iterable(self._found[output.task.index] for output, _ in self._outputs))

    async def gather(self) -> None:
        """Have every block here. Raises: Unreachable; OSError where our own disk is at fault."""
        await self._find(range(len(self._outputs)))

    async def replace(self, places: Sequence[int], reason: str) -> None:
        """Have another copy of those ``spans``, by their places, that turned out damaged when they were read.

        Raises: Unreachable, naming them, if they are this worker's own or the second copy is damaged, too; or else as
        ``gather``.
        """
        damaged = self._outputs_of(places)
        ours = [number for number in damaged if self._holder_of(number).worker == self._fetcher.worker]
        culprits = damaged if self._rounds > 1 else ours
        if culprits:
            raise Unreachable(
                reason,
                holder=self._holder_of(culprits[0]).worker,
                maps=[self._outputs[number][0].task.index for number in culprits],
                damaged=True,
            )
        log.warning("copies of %d map outputs are damaged, and fetched once more: %s", len(damaged), reason)
        await self._find(damaged)

    def _holder_of(self, number: int) -> Holder:
        return self._holders[self._outputs[number][1]]

    def _outputs_of(self, places: Iterable[int]) -> list[int]:
        """Which outputs the spans at ``places`` are of, as numbers in ``_outputs``."""
        owners = [number for number, (output, _) in enumerate(self._outputs) for _ in self._found[output.task.index]]
        return sorted({owners[place] for place in places})

    async def _find(self, numbers: Iterable[int]) -> None:
        wanted: defaultdict[int, list[AttemptId]] = defaultdict(list)
        for number in numbers:
            output, position = self._outputs[number]
            wanted[position].append(output)
        self._rounds += 1
        results = await asyncio.gather(
            *(self._find_at(position, outputs) for position, outputs in wanted.items()), return_exceptions=True
        )
        for result in results:
            if result is not None:
                raise result

    async def _find_at(self, position: int, outputs: list[AttemptId]) -> None:
        holder = self._holders[position]
        if holder.worker == self._fetcher.worker:
            self._find_own(holder, outputs)
            return
        for start in range(0, len(outputs), limits.OUTPUTS_PER_FETCH_MAX):
            batch = outputs[start : start + limits.OUTPUTS_PER_FETCH_MAX]
            path = self._directory / f"{position}.{start}.{self._rounds}"
            sections = await self._fetcher.fetch(self._job, holder, batch, self._partitions, path)
            # An empty stretch is no span: the slot would be told to read nothing, and damage could not be told apart.
            self._found.update({index: [span] if span.length else [] for index, span in sections.items()})

    def _find_own(self, holder: Holder, outputs: list[AttemptId]) -> None:
        gone: list[int] = []
        reason: BaseException | None = None
        for output in outputs:
            try:
                self._found[output.task.index] = self._store.spans(output, self._partitions)
            except (OSError, BlockCorrupt) as error:
                if not is_damage(error):
                    raise
                gone.append(output.task.index)
                reason = error
        if reason is not None:
            raise Unreachable(str(reason), holder=holder.worker, maps=gone, damaged=True) from reason
