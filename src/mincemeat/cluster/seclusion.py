"""Slots in a sandbox, from a worker's side: what they are started with, and what is between them and the worker.

Decides: the environment of such a slot, where it may write, and that what it prints passes through the worker. Does not
know: how a slot confines itself (sandbox/enforce.py), or what it is given to do.

::

    scratch/            slots read what a worker has fetched for them
        blocks/         they write plain files, which the worker reads
        positions/      so, too
        tmp/            their TMPDIR and HOME, of which the worker only removes what is there
        job, code ...   the worker's own

A worker writes only where no slot can: what a slot could lay in its way, a link to the user's files, say, would let it
do with the worker's hands what it may not do itself.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mincemeat import limits
from mincemeat.cluster.async_slots import AsyncSlot, Slot
from mincemeat.cluster.keeping import OUTPUTS, POSITIONS
from mincemeat.cluster.outside import Outside
from mincemeat.errors import SandboxIncomplete
from mincemeat.model import SlotLimits
from mincemeat.sandbox.plan import Confinement, Outcome, Sandbox
from mincemeat.sandbox.sentences import refusal, start_sentence
from mincemeat.shuffle.store import make_directory
from mincemeat.slot_channel import receive
from mincemeat.slots import Room, SlotProcess, error_output

_TEMPORARY: Final = "tmp"
# A store removes its directory with the last output in it, and rules are about a directory, not about its name.
_KEEP: Final = ".keep"
# What a slot may know of the worker's environment: how programs and libraries are to behave. Tokens, keys, addresses of
# agents and who the user is are in the rest.
_HANDED_ON: Final = {
    "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "MINCEMEAT_COMPILED", "SYSTEMROOT",
}  # fmt: skip
_HANDED_ON_PREFIXES: Final = ("PYTHON", "LC_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "NUMBA_", "ARROW_")
# Of what a job prints, a terminal gets text and no commands.
_HARMLESS: Final = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t")}, "?")


def environment_of_a_slot(environment: Mapping[str, str], temporary: str) -> dict[str, str]:
    """What of ``environment`` a sandboxed slot gets, and where its home is."""
    kept = {
        name: value for name, value in environment.items() if name in _HANDED_ON or name.startswith(_HANDED_ON_PREFIXES)
    }
    return {**kept, "HOME": temporary, "TMPDIR": temporary}


class Seclusion:
    """The sandbox of one worker's slots, in the directory ``scratch``. ``close`` when they have ended.

    Raises: SandboxIncomplete where it is to be strict and cannot be; SpillSpaceExhausted.
    """

    def __init__(self, sandbox: Sandbox, slot_limits: SlotLimits, scratch: str) -> None:
        scratch = os.path.realpath(scratch)
        self._temporary = os.path.join(scratch, _TEMPORARY)
        outputs = tuple(os.path.join(scratch, name) for name in (OUTPUTS, POSITIONS))
        for directory in (self._temporary, *outputs):
            make_directory(directory)
        Path(outputs[0], _KEEP).touch()
        self._confinement = Confinement(
            scratch=scratch,
            outputs=outputs,
            temporary=self._temporary,
            read=sandbox.read,
            home=os.path.expanduser("~"),
            processes=limits.SANDBOX_PROCESSES + limits.SANDBOX_PROCESSES_PER_CORE * (os.cpu_count() or 1),
            limits=slot_limits,
        )
        _hide_this_process()
        self._printer = _Printer()
        try:
            self.first, outcome = self._try()
            if sandbox.is_strict and (sentence := refusal(outcome)) is not None:
                self.first.kill()
                raise SandboxIncomplete(sentence)
        except BaseException:
            self._printer.close()
            raise
        self._confinement = self._confinement._replace(must=outcome.enforced)
        self.sentence = start_sentence(outcome, slot_limits)

    def start_slot(self) -> SlotProcess:
        """Another one. It ends by itself if it cannot have what the first one had."""
        room = Room(
            environment_of_a_slot(os.environ, self._temporary), self._printer.entrance, self._confinement.header()
        )
        return SlotProcess(room=room)

    def clear(self) -> None:
        """Remove what the slots of a job have left in their temporary directory; they have ended.

        What cannot be removed stays: no job should keep its worker from going on by what it leaves.
        """
        for entry in list(os.scandir(self._temporary)):
            with contextlib.suppress(OSError, RecursionError):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)

    def close(self) -> None:
        self.first.kill()  # of which there was no use, perhaps
        self._printer.close()

    def _try(self) -> tuple[SlotProcess, Outcome]:
        """What can be enforced here is found out by a slot that does it."""
        slot = self.start_slot()
        slot.channel.settimeout(limits.SANDBOX_START_SECONDS)
        try:
            header, _ = receive(slot.channel)
            while header["did"] != "confined":
                header, _ = receive(slot.channel)
            return slot, Outcome.of_header(header)
        except (EOFError, OSError) as error:
            how = "took too long to start" if isinstance(error, TimeoutError) else slot.describe_exit()
            slot.kill()
            raise SandboxIncomplete(f"no slot can work in the sandbox here: the process {how}") from None
        except BaseException:
            slot.kill()
            raise


class SecludedOutside(Outside):
    """The outside of a worker whose slots are in a sandbox."""

    def __init__(self, seclusion: Seclusion) -> None:
        self._seclusion = seclusion

    def start_slot(self) -> Slot:
        return AsyncSlot(self._seclusion.start_slot())


def _hide_this_process() -> None:
    """From others of the same user, its memory, environment and descriptors; also where there is no Landlock."""
    if sys.platform == "linux":
        from mincemeat.sandbox.kernel import Kernel

        Kernel().hide_memory()


class _Printer:
    """Writes what comes in at ``entrance`` to standard error: slots get no descriptor of the worker's own."""

    def __init__(self) -> None:
        self._output = error_output()
        exit_, self.entrance = os.pipe()
        self._thread = threading.Thread(target=self._print, args=(exit_,), name="mincemeat-printer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """When the slots have ended. What a process holds open that has outlived them is not waited for."""
        if self.entrance >= 0:
            os.close(self.entrance)
            self.entrance = -1
            self._thread.join(timeout=1.0)

    def _print(self, exit_: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with open(exit_, "rb", buffering=0) as pipe:
            while data := pipe.read(limits.CHUNK_BYTES):
                self._write(harmless(decoder.decode(data)).encode("utf-8"))

    def _write(self, data: bytes) -> None:
        while data and self._output >= 0:
            try:
                data = data[os.write(self._output, data) :]
            except OSError:  # nobody reads it any more; slots must not wait for that
                self._output = -1


def harmless(text: str) -> str:
    """``text`` without what would make a terminal do something."""
    return text.translate(_HARMLESS)
