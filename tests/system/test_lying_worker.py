"""A worker that knows the password and lies: it can falsify its part of the results, and run nothing anywhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.cluster.async_slots import SlotDied
from mincemeat.errors import InvalidEmission, JobFailed
from mincemeat.model import Failure, FailureKind
from mincemeat.set_aside import Report
from mincemeat.slot_channel import Header
from tests.kit.clusters import LOOPBACK, ClientThread
from tests.kit.gadgets import Call, Gadget, ops
from tests.kit.jobs import one_and_the_rest, total, touches
from tests.kit.lying import Answer, LyingSlot, LyingWorker, file_is_there


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def hostile(canary: Path) -> Gadget:
    """Creates the canary when plain pickle reads it, in whatever process."""
    return Gadget("mkdir", ops(Call(os.mkdir, str(canary))))


class Cast:
    """The workers of one server: a liar that joins first, and honest ones that join when they are called."""

    def __init__(self, server: mincemeat.Server, answer: Answer) -> None:
        self.port = 0
        self._answer = answer
        self._threads: list[LyingWorker | ClientThread] = []
        server.on_listening, server.progress, server.preflight = self._begin, False, False

    def _begin(self, port: int) -> None:
        self.port = port
        self._start(LyingWorker(port, self._answer))

    def _start(self, thread: LyingWorker | ClientThread) -> None:
        self._threads.append(thread)
        thread.start()

    def let_in_an_honest_one(self) -> None:
        self._start(ClientThread(self.port, "changeme"))

    def drain_the_liar(self) -> None:
        liar = self._threads[0]
        assert isinstance(liar, LyingWorker)
        liar.worker.drain()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(timeout=20)
            assert not thread.is_alive()


@contextlib.contextmanager
def serving(server: mincemeat.Server, answer: Answer) -> Iterator[Cast]:
    """``server``, which is about to be run, has a worker that answers so."""
    cast = Cast(server, answer)
    try:
        yield cast
    finally:
        cast.wait()


def run(server: mincemeat.Server) -> Any:
    return server.run_server(password="changeme", port=0, host=LOOPBACK)


@pytest.mark.slow
@pytest.mark.parametrize("trust_workers", [False, True])
def test_a_lying_workers_block_runs_nothing_in_another_workers_slot(
    trust_workers: bool, canary: Path, hostile: Gadget, tmp_path: Path
) -> None:
    """And the control: where workers are trusted, it runs in the slot of the honest worker that reduces."""
    mark = tmp_path / "mark"

    async def answer(slot: LyingSlot, header: Header) -> tuple[Header, bytes]:
        if header["do"] == "reduce":  # before the server heard that it leaves
            raise SlotDied("it will not")
        cast.let_in_an_honest_one()
        await file_is_there(mark)  # it has the other record
        cast.drain_the_liar()  # so that it is not the one to reduce
        return slot.map_output(header, hostile.as_columns())

    server = mincemeat.Server(
        {0: str(mark), 1: str(mark)}, touches, one_and_the_rest, split=1, max_attempts=2, trust_workers=trust_workers
    )
    with serving(server, answer) as cast:
        if trust_workers:
            assert run(server)["k"] == (1, [None])
        else:
            with pytest.raises(InvalidEmission, match="is refused: .*mkdir is neither plain data nor"):
                run(server)
    assert canary.exists() is trust_workers


@pytest.mark.parametrize("trust_workers", [False, True])
def test_a_lying_workers_result_runs_nothing_in_the_callers_process(
    trust_workers: bool, canary: Path, hostile: Gadget
) -> None:
    async def answer(slot: LyingSlot, header: Header) -> tuple[Header, bytes]:
        if header["do"] == "map":
            return slot.map_output(header, hostile.as_columns())
        return slot.result(header, hostile.as_columns())

    server = mincemeat.Server({0: "x"}, touches, total, trust_workers=trust_workers)
    with serving(server, answer):
        if trust_workers:
            assert list(run(server)) == ["k"]
        else:
            with pytest.raises(InvalidEmission, match=r"mkdir is neither .*trust_workers=True \(--trust-workers\)"):
                run(server)
    assert canary.exists() is trust_workers


def test_a_lying_workers_exception_runs_nothing_in_the_callers_process(canary: Path, hostile: Gadget) -> None:
    async def answer(slot: LyingSlot, header: Header) -> tuple[Header, bytes]:
        return slot.failure(
            header,
            Failure(
                FailureKind.USER,
                "no good",
                function="mapfn",
                exception_type="Odd",
                exception=hostile.as_value(),
                data=hostile.as_value(),
                record=0,
                split=0,
            ),
        )

    server = mincemeat.Server({0: "x"}, touches, total, max_attempts=1)
    with serving(server, answer), pytest.raises(JobFailed, match="raised Odd in mapfn .*: no good") as caught:
        run(server)
    assert (caught.value.exception_type, caught.value.data) == ("Odd", b"")
    assert not canary.exists()


def test_a_lying_workers_report_runs_nothing_when_it_is_looked_at(canary: Path, hostile: Gadget) -> None:
    report = Report()
    report.add(
        Failure(
            FailureKind.USER,
            "no good",
            function="mapfn",
            exception_type="Odd",
            exception=hostile.as_value(),
            data=hostile.as_value(),
            record=0,
            split=0,
        )
    )

    async def answer(slot: LyingSlot, header: Header) -> tuple[Header, bytes]:
        return slot.map_output(header, b"", set_aside=report.encode())

    server = mincemeat.Server({0: "x"}, touches, total, on_error="skip")
    with serving(server, answer):
        results = run(server)
    (failure,) = results.failures
    assert (failure.exception, failure.exception_type, failure.message, failure.data) == (None, "Odd", "no good", b"")
    assert not canary.exists()


@pytest.mark.parametrize("ending", [".pickle", ".pkl/"])
def test_pickled_output_is_written_by_the_caller(ending: str, canary: Path, hostile: Gadget, tmp_path: Path) -> None:
    """What a worker writes into it would be read by the user's own tools, with plain pickle."""
    asked = []

    async def answer(slot: LyingSlot, header: Header) -> tuple[Header, bytes]:
        asked.append(header["do"])
        if header["do"] == "map":
            return slot.map_output(header, hostile.as_columns())
        return slot.result(header, hostile.as_columns())

    server = mincemeat.Server({0: "x"}, touches, total, output=f"{tmp_path}/out{ending}")
    with serving(server, answer), pytest.raises(InvalidEmission, match="is refused"):
        run(server)
    assert asked == ["map", "reduce"]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] in ([], ["out.pkl"])
    assert not canary.exists()
