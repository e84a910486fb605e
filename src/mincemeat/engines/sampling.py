"""How a sorted job gets its splitters: a slot of this machine tries mapfn on a sample before the job starts.

Decides: who is asked, how long for, and what happens if nothing comes back. Does not know: what a sample is (sources),
or what is made of it (sampling.py, in the slot). Splitters only say how evenly the work of reducing is shared out, so
no trouble with the sample is the job's: without splitters all keys are one range.

    source.sample -> payloads --{"do": "sample"}--> slot: mapfn, keys in order --{"did": "sampled"}--> splitters
"""

from __future__ import annotations

import pickle
import sys
import time
from typing import TYPE_CHECKING

from mincemeat import limits, usercode
from mincemeat.model import Job, UserFunctions
from mincemeat.slot_channel import limits_header, receive
from mincemeat.slots import SlotProcess

if TYPE_CHECKING:
    from mincemeat.sources.base import Source


def with_splitters(job: Job, source: Source, slot: SlotProcess) -> tuple[Job, SlotProcess]:
    """``job`` with splitters if it is to be sorted, and ``slot`` as if just started, or another one in its place.

    Cost: for a sorted job about a tenth of a second, never more than ``limits.SAMPLE_SECONDS_MAX`` and what asking
    ``source`` takes. Raises: what packing the job's functions raises; ``slot`` is still the caller's then.
    """
    payloads = source.sample(limits.SAMPLE_PLACES) if needs_splitters(job) else []
    if not payloads:
        return job, slot
    code = usercode.pack(job.functions)
    try:
        answer = _ask(slot, job, code, pickle.dumps(payloads))
    except (OSError, EOFError):  # TimeoutError among them: it crashed, or takes too long
        slot.kill()
        return job, SlotProcess()
    return _with_answer(job, answer), slot


def with_splitters_by_own_slot(job: Job, source: Source) -> Job:
    """As ``with_splitters``, for an engine that has no slots on this machine: one is started for the sample."""
    if not needs_splitters(job):
        return job
    slot = SlotProcess()
    try:
        job, slot = with_splitters(job, source, slot)
    finally:
        slot.kill()
    return job


def needs_splitters(job: Job) -> bool:
    """Whether the partitions of ``job`` are to be ranges of keys and nobody has said yet of which."""
    functions = job.functions
    return functions.sort and functions.partitionfn is None and not functions.splitters and job.partitions > 1


def _ask(slot: SlotProcess, job: Job, code: bytes, payloads: bytes) -> bytes:
    """The slot's answer. It says that it is ready a second time, for whoever takes it over as a new one.

    Raises: EOFError if it ended; TimeoutError.
    """
    give_up_at = time.monotonic() + limits.SAMPLE_SECONDS_MAX
    header = {"do": "job", "store": "", "partitions": job.partitions, "memory_bytes": job.memory_bytes}
    slot.channel.settimeout(limits.SAMPLE_SECONDS_MAX)
    slot.send({**header, **limits_header(job.slot_limits), "path": sys.path}, code)
    slot.send({"do": "sample"}, payloads)
    receive(slot.channel)  # that it is ready
    slot.channel.settimeout(max(0.001, give_up_at - time.monotonic()))
    _, answer = receive(slot.channel)
    slot.channel.settimeout(None)
    return answer


def _with_answer(job: Job, answer: bytes) -> Job:
    try:
        splitters = pickle.loads(answer) if answer else ()
    except Exception:  # noqa: BLE001 - keys of the user's own classes, which may raise anything
        splitters = ()
    functions: UserFunctions = job.functions._replace(splitters=splitters)
    return job._replace(functions=functions)
