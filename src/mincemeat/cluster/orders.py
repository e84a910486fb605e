"""What a server says to a worker, as values that the worker can act on.

Decides: which words of a server cannot be. The worker runs the server's code by design, but in slots: the process that
holds the password, its keys and its files takes from a server nothing but what is checked here. Does not know: whether
what is said makes sense now, which the session knows.
"""

from __future__ import annotations

import json
from typing import Any, Final

from mincemeat import limits
from mincemeat.cluster.fetching import Holder
from mincemeat.errors import RemoteProtocolError
from mincemeat.model import AttemptId, Phase, TaskId
from mincemeat.wire import messages
from mincemeat.wire.handshake import FINGERPRINT_BYTES

_KEY_BYTES: Final = 32
_HOLDER: Final = {"worker": str, "host": str, "port": int, "fingerprint": str, "ticket": str}


def read_key(text: str) -> bytes:
    """A key for tickets. Raises: RemoteProtocolError."""
    key = _from_hexadecimal(text)
    if len(key) != _KEY_BYTES:
        raise RemoteProtocolError(f"the server sent a key for tickets that is not {_KEY_BYTES} bytes in hexadecimal")
    return key


def check_welcome(welcome: messages.Welcome) -> None:
    """Raises: RemoteProtocolError.

    Threat: a pause of no length would be spent sending signs of life, which fill the memory of who is not read from.
    """
    if not limits.HEARTBEAT_SECONDS_LEAST <= welcome.heartbeat_seconds <= welcome.lease_seconds:
        raise RemoteProtocolError(
            f"the server wants a sign of life every {welcome.heartbeat_seconds:g} seconds, and one of its own is to be"
            f" waited for {welcome.lease_seconds:g} seconds"
        )


def check_job(job: messages.JobStart) -> None:
    """Raises: RemoteProtocolError."""
    if not job.job.isascii() or len(job.job) > limits.JOB_ID_CHARS_MAX or job.partitions < 1 or job.code_bytes < 0:
        raise RemoteProtocolError("the server began a job that cannot be")


def check_start(start: messages.MapStart | messages.ReduceStart) -> None:
    """Raises: RemoteProtocolError. The name of an attempt becomes that of files."""
    attempt = AttemptId.parse(start.attempt)
    phase = Phase.MAP if isinstance(start, messages.MapStart) else Phase.REDUCE
    if attempt.task.phase is not phase or str(attempt) != start.attempt:
        raise RemoteProtocolError(f"{start.attempt} came where the name of a {phase.name.lower()} attempt is due")
    sizes = start.split_bytes if isinstance(start, messages.MapStart) else [start.inputs_bytes]
    if min(sizes, default=0) < 0:
        raise RemoteProtocolError(f"what {attempt} reads has a size that cannot be")


def decode_inputs(data: bytes) -> tuple[list[Holder], list[tuple[AttemptId, int]]]:
    """Where the inputs of a reduce attempt lie: holders; each map output, in map order, and its holder's place there.

    Raises: RemoteProtocolError.
    """
    try:
        described = json.loads(data)
        holders = [_holder(each) for each in described["holders"]]
        outputs = [_output(each, len(holders)) for each in described["maps"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RemoteProtocolError("the list of a reduce attempt's inputs cannot be read") from None
    if len({output for output, _ in outputs}) < len(outputs):
        raise RemoteProtocolError("the list of a reduce attempt's inputs has some of them twice")
    return holders, outputs


def _holder(described: dict[str, Any]) -> Holder:
    if {name: type(value) for name, value in described.items()} != _HOLDER:
        raise TypeError
    holder = Holder(**described)
    if not 0 <= holder.port < 65536 or len(_from_hexadecimal(holder.fingerprint)) != FINGERPRINT_BYTES:
        raise ValueError
    return holder


def _output(described: list[Any], holders: int) -> tuple[AttemptId, int]:
    index, number, place = described
    # Threat: the number is a part of a file's name.
    if set(map(type, described)) != {int} or min(described) < 0 or place >= holders:
        raise ValueError
    return AttemptId(TaskId(Phase.MAP, index), number), place


def _from_hexadecimal(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
