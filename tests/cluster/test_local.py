"""Workers that a server starts beside itself end with it, whether or not it came to be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mincemeat
from mincemeat.cluster.local import LocalWorkers
from tests.kit.gates import wait_until

# A server that is gone before it has told its workers of itself.
ABANDONED = """
import os, sys
from mincemeat.cluster.local import LocalWorkers
workers = LocalWorkers()
workers.start(2)
print(workers._processes[0].pid, flush=True)
sys.stdin.readline()
os._exit(0)
"""


def members(group: int) -> dict[int, str]:
    """The processes that a nursery and its workers are, and the slots of these: by their parents."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except (OSError, IndexError):
            continue
        if state != "Z":
            found[int(entry.name)] = (int(parent), state)
    family = {group} & found.keys()
    while more := {pid for pid, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return {pid: found[pid][1] for pid in family}


def have_ended(pids: set[int]) -> bool:
    return not any(members(pid) for pid in pids)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_that_were_never_introduced_end_when_they_are_stopped() -> None:
    workers = LocalWorkers()
    workers.start(2)
    try:
        nursery = workers._processes[0].pid
        wait_until(lambda: len(members(nursery)) == 5, "a nursery, two workers and their slots")
        family = set(members(nursery))
    finally:
        workers.stop()
    wait_until(lambda: have_ended(family), "all of them to end")
    workers.stop()  # may be called again


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("boots", [True, False])
def test_workers_of_a_server_that_died_before_it_was_one_end_by_themselves(boots: bool) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", ABANDONED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    nursery = int(server.stdout.readline())
    family = {nursery}
    if boots:
        wait_until(lambda: len(members(nursery)) == 5, "a nursery, two workers and their slots")
        family = set(members(nursery))
    _, said = server.communicate("go\n", timeout=60)
    wait_until(lambda: have_ended(family), "all of them to end")
    assert said == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_slot_was_forked_before_its_worker_knew_the_password() -> None:
    """Threat: user code that reads the password out of its own memory."""
    secret = b"a password that is nowhere else"
    with PinnedServer() as port:
        workers = LocalWorkers()
        workers.start(2)
        try:
            nursery = workers._processes[0].pid
            slots = wait_until(lambda: both_slots(nursery), "two slots, each with a session of its own")
            workers.introduce("127.0.0.1", port, secret)
            others = set(members(nursery)) - slots
            wait_until(lambda: sum(holds(pid, secret) for pid in others) == 2, "the workers to have read it")
            assert not any(holds(pid, text) for pid in slots for text in (secret, secret.hex().encode()))
        finally:
            workers.stop()


def both_slots(nursery: int) -> set[int]:
    """The slots, if both are there and have left the nursery's session."""
    found = {pid for pid in members(nursery) if pid != nursery and os.getpgid(pid) == pid}
    return found if len(found) == 2 else set()


class PinnedServer:
    """A port on which somebody listens and says nothing."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def holds(pid: int, text: bytes) -> bool:
    """Whether ``text`` is somewhere in the memory of a process."""
    maps = Path("/proc", str(pid), "maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            limits, access = line.split()[:2]
            if access.startswith("rw"):
                start, stop = (int(number, 16) for number in limits.split("-"))
                try:
                    memory.seek(start)
                    if text in memory.read(stop - start):
                        return True
                except (OSError, OverflowError):
                    continue
    return False


@pytest.mark.slow
def test_functions_that_cannot_travel_leave_no_worker_behind() -> None:
    lock = threading.Lock()
    with pytest.raises(mincemeat.InvalidJob, match="lock"):
        mincemeat.run({1: 1}, lambda _key, _value: [(lock.locked(), 1)], engine="cluster", workers=1, port=0)
