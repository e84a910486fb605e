"""What a worker says of itself and of its attempts, as values that can be believed to be such.

Decides: which words of a worker cannot be, and who cannot take part. A worker that has proven the password may still be
of another version, or lie: nothing it sent reaches scheduler, journal or caller but by way of these functions. Does not
know: whether anybody waits for what it says, which the machine knows, and what comes of it.
"""

from __future__ import annotations

import base64
import platform
from typing import NamedTuple

from mincemeat import limits
from mincemeat.cluster.saying import said, said_in_line
from mincemeat.cluster.updating import how_to_become
from mincemeat.errors import ProtocolError, RemoteProtocolError
from mincemeat.limits import VERSION
from mincemeat.model import AttemptId, Failure, FailureKind, Job, MapReport, Phase, shorten
from mincemeat.scheduler.digests import Digests, parse_digests
from mincemeat.set_aside import decode_report
from mincemeat.wire import messages
from mincemeat.wire.handshake import FINGERPRINT_BYTES


class Skipped(NamedTuple):
    """How many records an attempt set aside, and one of them."""

    records: int
    first: Failure | None


def unsuitable(hello: messages.Hello) -> str:
    """Why this worker cannot take part, as a sentence; "" if it can."""
    ours = ".".join(platform.python_version_tuple()[:2])
    if hello.python != ours or hello.implementation != platform.python_implementation():
        return (
            f"this server runs {platform.python_implementation()} {ours}, and functions travel as its bytecode; the "
            f"worker runs {said_in_line(hello.implementation, 40)} {said_in_line(hello.python, 40)}. "
            f"Start the worker with Python {ours}."
        )
    if hello.version != VERSION:
        return (
            f"this server runs mincemeat {VERSION}, and the worker mincemeat {shorten(hello.version, 40)}. "
            f"{how_to_become(VERSION)}"
        )
    if not 1 <= hello.slots <= 4096:
        return f"a worker needs between 1 and 4096 slots, and this one offers {hello.slots}."
    if not 0 <= hello.data_port < 65536 or not _is_fingerprint(hello.data_fingerprint):
        return "its data port and certificate are not such that other workers could dial it."
    # They are kept for as long as it is here, and there may be thousands of it.
    if max(map(len, (hello.version, hello.platform, hello.hostname, hello.incarnation, hello.held_job))) > 1024:
        return "what it says of itself is longer than it can be."
    return ""


def _is_fingerprint(text: str) -> bool:
    return len(text) == 2 * FINGERPRINT_BYTES and set(text) <= set("0123456789abcdef")


def read_map_report(
    worker: str, attempt: AttemptId, done: messages.MapDone, partitions: int
) -> tuple[MapReport, Digests | None]:
    """What ``worker`` says of ``attempt``, and the digests in it. Raises: RemoteProtocolError."""
    sizes = tuple(done.partition_bytes)
    numbers = (done.records, done.pairs, done.seconds, done.spills, *sizes)
    if attempt.task.phase is not Phase.MAP or len(sizes) != partitions or min(numbers) < 0:
        raise RemoteProtocolError(f"what worker {worker} says of {attempt} cannot be")
    report = MapReport(
        records=done.records,
        pairs=done.pairs,
        seconds=done.seconds,
        spills=done.spills,
        partition_bytes=sizes,
        skipped=done.skipped,
        set_aside=done.set_aside,
        digests=done.digests,
    )
    try:
        return report, parse_digests(done.digests, partitions)
    except ValueError as error:
        raise RemoteProtocolError(f"what worker {worker} says of {attempt} cannot be: {error}") from None


def read_skipped(worker: str, done: messages.MapDone | messages.ReduceDone, skips: bool) -> Skipped:
    """What an attempt of ``worker`` set aside, in a job that ``skips`` or does not. Raises: RemoteProtocolError."""
    if done.skipped < 0 or (done.skipped and not skips):
        raise RemoteProtocolError(f"worker {worker} set {done.skipped} records aside, which this job does not allow")
    if not done.skipped:
        if done.set_aside:  # which the caller's process would read when the job is over
            raise RemoteProtocolError(f"worker {worker} tells of records that were set aside, and there are none")
        return Skipped(0, None)
    try:
        listed = decode_report(done.set_aside, worker)
    except ProtocolError as error:
        raise RemoteProtocolError(f"worker {worker} sent what cannot be: {error}") from error
    return Skipped(done.skipped, listed[0] if listed else None)


def read_failure(message: messages.AttemptFailed, worker: str, job: Job) -> Failure:
    """A failure of an attempt of ``job`` as ``worker`` told it, cut to what an honest one tells.

    Raises: RemoteProtocolError for a kind that does not exist, or of which no worker of this job knows.
    """
    try:
        kind = FailureKind(message.kind)
    except ValueError:
        raise RemoteProtocolError(f"a failure of the unknown kind {shorten(message.kind, 40)!r}") from None
    # Either ends the job at once, whoever else could have carried the attempt out.
    if kind is FailureKind.NONDETERMINISM or (
        kind is FailureKind.EXCESS and (not job.skips or job.max_skipped is None)
    ):
        raise RemoteProtocolError(f"a failure of the kind {kind.value!r}, which worker {worker} cannot know of")
    return Failure(
        kind=kind,
        message=said(message.message, limits.MESSAGE_CHARS_MAX),
        function=said(message.function),
        key=said(message.key),
        exception_type=said(message.exception_type),
        traceback=said(message.traceback, limits.TRACEBACK_CHARS_MAX),
        worker=worker,
        exception=message.body if len(message.body) <= limits.EXCEPTION_BYTES_MAX else b"",
        record=message.record,
        split=message.split,
        data=_decoded(message.data, worker),
    )


def _decoded(text: str, worker: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise RemoteProtocolError(f"a record that worker {worker} sent is not base64: {error}") from None
