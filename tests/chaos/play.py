"""One scenario played: its processes are started, its faults happen at their moments, and everything is checked.

Decides: when a fault is due and over, and what must be true afterwards. Does not know: how a fault comes about
(stage.py, proxy.py, namespaces.py) or what to do with what is found.
"""

from __future__ import annotations

import errno
import os
import pickle
import random
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mincemeat.sinks import open_results
from tests.chaos import leftovers, processes
from tests.chaos.jobs import KINDS, Progress, oracle
from tests.chaos.namespaces import SERVER_HOST, Cables
from tests.chaos.proxy import DOWN, UP, Door, Line, Network
from tests.chaos.scenario import SERVER, Fault, Scenario, WorkerPlan
from tests.chaos.stage import Actor, Stage
from tests.kit.clusters import LOOPBACK

FILLER = "somebody's"
# No fault of ours, but what becomes of one.
KILLED_BY_KERNEL = "killed by the kernel for want of memory"
# Between two looks at the job.
_LOOK_SECONDS = 0.02
# ... and at where workers listen, which takes longer. Nobody knows of a worker's port sooner.
_LOOK_FOR_DOORS_SECONDS = 0.1
# Starting takes long on a machine with much else to do.
_BEGIN_SECONDS = 90.0
# ... and if somebody does not come, the others begin.
_GATHER_SECONDS = 45.0
# A worker whose server has said good-bye or fallen silent (then a lease), or that is asked to end while it has none,
# needs far less than this.
_LEAVE_SECONDS = 40.0
# Words that no process says unless there is a fault in it.
_FAULT_WORDS = ("a fault of the worker's own", "Fatal Python error", "Traceback (most recent call last)")


class ChaosFound(AssertionError):
    """Something that should not be: told with the scenario and all that its processes have said."""


@dataclass
class Outcome:
    """``happened``: faults by kind; ``missed``: those whose moment did not come before the job was done.

    ``story``: what was done when, and what all processes said of it.
    """

    seconds: float = 0.0
    recovery_seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    story: str = ""


def play(scenario: Scenario, *, plant: str = "", patience_seconds: float | None = None) -> Outcome:
    """``plant``: see planted.py; ``patience_seconds``: instead of the scenario's. Raises: ChaosFound."""
    before = leftovers.open_descriptors()
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with ExitStack() as stack:
            player = _Player(scenario, directory, stack, plant, patience_seconds or scenario.patience_seconds)
            try:
                player.play()
            except Exception as error:
                raise ChaosFound(
                    f"{error!r}\n\n{scenario}\n\n{player.story()}\n\n"
                    f"{error}\n\nagain with: python -m tests.chaos --seed {scenario.seed}"
                ) from error
            player.outcome.story = player.story()
        _check(leftovers.processes_left(player.stage.mark, 0.0))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _check([f"our own descriptor {each} was not closed" for each in leftovers.open_descriptors() - before])
    return player.outcome


def _check(findings: list[str]) -> None:
    if findings:
        raise ChaosFound("; ".join(findings))


class _Player:
    def __init__(
        self, scenario: Scenario, directory: Path, stack: ExitStack, plant: str, patience_seconds: float
    ) -> None:
        self._patience_seconds = patience_seconds
        self._scenario = scenario
        self._directory = directory
        self.outcome = Outcome()
        self._said: list[str] = []
        self._began = time.monotonic()
        self._network = stack.enter_context(Network())
        self._cables = stack.enter_context(Cables()) if scenario.ground == "namespaces" else None
        host = LOOPBACK if self._cables is None else SERVER_HOST
        self.stage = stack.enter_context(Stage(scenario, directory, host, _free_port(), plant))
        self._progress = Progress(scenario.job, directory / "notes")
        self._server: Actor | None = None
        self._workers: dict[int, Actor] = {}
        self._lines: dict[tuple[int, str], Line] = {}
        self._peer_doors: dict[tuple[int, int], Door] = {}
        self._doors_due = 0.0
        self._listened: set[tuple[str, int]] = set()
        # What ends a fault that lasts, and when.
        self._ends: list[tuple[float, str, Callable[[], None]]] = []
        self._chance = random.Random(scenario.seed)

    def story(self) -> str:
        return "\n".join([*self._said, "", self.stage.outputs()])

    def _say(self, words: str) -> None:
        self._said.append(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self._began:7.2f} s  {words}")

    # -- the play ----------------------------------------------------------------------------------------

    def play(self) -> None:
        scenario = self._scenario
        self._start_server()
        waiting = sorted(scenario.workers, key=lambda worker: worker.joins)
        faults = list(scenario.faults)
        began: float | None = None
        while self._is_job_running():
            progress = self._progress.look()
            now = time.monotonic()
            if began is None and self._progress.has_begun:
                began = now
            self._open_gate(now)
            for worker in [each for each in waiting if each.joins <= progress or (began and now > began + 15)]:
                waiting.remove(worker)
                self._start_worker(worker)
            for fault in faults[:]:
                if began is not None and (fault.when <= progress or now > began + fault.latest_seconds):
                    faults.remove(fault)
                    self._happen(fault)
            for end in [each for each in self._ends if each[0] <= now]:
                self._ends.remove(end)
                self._say(f"over: {end[1]}")
                end[2]()
            self._open_peer_doors()
            if began is None:
                assert now < self._began + _BEGIN_SECONDS, "the job did not begin"
            elif not faults and not self._ends and not waiting:
                return self._finish(now)
            time.sleep(_LOOK_SECONDS)
        self.outcome.missed = len(faults)
        self._calm()
        self._finish(time.monotonic())
        return None

    def _open_gate(self, now: float) -> None:
        """The first record waits for all workers of the beginning, so that faults find them at work."""
        assert self._server is not None
        awaited = sum(not worker.joins for worker in self._scenario.workers) + self._scenario.local_workers
        joined = self._server.output().count(" joined with ")
        gate = self._directory / "gate"
        if (joined >= awaited or now > self._began + _GATHER_SECONDS) and not gate.exists():
            self._say(f"{joined} workers are there")
            gate.touch()

    def _is_job_running(self) -> bool:
        """Whether the server is there, or will be again."""
        assert self._server is not None
        return self._server.is_alive or any(end[1] == "the server is dead" for end in self._ends)

    def _finish(self, calm_since: float) -> None:
        """All faults are over. The job ends, everybody leaves, and nothing is left."""
        scenario = self._scenario
        assert self._server is not None
        self._say("all faults are over")
        if self._server.is_alive and not self._has_healthy_worker():
            self._start_worker(WorkerPlan(len(scenario.workers) + 100, behind_proxy=False))
        deadline = calm_since + self._patience_seconds
        while self._server.is_alive:
            self._open_peer_doors()
            assert time.monotonic() < deadline, f"the job did not end within {self._patience_seconds:g} s of calm"
            time.sleep(_LOOK_SECONDS)
        self.outcome.recovery_seconds = time.monotonic() - calm_since
        self._say(f"the server has ended with {self._server.process.returncode}")
        assert self._server.process.returncode == 0, "the job failed"
        if kills := self.stage.memory_kills():
            self.outcome.happened[KILLED_BY_KERNEL] = kills
        self._check_answer()
        self._dismiss_workers()
        self.outcome.seconds = time.monotonic() - self._began
        self._check_leftovers()

    def _has_healthy_worker(self) -> bool:
        plans = {worker.number: worker for worker in self._scenario.workers}
        return any(
            actor.is_alive and not actor.drains and not (number in plans and plans[number].is_sick)
            for number, actor in self._workers.items()
        )

    def _calm(self) -> None:
        for _, words, end in self._ends:
            self._say(f"over: {words}")
            end()
        self._ends.clear()

    def _dismiss_workers(self) -> None:
        """Those that were cut off still dial a server that is gone."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        for line in self._lines.values():
            self._network.do(line.calm)
        deaf = left = [actor for actor in self.stage.actors if actor.is_alive]
        while deaf and time.monotonic() < deadline:  # who dials has no connection, now and then at least
            deaf = [actor for actor in deaf if actor.is_alive and processes.connections(actor.pid)]
            time.sleep(_LOOK_SECONDS)
        names = ", ".join(actor.name for actor in deaf)
        assert not deaf, f"{names}: neither told that the job is over nor aware that the server is gone"
        for actor in left:
            self._say(f"{actor.name} is asked to end")
            actor.is_dismissed = True
            actor.process.send_signal(signal.SIGTERM)
        for actor in left:
            while actor.is_alive:
                assert time.monotonic() < deadline + _LEAVE_SECONDS, f"{actor.name} does not end"
                time.sleep(_LOOK_SECONDS)

    # -- starting ----------------------------------------------------------------------------------------

    def _start_server(self) -> None:
        self._server = self.stage.start_server([] if self._cables is None else self._cables.beside_server())
        self._listened.add((self.stage.host, self.stage.port))

    def _start_worker(self, plan: WorkerPlan) -> None:
        self._say(f"worker {plan.number} starts")
        address = (self.stage.host, self.stage.port)
        inside: list[str] = []
        if self._cables is not None:
            if plan.number < 100:
                self._cables.lay(plan.number)
                inside = self._cables.behind(plan.number)
            else:
                inside = self._cables.beside_server()
        elif plan.behind_proxy:
            door = self._network.door(self._line(plan.number, ""), address, source=_alias(plan.number), host=LOOPBACK)
            address = (LOOPBACK, door.port)
        self._workers[plan.number] = self.stage.start_worker(plan, address, inside)
        if plan.memory:
            self.outcome.happened[f"little memory: {plan.memory}"] += 1
        elif plan.is_tiny:
            self.outcome.happened["tiny disk"] += 1

    def _line(self, number: int, peers: str) -> Line:
        if (number, peers) not in self._lines:
            self._lines[number, peers] = self._network.line(self._scenario.seed * 1000 + number * 2 + bool(peers))
        return self._lines[number, peers]

    def _open_peer_doors(self) -> None:
        """Others dial a worker behind a proxy at the proxy's address and the worker's port: there is a door then."""
        if self._cables is not None or time.monotonic() < self._doors_due:
            return
        self._doors_due = time.monotonic() + _LOOK_FOR_DOORS_SECONDS
        wanted = {
            (plan.number, port)
            for plan in self._scenario.workers
            if plan.behind_proxy and plan.number in self._workers
            for _, port in processes.listening_ports(self._workers[plan.number].pid)
        }
        for number, port in wanted - self._peer_doors.keys():
            self._listened.add((LOOPBACK, port))
            self._peer_doors[number, port] = self._network.door(
                self._line(number, "peers"), (LOOPBACK, port), host=_alias(number), port=port
            )
        for number, port in self._peer_doors.keys() - wanted:
            self._network.close_door(self._peer_doors.pop((number, port)))

    # -- faults ------------------------------------------------------------------------------------------

    def _happen(self, fault: Fault) -> None:
        actor = self._server if fault.target == SERVER else self._workers.get(fault.target)
        if actor is None or not actor.is_alive:
            self._say(f"in vain, as it is not there: {fault}")
            self.outcome.missed += 1
            return
        self._say(str(fault))
        self.outcome.happened[fault.kind] += 1
        match fault.kind:
            case "kill":
                self.stage.kill(actor)
                self._replace(fault)
            case "kill with slots":
                self.stage.kill(actor, with_slots=True)
                self._replace(fault)
            case "kill a slot" | "freeze a slot":
                self._to_a_slot(fault, actor)
            case "drain":
                actor.drains += 1
                actor.process.send_signal(signal.SIGTERM)
                self._replace(fault)
            case "kill the server":
                self.stage.kill(actor)
                self._until(fault, self._start_server, "the server is dead")
            case "fill the disk":
                self._fill_disk(fault, actor)
            case kind if "freeze" in kind:
                slots = processes.descendants(actor.pid) if fault.way else []
                self.stage.freeze(actor, [actor.pid, *slots])
                self._until(fault, lambda: self.stage.thaw(actor))
            case kind if "link" in kind:
                self._to_cable(fault)
            case _:
                self._to_line(fault, actor)

    def _until(self, fault: Fault, end: Callable[[], None], words: str = "") -> None:
        self._ends.append((time.monotonic() + fault.seconds, words or str(fault), end))

    def _replace(self, fault: Fault) -> None:
        """Somebody notices, and starts the worker again; or does not."""
        plan = next(worker for worker in self._scenario.workers if worker.number == fault.target)
        if self._chance.random() < 0.7:
            seconds = self._chance.uniform(0.0, 2.0)
            self._ends.append((time.monotonic() + seconds, f"{plan.number} is gone", lambda: self._start_worker(plan)))

    def _to_a_slot(self, fault: Fault, actor: Actor) -> None:
        slots = processes.descendants(actor.pid)
        if not slots:
            return
        slot = self._chance.choice(slots)
        if fault.kind == "kill a slot":
            processes.send(slot, signal.SIGKILL)
            return
        self.stage.freeze(actor, [slot])
        self._until(fault, lambda: self.stage.thaw(actor))

    def _fill_disk(self, fault: Fault, actor: Actor) -> None:
        """Somebody else's file takes all of the room of a disk of a worker's own."""
        outside = self.stage.disks / str(self.stage.actors.index(actor))
        inside = Path(f"/proc/{actor.pid}/root{outside}")
        if not fill(inside, outside, next(each.disk for each in self._scenario.workers if each.number == fault.target)):
            self._say("in vain, as its disk is not there yet")
            return
        self._until(fault, lambda: _remove(inside / FILLER))

    def _to_cable(self, fault: Fault) -> None:
        assert self._cables is not None
        cables = self._cables
        if "down" in fault.kind:
            cables.set_down(fault.target, True)
            self._until(fault, lambda: cables.set_down(fault.target, False))
        else:
            cables.slow_down(fault.target, fault.amount * 1000)
            self._until(fault, lambda: cables.slow_down(fault.target, 0))

    def _to_line(self, fault: Fault, actor: Actor) -> None:
        way, _, peers = fault.way.rpartition("peers") if fault.way.endswith("peers") else (fault.way, "", "")
        way = way.strip()
        peers = "peers" if fault.way.endswith("peers") else ""
        line = self._line(fault.target, peers)
        ways = {"up": (UP,), "down": (DOWN,), "both": (UP, DOWN)}.get(way, ())
        do = self._network.do
        match fault.kind:
            case "cut":
                do(line.cut, reset=way == "RST")
            case "cut behind a byte":
                do(line.cut_after, fault.amount, reset=way == "RST")
            case "silence" | "silence beyond the lease":
                do(line.hold, *ways)
                self._until(fault, lambda: do(line.free))
            case "lost connections":
                do(line.lose, *ways)
            case "garble":
                do(line.garble)
                actor.is_garbled = True
            case "delay":
                do(setattr, line, "delay_seconds", fault.amount / 1000)
                self._until(fault, lambda: do(setattr, line, "delay_seconds", 0.0))
            case "throttle":
                do(setattr, line, "bytes_per_second", fault.amount * 1000)
                self._until(fault, lambda: do(setattr, line, "bytes_per_second", 0))
            case "odd pieces":
                do(setattr, line, "splits", True)
                self._until(fault, lambda: do(setattr, line, "splits", False))
            case "flap":
                do(setattr, line, "flaps", True)
                do(line.cut, reset=True)
                self._until(fault, lambda: do(setattr, line, "flaps", False))
            case _:
                raise ValueError(f"nobody knows how to do {fault.kind!r}")

    # -- checks ------------------------------------------------------------------------------------------

    def _check_answer(self) -> None:
        plan = self._scenario.job
        expected = oracle(plan)
        options = KINDS[plan.kind]
        if "output" in options:
            results = open_results(str(self._directory / options["output"].rstrip("/")))
            results.verify()
            found: list[tuple[str, Any]] = list(results.items())
        else:
            found = pickle.loads((self._directory / "answer").read_bytes())
        findings = differences(found, expected, is_sorted=options.get("sort", False))
        assert not findings, "the answer is wrong: " + "; ".join(findings)

    def _check_leftovers(self) -> None:
        stage = self.stage
        findings = leftovers.processes_left(stage.mark)
        findings += [
            f"{actor.name} ended with {code}"
            for actor in stage.actors
            if not actor.killed and (code := actor.process.returncode) not in actor.allowed_codes
        ]
        findings += [
            f"{actor.name} said {words!r}"
            for actor in stage.actors
            for words in _FAULT_WORDS
            if words in actor.output()
        ]
        if self._cables is None:
            findings += leftovers.still_listening(self._listened)
        findings += leftovers.files_left(stage)
        findings += leftovers.journal_left(self._directory)
        findings += leftovers.output_left(self._directory, KINDS[self._scenario.job.kind].get("output", ""))
        assert not findings, "; ".join(findings)


def differences(found: list[tuple[str, Any]], expected: dict[str, Any], *, is_sorted: bool) -> list[str]:
    """In what ``found`` differs from what the plain loop gives, in words."""
    told: list[str] = []
    counts = Counter(key for key, _ in found)
    told += [f"{key!r} is there {count} times" for key, count in counts.items() if count > 1]
    told += [f"{key!r} is missing" for key in expected if key not in counts]
    told += [f"{key!r} should not be there" for key in counts if key not in expected]
    told += [
        f"{key!r} is {value!r:.200} and should be {expected[key]!r:.200}"
        for key, value in found
        if key in expected and value != expected[key]
    ]
    keys = [key for key, _ in found]
    if is_sorted and keys != sorted(keys):
        told.append("keys are not in order")
    return told


def fill(inside: Path, outside: Path, size: int) -> bool:
    """Take all of the room of a disk of ``size`` bytes that its process sees at ``inside``; False if there is none.

    ``outside`` is that directory as everybody else sees it, who has another disk there. That one must not be filled:
    so nothing is written unless it is another, and never more than ``size``.
    """
    try:
        if os.stat(inside).st_dev == os.stat(outside).st_dev:
            return False  # the process has started, and has not mounted it yet
        left = size
        with (inside / FILLER).open("wb", buffering=0) as file:
            if os.fstat(file.fileno()).st_dev == os.stat(outside).st_dev:
                return False
            while left > 0:
                left -= file.write(bytes(min(left, 2**20)))
    except OSError as error:
        return error.errno == errno.ENOSPC
    return True


def _alias(number: int) -> str:
    """The address that a proxied worker seems to come from."""
    return f"127.0.1.{number + 1}"


def _remove(path: Path) -> None:
    with suppress(OSError):  # its process, and so its disk, is gone
        path.unlink()


def _free_port() -> int:
    """A port that was free a moment ago: the server is started twice on it, and workers must find it again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
