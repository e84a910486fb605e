"""What the frames of an authenticated connection carry: one frozen dataclass per message.

Decides: kinds, fields and their types. Does not know: their bytes (codec.py, which derives all checks from the
annotations here); who may say what when; what identities, tickets and bodies mean.

`first_partition` to `last_partition` is a range whose end is not included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Message:
    """Root of all messages. `body` stays empty unless the class says that it carries one; it is not shown in a repr."""

    carries_body: ClassVar[bool] = False

    body: bytes = field(default=b"", kw_only=True, repr=False)


# -- worker to coordinator -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello(Message):
    """First message of a worker. `data_port` is 0 for one that serves no blocks; the fingerprint is hexadecimal.

    `held` is how many map outputs of the job `held_job` it has from an earlier connection; if it has any, as many names
    follow in `Holding`.
    """

    python: str
    version: str
    implementation: str
    platform: str
    hostname: str
    pid: int
    slots: int
    data_port: int
    data_fingerprint: str
    incarnation: str
    held_job: str
    held: int


@dataclass(frozen=True)
class Holding(Message):
    """Some of the map outputs that `Hello` announced, at least one."""

    attempts: list[str]


@dataclass(frozen=True)
class Heartbeat(Message):
    """A sign of life: it renews the worker's lease."""


@dataclass(frozen=True)
class MapDone(Message):
    """A map attempt ended well; its output stays on the worker. `partition_bytes` has one entry per partition.

    `set_aside` tells of records that failed and were `skipped` (set_aside.py); "" for none. `digests` tell what is
    in the output (scheduler/digests.py); "" if nobody asked, or they would tell nothing.
    """

    job: str
    attempt: str
    records: int
    pairs: int
    seconds: float
    spills: int
    partition_bytes: list[int]
    skipped: int = 0
    set_aside: str = ""
    digests: str = ""


@dataclass(frozen=True)
class ReduceDone(Message):
    """A reduce attempt ended well. The body is its output if that is inline; else it is uploaded. The rest as above."""

    carries_body = True

    job: str
    attempt: str
    keys: int
    values: int
    seconds: float
    output_bytes: int
    skipped: int = 0
    set_aside: str = ""


@dataclass(frozen=True)
class AttemptFailed(Message):
    """An attempt failed. The body is the pickled exception or empty; nobody but the caller's process unpickles it.

    `record` of split `split` is to blame, -1 if that is not known. `data` is the record, pickled, in base64, or empty.
    """

    carries_body = True

    job: str
    attempt: str
    kind: str
    message: str
    function: str
    key: str
    exception_type: str
    traceback: str
    record: int = -1
    split: int = -1
    data: str = ""


@dataclass(frozen=True)
class BlocksUnreachable(Message):
    """A reduce attempt could not fetch the outputs of these map tasks from their holder.

    `damaged`: the holder was reached, and they are gone there or not what was written.
    """

    job: str
    attempt: str
    holder: str
    maps: list[int]
    reason: str
    damaged: bool


@dataclass(frozen=True)
class Leaving(Message):
    """The worker goes away by its own will."""

    reason: str


@dataclass(frozen=True)
class Draining(Message):
    """The worker wants to leave: no more attempts for it, and Bye as soon as nobody needs what it runs and holds."""


@dataclass(frozen=True)
class AskRelease(Message):
    """Before Hello, if at all: which mincemeat is there? With `wants_file`, and for another than `version`, as a file.

    This message and its answer stay as they are in all versions: they are how one gets to another.
    """

    version: str
    wants_file: bool


# -- coordinator to worker -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Welcome(Message):
    """The worker has joined; `worker` is its name from now on. With `ticket_key` (hexadecimal) it checks tickets."""

    worker: str
    heartbeat_seconds: float
    lease_seconds: float
    ticket_key: str = field(repr=False)


@dataclass(frozen=True)
class Refused(Message):
    """The password is right, and still the worker is not wanted; the reason is a sentence for a person."""

    reason: str


@dataclass(frozen=True)
class Release(Message):
    """Answer to AskRelease. If `size` is not 0, so many bytes follow as chunks and End: mincemeat.py of that version.

    `sha256` is theirs, hexadecimal; if the worker wanted them and there are none, `reason` is a sentence.
    """

    version: str
    size: int
    sha256: str
    reason: str


@dataclass(frozen=True)
class JobStart(Message):
    """A job begins. The body is its code if that is inline; else the worker gets it.

    `skips`: careful attempts set aside records that fail, up to `max_skipped` (-1: any number).
    `keep_seconds`: a worker that loses the coordinator keeps its outputs and dials again for so long.
    `digests`: map attempts say what is in their outputs.
    `slot_memory_bytes`, `slot_cpu_seconds`: what a slot, and in it an attempt, may use up (0: no limit); the worker may
    allow less.
    """

    carries_body = True

    job: str
    partitions: int
    memory_bytes: int
    task_timeout_seconds: float | None
    keep_seconds: float
    code_bytes: int
    skips: bool = False
    max_skipped: int = -1
    digests: bool = False
    slot_memory_bytes: int = 0
    slot_cpu_seconds: int = 0


@dataclass(frozen=True)
class MapStart(Message):
    """Run this map attempt. The body is the payloads of its splits end to end if they are inline; else the worker gets
    them. `split_bytes` has the size of each.

    `careful`: go record by record, and do not run those that `skip_records` and the other lists name, which are equally
    long: number, CRC-32 of the key's text, and how the process was lost that ran it.
    """

    carries_body = True

    job: str
    attempt: str
    split_bytes: list[int]
    careful: bool = False
    skip_records: list[int] = field(default_factory=list)
    skip_digests: list[int] = field(default_factory=list)
    skip_reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReduceStart(Message):
    """Run this reduce attempt on a range of partitions. The body lists its inputs, as JSON, if that is inline.

    `careful` and what follows: as in MapStart, a key with its values being a record.
    """

    carries_body = True

    job: str
    attempt: str
    first_partition: int
    last_partition: int
    inputs_bytes: int
    careful: bool = False
    skip_records: list[int] = field(default_factory=list)
    skip_digests: list[int] = field(default_factory=list)
    skip_reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AttemptCancel(Message):
    """The result of this attempt is not needed any more."""

    job: str
    attempt: str


@dataclass(frozen=True)
class DropOutputs(Message):
    """The outputs of these map attempts are not needed any more."""

    job: str
    attempts: list[str]


@dataclass(frozen=True)
class Serve(Message):
    """Upload blocks for a relay, answering `request`. The body lists the map attempts, as JSON."""

    carries_body = True

    request: str
    job: str
    first_partition: int
    last_partition: int


@dataclass(frozen=True)
class NewEpoch(Message):
    """From now on tickets are made with `ticket_key` (hexadecimal); those of the former one are worth nothing."""

    ticket_key: str = field(repr=False)


@dataclass(frozen=True)
class Bye(Message):
    """The coordinator closes the connection; `again` tells whether to dial again."""

    reason: str
    again: bool


# -- data connections ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Get(Message):
    """Ask for a body. Answered by Answer and, if that is ok, by chunks and End.

    `split` counts from the first split of the map attempt `name`, for what "split-data" gets.
    """

    carries_body = True

    what: str
    job: str
    name: str
    split: int
    first_partition: int
    last_partition: int
    ticket: str = field(repr=False)
    fetcher: str


@dataclass(frozen=True)
class Put(Message):
    """Announce a body: chunks and End follow. Answered by Answer."""

    what: str
    job: str
    name: str
    request: str


@dataclass(frozen=True)
class Answer(Message):
    """Whether it worked; `message` is a sentence if not.

    `size` announces a body's bytes, -1 if they are not known before the end. A receiver never allocates by it.
    """

    ok: bool
    message: str
    size: int


@dataclass(frozen=True)
class Chunk(Message):
    """A piece of a body."""

    carries_body = True


@dataclass(frozen=True)
class End(Message):
    """The body is complete."""


# Frozen: these numbers are on the wire. Each direction has its own range, with room to grow.
KINDS: dict[int, type[Message]] = {
    1: Hello,
    2: Heartbeat,
    3: MapDone,
    4: ReduceDone,
    5: AttemptFailed,
    6: BlocksUnreachable,
    7: Leaving,
    8: Holding,
    9: Draining,
    10: AskRelease,
    32: Welcome,
    33: Refused,
    34: JobStart,
    35: MapStart,
    36: ReduceStart,
    37: AttemptCancel,
    38: DropOutputs,
    39: Serve,
    40: Bye,
    41: NewEpoch,
    42: Release,
    64: Get,
    65: Put,
    66: Answer,
    67: Chunk,
    68: End,
}
