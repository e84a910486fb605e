"""Bits that flip in files of a job, over real slots and real workers: the job ends, and with the plain answer.

Each case prints its seed; damage comes from it alone, so ``pytest -k`` with that seed plays it again.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.cluster.carrying import Carrier
from mincemeat.cluster.gathering import Gathering
from mincemeat.engines.committing import LocalCommitter
from mincemeat.errors import JobFailed, PortInUse
from mincemeat.model import AttemptId, Phase
from mincemeat.shuffle.store import JobStore
from tests.kit import jobs
from tests.kit.clusters import run_server

pytestmark = pytest.mark.slow

LINES = {n: " ".join(f"w{n * k % 997}" for k in range(60)) for n in range(60)}
FEW_LINES = dict(list(LINES.items())[:30])


class Way(NamedTuple):
    """A job that goes its own way through the shuffle."""

    datasource: dict[int, Any]
    mapfn: Callable[[Any, Any], Any]
    reducefn: Callable[[Any, Any], Any] | None
    options: dict[str, Any]


def floats(key: int, line: str) -> Iterator[tuple[Any, float]]:
    for place, word in enumerate(line.split()):
        yield (word, key % 3), place / 4


def where(key: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, key


def much(key: int, line: str) -> Iterator[tuple[str, bytes]]:
    for word in line.split():
        yield word, bytes(2_000)


def sizes(key: str, values: Any) -> tuple[int, int]:
    return len(values), sum(map(len, values))


WAYS = {
    "counted in the table": Way(LINES, jobs.words, jobs.total, {}),
    "lists in the table": Way(LINES, where, jobs.values_as_given, {}),
    "plain": Way(LINES, floats, jobs.values_as_given, {}),
    "sorted": Way(LINES, where, jobs.values_as_given, {"sort": True}),
    "values sorted": Way(LINES, floats, jobs.values_as_given, {"sort_values": True}),
    "regrouped": Way(FEW_LINES, much, sizes, {"memory": 2**20, "partitions": 2}),
}


def check_answer(way: Way, results: dict[Any, Any]) -> None:
    expected = mincemeat.run(way.datasource, way.mapfn, way.reducefn, engine="inline", progress=False, **way.options)
    assert results == expected
    if way.options.get("sort"):
        assert list(results) == list(expected)


class Vandal:
    """Damages the first file it sees, of the others about this ``share``, and no more than ``most`` in all: the job
    shall end."""

    def __init__(self, seed: int, share: float = 0.5, most: int = 8) -> None:
        print("seed", seed)
        self.chance = random.Random(seed)
        self.share = share
        self.most = most
        self.damaged: list[str] = []
        self._lock = threading.Lock()

    def visit(self, path: str) -> None:
        """Perhaps flip a bit of ``path``, cut it or remove it."""
        with self._lock:
            size = os.path.getsize(path)
            if not self._wants(path):
                return
            deed = self.chance.random()
            if deed < 0.1:
                os.unlink(path)
            elif deed < 0.25:
                os.truncate(path, self.chance.randrange(size))
            else:
                self._flip(path, 0, size)

    def flip(self, path: str, offset: int = 0, length: int | None = None) -> None:
        """Perhaps flip a bit of the stretch."""
        with self._lock:
            if self._wants(path):
                self._flip(path, offset, os.path.getsize(path) if length is None else length)

    def _wants(self, path: str) -> bool:
        if len(self.damaged) >= self.most or (self.damaged and self.chance.random() >= self.share):
            return False
        self.damaged.append(path)
        return True

    def _flip(self, path: str, offset: int, length: int) -> None:
        with open(path, "r+b") as file:
            place = offset + self.chance.randrange(length)
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 1 << self.chance.randrange(8)]))


# -- slots of this machine -----------------------------------------------------------------------------------


def damaging_slots(vandal: Vandal, monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    committed = LocalCommitter.committed

    def damaging(committer: LocalCommitter, attempt: AttemptId, report: dict[str, Any]) -> Any:
        if attempt.task.phase is phase:
            vandal.visit(committer._store.path(attempt))
        return committed(committer, attempt, report)

    monkeypatch.setattr(LocalCommitter, "committed", damaging)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WAYS)
def test_map_outputs_damaged_on_this_machine_are_made_again(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They failed the job: four attempts, each over the same damaged file."""
    way = WAYS[name]
    vandal = Vandal(seed)
    damaging_slots(vandal, monkeypatch, Phase.MAP)
    results = mincemeat.run(way.datasource, way.mapfn, way.reducefn, workers=2, split=5, progress=False, **way.options)
    check_answer(way, results)
    assert vandal.damaged


@pytest.mark.parametrize("ending", ["", "jsonl", "jsonl/"])
def test_results_damaged_on_this_machine_are_made_again(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged part was put into the output as it was."""
    vandal = Vandal(5, share=0.7)
    damaging_slots(vandal, monkeypatch, Phase.REDUCE)
    monkeypatch.setattr(limits, "REDUCE_TASK_BYTES", 2_000)
    output = f"{tmp_path}/counts.{ending}" if ending else None
    results = mincemeat.run(LINES, jobs.words, jobs.total, output=output, workers=2, progress=False)
    assert dict(results.items()) == jobs.count_words(LINES)
    assert vandal.damaged


def test_a_disk_that_damages_everything_ends_the_job_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    vandal = Vandal(1, share=1.0, most=10**6)
    damaging_slots(vandal, monkeypatch, Phase.MAP)
    with pytest.raises(JobFailed, match=r"attempts of m-0000\d were lost 17 times.*its output is damaged"):
        mincemeat.run(LINES, jobs.words, jobs.total, workers=2, split=30, progress=False)


# -- workers -------------------------------------------------------------------------------------------------


def damaging_workers(vandal: Vandal, monkeypatch: pytest.MonkeyPatch) -> None:
    map_attempt = Carrier._map

    async def damaging(carrier: Carrier, start: Any) -> Any:
        reply = await map_attempt(carrier, start)
        path = carrier._store.path(AttemptId.parse(start.attempt))
        if os.path.exists(path):
            vandal.visit(path)
        return reply

    monkeypatch.setattr(Carrier, "_map", damaging)


def relayed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cannot_listen(*_: Any) -> int:
        raise PortInUse("no port is free")

    monkeypatch.setattr("mincemeat.cluster.fetching.HolderServer.start", cannot_listen)


@pytest.mark.parametrize("way_of_blocks", ["directly", "relayed"])
@pytest.mark.parametrize("name", WAYS)
def test_map_outputs_damaged_on_a_worker_are_made_again(
    name: str, way_of_blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    vandal = Vandal(len(name))
    damaging_workers(vandal, monkeypatch)
    if way_of_blocks == "relayed":
        relayed(monkeypatch)
    server = mincemeat.Server(way.datasource, way.mapfn, way.reducefn, split=5, **way.options)
    check_answer(way, run_server(server, clients=2))
    assert vandal.damaged


def test_copies_damaged_on_their_way_cost_no_map_task(monkeypatch: pytest.MonkeyPatch) -> None:
    vandal = Vandal(3, share=0.5)
    find_at = Gathering._find_at
    started: list[str] = []

    async def damaging(gathering: Gathering, position: int, outputs: list[AttemptId]) -> None:
        await find_at(gathering, position, outputs)
        if gathering._rounds == 1 and gathering._holders[position].worker != gathering._fetcher.worker:
            for output in outputs:
                for span in gathering._found[output.task.index]:
                    vandal.flip(span.path, span.offset, span.length)

    map_attempt = Carrier._map

    async def noted(carrier: Carrier, start: Any) -> Any:
        started.append(start.attempt)
        return await map_attempt(carrier, start)

    monkeypatch.setattr(Gathering, "_find_at", damaging)
    monkeypatch.setattr(Carrier, "_map", noted)
    monkeypatch.setattr(limits, "REDUCE_TASK_BYTES", 2_000)
    server = mincemeat.Server(LINES, jobs.words, jobs.total, split=5)
    assert run_server(server, clients=2) == jobs.count_words(LINES)
    assert vandal.damaged
    assert all(name.endswith(".0") for name in started), started


@pytest.mark.parametrize("inline_bytes", [limits.INLINE_BODY_BYTES, 0], ids=["inline", "uploaded"])
@pytest.mark.parametrize("ending", ["", "jsonl", "jsonl/"])
def test_results_damaged_on_a_worker_are_made_again(
    ending: str, inline_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INLINE_BODY_BYTES", inline_bytes)
    monkeypatch.setattr(limits, "REDUCE_TASK_BYTES", 2_000)
    vandal = Vandal(11, share=0.7)
    reduce_done = Carrier._reduce_done

    async def damaging(carrier: Carrier, attempt: str, report: Any) -> Any:
        path = JobStore(carrier._store.directory).path(AttemptId.parse(attempt))
        vandal.flip(path)
        return await reduce_done(carrier, attempt, report)

    monkeypatch.setattr(Carrier, "_reduce_done", damaging)
    output = f"{tmp_path}/counts.{ending}" if ending else None
    server = mincemeat.Server(LINES, jobs.words, jobs.total, output=output)
    assert dict(run_server(server, clients=2).items()) == jobs.count_words(LINES)
    assert vandal.damaged
