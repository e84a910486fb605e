"""What a slot process does: load the job's functions, run attempts, say how they went.

Decides: nothing; it carries out one attempt at a time through attempt.py. Does not know: the network, the scheduler,
other slots. It ends as soon as its parent's end of the channel is gone, even in the middle of an attempt.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

from mincemeat import attempt as attempts
from mincemeat import interrupts
from mincemeat.decoding.coding import PLAIN, Coding, DataCoding
from mincemeat.describing import describe_failure
from mincemeat.errors import BlockCorrupt
from mincemeat.model import (
    NO_LIMITS,
    AttemptId,
    Failure,
    FailureKind,
    RecordMark,
    SlotLimits,
    Span,
    UserFunctions,
)
from mincemeat.shuffle.damage import damaged_spans
from mincemeat.shuffle.store import JobStore
from mincemeat.slot_channel import Header, encode, failed_message, receive
from mincemeat.sources.base import SplitUnreadable

if TYPE_CHECKING:
    from mincemeat.careful import Care


def main(channel_fd: int | None) -> None:
    """Serve attempts over the inherited socket until it closes. Never returns normally while the parent lives."""
    channel = _open_channel(channel_fd)
    # Ctrl-C belongs to the parent, which then ends its slots.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupts.never_reach_this_process()
    _volunteer_for_the_oom_killer()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    slot = Slot(channel.sendall)
    _import_what_every_job_needs()
    try:
        channel.sendall(encode({"did": "ready"}))
        is_watching = False
        while True:
            header, body = receive(channel)
            if header["do"] == "confine":
                channel.sendall(_confine(header))
                continue
            if not is_watching:  # not before: what confines a thread does not confine others
                _end_with_parent(channel)
                is_watching = True
            reply = slot.handle(header, body)
            if reply is not None:
                channel.sendall(reply)
    except (EOFError, OSError):  # the parent is gone: what user code raises does not come here
        return


class Slot:
    """The slot's side of the conversation, without the socket."""

    def __init__(self, say: Callable[[bytes], None] | None = None) -> None:
        self._say = say
        self._code = b""
        self._functions: UserFunctions | None = None
        self._coding: Coding = PLAIN
        self._job: Header = {}
        self._store: JobStore | None = None
        self._limits = NO_LIMITS

    def handle(self, header: Header, body: bytes) -> bytes | None:
        """Carry out one message of the parent; the reply, if it has one."""
        if header["do"] == "job":
            self._code, self._functions, self._job = body, None, header
            self._store = JobStore(header["store"])
            sys.path.extend(entry for entry in header.get("path", ()) if entry not in sys.path)
            self._limits = SlotLimits(*header.get("limits", NO_LIMITS))
            self._limit_memory()
            return None
        if header["do"] == "sample":
            with self._cpu_limited():
                return self._sampled(body)
        if header["do"] == "preflight":
            with self._cpu_limited():
                return self._try_records(header, body)
        with self._cpu_limited():
            reply, body = self._carried_out(header, body)
        if header.get("retire_at", 0) and _cpu_seconds_used() >= header["retire_at"]:
            reply["retires"] = True
        return encode(reply, body)

    def _limit_memory(self) -> None:
        if self._limits.memory_bytes is not None:
            from mincemeat.sandbox.resources import limit_memory

            limit_memory(self._limits.memory_bytes)

    @contextmanager
    def _cpu_limited(self) -> Iterator[None]:
        if self._limits.cpu_seconds is None:
            yield
            return
        from mincemeat.sandbox import resources

        resources.start_cpu_limit(self._limits.cpu_seconds)
        try:
            yield
        finally:
            resources.end_cpu_limit()

    def _carried_out(self, header: Header, body: bytes) -> tuple[Header, bytes]:
        name = header["attempt"]
        gc.collect(0)
        gc.disable()  # millions of small objects are alive in a group buffer, and none of ours form cycles
        try:
            report = self._run(header, body)
        except SplitUnreadable as error:
            return {"did": "unreadable", "attempt": name, "message": str(error)}, b""
        except _InputDamaged as error:
            return {"did": "damaged", "attempt": name, "spans": error.places, "message": str(error)}, b""
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is this attempt's failure
            return failed_message(name, self._describe(error))
        finally:
            gc.enable()
            _flush_output()
        return {"did": "done", "attempt": name, "report": report}, b""

    def _run(self, header: Header, body: bytes) -> dict[str, Any]:
        store = self._store
        if store is None:
            raise RuntimeError("an attempt came before its job")
        functions = self._load()
        attempt = AttemptId.parse(header["attempt"])
        is_near = header.get("near", False)
        care = _care(header["care"]) if "care" in header else None
        if header["do"] == "map":
            with ExitStack() as streams:
                payloads = [streams.enter_context(stream) for stream in _open_payloads(header, body)]
                return attempts.run_map(
                    functions,
                    attempts.SplitRecords(payloads),
                    store,
                    attempt,
                    partitions=self._job["partitions"],
                    memory_bytes=self._job["memory_bytes"],
                    coding=self._coding,
                    is_near=is_near,
                    care=care,
                    with_digest=self._job.get("digests", False),
                )._asdict()
        spans = [Span(*span) for span in header["spans"]]
        partitions = range(header["first"], header["last"])
        try:
            return attempts.run_reduce(
                functions,
                spans,
                partitions,
                store,
                attempt,
                memory_bytes=self._job["memory_bytes"],
                coding=self._coding,
                is_near=is_near,
                care=care,
            )._asdict()
        except (BlockCorrupt, OSError) as error:
            if places := damaged_spans(spans, error):
                raise _InputDamaged(str(error), places) from error
            raise

    def _sampled(self, payloads: bytes) -> bytes:
        """The answer to a sample, and that this slot is ready, as one that was just started says."""
        from mincemeat.sampling import answer_sample

        answer = answer_sample(self._load, payloads, self._job["partitions"])
        _flush_output()
        return encode({"did": "sampled"}, answer) + encode({"did": "ready"})

    def _try_records(self, header: Header, payloads: bytes) -> bytes:
        from mincemeat.preflight import answer_preflight

        with suppress(_CodeUnloadable):
            self._load()
        assert self._say is not None
        self._say(encode({"did": "loaded"}))
        facts = {name: header[name] for name in ("is_everywhere", "skips")}
        failure = answer_preflight(self._load, payloads, self._describe, **facts)
        _flush_output()
        return encode({"did": "tried"}) if failure is None else encode(*failed_message("", failure))

    def _load(self) -> UserFunctions:
        if self._functions is None:
            from mincemeat import usercode

            try:
                self._functions = usercode.load(self._code)
                as_data = self._functions.as_data
                self._coding = DataCoding(usercode.module_names(self._code)) if as_data else PLAIN
            except BaseException as error:
                raise _CodeUnloadable(usercode.describe_load_error(error)) from error
        return self._functions

    def _describe(self, error: BaseException) -> Failure:
        if isinstance(error, _CodeUnloadable):
            cause = error.__cause__
            described = describe_failure(cause if cause is not None else error)
            return Failure(
                kind=FailureKind.CODE,
                message=str(error),
                exception_type=described.exception_type,
                traceback=described.traceback,
                exception=described.exception,
            )
        return describe_failure(error)


class _CodeUnloadable(Exception):
    """The job's functions could not be loaded here; the cause says why."""


class _InputDamaged(Exception):
    """A reduce attempt cannot read all of its spans; ``places`` says which of them. Nobody is to blame for it yet."""

    def __init__(self, message: str, places: list[int]) -> None:
        super().__init__(message)
        self.places = places


def _care(told: Header) -> Care:
    from mincemeat.careful import Care

    return Care(**{**told, "skip": tuple(RecordMark(*mark) for mark in told["skip"])})


def _import_what_every_job_needs() -> None:
    """While the parent is still busy with the job, and not when its first attempt waits."""
    importlib.import_module("cloudpickle")
    importlib.import_module("mincemeat.usercode")


def _open_payloads(header: Header, body: bytes) -> list[BinaryIO]:
    """One stream for each split of a map attempt.

    ``data``: files with the data of each. ``splits``: the sizes of their payloads, which lie end to end in the file
    ``payloads`` or in the body.
    """
    if "data" in header:
        return [open(path, "rb") for path in header["data"]]
    sizes = header["splits"]
    if "payloads" in header:
        file = open(header["payloads"], "rb")  # noqa: SIM115 - closed here or by the caller
        if len(sizes) == 1:  # perhaps a single large record
            return [file]
        with file:
            body = file.read()
    ends = list(accumulate(sizes))
    return [io.BytesIO(body[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _open_channel(channel_fd: int | None) -> socket.socket:
    if sys.platform == "win32":
        return socket.fromshare(sys.stdin.buffer.read())
    assert channel_fd is not None
    # A process that user code forks must not hold the channel: our own end would go unnoticed as long as it lives.
    os.register_at_fork(after_in_child=lambda: os.close(channel_fd))
    return socket.socket(fileno=channel_fd)


def _confine(header: Header) -> bytes:
    """Give up what the parent says; the answer to it. Ends this process if it cannot: no job may come to it then."""
    from mincemeat.interpreters import own_path
    from mincemeat.sandbox.enforce import Unconfined, confine, this_python
    from mincemeat.sandbox.kernel import Kernel
    from mincemeat.sandbox.plan import Confinement

    told = Confinement.of_header(header)
    try:
        os.chdir(told.temporary)
        return encode(confine(told, Kernel(), this_python(own_path())).header())
    except (Unconfined, OSError) as error:
        print(f"mincemeat: a slot has not started: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _cpu_seconds_used() -> float:
    from mincemeat.sandbox.resources import cpu_seconds_used

    return cpu_seconds_used()


def _end_with_parent(channel: socket.socket) -> None:
    """Watch for the parent's end from a thread, because the main thread may be deep in user code for hours."""
    if sys.platform == "win32":
        return  # no poll(): there the slot ends when it next reads
    import select

    poll = select.poll()
    poll.register(channel, 0)  # only hang-up and error, which need not be asked for

    def watch() -> None:
        poll.poll()
        os.killpg(os.getpgrp(), signal.SIGKILL)  # we lead our group; what user code started goes with us

    threading.Thread(target=watch, name="mincemeat-parent-watch", daemon=True).start()


def _volunteer_for_the_oom_killer() -> None:
    """When memory runs out, user code should go before the process that holds keys, sockets and map outputs."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("500")
    except OSError:
        pass  # not Linux, or not allowed: the kernel chooses as it likes


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # user code closed or replaced it
