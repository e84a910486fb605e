"""Functions that give other pairs the second time, on real workers of which one leaves in the reduce phase."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.engines.committing import LocalCommitter
from mincemeat.errors import InvalidJob, JobFailed
from mincemeat.model import AttemptId, Phase
from tests.kit.clusters import run_server, worker_process
from tests.kit.ways import each_way as each_way

pytestmark = pytest.mark.slow

RECORDS = {n: n for n in range(12)}


class Gate:
    """What reduce tasks do, as files in a directory, so that every process sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.opened = str(directory / "opened")

    def open(self) -> None:
        Path(self.opened).touch()

    def reduced(self) -> int:
        return len([name for name in os.listdir(self.directory) if name.startswith("reduced")])

    def wait_for(self, count: int) -> None:
        while self.reduced() < count:
            time.sleep(0.005)


def job(gate: Gate, *, is_random: bool) -> tuple[Any, Any]:
    """Each key is in a partition of its own. The first reduce task ends at once, the others when the gate is open."""
    directory, opened = gate.directory, gate.opened

    def mapfn(key: int, value: int) -> Iterator[tuple[int, float]]:
        for n in range(8):
            yield n, random.random() if is_random else value / 4

    def reducefn(key: int, values: list[float]) -> tuple[int, float]:
        with open(os.path.join(directory, f"reduced-{key}-{random.random()}"), "w"):
            pass
        while key != 0 and not os.path.exists(opened):
            time.sleep(0.005)
        return len(values), sum(values)

    return mapfn, reducefn


def place_in_partition(key: int) -> int:
    return key


def expected() -> dict[int, tuple[int, float]]:
    return {n: (12, sum(value / 4 for value in RECORDS.values())) for n in range(8)}


def server_for(gate: Gate, on_nondeterminism: str | None, *, is_random: bool) -> mincemeat.Server:
    mapfn, reducefn = job(gate, is_random=is_random)
    return mincemeat.Server(
        RECORDS,
        mapfn,
        reducefn,
        partitionfn=place_in_partition,
        partitions=8,
        split=2,
        backups=False,
        on_nondeterminism=on_nondeterminism,
    )


def run_and_kill_one(server: mincemeat.Server, gate: Gate) -> dict[Any, Any]:
    """With two workers, of which one, that holds map outputs, is killed when the first reduce task has committed."""
    results: dict[Any, Any] = {}
    with WorkerPair() as workers:

        def kill() -> None:
            # Both reduce, so every map output is there; the first task has ended and its slot has begun another one.
            gate.wait_for(3)
            workers[0].kill()
            workers[0].wait()
            gate.open()

        killer = threading.Thread(target=kill, daemon=True)

        def join(port: int) -> None:
            workers.start(port)
            killer.start()

        results = run_server(server, clients=0, on_listening=join)
        killer.join(20)
    return results


class WorkerPair:
    """Two workers in processes of their own, ended with the block."""

    def __init__(self) -> None:
        from contextlib import ExitStack

        self._stack = ExitStack()
        self._processes: list[Any] = []

    def start(self, port: int) -> None:
        self._processes = [self._stack.enter_context(worker_process(port, "-n", "1")) for _ in range(2)]

    def __getitem__(self, index: int) -> Any:
        return self._processes[index]

    def __enter__(self) -> WorkerPair:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture(autouse=True)
def small_reduce_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDUCE_TASK_BYTES", 1)


def test_random_values_and_a_killed_worker_are_an_error_that_says_so(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pytest.raises(JobFailed, match=r"map task m-0000\d gave other pairs when it was carried out again") as caught:
        run_and_kill_one(server_for(gate, None, is_random=True), gate)
    message = str(caught.value)
    assert "has reduced what the first one held" in message or "have reduced" in message
    assert 'on_nondeterminism="restart"' in message
    assert caught.value.task.startswith("m-")


@pytest.mark.parametrize("on_nondeterminism", ["raise", "restart", "ignore"])
def test_what_gives_the_same_again_is_not_suspected(on_nondeterminism: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    assert run_and_kill_one(server_for(gate, on_nondeterminism, is_random=False), gate) == expected()


@pytest.mark.parametrize("output", [None, "results.pickle", "results.pickle/"])
def test_restarted_results_are_of_one_run(output: str | None, tmp_path: Path) -> None:
    """Every record has the same number for all keys, so all sums are equal exactly if they are of one run."""
    (tmp_path / "gate").mkdir()
    gate = Gate(tmp_path / "gate")
    _, reducefn = job(gate, is_random=True)

    def mapfn(key: int, value: int) -> Iterator[tuple[int, float]]:
        drawn = random.randrange(2**30) / 4
        for n in range(8):
            yield n, drawn

    server = server_for(gate, "restart", is_random=True)
    server.mapfn, server.reducefn = mapfn, reducefn
    server.output = f"{tmp_path}/{output}" if output else None
    results = dict(run_and_kill_one(server, gate).items())
    assert set(results) == set(range(8))
    assert len({total for _, total in results.values()}) == 1, results
    assert all(count == 12 for count, _ in results.values())
    assert gate.reduced() > 8, "nothing was reduced again, so nothing was shown"


@pytest.mark.parametrize("on_nondeterminism", ["raise", "restart", "ignore", None])
def test_on_this_machine_a_damaged_output_is_compared_if_asked_for(
    on_nondeterminism: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third reduce task finds the output damaged, when two are done."""
    gate = Gate(tmp_path)
    gate.open()
    committed = LocalCommitter.committed
    done = []

    def damaging(committer: LocalCommitter, attempt: AttemptId, report: dict[str, Any]) -> Any:
        event = committed(committer, attempt, report)
        if attempt.task.phase is Phase.REDUCE:
            done.append(attempt)
            if len(done) == 2:
                for path in Path(committer._store.directory).glob("m-*.blocks"):
                    path.write_bytes(path.read_bytes()[:50])
        return event

    monkeypatch.setattr(LocalCommitter, "committed", damaging)
    _, reducefn = job(gate, is_random=True)
    options: dict[str, Any] = {"partitionfn": place_in_partition, "partitions": 8, "workers": 1, "progress": False}

    def drawn(key: int, value: int) -> Iterator[tuple[int, float]]:
        number = random.randrange(2**30) / 4
        for n in range(8):
            yield n, number

    if on_nondeterminism == "raise":
        with pytest.raises(JobFailed, match="gave other pairs"):
            mincemeat.run(RECORDS, drawn, reducefn, on_nondeterminism=on_nondeterminism, **options)
        return
    results = mincemeat.run(RECORDS, drawn, reducefn, on_nondeterminism=on_nondeterminism, **options)
    sums = {total for _, total in results.values()}
    assert len(sums) == (1 if on_nondeterminism == "restart" else 2)


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(InvalidJob, match="on_nondeterminism must be 'raise', 'restart' or 'ignore', not 'explode'"):
        mincemeat.run({}, on_nondeterminism="explode")
