"""Which way code, splits, blocks and results travel: inline or not, directly or through the server, with a ticket."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import ConnectionFailed, limits
from mincemeat.cluster import fetching, outside
from mincemeat.cluster.blocks import encode_attempts
from mincemeat.cluster.connection import Connection, dial_pinned
from mincemeat.model import AttemptId
from mincemeat.wire import messages
from tests.kit import gates, jobs
from tests.kit.clusters import ClientThread, worker_process
from tests.kit.overhearing import Overheard
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow

MEGABYTE = 2**20


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> Overheard:
    heard = Overheard()
    heard.listen(monkeypatch)
    return heard


@pytest.fixture
def one_split_per_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)


# -- sizes -------------------------------------------------------------------------------------------------


def swap_halves(key: int, value: bytes) -> Iterator[tuple[int, bytes]]:
    half = len(value) // 2
    yield key % 2, value[half:] + value[:half]


def joined(key: int, values: list[bytes]) -> bytes:
    return b"".join(values)


@pytest.mark.usefixtures("one_split_per_attempt")
def test_splits_blocks_and_results_larger_than_a_frame_arrive_whole(overheard: Overheard) -> None:
    numbers = random.Random(1)
    data = {key: numbers.randbytes(2 * MEGABYTE) for key in range(4)}
    expected = {
        rest: b"".join(data[key][MEGABYTE:] + data[key][:MEGABYTE] for key in (rest, rest + 2)) for rest in range(2)
    }
    with (
        ServedJob(data, swap_halves, joined, backups=False) as job,  # a backup attempt would get a fifth split
        worker_process(job.port, "-n", "1"),
        worker_process(job.port, "-n", "1"),
    ):
        assert job.results() == expected
    assert overheard.requests["get split"] == 4
    assert overheard.requests["put result"] >= 1


def test_code_larger_than_a_frame_arrives_whole(overheard: Overheard) -> None:
    table = random.Random(2).randbytes(2 * MEGABYTE)

    def mapfn(key: int, value: int) -> Iterator[tuple[int, int]]:
        yield table[value], value

    with ServedJob({0: MEGABYTE}, mapfn, jobs.total) as job, worker_process(job.port, "-n", "1"):
        assert job.results() == {table[MEGABYTE]: MEGABYTE}
    assert overheard.requests["get code"] == 1


@pytest.mark.usefixtures("one_split_per_attempt")
def test_everything_may_travel_on_data_connections(overheard: Overheard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INLINE_BODY_BYTES", 0)
    with ServedJob(jobs.RHYME, jobs.words, jobs.total) as job:
        client = ClientThread(job.port, "changeme")
        client.start()
        results = job.results()
        client.join(20)
    assert results == jobs.count_words(jobs.RHYME)
    assert overheard.requests == {"get code": 1, "get split": 4, "get inputs": 1, "put result": 1}


# -- files that only the server sees --------------------------------------------------------------------------

# Read by each interpreter at its start: in this worker and its slots, files below HIDDEN do not exist.
BLINDFOLD = """
import errno, os, sys

def look_away(event, arguments, hidden=os.environ["HIDDEN"]):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(hidden):
        open(os.environ["MISSED"], "a").close()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])

sys.addaudithook(look_away)
"""


def count_lines(key: Any, text: str) -> Iterator[tuple[str, int]]:
    yield text.split()[0], 1


def test_a_file_that_a_worker_cannot_see_is_streamed_to_it(tmp_path: Path, overheard: Overheard) -> None:
    hidden, blindfold, missed = tmp_path / "hidden", tmp_path / "blindfold", tmp_path / "missed"
    hidden.mkdir()
    blindfold.mkdir()
    (blindfold / "sitecustomize.py").write_text(BLINDFOLD, "utf-8")
    for name in ("one", "two"):
        # Larger than a chunk, so that the data is more than one message.
        (hidden / f"{name}.txt").write_text(f"{name} line\n" * 40_000, "utf-8")
    search_path = os.pathsep.join([str(blindfold), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": search_path, "HIDDEN": str(hidden), "MISSED": str(missed)}
    with (
        ServedJob(mincemeat.lines(str(hidden)), count_lines, jobs.total) as job,
        worker_process(job.port, "-n", "1", environment=environment),
    ):
        assert job.results() == {"one": 40_000, "two": 40_000}
    assert missed.exists(), "the worker was not blind: this test showed nothing"
    assert overheard.requests["get split-data"] >= 1


def test_a_file_that_a_worker_sees_is_not_streamed(tmp_path: Path, overheard: Overheard) -> None:
    (tmp_path / "one.txt").write_text("one line\n" * 40_000, "utf-8")
    with ServedJob(mincemeat.lines(str(tmp_path)), count_lines, jobs.total) as job, worker_process(job.port, "-n", "1"):
        assert job.results() == {"one": 40_000}
    assert overheard.requests["get split-data"] == 0


# -- from worker to worker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_reachable", [True, False], ids=["reachable", "unreachable"])
def test_blocks_are_relayed_exactly_when_workers_cannot_reach_each_other(
    is_reachable: bool, tmp_path: Path, overheard: Overheard, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled = []

    async def dial(host: str, port: int, fingerprint: bytes, *, timeout: float) -> Connection:
        dialled.append(port)
        if not is_reachable:
            raise ConnectionFailed(f"cannot connect to {host}:{port}: a firewall of this test")
        return await dial_pinned(host, port, fingerprint, timeout=timeout)

    monkeypatch.setattr(outside, "dial_pinned", dial)
    # One reduce task for each partition with keys in it, so that both workers fetch.
    job = ServedJob(gates.records(tmp_path, 10), gates.held, gates.as_given, reduce_task_bytes=1)
    with job:
        clients = [ClientThread(job.port, "changeme") for _ in range(2)]
        for client in clients:
            client.start()
        gates.wait_for_slots(tmp_path, 2)
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(10)
        for client in clients:
            client.join(20)
    assert [client.error for client in clients] == [None, None]
    assert dialled
    assert (overheard.requests["get relay"] > 0) == (not is_reachable)
    if not is_reachable:
        # A firewall does not go away: each worker tries the direct way to the other one once.
        assert len(dialled) <= 2


async def ask(holder: fetching.Holder, request: messages.Get) -> tuple[messages.Answer, bytes]:
    connection = await dial_pinned(holder.host, holder.port, bytes.fromhex(holder.fingerprint))
    try:
        await connection.send(request)
        answer = await connection.receive()
        assert isinstance(answer, messages.Answer)
        body = b"".join([piece async for piece in connection.receive_body()]) if answer.ok else b""
        return answer, body
    finally:
        connection.close()
        await connection.wait_closed()


def test_a_worker_serves_blocks_to_the_ticket_made_for_the_fetcher_and_to_no_other(
    tmp_path: Path, overheard: Overheard
) -> None:
    data = gates.records(tmp_path, 10)
    with (
        ServedJob(data, gates.held, gates.held_as_given(tmp_path), reduce_task_bytes=1) as job,
        worker_process(job.port, "-n", "1") as first,
        worker_process(job.port, "-n", "1") as second,
    ):
        gates.wait_for_workers(tmp_path, first.pid, second.pid)
        gates.open_gate(tmp_path)
        gates.wait_for_reducers(tmp_path, 2)
        (one, described), (other, _) = overheard.reduce_inputs.items()
        holders = {found["worker"]: fetching.Holder(**found) for found in described["holders"]}
        holder = holders[other]  # what `one` was told about `other`
        index, number, _ = next(
            entry for entry in described["maps"] if described["holders"][entry[2]]["worker"] == other
        )
        outputs = encode_attempts([AttemptId.parse(f"m-{index:05d}.{number}")])

        def get(**changes: Any) -> messages.Get:
            fields = {"job": "job-of-a-test", "name": other, "ticket": holder.ticket, "fetcher": one, **changes}
            return messages.Get(what="blocks", split=0, first_partition=0, last_partition=64, body=outputs, **fields)

        foreign = [
            get(ticket=""),
            get(ticket="0" * 64),
            get(ticket=holders[one].ticket),
            get(fetcher="somebody else"),
            get(fetcher=other),
            get(job="job-of-yesterday"),
        ]
        for request in foreign:
            with pytest.raises(ConnectionFailed):  # not a word
                asyncio.run(ask(holder, request))
        answer, body = asyncio.run(ask(holder, get()))
        assert answer.ok
        assert len(body) == answer.size > 0
        gates.open_gate(tmp_path, "reduce")
        assert job.results() == gates.grouped(10)
