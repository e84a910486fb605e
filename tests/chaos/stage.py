"""The processes of one scenario, as a person would start them, and what can be done to them.

Every process carries a mark of the scenario in its environment, and so does whatever it starts. Output goes to files: a
frozen reader must not block anybody.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from tests.chaos import processes
from tests.chaos.cgroups import MemoryGroup
from tests.chaos.jobs import HUNGRY
from tests.chaos.planted import PLANT
from tests.chaos.scenario import Scenario, WorkerPlan
from tests.kit.clusters import ROOT
from tests.kit.disks import on_a_small_disk

PASSWORD = "chaos is a ladder"
MARK = "MINCEMEAT_CHAOS_MARK"
# A worker that has lost its server dials for so long.
WAIT_SECONDS = 300
# An interpreter with all of its libraries has room in this, and a hungry record has none.
LITTLE_MEMORY_BYTES = 700 * 2**20

_TINY_JOB = "import mincemeat; mincemeat.run({1: 'a'}, lambda k, v: [(v, k)], workers=1, progress=False)"


@dataclass
class Actor:
    """One process that was started. ``killed``: we did it, so its exit code says nothing. ``drains``: how often it was
    asked to end."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    started: float
    killed: bool = False
    drains: int = 0
    has_own_disk: bool = False
    is_garbled: bool = False
    is_dismissed: bool = False
    stopped: set[int] = field(default_factory=set)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def allowed_codes(self) -> set[int]:
        """Exit codes that say of nothing wrong."""
        if self.drains or self.is_dismissed:
            # A second request to end means at once, and so does one that comes before it has joined, or while it ends.
            return {0, 128 + signal.SIGTERM, -signal.SIGTERM}
        if self.has_own_disk and "is full" in self.output():
            return {0, 1}  # not even a directory could be made, which it said
        if self.is_garbled and "is not a mincemeat server" in self.output():
            return {0, 1}  # a flipped bit in the first bytes, which no checksum of ours vouches for: so it seems there
        return {0}

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")


class Stage:
    """Starts and ends the processes of ``scenario`` in ``directory``. A context manager that leaves none."""

    def __init__(self, scenario: Scenario, directory: Path, host: str, port: int, plant: str = "") -> None:
        """``plant``: the fault of ours that its processes have (planted.py)."""
        self._scenario = scenario
        self._plant = plant
        self.directory = directory
        self.host, self.port = host, port
        self.mark = f"{scenario.seed}-{os.getpid()}-{time.monotonic_ns()}"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.disks = directory / "disks"
        self.disks.mkdir()
        self._logs = directory / "logs"
        self._logs.mkdir()
        self.actors: list[Actor] = []
        self._groups: list[MemoryGroup] = []
        self._write_job()

    def _write_job(self) -> None:
        scenario = self._scenario
        job = {
            "plan": asdict(scenario.job),
            "limits": scenario.limits,
            "journal": scenario.journal,
            "host": self.host,
            "port": self.port,
            "local_workers": scenario.local_workers,
        }
        (self.directory / "job.json").write_text(json.dumps(job), "utf-8")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            if actor.is_alive:
                actor.process.kill()
            actor.process.wait()
        for pid in processes.marked(MARK, self.mark):
            processes.send(pid, signal.SIGKILL)
        for group in self._groups:
            group.close()

    # -- starting ----------------------------------------------------------------------------------------

    def start_server(self, inside: list[str]) -> Actor:
        """``inside``: the words before the command, which lead into a namespace."""
        return self._start("server", [*inside, sys.executable, "-m", "tests.chaos.server", str(self.directory)], {})

    def start_worker(self, plan: WorkerPlan, address: tuple[str, int], inside: list[str]) -> Actor:
        """A worker that dials ``address``."""
        host, port = address
        changed = "; ".join(f"limits.{name} = {value}" for name, value in self._scenario.limits.items())
        if self._plant:
            changed += f"; from tests.chaos.planted import plant; plant({self._plant!r})"
        prelude = f"from mincemeat import limits; {changed}; import mincemeat; mincemeat.run_client()"
        command = [sys.executable, *(["-c", prelude] if changed else ["-m", "mincemeat"])]
        command += ["-P", str(port), "-n", str(plan.slots), "--wait", str(WAIT_SECONDS), "-v", host]
        environment = {}
        if plan.disk:
            disk = self.disks / str(len(self.actors))
            disk.mkdir()
            command = on_a_small_disk(disk, str(plan.disk), *command)
            environment["TMPDIR"] = str(disk)
        if plan.memory:
            environment[HUNGRY] = "1"
        if plan.memory == "group":
            group = MemoryGroup(f"mincemeat-chaos-{self.mark}-{len(self.actors)}")
            self._groups.append(group)
            inside = [*inside, *group.inside()]
        actor = self._start(f"worker {plan.number}", [*inside, *command], environment)
        if plan.memory == "limit":  # before it has started a slot, which inherits it
            import resource  # there is none on Windows, where this file is still read

            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(actor.pid, resource.RLIMIT_AS, (LITTLE_MEMORY_BYTES, LITTLE_MEMORY_BYTES))
        actor.has_own_disk = bool(plan.disk)
        return actor

    def start_tiny_job(self) -> subprocess.CompletedProcess[str]:
        """The next job of the same user, which sweeps up."""
        return subprocess.run(
            [sys.executable, "-c", _TINY_JOB],
            env=self._environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> Actor:
        log = self._logs / f"{len(self.actors):02} {name}.log"
        file: TextIO
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
                env=self._environment(environment),
            )
        actor = Actor(name, process, log, time.monotonic())
        self.actors.append(actor)
        return actor

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "MINCEMEAT_PASSWORD": PASSWORD,
            "PYTHONFAULTHANDLER": "1",
            MARK: self.mark,
            PLANT: self._plant,
            **more,
        }

    def memory_kills(self) -> int:
        """How many processes the kernel has killed because their group had no memory left."""
        return sum(group.kills() for group in self._groups)

    # -- signals -----------------------------------------------------------------------------------------

    def kill(self, actor: Actor, *, with_slots: bool = False) -> None:
        slots = processes.descendants(actor.pid) if with_slots else []
        actor.killed = True
        actor.process.kill()
        actor.process.wait()
        for slot in slots:
            processes.send(slot, signal.SIGKILL)

    def freeze(self, actor: Actor, pids: list[int]) -> None:
        for pid in pids:
            if processes.send(pid, signal.SIGSTOP):
                actor.stopped.add(pid)

    def thaw(self, actor: Actor) -> None:
        for pid in actor.stopped:
            processes.send(pid, signal.SIGCONT)
        actor.stopped.clear()

    def outputs(self) -> str:
        """What all processes have said, newest last."""
        return "\n".join(
            f"--- {actor.name} (pid {actor.pid}, exit code {actor.process.poll()})\n{actor.output()}"
            for actor in self.actors
        )
