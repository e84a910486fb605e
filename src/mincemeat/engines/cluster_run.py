"""One job on one's own cluster: a coordinator in a thread, the user's objects in the calling thread.

Decides: what crosses between the two threads, and when a person hears that nobody has joined. The datasource, the sink
and the observer are the user's and often bound to a thread (a database connection, a notebook), so they are only
touched in the calling one; the coordinator's event loop never waits for them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mincemeat import usercode
from mincemeat.cluster.coordinator import Coordinator, JobEnded
from mincemeat.decoding.coding import PLAIN, Coding, DataCoding
from mincemeat.engines.base import OBSERVE_SECONDS, Observer
from mincemeat.engines.blame import job_error, raise_original
from mincemeat.engines.bookkeeping import Ledger, ResultDrain
from mincemeat.engines.preflight import Preflight
from mincemeat.engines.sampling import with_splitters_by_own_slot
from mincemeat.errors import JobFailed, MincemeatError, UserCodeError
from mincemeat.model import AttemptId, Job, MapReport
from mincemeat.scratch import ScratchDirectory, sweep_soon
from mincemeat.set_aside import RecordFailure, SetAside

if TYPE_CHECKING:
    from mincemeat.cluster.identity import Identity
    from mincemeat.cluster.local import LocalWorkers
    from mincemeat.engines.resuming import Resumable
    from mincemeat.scheduler.events import JobRestored
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

Request: TypeAlias = Callable[[Coordinator], None]

# How long a person should wonder before being told that nobody has joined.
_NOTICE_SECONDS = 2.0


def carry_out(
    job: Job,
    source: Source,
    sink: Sink,
    observe: Observer | None,
    *,
    secret: bytes,
    identity: Identity | None = None,
    host: str,
    port: int,
    split: int | None,
    open_doors: Callable[[int], Attendance],
    resumable: Resumable | None = None,
) -> tuple[RecordFailure, ...]:
    """Serve ``job`` on ``host``:``port`` until it is done, to whoever knows ``secret``, or the token of ``identity``.

    As ``Engine.run``. ``open_doors`` is called in this thread with the port that workers can join on. ``resumable``:
    its journal is kept, and what that knows already is not done again.
    """
    with ExitStack() as cleanup:  # every step of it is taken, also when Ctrl-C comes in the middle
        if resumable is None or resumable.is_new:
            job = with_splitters_by_own_slot(job, source)
            if resumable is not None:
                resumable.begin(job)
        else:
            job = resumable.job
        code = usercode.pack(job.functions)
        if resumable is None:
            scratch = Path(cleanup.enter_context(ScratchDirectory()))
        else:
            scratch = resumable.results_directory()
        coding: Coding = DataCoding(usercode.module_names(code)) if job.functions.as_data else PLAIN
        caller = _Caller(job, source, sink, split, coding, resumable=resumable)
        if resumable is None or resumable.is_new:
            # Workers may have what this machine has not, a package for example.
            caller.preflight = Preflight(job, is_everywhere=False)
            cleanup.callback(caller.preflight.close)
        journal = None if resumable is None else resumable.journal
        coordinator = Coordinator(job, code, secret, scratch, caller, identity=identity, journal=journal)
        thread = _CoordinatorThread(coordinator, host, port)
        cleanup.callback(thread.stop)
        sweep_soon()
        try:
            if resumable is None:
                port = thread.start()
            else:
                with resumable.collector_off():
                    port = thread.start(caller.go_on())
            caller.until_done(thread.coordinator, observe, open_doors(port))
            return caller.failures()
        except UserCodeError as error:  # the datasource, which runs in this thread
            raise_original(error)


class Attendance:
    """Sees to it that nobody waits in silence for workers that do not come.

    ``is_local``: no others than ``local`` were invited, so that there is nobody to wait for when they have ended.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        tell_how_to_join: Callable[[], None] | None,
        local: LocalWorkers,
        *,
        is_local: bool = False,
    ) -> None:
        self._tell = tell
        self._tell_how_to_join = tell_how_to_join
        self._local: LocalWorkers | None = local
        self._is_local = is_local
        self._notice_at = time.monotonic() + _NOTICE_SECONDS

    def check(self, workers: int) -> None:
        """Raises: JobFailed when nobody is there and nobody will come."""
        if self._tell_how_to_join is not None and time.monotonic() >= self._notice_at:
            if not workers:
                self._tell_how_to_join()
            self._tell_how_to_join = None
        ended = "" if workers or self._local is None else self._local.describe_end()
        if ended:
            self._local = None
            if self._is_local:
                raise JobFailed(f"{ended}, and no others can join without a password. The job stops.")
            self._tell(f"{ended}; waiting for others")


class _CoordinatorThread:
    """Runs the coordinator's event loop beside the caller."""

    def __init__(self, coordinator: Coordinator, host: str, port: int) -> None:
        self.coordinator = coordinator
        self._host, self._port = host, port
        self._restored: JobRestored | None = None
        self._thread: threading.Thread | None = None
        self._listening: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()

    def start(self, restored: JobRestored | None = None) -> int:
        """Start listening; the port. ``restored`` as for ``Coordinator.start``. Raises: PortInUse, OSError."""
        self._restored = restored
        self._thread = threading.Thread(target=self._main, name="mincemeat-coordinator", daemon=True)
        self._thread.start()
        answer = self._listening.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def stop(self) -> None:
        """Say good-bye to the workers, close everything and wait for the thread."""
        if self._thread is None or self._thread.ident is None:  # not begun
            return
        self.coordinator.stop()
        self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller, wherever it waits
            self._listening.put(error)
            self.coordinator.crashed(error)

    async def _serve(self) -> None:
        restored, self._restored = self._restored, None  # it is large, and told once
        port = await self.coordinator.start(self._host, self._port, restored)
        del restored
        self._listening.put(port)
        await self.coordinator.serve_until_stopped()


class Requests(Protocol):
    """What the coordinator asked for and the caller has not seen to yet: a ``queue.SimpleQueue``."""

    def put(self, request: Request, /) -> None: ...
    def get(self, *, timeout: float) -> Request: ...


class _Caller:
    """The calling thread's side: it carries out, one after the other, what the coordinator asks of it.

    The coordinator's thread only ever puts things into the queue.
    """

    def __init__(
        self,
        job: Job,
        source: Source,
        sink: Sink,
        split: int | None,
        coding: Coding = PLAIN,
        *,
        resumable: Resumable | None = None,
        requests: Requests | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._ledger = Ledger(job, source, split, clock=clock)
        self._resumable = resumable
        self._coding = coding
        self._drain = ResultDrain(
            sink,
            keep=resumable is not None,
            hold=job.on_nondeterminism == "restart",
            coding=coding,
            takes_parts=bool(job.functions.output),
        )
        self._set_aside = SetAside(coding)
        self._requests: Requests = queue.SimpleQueue() if requests is None else requests
        self._clock = clock
        self._ended: JobEnded | None = None
        self.preflight: Preflight | None = None

    # -- called in the coordinator's thread --------------------------------------------------------------

    def want_split(self) -> None:
        self._requests.put(self._pull)

    def want_payloads(self, splits: range, deliver: Callable[[list[bytes]], None]) -> None:
        """``deliver`` is called in the coordinator's thread."""
        self._requests.put(lambda coordinator: coordinator.post(deliver, list(map(self._source.payload, splits))))

    def data_chunks(self, index: int) -> Iterator[bytes]:
        """The split with its data. Raises: MincemeatError if the datasource is the user's and bound to its thread."""
        if not self._source.is_readable_in_any_thread:
            raise MincemeatError("the split holds its data already")
        return self._source.data_chunks(index)

    def map_done(self, splits: range, report: MapReport) -> None:
        self._requests.put(lambda _: self._ledger.map_done(splits, report))

    def reduce_done(self, index: int, path: Path) -> None:
        self._requests.put(lambda _: self._take_result(index, path))

    def reduce_undone(self, index: int) -> None:
        self._requests.put(lambda _: self._drain.take_back(index))

    def set_aside(self, attempt: AttemptId, report: str, worker: str) -> None:
        self._requests.put(lambda _: self._set_aside.committed(attempt, report, worker))

    def job_ended(self, ended: JobEnded) -> None:
        self._requests.put(lambda _: self._end(ended))

    # -- the calling thread ------------------------------------------------------------------------------

    def failures(self) -> tuple[RecordFailure, ...]:
        return self._set_aside.failures()

    def go_on(self) -> JobRestored | None:
        """What the scheduler should know of an earlier life of the job, if there was one.

        Raises: InvalidJob if the datasource is not what it was; what it raises.
        """
        resumable = self._resumable
        if resumable is None or resumable.is_new:
            return None
        resumable.cut_again(self._ledger)
        for attempt, path in resumable.results:
            self._drain.add(attempt.task.index, path)
        resumable.tell_set_aside(self._set_aside, named=True)
        return resumable.restored(resumable.map_commits())

    def until_done(self, coordinator: Coordinator, observe: Observer | None, attendance: Attendance) -> None:
        """Serve the coordinator until the job has ended. Raises what the job failed with."""
        self.begin(coordinator)
        observe_at = self._clock()
        while not self.has_ended:
            try:
                self.serve(coordinator, timeout=OBSERVE_SECONDS)
            except queue.Empty:
                pass
            if self.preflight is not None:
                self.preflight.check()
            now = self._clock()
            attendance.check(coordinator.counts().workers)
            if observe is not None and now >= observe_at:
                observe(self._ledger.snapshot(coordinator.counts()))
                observe_at = now + OBSERVE_SECONDS
        self.check_end(coordinator)
        if observe is not None:
            observe(self._ledger.snapshot(coordinator.counts()))

    def begin(self, coordinator: Coordinator) -> None:
        if self._resumable is None or self._resumable.is_new:
            self._pull(coordinator)  # an empty datasource needs no worker to be found empty
        self._drain.drain()

    def serve(self, coordinator: Coordinator, *, timeout: float) -> None:
        """See to one request. Raises: queue.Empty if there is none for so long, and what the user's objects raise."""
        self._requests.get(timeout=timeout)(coordinator)

    @property
    def has_ended(self) -> bool:
        return self._ended is not None

    def check_end(self, coordinator: Coordinator) -> None:
        """Raises what the job failed with, if it did."""
        ended = self._ended
        assert ended is not None, "the job goes on"
        if ended.error is not None:
            raise ended.error
        if ended.failure is not None:
            counts = coordinator.counts()
            raise job_error(ended.failure, ended.task, ended.attempt, ended.attempts, counts, self._coding)
        self._drain.release()
        self._drain.drain()

    def _pull(self, coordinator: Coordinator) -> None:
        splits = self._ledger.pull(coordinator.counts().slots)
        if splits is not None and self.preflight is not None:
            self.preflight.see(splits, self._source)
        if splits is None:
            coordinator.post(coordinator.input_exhausted)
        else:
            group = None if self._resumable is None else self._ledger.group_of(splits)
            coordinator.post(coordinator.splits_produced, splits, list(map(self._source.payload, splits)), group)

    def _take_result(self, index: int, path: Path) -> None:
        self._drain.add(index, str(path))
        self._drain.drain()

    def _end(self, ended: JobEnded) -> None:
        self._ended = ended
