"""The face: ``run``, ``Server``, ``Client``.

Decides: which words a user may say and what they mean as a Job. Does not know: how any engine carries it out.
Engines are imported when a job asks for them: a local job should not wait for the network's modules to load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mincemeat import limits
from mincemeat.arguments import (
    check_limits_are_kept,
    checked_bool,
    checked_callback,
    checked_functions,
    checked_int,
    checked_journal,
    checked_max_skipped,
    checked_on_error,
    checked_on_nondeterminism,
    checked_sandbox,
    checked_slot_limits,
    checked_timeout,
)
from mincemeat.errors import InvalidJob, JobFailed
from mincemeat.limits import DEFAULT_PORT
from mincemeat.memory import memory_bytes as slot_memory_bytes
from mincemeat.model import (
    Job,
    MapFunction,
    PartitionFunction,
    ReduceFunction,
    SlotLimits,
    Snapshot,
    UserFunctions,
)

if TYPE_CHECKING:
    from mincemeat.engines.base import Engine
    from mincemeat.set_aside import RecordFailure
    from mincemeat.sinks.base import Sink
    from mincemeat.sinks.memory import MemorySink, ResultDict
    from mincemeat.sinks.output import OutputSink
    from mincemeat.sources.base import Source

Password = str | bytes
KeepFailures = Callable[["tuple[RecordFailure, ...]", "Source"], None]
SortValues = bool | Callable[[Any], Any] | None


def run(
    datasource: Any,
    mapfn: MapFunction | None = None,
    reducefn: ReduceFunction | None = None,
    *,
    collectfn: ReduceFunction | None = None,
    partitionfn: PartitionFunction | None = None,
    sort: bool = False,
    sort_values: SortValues = None,
    engine: str = "processes",
    workers: int | None = None,
    split: int | None = None,
    partitions: int = limits.PARTITIONS,
    max_attempts: int | None = None,
    task_timeout: float | None = None,
    backups: bool | None = None,
    on_error: str = "raise",
    max_skipped: int | None = limits.MAX_SKIPPED,
    preflight: bool = True,
    on_nondeterminism: str | None = None,
    memory: int | str | None = None,
    slot_memory: int | str | None = None,
    slot_cpu: int | None = None,
    output: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] | None = None,
    password: Password = "",
    identity: str | os.PathLike[str] | None = None,
    host: str | None = None,
    port: int | None = None,
    trust_workers: bool | None = None,
    progress: bool | None = None,
) -> ResultDict | Any:  # the latter a Results, if there is an output
    """Map and reduce ``datasource`` and return the results.

    Args:
        datasource: any dict-like object (only ``iter(ds)`` and ``ds[key]`` are used, lazily), a list or tuple (its
            records are ``(index, element)``), or a source such as ``mincemeat.lines("logs/*.gz")``.
        mapfn: ``mapfn(key, value)`` gives an iterable of ``(key, value)`` pairs; default: the record itself.
        reducefn: ``reducefn(key, values)`` gives the key's result; ``values`` is a list in input order, or a read-only
            sequence if a list of them would exceed ``memory``; default: the list itself.
        collectfn: ``collectfn(key, values)`` combines values of one key early, on the worker; its result is one value.
        partitionfn: ``partitionfn(key)`` gives an int for keys of types that have no portable hash of their own.
        sort: results in the order of their keys, which must be comparable with each other; the whole dict, with
            ``partitionfn`` each partition by itself. ``mapfn`` is tried on a few records before the job starts.
        sort_values: True: ``values`` are in order when ``reducefn`` gets them, instead of in input order; a function:
            in the order of what it gives for each value, as of ``list.sort(key=...)``.
        engine: ``"processes"`` (child processes here), ``"inline"`` (this process, for pdb) or ``"cluster"`` (workers
            that join over the network; see Server).
        workers: processes on this machine; default: the cores there are, for the cluster none.
        split: records per map task; default: as many as make about 0.2 seconds of work.
        partitions: how finely keys are dealt out for reducing.
        max_attempts: a task that failed this often fails the job; default: 4.
        task_timeout: seconds that one attempt may take; default: as long as it wants.
        backups: idle slots of the cluster repeat an attempt that takes far longer than others, and the first to end
            counts; default: True. The other engines know only False.
        on_error: ``"raise"``: a record on which a function fails, in all attempts, fails the job; ``"skip"``: records
            on which ``mapfn`` fails, and keys on which ``reducefn`` does, are set aside and listed in ``failures`` of
            what comes back. Nothing that such a record emitted counts.
        max_skipped: more of them fail the job; None: any number may be set aside, 0: none.
        preflight: functions that cannot be called with their arguments are refused before anything starts. If the job
            lasts longer than half a second, a process on this machine takes a few records through all functions, and
            a name or module that is missing in one of them for all of these fails the job then.
        on_nondeterminism: of a map output that was lost, is made again, and differs from what was reduced already:
            ``"raise"``: the job fails; ``"restart"``: what has changed is reduced again, for which results are held
            back until the end; ``"ignore"``. Default: ``"raise"`` on a cluster, else ``"ignore"``.
        memory: about how many bytes of keys and values one slot holds, as a number or as text such as ``"256MB"``;
            what is more goes to disk. Default: a share of this machine's memory, at most 256 MiB.
        slot_memory: how many bytes one slot may have in all, as a number or text; a function that asks for more gets
            a MemoryError. Default: as many as there are.
        slot_cpu: seconds of processor time that one attempt may use, whole ones; then it is ended. Default: any.
        output: the file that results are written to, as its ending says: .jsonl, .csv, .tsv, .txt, .sqlite, .db,
            .pickle, .pkl or .parquet; with a slash at its end a directory of such files. Whole or not at all.
        journal: a file in which it is written down what is done. If this process dies, the same call goes on from
            there; when the results are there, it is removed. Beside it is a directory of what has to be kept meanwhile.
        password, identity, host, port: for the cluster engine, as in ``Server.run_server``.
        trust_workers: for the cluster engine. False, the default: keys, values and results must be data (plain types,
            the usual classes of the standard library, NumPy's arrays, pandas' frames, classes of the job's own
            modules), and what a worker sends cannot be anything else. True: whatever can be pickled, which lets a
            worker that lies run code in this process and in other workers' slots.
        progress: draw a progress line on standard error; default: if that is a terminal.

    Shape: a dict, each key once; in the order of the keys if ``sort``, else in none. It has an attribute ``failures``,
        a tuple of the records that were set aside, empty unless ``on_error="skip"``. With ``output`` a
        ``mincemeat.sinks.Results`` instead: a mapping that reads the files when it is asked.
    Raises: InvalidJob for arguments that cannot be meant; the user's own exception, caused by JobFailed, when a
        function failed in all attempts; JobFailed when its process was lost instead.
    """
    made = make_engine(
        engine,
        workers=workers,
        split=split,
        max_attempts=max_attempts,
        task_timeout=task_timeout,
        backups=backups,
        on_nondeterminism=on_nondeterminism,
        slot_memory=slot_memory,
        slot_cpu=slot_cpu,
        journal=journal,
        password=password,
        identity=identity,
        host=host,
        port=port,
        trust_workers=trust_workers,
    )
    # Last, because it may already make a file.
    sink = _sink(output)
    ended = run_job(
        datasource,
        UserFunctions(
            mapfn=mapfn,
            reducefn=reducefn,
            collectfn=collectfn,
            partitionfn=partitionfn,
            sort=sort,
            sort_values=False if sort_values is None else sort_values,
        ),
        sink,
        made,
        partitions=partitions,
        max_attempts=max_attempts,
        task_timeout=task_timeout,
        backups=backups,
        on_error=on_error,
        max_skipped=max_skipped,
        preflight=preflight,
        on_nondeterminism=on_nondeterminism,
        memory=memory,
        slot_memory=slot_memory,
        slot_cpu=slot_cpu,
        progress=progress,
    )
    return _with_failures(sink, ended)


class JobEnd(NamedTuple):
    """How a job ended well: the last snapshot, if one was taken, and the records that were set aside."""

    snapshot: Snapshot | None
    failures: tuple[RecordFailure, ...]


def run_job(
    datasource: Any,
    functions: UserFunctions,
    sink: Sink,
    engine: Engine,
    *,
    partitions: int = limits.PARTITIONS,
    max_attempts: int | None = None,
    task_timeout: float | None = None,
    backups: bool | None = None,
    on_error: str = "raise",
    max_skipped: int | None = limits.MAX_SKIPPED,
    preflight: bool = True,
    on_nondeterminism: str | None = None,
    memory: int | str | None = None,
    slot_memory: int | str | None = None,
    slot_cpu: int | None = None,
    progress: bool | None = None,
    keep_failures: KeepFailures | None = None,
) -> JobEnd:
    """Carry one job from ``datasource`` to ``sink`` and commit that.

    The sink is aborted when the job fails, so that nothing half-written is left. ``keep_failures`` is called while the
    source is still open: with the records that were set aside, if there are any, or the one that failed the job.
    """
    with sink:  # aborted by whatever is raised
        if progress is not None:
            checked_bool("progress", progress)
        skips = checked_on_error(on_error, max_attempts)
        slot_limits = checked_slot_limits(slot_memory, slot_cpu)
        memory_bytes = _budget(memory, engine, slot_limits)
        job = Job(
            job_id=os.urandom(6).hex(),  # not secrets: it takes 20 ms to import
            functions=checked_functions(functions, preflight)._replace(output=sink.form),
            partitions=checked_int("partitions", partitions, 1, limits.PARTITIONS_MAX),
            max_attempts=checked_int(
                "max_attempts", limits.MAX_ATTEMPTS if max_attempts is None else max_attempts, 1, 1000
            ),
            task_timeout_seconds=checked_timeout(task_timeout),
            backups=checked_bool("backups", True if backups is None else backups),
            skips=skips,
            preflight=checked_bool("preflight", preflight),
            max_skipped=checked_max_skipped(max_skipped, skips),
            on_nondeterminism=checked_on_nondeterminism(on_nondeterminism),
            memory_bytes=memory_bytes,
            slot_limits=slot_limits,
            reduce_task_bytes=min(
                limits.REDUCE_TASK_BYTES, max(1, int(memory_bytes * limits.REDUCE_TASK_MEMORY_SHARE))
            ),
        )
        try:
            sink.prepare(job)
            engine.warm_up()
            from mincemeat.engines.blame import is_remote
            from mincemeat.progress import progress_line
            from mincemeat.sources.base import as_source

            source = as_source(datasource)
            try:
                if sink.target and source.reads(sink.target):
                    raise InvalidJob(f"{sink.target!r} is an input of this job; name another file for the results")
                with progress_line(progress) as line:
                    failures = engine.run(job, source, sink, line.observe)
                if failures and keep_failures is not None:
                    keep_failures(failures, source)
            except Exception as error:
                if keep_failures is not None and (culprit := _culprit(error)) is not None:
                    keep_failures((culprit,), source)
                if is_remote(error):
                    # Where we learned of it would bury where it happened.
                    raise error.with_traceback(None)  # noqa: B904 - it is the same exception
                raise
            finally:
                source.close()
            sink.commit()
            engine.results_are_safe()
        finally:
            engine.close()
    return JobEnd(line.last, failures)


def _budget(memory: int | str | None, engine: Engine, slot_limits: SlotLimits) -> int:
    """Of a slot's group buffer. Raises: InvalidJob if ``memory`` asks for more than the slot's memory bears."""
    asked = slot_memory_bytes(memory, engine.local_slots)
    budget = slot_limits.budget(asked)
    if memory is not None and budget < asked:
        raise InvalidJob(
            "memory is a plan for the data in a slot, and slot_memory all that the slot may have: of "
            f"{slot_limits.memory_bytes:,} bytes the plan can be {budget:,}, not {asked:,}"
        )
    return budget


def _culprit(error: Exception) -> RecordFailure | None:
    """The record that failed the job with ``error``, if it was one."""
    story = error if isinstance(error, JobFailed) else error.__cause__
    if not isinstance(story, JobFailed) or story.record < 0 or story.function not in ("mapfn", "reducefn"):
        return None
    from mincemeat.set_aside import failure_of_story

    return failure_of_story(story)


def _with_failures(sink: MemorySink | OutputSink, ended: JobEnd) -> Any:
    results = sink.results
    results.failures = ended.failures
    return results


def make_engine(
    name: str,
    *,
    workers: int | None = None,
    split: int | None = None,
    max_attempts: int | None = None,
    task_timeout: float | None = None,
    backups: bool | None = None,
    on_nondeterminism: str | None = None,
    slot_memory: int | str | None = None,
    slot_cpu: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    password: Password = "",
    identity: str | os.PathLike[str] | None = None,
    host: str | None = None,
    port: int | None = None,
    trust_workers: bool | None = None,
) -> Engine:
    """The engine called ``name``, with those of the options that it honours; it refuses the others by name."""
    if workers is not None:
        checked_int("workers", workers, 0 if name == "cluster" else 1, 4096)
    if split is not None:
        checked_int("split", split, 1, 2**31)
    # Without backups is how the others carry jobs out. On one machine what makes an attempt slow is nearly always its
    # record, or what all slots share: a second one beside it would only take memory and cores from the others.
    network = {"password": password or None, "identity": identity, "host": host, "port": port}
    # trust_workers: their workers are children of this process.
    others_cannot = {"backups": backups or None, "trust_workers": trust_workers, **network}
    if name == "inline":
        # Nothing is carried out a second time there, so nothing can differ.
        noticing = None if checked_on_nondeterminism(on_nondeterminism) == "ignore" else on_nondeterminism
        retries = {"max_attempts": max_attempts, "task_timeout": task_timeout, "on_nondeterminism": noticing}
        slots = {"workers": workers if workers != 1 else None, "slot_memory": slot_memory, "slot_cpu": slot_cpu}
        _refuse(name, {**slots, "journal": journal, **retries, **others_cannot})
        from mincemeat.engines.inline import InlineEngine

        return InlineEngine(split)
    if name == "processes":
        _refuse(name, others_cannot)
        check_limits_are_kept(checked_slot_limits(slot_memory, slot_cpu))
        from mincemeat.engines.processes import ProcessesEngine

        return ProcessesEngine(workers, split, journal=checked_journal(journal))
    if name == "cluster":
        from mincemeat.engines.cluster import ClusterEngine

        return ClusterEngine(
            password=password,
            identity=identity,
            host=host or "",
            port=DEFAULT_PORT if port is None else checked_int("port", port, 0, 65535),
            workers=workers or 0,
            split=split,
            journal=checked_journal(journal),
            trust_workers=checked_bool("trust_workers", False if trust_workers is None else trust_workers),
        )
    raise InvalidJob(f"there is no engine {name!r}; choose one of 'inline', 'processes', 'cluster'")


class Server:
    """The coordinator of a cluster, with the face of the original mincemeat.

    Set the attributes one by one or as keyword arguments, call ``run_server``, and start workers anywhere::

        python -m mincemeat -p changeme HOST

    The same Server may be given a new datasource and run again; workers started with ``--forever`` wait for it.
    ``on_listening`` is called with the port once workers can join, which tells a free port chosen by ``port=0``.
    """

    def __init__(
        self,
        datasource: Any = None,
        mapfn: MapFunction | None = None,
        reducefn: ReduceFunction | None = None,
        collectfn: ReduceFunction | None = None,
        *,
        partitionfn: PartitionFunction | None = None,
        sort: bool = False,
        sort_values: SortValues = None,
        split: int | None = None,
        partitions: int = limits.PARTITIONS,
        max_attempts: int | None = None,
        task_timeout: float | None = None,
        backups: bool | None = None,
        on_error: str = "raise",
        max_skipped: int | None = limits.MAX_SKIPPED,
        preflight: bool = True,
        on_nondeterminism: str | None = None,
        memory: int | str | None = None,
        slot_memory: int | str | None = None,
        slot_cpu: int | None = None,
        output: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        trust_workers: bool = False,
        progress: bool | None = None,
        on_listening: Callable[[int], None] | None = None,
    ) -> None:
        self.datasource = datasource
        self.mapfn = mapfn
        self.reducefn = reducefn
        self.collectfn = collectfn
        self.partitionfn = partitionfn
        self.sort = sort
        self.sort_values = sort_values
        self.split = split
        self.partitions = partitions
        self.max_attempts = max_attempts
        self.task_timeout = task_timeout
        self.backups = backups
        self.on_error = on_error
        self.max_skipped = max_skipped
        self.preflight = preflight
        self.on_nondeterminism = on_nondeterminism
        self.memory = memory
        self.slot_memory = slot_memory
        self.slot_cpu = slot_cpu
        self.output = output
        self.journal = journal
        self.trust_workers = trust_workers
        self.progress = progress
        self.on_listening = on_listening

    def run_server(
        self,
        password: Password = "",
        port: int = DEFAULT_PORT,
        *,
        host: str = "",
        workers: int = 0,
        identity: str | os.PathLike[str] | None = None,
    ) -> ResultDict | Any:  # the latter a Results, if there is an output
        """Serve the job to whoever knows the password; return the results as soon as they are there.

        Args:
            password: both ends prove it; without one, a password is generated and the command to join is printed.
            port: to listen on; 0 takes a free one.
            host: the address to listen on; default: every interface.
            workers: so many local workers are started beside the server and end with it.
            identity: the file of an identity that outlasts the run (``mincemeat token`` makes one), whose token lets
                workers in, too, and tells them that this is their server.

        Raises: what ``run`` raises; PortInUse when another program has the port.
        """
        from mincemeat.engines.cluster import ClusterEngine

        checked_int("workers", workers, 0, 4096)
        engine = ClusterEngine(
            password=password,
            identity=identity,
            host=host,
            port=checked_int("port", port, 0, 65535),
            workers=workers,
            split=None if self.split is None else checked_int("split", self.split, 1, 2**31),
            journal=checked_journal(self.journal),
            trust_workers=checked_bool("trust_workers", self.trust_workers),
            on_listening=checked_callback("on_listening", self.on_listening),
        )
        sink = _sink(self.output)
        ended = run_job(
            self.datasource,
            UserFunctions(
                mapfn=self.mapfn,
                reducefn=self.reducefn,
                collectfn=self.collectfn,
                partitionfn=self.partitionfn,
                sort=self.sort,
                sort_values=False if self.sort_values is None else self.sort_values,
            ),
            sink,
            engine,
            partitions=self.partitions,
            max_attempts=self.max_attempts,
            task_timeout=self.task_timeout,
            backups=self.backups,
            on_error=self.on_error,
            max_skipped=self.max_skipped,
            preflight=self.preflight,
            on_nondeterminism=self.on_nondeterminism,
            memory=self.memory,
            slot_memory=self.slot_memory,
            slot_cpu=self.slot_cpu,
            progress=self.progress,
        )
        return _with_failures(sink, ended)


class Client:
    """A worker, with the face of the original mincemeat: set ``password`` (or a join token), call ``conn``."""

    def __init__(
        self,
        password: Password = "",
        *,
        slots: int = 1,
        wait: float = limits.WAIT_SECONDS,
        sandbox: bool | str = False,
        sandbox_read: Sequence[str | os.PathLike[str]] = (),
        slot_memory: int | str | None = None,
        slot_cpu: int | None = None,
    ) -> None:
        """``sandbox``: True, or "strict", keeps jobs from files, network and other processes, except for reading what
        ``sandbox_read`` lists; docs/sandbox.md. ``slot_memory``, ``slot_cpu``: as of ``run``, whatever the job allows.
        """
        self.password = password
        self.slots = slots
        self.wait = wait
        self.forever = False
        self.sandbox = sandbox
        self.sandbox_read = sandbox_read
        self.slot_memory = slot_memory
        self.slot_cpu = slot_cpu

    def conn(self, server: str, port: int = DEFAULT_PORT) -> None:
        """Join the server at ``server``:``port``, work until its job is done, and return.

        Raises: ConnectionFailed when no server was there for ``wait`` seconds; AuthenticationError when the password
            is refused; JoinRefused when the server does not want this worker (another Python version);
            SandboxIncomplete when the sandbox is to be strict and this system cannot.
        """
        sandbox = checked_sandbox(self.sandbox, self.sandbox_read)
        slot_limits = checked_slot_limits(self.slot_memory, self.slot_cpu)
        check_limits_are_kept(slot_limits)
        from mincemeat.cluster.worker import serve

        serve(
            server,
            port,
            self.password,
            slots=self.slots,
            wait_seconds=self.wait,
            forever=self.forever,
            sandbox=sandbox,
            slot_limits=slot_limits,
        )


def _sink(output: str | os.PathLike[str] | None) -> MemorySink | OutputSink:
    if output is None:
        from mincemeat.sinks.memory import MemorySink

        return MemorySink()
    from mincemeat.sinks.base import sink_for_path

    return sink_for_path(output)


def _refuse(engine: str, options: dict[str, Any]) -> None:
    for option, value in options.items():
        if value is not None:
            raise InvalidJob(f"engine {engine!r} cannot honour {option}=; leave it out or choose another engine")
