"""``mincemeat replay``: a record that failed, run again with the job file as it is now.

Decides: what is called, and what the person sees of it. Does not know: where records are kept (failures.py), or how
values that were not are had again (regathering.py).

For mapfn the pairs that it emits now go through the beginning of a map attempt, too, which checks that they can be
shuffled. A record that ended its process may do so again, and is run in a child process (apart.py) where there is fork;
with --pdb it is run in this one, and the debugger stops before anything happens.
"""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mincemeat.cli.apart import CAN_FORK, ProcessEnded, call_apart
from mincemeat.cli.ending import AnsweredNo, say, start_logging, user_traceback_of
from mincemeat.cli.failures import read_failures
from mincemeat.cli.regathering import elements_of, gather_again
from mincemeat.errors import InvalidJob
from mincemeat.model import TIME_LIMIT, describe_key
from mincemeat.set_aside import RecordFailure
from mincemeat.sources.again import read_record


class StillFails(AnsweredNo):
    """The record fails as before, or otherwise; what happened has been shown."""


def replay(options: Namespace) -> None:
    """Run a record of the file ``options.failures`` again. Raises: StillFails; InvalidJob for what cannot be run."""
    start_logging(options)
    failures = read_failures(options.failures)
    if not 1 <= options.number <= len(failures.records):
        count = len(failures.records)
        held = "holds no records" if not count else f"holds {count} records" if count > 1 else "holds one record"
        raise InvalidJob(f"{options.failures} {held}, so there is none with the number {options.number}")
    failure, kept = failures.records[options.number - 1]
    if kept is None and failure.phase != "reduce":
        raise InvalidJob(
            f"the record with key {failure.key} was not kept: it is too large, or was not at hand when it failed. "
            "engine='inline' (--engine inline) runs the job where a debugger works"
        )
    from mincemeat.usercode import load_job_file

    job = load_job_file(options.job or failures.job)
    function = getattr(job, failure.function, None)
    if not callable(function):
        raise InvalidJob(f"the job file {job.__file__} has no {failure.function} any more")
    if kept is not None:
        key, value = read_record(kept)
    else:
        say(f"the values of key {failure.key} were too large to be kept: they are gathered from the input again")
        key, value = gather_again(job, failure.key, failures)
    if len(failures.records) > 1:
        say(f"record {options.number} of {len(failures.records)} in {options.failures}")
    then = f"did not survive: {failure.message}" if _lost_its_process(failure) else f"raised {failure.exception_type}"
    say(f"{failure.function} for key {describe_key(key)}, which {then}")
    # In this process a KeyboardInterrupt would be taken for the person's own.
    is_alone = _lost_its_process(failure) or failure.exception_type == "KeyboardInterrupt"
    if is_alone and not options.pdb and CAN_FORK:
        _run_apart(failure, job, function, key, value)
    else:
        _run(failure, job, function, key, value, options.pdb)


def _run_apart(failure: RecordFailure, job: Any, function: Callable[..., Any], key: Any, value: Any) -> None:
    """As ``_run``, and whatever becomes of the process is the answer."""

    def call() -> bool:
        import faulthandler

        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error is no file
            faulthandler.enable()
        try:
            _run(failure, job, function, key, value, False, is_apart=True)
        except (StillFails, KeyboardInterrupt):  # Ctrl-C would have ended it: the function raised that
            return False
        return True

    say("it is run in a process of its own, which it may end, too; with --pdb a debugger stops before it")
    try:
        if not call_apart(call):
            raise StillFails(f"{failure.function} fails for key {describe_key(key)}")
    except ProcessEnded as ended:
        raise StillFails(
            f"{failure.function} does not survive for key {describe_key(key)}: its process {ended}"
        ) from None


def _lost_its_process(failure: RecordFailure) -> bool:
    """A function may raise TimeoutError, too; then it has a traceback."""
    return failure.exception_type in ("", TIME_LIMIT) and not failure.traceback


def _run(
    failure: RecordFailure,
    job: Any,
    function: Callable[..., Any],
    key: Any,
    value: Any,
    debug: bool,
    *,
    is_apart: bool = False,
) -> None:
    is_map = failure.phase == "map"

    def call() -> Any:
        answer = function(key, value)
        return list(elements_of(answer, key)) if is_map else answer

    try:
        answer = _with_care(call, function, debug) if _lost_its_process(failure) and not is_apart else call()
        if is_map:
            _show_pairs(answer)
            _check_pairs(job, key, answer)
        else:
            sys.stdout.write(f"{describe_key(key)}\t{answer!r}\n")
    except KeyboardInterrupt as error:
        _show(error)
        raise
    except StillFails:
        raise
    except BaseException as error:  # sys.exit() is a failure like any other
        _show(error)
        if debug and error.__traceback__ is not None:
            _post_mortem(error.__traceback__)
        raise StillFails(f"{failure.function} fails for key {describe_key(key)}") from error
    say(f"{failure.function} does not fail for key {describe_key(key)} now")


def _show_pairs(elements: list[Any]) -> None:
    for element in elements:
        if isinstance(element, tuple | list) and len(element) == 2:
            sys.stdout.write(f"{element[0]!r}\t{element[1]!r}\n")
        else:
            sys.stdout.write(f"{element!r}\n")
    sys.stdout.flush()


def _check_pairs(job: Any, key: Any, elements: list[Any]) -> None:
    """Raises: InvalidEmission, or what a function of the job raises, if a map attempt could not take these."""
    import tempfile

    from mincemeat import limits
    from mincemeat.attempt import run_map
    from mincemeat.errors import UserCodeError
    from mincemeat.model import AttemptId, UserFunctions
    from mincemeat.shuffle.store import JobStore

    def emit(_key: Any, value: Any) -> Any:
        return value

    functions = UserFunctions(
        emit,
        getattr(job, "reducefn", None),
        getattr(job, "collectfn", None),
        getattr(job, "partitionfn", None),
    )
    with tempfile.TemporaryDirectory(prefix="mincemeat-replay-") as scratch:
        try:
            run_map(
                functions,
                [(key, elements)],
                JobStore(scratch),
                AttemptId.parse("m-0.0"),
                partitions=limits.PARTITIONS,
                memory_bytes=limits.MEMORY_BYTES,
            )
        except UserCodeError as error:
            raise (error.__cause__ or error) from None


def _with_care(call: Callable[[], Any], function: Callable[..., Any], debug: bool) -> Any:
    """For a record that ended its process, in this one."""
    if not debug:
        say("it may end this process, too; with --pdb a debugger stops before it")
        return call()
    say("it may end this process, too: the debugger stops at its beginning, and what comes then is yours to do")
    import pdb

    debugger = pdb.Pdb(nosigint=True)
    code = getattr(function, "__code__", None)
    lines = [] if code is None else [line for _, _, line in code.co_lines() if line and line > code.co_firstlineno]
    if code is not None and lines:  # else it stops before the call
        debugger.rcLines += [f"tbreak {os.path.abspath(code.co_filename)}:{min(lines)}", "continue"]
    answers: list[Any] = []
    debugger.runcall(lambda: answers.append(call()))
    if not answers:
        raise StillFails("the debugger was left before the end")
    return answers[0]


def _post_mortem(link: TracebackType) -> None:
    import pdb

    pdb.post_mortem(link)


def _show(error: BaseException) -> None:
    if sys.stderr is not None:
        sys.stdout.flush()
        sys.stderr.write(user_traceback_of(error))
