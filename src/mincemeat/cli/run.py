"""``mincemeat run``: a job file, its inputs, an engine and somewhere for the results.

Decides: what the job's datasource is, and where its results go. Does not know: how the job is carried out.
"""

from __future__ import annotations

import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from mincemeat.api import make_engine, run_job
from mincemeat.cli.ending import start_logging
from mincemeat.cli.failures import FailureFile
from mincemeat.errors import InvalidJob, JobFailed, MincemeatError
from mincemeat.model import Snapshot, UserFunctions
from mincemeat.sources.paths import passing_over

if TYPE_CHECKING:
    from mincemeat.engines.base import Engine
    from mincemeat.sinks.base import Sink

_FUNCTIONS = ("mapfn", "reducefn", "collectfn", "partitionfn")


def run_job_file(options: Namespace) -> None:
    """Run the job file that ``options`` (of cli/parser.py) name, and print or write its results.

    Raises: InvalidJob and what ``run_job`` raises; JobFailed, caused by the user's exception, when the job file's
    ``datasource`` raised.
    """
    from mincemeat.cli.ordering import CountingSink

    start_logging(options)
    engine = _engine(options)
    failures = FailureFile(options)
    with passing_over(failures.path):
        job = _load(options.jobfile)
        datasource = datasource_of(job, options.jobfile, options.inputs, options.exclude)
    failures.check(datasource)
    functions: dict[str, Any] = {name: getattr(job, name, None) for name in _FUNCTIONS}
    # Last, because a sink may already make a file.
    with _with_hint(failures), CountingSink(_sink(options)) as sink:
        ended = run_job(
            datasource,
            # What --top chooses is put in order here, and the job need not be.
            UserFunctions(**functions, sort=options.sort and options.top is None),
            sink,
            engine,
            max_attempts=options.max_attempts,
            task_timeout=options.task_timeout,
            backups=options.backups,
            on_error=options.on_error,
            max_skipped=options.max_skipped,
            preflight=options.preflight,
            on_nondeterminism=options.on_nondeterminism,
            memory=options.memory,
            slot_memory=options.slot_memory,
            slot_cpu=options.slot_cpu,
            progress=options.progress,
            keep_failures=failures.keep,
        )
    if not ended.failures:
        failures.remove_former()
    failures.tell_set_aside()
    stream: TextIO | None = sys.stderr  # None where it was closed
    if stream is not None and (options.progress or (options.progress is None and stream.isatty())):
        stream.write(_summary(sink.results, ended.snapshot, options.output) + "\n")


@contextmanager
def _with_hint(failures: FailureFile) -> Iterator[None]:
    """An error that came from a record brings along how that can be run again."""
    try:
        yield
    except Exception as error:
        story = error if isinstance(error, JobFailed) else error.__cause__
        if isinstance(story, JobFailed):
            story.hint = failures.hint("To run that record again")
        raise


def _engine(options: Namespace) -> Engine:
    network: dict[str, Any] = {}
    if options.engine == "cluster":
        from mincemeat.cli.password import given_password

        # Without a password the engine generates one and prints how to join.
        network = {"password": given_password(options) or "", "identity": options.identity}
        if options.serve is not None:
            network["host"], network["port"] = options.serve
    return make_engine(
        options.engine,
        workers=options.workers,
        split=options.split,
        max_attempts=options.max_attempts,
        task_timeout=options.task_timeout,
        backups=options.backups,
        on_nondeterminism=options.on_nondeterminism,
        slot_memory=options.slot_memory,
        slot_cpu=options.slot_cpu,
        journal=options.journal,
        trust_workers=options.trust_workers,
        **network,
    )


# -- the job ---------------------------------------------------------------------------------------------


def _load(path: str) -> ModuleType:
    from mincemeat.usercode import load_job_file

    job = load_job_file(path)
    if not any(hasattr(job, name) for name in ("mapfn", "reducefn")):
        raise InvalidJob(f"the job file {path} defines neither mapfn nor reducefn")
    return job


def datasource_of(job: ModuleType, path: str, inputs: list[str], exclude: list[str]) -> Any:
    """The job file's ``datasource``, called with the inputs if it is a function; lines of the inputs if it has none."""
    datasource = getattr(job, "datasource", None)
    if callable(datasource):
        return _called(datasource, path, inputs, {"exclude": exclude} if exclude else {})
    if datasource is not None:
        if exclude:
            raise InvalidJob(
                f"{path} has a datasource of its own, so --exclude {exclude[0]} would have no effect; leave it out, or "
                "make datasource a function of the list of inputs and exclude"
            )
        if inputs:
            raise InvalidJob(
                f"{path} has a datasource of its own, so nothing would read {inputs[0]}; leave the inputs out, "
                "or make datasource a function of the list of inputs"
            )
        return datasource
    if not inputs:
        raise InvalidJob(f"no input: {path} has no datasource, so name files or directories, or - for standard input")
    from mincemeat.sources.text import lines

    return lines(inputs, exclude=exclude)


def _called(datasource: Callable[..., Any], path: str, inputs: list[str], options: dict[str, Any]) -> Any:
    try:
        return datasource(inputs, **options)
    except MincemeatError:  # ours, of a datasource like mincemeat.text
        raise
    except Exception as error:
        kind = type(error).__name__
        message = (
            f"datasource of {path} raised {kind}: {error}" if str(error) else f"datasource of {path} raised {kind}"
        )
        raise JobFailed(message, function="datasource", exception_type=kind) from error


# -- the results -----------------------------------------------------------------------------------------


def _sink(options: Namespace) -> Sink:
    from mincemeat.cli.ordering import TopSink

    sink = _destination(options)
    return sink if options.top is None else TopSink(sink, options.top, by_key=options.sort)


def _destination(options: Namespace) -> Sink:
    if options.output is not None:
        from mincemeat.sinks.base import sink_for_path

        return sink_for_path(options.output)
    from mincemeat.sinks.table import LinesSink, TableSink

    stream: TextIO | None = sys.stdout
    if stream is None:
        raise InvalidJob("standard output is closed, so the results need -o FILE")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # what the terminal cannot show should not cost the results
    if not stream.isatty():
        return LinesSink(stream)
    width = shutil.get_terminal_size().columns
    # Who says --top 200 wants 200 rows.
    return TableSink(stream, width=width) if options.top is None else TableSink(stream, width=width, rows_max=None)


def _summary(results: int, snapshot: Snapshot | None, output: str | None) -> str:
    from mincemeat.progress import count, format_seconds

    text = count(results, "result")
    if snapshot is not None:
        text += f" from {count(snapshot.records, 'record')} in {format_seconds(snapshot.seconds)}"
        if snapshot.failed_attempts:
            text += f", {count(snapshot.failed_attempts, 'failed attempt')} made good"
    return text if output is None else f"{text}, in {output}"
