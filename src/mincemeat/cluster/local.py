"""Workers that a server starts beside itself, on its own machine.

Decides: how they are started, told the password (through a pipe, never on a command line) and ended. Does not know:
whether they are needed still.

::

    server --start--> nursery: imports what workers and slots need, and forks
                        |--> worker --> its slot
                        |--> worker --> its slot          ... all of them waiting while the server gets ready
           --introduce--> nursery --> workers: join

Two workers and their slots as interpreters of their own took most of a second of processor time to import the same. A
fork is no good in a process of the user's, with threads and open files (slots.py); the nursery has none. Slots are
forked before anybody reads the introduction: user code never runs where the password has been. Where forks are not to
be trusted each worker is a nursery of its own, whose slot is an interpreter of its own, too.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from mincemeat import limits
from mincemeat.interpreters import another
from mincemeat.slots import SlotProcess, error_output, kill_group

# As long as a worker that was told to end may need to end its slots and remove its files.
_GRACE_SECONDS = 3.0
# macOS has libraries that do not survive a fork, Windows has none.
_MAY_FORK = sys.platform == "linux"

_workers: list[int] = []
_told_to_end: list[bool] = []


class LocalWorkers:
    """The child processes of one server run.

    They are started before there is a server to be told of, so that they boot while it gets ready.
    """

    def __init__(self) -> None:
        self._count = 0
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start ``count`` workers of one slot each, which wait for ``introduce``."""
        self._count = count
        for workers in [count] if _MAY_FORK and count else [1] * count:
            interpreter = another("mincemeat.cluster.local", workers, _MAY_FORK)
            self._processes.append(
                subprocess.Popen(
                    interpreter.command,
                    pass_fds=interpreter.descriptors,
                    stdin=subprocess.PIPE,
                    stderr=error_output(),
                    stdout=error_output(),  # the server's own output may be somebody's input
                    start_new_session=True,  # Ctrl-C reaches the server, which then ends its workers
                )
            )

    def introduce(self, host: str, port: int, secret: bytes, keep_in: str = "") -> None:
        """Have all of them join ``host``:``port``. ``keep_in``: what the names of directories begin with, one for each
        worker, in which map outputs stay when the server dies; "": they go with it."""
        for number, process in enumerate(self._processes):
            described = {
                "host": host,
                "port": port,
                "secret": secret.hex(),
                "keep_in": keep_in,
                "number": number,
                "count": self._count,
                "server": os.getpid(),
            }
            introduction = json.dumps(described).encode("ascii")
            assert process.stdin is not None
            try:
                with process.stdin as pipe:
                    pipe.write(introduction)
            except OSError:
                pass  # it has ended already, which describe_end tells

    def describe_end(self) -> str:
        """How they ended if all of them have, in words; "" while one runs, and if there is none."""
        codes = {process.poll() for process in self._processes}
        if not codes or None in codes:
            return ""
        shown = ", ".join(map(str, sorted(code for code in codes if code is not None)))
        return f"all {self._count} local workers have ended, with exit code {shown}"

    def stop(self) -> None:
        """End them: politely, so that they remove their files, and after a while without asking."""
        for process in self._processes:
            process.terminate()
            if process.stdin is not None:
                process.stdin.close()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in self._processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                kill_group(process)
                process.wait()
        self._processes.clear()


def main(workers: int = 1, may_fork: bool = False) -> NoReturn:
    """The entry point of a nursery: its ``workers`` join the server that its standard input introduces."""
    # Before anything else is imported: SIGTERM means what Ctrl-C means, also where a shell had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)
    if workers == 1:
        _leave(_work(sys.stdin.read, may_fork))
    _import_what_workers_need()
    pipes: list[int] = []
    for number in range(workers):
        reader, writer = os.pipe()
        pipes.append(writer)
        pid = os.fork()
        if pid == 0:
            _workers.clear()
            for inherited in (*pipes, sys.stdin.fileno()):  # who waits for their end must not hold them
                os.close(inherited)
            _leave(_work(functools.partial(_read_all, reader), may_fork, number))
        _workers.append(pid)
        os.close(reader)
    introduction = sys.stdin.buffer.read()
    for writer in pipes:
        try:
            os.write(writer, introduction)  # a few hundred bytes, which a pipe takes at once
        except BrokenPipeError:  # it has ended
            pass
        os.close(writer)
    _leave(max(_wait_for_a_worker() for _ in range(workers)))


def _wait_for_a_worker() -> int:
    pid, status = os.wait()
    _workers.remove(pid)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code  # as a shell has it


def _read_all(descriptor: int) -> str:
    with open(descriptor, encoding="ascii") as pipe:
        return pipe.read()


def _leave(code: int) -> NoReturn:
    """End at once: there is nothing to clean up, and an interpreter takes its time to end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    """A nursery passes it on. Of a worker asyncio.run makes a cancellation of SIGINT, behind which it cleans up.

    Before and after it there is nothing to clean up, and a KeyboardInterrupt while it closes would be told on the
    server's terminal: the signal often comes just behind the good-bye.
    """
    del number, frame
    _told_to_end.append(True)
    if _workers:
        for pid in _workers:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        os._exit(0)
    else:
        signal.raise_signal(signal.SIGINT)


# -- a worker -------------------------------------------------------------------------------------------------


def _work(read_introduction: Callable[[], str], may_fork: bool, number: int = 0) -> int:
    """Be the worker ``number`` of this nursery until the job is done; the exit code."""
    slot = None
    try:
        if may_fork:
            _import_what_workers_need()
            slot = SlotProcess(forked=importlib.import_module("mincemeat.slot_main").main)
        else:
            slot = SlotProcess()  # boots while this process imports
            _import_what_workers_need()
        introduction = read_introduction()
        if introduction:  # the server may have ended before there was one
            _join(json.loads(introduction), slot, number)
    except KeyboardInterrupt:
        pass
    except RuntimeError:
        # From asyncio, if the signal came between the end of its task, which has cleaned up, and that of its loop.
        if not _told_to_end:
            traceback.print_exc()
            return 1
    except _Failed as error:
        print(f"mincemeat: local worker: {error}", file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - a fault of ours, which must not go on in what forked us
        traceback.print_exc()
        return 1
    finally:
        if slot is not None:
            slot.kill()
    return 0


class _Failed(Exception):
    """The worker could not join; the cause says why."""


def _import_what_workers_need() -> None:
    """While the server gets ready, and not when it waits for them."""
    for name in ("cloudpickle", "mincemeat.cluster.worker", "mincemeat.slot_main", "mincemeat.usercode"):
        importlib.import_module(name)
    importlib.import_module("mincemeat.cluster.certificate").tell_origin()  # imports `cryptography`, if it is there


def _join(introduction: dict[str, Any], slot: SlotProcess, number: int) -> None:
    from mincemeat.cluster.keeping import KeptDirectory
    from mincemeat.cluster.worker import serve
    from mincemeat.errors import MincemeatError

    secret = bytes.fromhex(introduction["secret"])
    keep_in = None
    if introduction["keep_in"]:
        own = introduction["number"] + number  # one of the two is 0
        keep_in = KeptDirectory(introduction["keep_in"], own, introduction["count"], introduction["server"])
    try:
        # The server is there; when many start at once, some of them have to try again.
        serve(
            introduction["host"],
            introduction["port"],
            secret,
            slots=1,
            wait_seconds=limits.LEASE_SECONDS,
            first=slot,
            keep_in=keep_in,
        )
    except MincemeatError as error:
        raise _Failed(str(error)) from error
