"""Committing what workers report: what cannot be is refused; damaged, doubled or late reports change nothing."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.coordinator import JobEnded
from mincemeat.shuffle.block import BlockWriter, encode_columns
from mincemeat.wire import messages
from tests.cluster.kit import run
from tests.kit.desk import coordinating, map_done


def results_file() -> bytes:
    """A file of one result, as a reduce attempt leaves it."""
    file = io.BytesIO()
    writer = BlockWriter(file)
    writer.append(0, encode_columns(["key"], ["result"], single=True), keys=1, pairs=1, single=True)
    writer.finish()
    return file.getvalue()


RESULTS = results_file()


def reduce_done(attempt: str, body: bytes = RESULTS) -> messages.ReduceDone:
    return messages.ReduceDone("job-1", attempt, 1, 1, 0.1, len(body), body=body)


def test_a_reduce_attempt_cannot_be_ended_by_the_report_of_a_map_attempt(tmp_path: Path) -> None:
    """It was committed without a result: the job ended, and that part of the results was missing."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as liar:
            await liar.do_map()
            await liar.do_map()
            start = await liar.expect(messages.ReduceStart)
            await liar.connection.send(map_done(start.attempt))
            assert not await liar.is_connected()
            assert not desk.ended.done()

    run(scenario())


def test_sizes_below_zero_are_refused(tmp_path: Path) -> None:
    """Sizes that cancel one another out looked like a job without any output."""

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=1) as desk, desk.liar() as liar:
            start = await liar.expect(messages.MapStart)
            await liar.connection.send(map_done(start.attempt, [5, -5]))
            assert not await liar.is_connected()
            assert not desk.ended.done()

    run(scenario())


@pytest.mark.parametrize("skipped", [1, -1])
def test_records_set_aside_in_a_job_that_does_not_skip_are_refused(skipped: int, tmp_path: Path) -> None:
    """Its results would lack them, and nobody asked for that."""

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=1) as desk, desk.liar() as liar:
            start = await liar.expect(messages.MapStart)
            await liar.connection.send(replace(map_done(start.attempt), skipped=skipped))
            assert not await liar.is_connected()
            assert not desk.ended.done()

    run(scenario())


def test_a_result_told_twice_is_there_once(tmp_path: Path) -> None:
    """The second message removed the file that the caller had not read yet."""

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=1) as desk, desk.liar() as liar:
            await liar.do_map()
            done = reduce_done((await liar.expect(messages.ReduceStart)).attempt)
            await liar.connection.send(done)
            await liar.connection.send(done)
            assert (await desk.ended).error is None
            assert await liar.is_connected()
            assert desk.results[0].read_bytes() == RESULTS

    run(scenario())


@pytest.mark.parametrize("inline_bytes", [limits.INLINE_BODY_BYTES, 0], ids=["small", "large"])
def test_results_that_were_damaged_on_their_way_are_made_again(
    inline_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were committed, and the caller failed over them when nobody was left to make them again."""
    monkeypatch.setattr(limits, "INLINE_BODY_BYTES", inline_bytes)

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=1) as desk, desk.liar() as liar:
            await liar.do_map()
            damaged = bytearray(RESULTS)
            damaged[len(damaged) // 3] ^= 16
            await liar.connection.send(reduce_done((await liar.expect(messages.ReduceStart)).attempt, bytes(damaged)))
            again = (await liar.expect(messages.ReduceStart)).attempt
            assert again == "r-00000.1"
            done = reduce_done(again)
            await liar.connection.send(done)
            await liar.connection.send(done)  # told twice while it is looked at
            assert (await desk.ended) == JobEnded()
            assert await liar.is_connected()
            assert desk.results[0].read_bytes() == RESULTS
            assert [path.name for path in tmp_path.iterdir()] == ["r-00000.1.result"]

    run(scenario())


def test_a_result_that_cannot_be_stored_ends_the_job_with_the_reason(tmp_path: Path) -> None:
    """It looked like a fault of the worker, who was dropped, and the next one, and so on."""

    async def scenario() -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        async with coordinating(scratch, splits=1) as desk, desk.liar() as liar:
            await liar.do_map()
            start = await liar.expect(messages.ReduceStart)
            shutil.rmtree(scratch)
            await liar.connection.send(reduce_done(start.attempt))
            assert isinstance((await desk.ended).error, FileNotFoundError)

    run(scenario())
