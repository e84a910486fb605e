"""A job served from a thread, so that the test itself can do things to its workers meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mincemeat.engines.cluster import ClusterEngine
from mincemeat.model import Job, Snapshot, UserFunctions
from mincemeat.sinks.memory import MemorySink
from mincemeat.sources.base import as_source
from tests.kit.clusters import LOOPBACK
from tests.kit.gates import PATIENCE_SECONDS


class _Abandoned(Exception):
    """The test is over and the job is not."""


class ServedJob:
    """One job on a free loopback port. As a context manager it listens on entry and is ended on the way out.

    ``options`` are fields of Job. Snapshots come ten times a second.
    """

    def __init__(
        self,
        datasource: Any,
        mapfn: Any,
        reducefn: Any = None,
        collectfn: Any = None,
        *,
        password: str | bytes = "changeme",
        identity: Path | None = None,
        port: int = 0,
        workers: int = 0,
        split: int = 1,
        **options: Any,
    ) -> None:
        self._source = as_source(datasource)
        self._job = Job("job-of-a-test", UserFunctions(mapfn, reducefn, collectfn), **options)
        self._sink = MemorySink()
        self._engine = ClusterEngine(
            password=password,
            identity=identity,
            host=LOOPBACK,
            port=port,
            workers=workers,
            split=split,
            on_listening=self._listening,
        )
        self._changed = threading.Condition()
        self._snapshot = Snapshot(self._job.job_id)
        self._is_over = self._is_abandoned = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="served-job", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(lambda: self.port != 0 or self._is_over, "the server listens")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_abandoned = True
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the server did not come back"

    def wait_for(self, is_so: Callable[[Snapshot], bool], what: str) -> Snapshot:
        """The first snapshot for which ``is_so``. Raises: AssertionError if the job ends before, or nothing happens."""
        self._wait(lambda: is_so(self._snapshot) or self._is_over, what)
        assert is_so(self._snapshot), f"the job was over before {what}: {self._error or self._snapshot}"
        return self._snapshot

    def results(self) -> dict[Any, Any]:
        """Wait for the end. Raises: what the job raised."""
        self._wait(lambda: self._is_over, "the job ends")
        if self._error is not None:
            raise self._error
        return self._sink.results

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        with self._changed:
            happened = self._changed.wait_for(is_so, PATIENCE_SECONDS)
        assert happened, f"did not happen within {PATIENCE_SECONDS:g} s: {what}; the job stands at {self._snapshot}"

    # -- in the thread -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._engine.run(self._job, self._source, self._sink, self._observe)
        except BaseException as error:  # noqa: BLE001 - results() raises it in the test
            self._error = error
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _listening(self, port: int) -> None:
        with self._changed:
            self.port = port
            self._changed.notify_all()

    def _observe(self, snapshot: Snapshot) -> None:
        if self._is_abandoned:
            raise _Abandoned
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()
