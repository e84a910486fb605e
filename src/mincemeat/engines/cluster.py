"""The engine of one's own cluster.

Decides: the password where none is given, which workers are started beside, and what a person reads who is to start
others. Does not know: how the job is carried out (cluster_run.py), which is imported when the job begins.
"""

from __future__ import annotations

import os
import secrets
import socket
import string
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from mincemeat.cluster.local import LocalWorkers
from mincemeat.engines.base import Engine, Observer
from mincemeat.engines.processes import available_cores
from mincemeat.interpreters import typed
from mincemeat.wire.handshake import normalise_password

if TYPE_CHECKING:
    from mincemeat.cluster.identity import Identity
    from mincemeat.engines.cluster_run import Attendance
    from mincemeat.engines.resuming import Resumable
    from mincemeat.model import Job, UserFunctions
    from mincemeat.set_aside import RecordFailure
    from mincemeat.sinks.base import Sink
    from mincemeat.sources.base import Source

_LETTERS = string.ascii_letters + string.digits


class ClusterEngine(Engine):
    """Serves the job on one port to the workers that know the password.

    Args:
        password: str or bytes; empty: one is generated and the command to join is printed on standard error.
        identity: file of the server's identity (``mincemeat token``); workers then join by its token, which is printed.
            Without a password nothing else lets them in.
        host: address to listen on, "" for all; port: 0 for a free one.
        workers: local workers to start beside, each with one slot.
        split: records per split of a dict-like datasource; default: adaptive.
        journal: the file from which the job goes on if this process dies; workers that live dial again by themselves.
        trust_workers: what workers send may run code here and in each other's slots, as pickles can.
        on_listening: called in the calling thread with the port, once workers can join.
    """

    name = "cluster"

    def __init__(
        self,
        *,
        password: str | bytes = "",
        identity: str | os.PathLike[str] | None = None,
        host: str = "",
        port: int = 0,
        workers: int = 0,
        split: int | None = None,
        journal: str | os.PathLike[str] | None = None,
        trust_workers: bool = False,
        on_listening: Callable[[int], None] | None = None,
    ) -> None:
        # Letters and digits only: it is pasted into shells. 95 bits.
        self._generated = "" if password else "".join(secrets.choice(_LETTERS) for _ in range(16))
        self._secret = normalise_password(password or self._generated)
        self._identity: Identity | None = None
        if identity is not None:
            from mincemeat.cluster.identity import read_identity

            self._identity = read_identity(os.fspath(identity))
        self._host = host
        self._port = port
        self._workers = workers
        # Other machines are taken to be like this one: nothing is known of them when the job begins.
        self.local_slots = max(workers, available_cores())
        self._split = split
        self._journal = journal
        self._trust_workers = trust_workers
        self._resumable: Resumable | None = None
        self._on_listening = on_listening

    def close(self) -> None:
        if self._resumable is not None:
            self._resumable.close()
            self._resumable = None

    def results_are_safe(self) -> None:
        if self._resumable is not None:
            self._resumable.journal.remove()

    def run(self, job: Job, source: Source, sink: Sink, observe: Observer | None = None) -> tuple[RecordFailure, ...]:
        local = LocalWorkers()
        if not self._trust_workers:
            job = job._replace(functions=_as_data(job.functions))
        try:
            local.start(self._workers)
            # Only now: asyncio, TLS and all that load while the workers boot.
            from mincemeat.engines.cluster_run import Attendance, carry_out

            if self._journal is not None:
                from mincemeat.engines.resuming import Resumable

                self._resumable = Resumable.open(self._journal, job, source, sink, self._split)
                if self._generated:
                    # Workers of the server before this one come back with the password that they have.
                    self._generated = self._resumable.password(self._generated)
                    self._secret = normalise_password(self._generated)

            def open_doors(port: int) -> Attendance:
                """Let workers join, those that were started for it first, and say how others can."""
                if self._on_listening is not None:
                    self._on_listening(port)
                keep_in = "" if self._resumable is None else self._resumable.workers_directory()
                local.introduce(self._host or "127.0.0.1", port, self._secret, keep_in)
                if self._generated and not self._workers:
                    self._tell_how_to_join(port)
                    return Attendance(_tell, None, local)
                return Attendance(_tell, lambda: self._tell_how_to_join(port), local, is_local=bool(self._generated))

            return carry_out(
                job,
                source,
                sink,
                observe,
                secret=self._secret,
                identity=self._identity,
                host=self._host,
                port=self._port,
                split=self._split,
                resumable=self._resumable,
                open_doors=open_doors,
            )
        finally:
            local.stop()

    def _tell_how_to_join(self, port: int) -> None:
        # Every interface has no name that a worker could dial.
        host = socket.gethostname() if self._host in ("", "0.0.0.0", "::") else self._host
        if self._identity is not None:
            # Rather than a password: it tells them which server they join.
            proof = f"--token {self._identity.token.text()}"
        else:
            proof = f"-p {self._generated or 'PASSWORD'}"
        _tell(
            f"waiting for workers on port {port}. Start as many as you like, here or on other computers:\n"
            f"  {typed('python -m mincemeat')} {proof} -P {port} {host}"
        )


def _as_data(functions: UserFunctions) -> UserFunctions:
    # Threat: a part in pickles that a worker wrote, which the user's own tools read. So this process writes them.
    # Test: test_pickled_output_is_written_by_the_caller.
    is_pickled = functions.output.rstrip("/") == "pickle"
    return functions._replace(as_data=True, output="" if is_pickled else functions.output)


def _tell(sentence: str) -> None:
    """Say it to the person who started this process, if there is one. Not to a log: it may hold a password."""
    if sys.stderr is not None:
        sys.stderr.write(f"mincemeat: {sentence}\n")
        sys.stderr.flush()
