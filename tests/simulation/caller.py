"""The caller's side, which in the program is a thread of its own, as one more thing that the loop does.

Decides: when the caller sees to the next request. What it then does is ``_Caller``'s, the real one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from mincemeat.cluster.coordinator import Coordinator
from mincemeat.engines.cluster_run import Request, _Caller
from mincemeat.engines.resuming import Resumable
from mincemeat.model import Job, Pair
from mincemeat.sinks.base import Sink
from mincemeat.sources.mapping import MappingSource
from tests.simulation.loop import Process, VirtualLoop


class CountingSink(Sink):
    """A dict, and how often each key came."""

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}
        self.times: Counter[Any] = Counter()
        self.is_committed = False

    def write(self, pairs: Iterable[Pair]) -> None:
        for key, value in pairs:
            self.results[key] = value
            self.times[key] += 1

    def commit(self) -> None:
        self.is_committed = True

    def abort(self) -> None:
        self.results.clear()


class Requests:
    """What the coordinator asked for. Each wakes the caller, who takes a while."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.waiting: deque[Request] = deque()
        self._wake = wake

    def put(self, request: Request, /) -> None:
        self.waiting.append(request)
        self._wake()

    def get(self, *, timeout: float) -> Request:
        del timeout
        return self.waiting.popleft()


class SimCaller:
    """One job's caller, in the process of its coordinator.

    ``outcome``: None while the job goes on; then a tuple of its error, or of None.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        process: Process,
        job: Job,
        records: dict[int, Any],
        split: int | None,
        pauses: Callable[[], float],
        resumable: Resumable | None = None,
    ) -> None:
        self._loop = loop
        self._process = process
        self._pauses = pauses
        self._requests = Requests(self._wake)
        self._is_awake = False
        self.sink = CountingSink()
        self.source = MappingSource(records)
        self.caller = _Caller(
            job, self.source, self.sink, split, resumable=resumable, requests=self._requests, clock=loop.time
        )
        self.coordinator: Coordinator | None = None
        self.outcome: tuple[BaseException | None] | None = None

    def begin(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.caller.begin(coordinator)

    def _wake(self) -> None:
        if not self._is_awake and self.outcome is None:
            self._is_awake = True
            self._loop.call_later(self._pauses(), self._serve, context=self._process.context)

    def _serve(self) -> None:
        self._is_awake = False
        coordinator = self.coordinator
        assert coordinator is not None
        try:
            self.caller.serve(coordinator, timeout=0.0)
            if self.caller.has_ended:
                self.caller.check_end(coordinator)
                self.sink.commit()
                self._end(None)
        except Exception as error:  # noqa: BLE001 - the job's end, whatever it is
            self._end(error)
        if self._requests.waiting:
            self._wake()

    def _end(self, error: BaseException | None) -> None:
        assert self.coordinator is not None
        self.outcome = (error,)
        self.coordinator.stop()
