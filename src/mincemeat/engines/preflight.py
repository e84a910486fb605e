"""A slot of its own tries a few records beside the job, once the job has lasted long enough to be worth it.

Decides: when, for how long, and what the caller sees raised. Does not know: what is tried (preflight.py, in the slot).

Beside it rather than before it: a job of half a second should not wait for what would cost it a tenth, and one of an
hour does not notice another process for a second. Whatever becomes of that process, the job goes on; only an answer
that names a certain fault ends it.

    first splits --{"do": "preflight"}--> slot: mapfn, collectfn, reducefn --{"did": "failed"}--> NameError in reducefn
"""

from __future__ import annotations

import pickle
import sys
import time
from typing import TYPE_CHECKING

from mincemeat import limits, usercode
from mincemeat.engines.blame import preflight_error
from mincemeat.model import Job
from mincemeat.slot_channel import Decoder, limits_header, read_failure
from mincemeat.slots import SlotProcess

if TYPE_CHECKING:
    from mincemeat.sources.base import Source


class Preflight:
    """Of one job; ``check`` is called every now and then, in one thread. ``close`` ends it."""

    def __init__(self, job: Job, *, is_everywhere: bool) -> None:
        """``is_everywhere``: the job's attempts run on this machine, so that what is missing here is missing there."""
        self._job = job
        self._is_everywhere = is_everywhere
        self._start_at = time.monotonic() + limits.PREFLIGHT_AFTER_SECONDS
        self._give_up_at = 0.0
        self._payloads: list[bytes] = []
        self._slot: SlotProcess | None = None
        self._decoder = Decoder()
        self._is_over = not job.preflight or job.functions.mapfn is job.functions.reducefn is None

    @property
    def wake_at(self) -> float | None:
        """When ``check`` is due; None: never again."""
        if self._is_over:
            return None
        return self._start_at if self._slot is None else time.monotonic() + limits.PREFLIGHT_POLL_SECONDS

    def see(self, splits: range, source: Source) -> None:
        """These have just been cut: their payloads are at hand, and the first of them will do."""
        if not self._is_over and self._slot is None:
            for index in splits[: limits.PREFLIGHT_SPLITS - len(self._payloads)]:
                self._payloads.append(source.payload(index))

    def check(self) -> None:
        """Start what is due, and read what has come. Raises: what certainly fails, caused by its story."""
        now = time.monotonic()
        if self._is_over or now < self._start_at:
            return
        if self._slot is None:
            self._start(now)
            return
        try:
            data = self._slot.channel.recv(limits.CHUNK_BYTES)
        except BlockingIOError:
            if now >= self._give_up_at:
                self.close()
            return
        except OSError:
            data = b""
        if not data:  # it died, of the user's function perhaps
            self.close()
            return
        for header, body in self._decoder.feed(data):
            match header["did"]:
                case "loaded":
                    self._give_up_at = now + limits.PREFLIGHT_SECONDS_MAX
                case "failed":
                    self.close()
                    raise preflight_error(read_failure(header, body))
                case "tried":
                    self.close()

    def _start(self, now: float) -> None:
        if not self._payloads:  # the datasource has not given anything yet
            self._start_at = now + limits.PREFLIGHT_AFTER_SECONDS
            return
        job = self._job
        code = usercode.pack(job.functions)
        self._slot = SlotProcess()
        header = {"do": "job", "store": "", "partitions": job.partitions, "memory_bytes": job.memory_bytes}
        self._slot.send({**header, **limits_header(job.slot_limits), "path": sys.path}, code)
        what = {"do": "preflight", "is_everywhere": self._is_everywhere, "skips": job.skips}
        self._slot.send(what, pickle.dumps(self._payloads))
        self._slot.channel.setblocking(False)
        self._payloads.clear()
        # An interpreter may have to load the user's heavy modules first.
        self._give_up_at = now + limits.SAMPLE_SECONDS_MAX

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._is_over = True
        self._payloads.clear()
        if self._slot is not None:
            self._slot.kill()
            self._slot = None
