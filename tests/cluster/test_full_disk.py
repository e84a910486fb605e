"""A full disk under a worker's or the coordinator's files is told with path and bytes, and blamed on nobody else."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mincemeat.cluster.blocks import save
from mincemeat.cluster.carrying import system_failure
from mincemeat.cluster.fetching import Channels
from mincemeat.errors import SpillSpaceExhausted
from mincemeat.model import FailureKind
from mincemeat.shuffle.store import disk_full
from mincemeat.wire import messages
from tests.cluster.kit import run
from tests.cluster.test_committing import reduce_done
from tests.cluster.test_fetching import Relay, fetch, holding, stretch
from tests.cluster.test_session import WELCOME, session
from tests.kit.desk import coordinating

FULL_DISK = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL_DISK.exists(), reason="there is no /dev/full here")


@pytest.mark.parametrize("size", [10, 10_000_000])
def test_a_body_that_does_not_fit_is_told_with_path_and_bytes(size: int, tmp_path: Path) -> None:
    """It was a bare OSError, which does not say of which file."""

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield bytes(min(100_000, size - start))

    path = tmp_path / "blocks"
    path.symlink_to(FULL_DISK)
    with pytest.raises(SpillSpaceExhausted, match=f"the disk that holds {path} is full") as caught:
        run(save(body(), path, size))
    assert caught.value.path == str(path)
    assert caught.value.bytes_needed == min(size, 100_000)


@pytest.mark.parametrize("is_direct", [True, False])
def test_blocks_that_the_fetcher_has_no_room_for_are_not_held_against_their_holder(
    is_direct: bool, tmp_path: Path
) -> None:
    """They were Unreachable: the holder's map tasks were done again, and its sixteenth loss ended the job."""

    class RelayToFullDisk(Relay):
        async def get(self, request: messages.Get, path: Path, *, bytes_max: int | None = None) -> None:
            raise disk_full(str(path), 5)

    async def scenario() -> None:
        (tmp_path / "blocks").symlink_to(FULL_DISK)
        body = stretch(3, 5)
        async with holding(messages.Answer(is_direct, "", len(body)), [body]) as (_, holder):
            if not is_direct:
                holder = holder.__class__("holder", holder.host, 1, "00" * 32, "")
            with pytest.raises(SpillSpaceExhausted):
                await fetch(holder, RelayToFullDisk(), tmp_path)

    run(scenario())


def test_a_worker_with_no_room_for_the_code_fails_its_attempts_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left and joined again, for ever, and nobody was told why."""

    async def get(self: Channels, request: messages.Get, path: Path, *, bytes_max: int | None = None) -> None:
        raise disk_full(str(path), 7)

    monkeypatch.setattr(Channels, "get", get)

    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            await server.send(WELCOME)
            await server.send(messages.JobStart("job-1", 2, 2**20, None, 0.0, 1_000_000))
            await server.send(messages.MapStart("job-1", "m-00000.0", [1], body=b"x"))
            failed = await server.receive()
            while isinstance(failed, messages.Heartbeat):
                failed = await server.receive()
            assert isinstance(failed, messages.AttemptFailed)
            assert failed.kind == FailureKind.SYSTEM.value
            assert f"the disk that holds {tmp_path / 'code'} is full: 7 more bytes" in failed.message
            assert isinstance(pickle.loads(failed.body), SpillSpaceExhausted)
            await server.send(messages.Bye("that was all", again=False))
            await task
            assert task.exception() is None, "the worker left as it was told to"

    run(scenario())


def test_the_caller_reads_the_same_of_a_workers_full_disk_as_of_its_slots() -> None:
    failure = system_failure(disk_full("/small/blocks", 5))
    assert failure.kind is FailureKind.SYSTEM
    assert pickle.loads(failure.exception).path == "/small/blocks"
    assert system_failure(OSError("odd")).exception == b""


def test_a_full_disk_of_the_coordinators_own_ends_the_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as liar:
            await asyncio.gather(liar.do_map(), liar.do_map())
            start = await liar.expect(messages.ReduceStart)
            (tmp_path / f"{start.attempt}-{liar.name.encode().hex()}.upload").symlink_to(FULL_DISK)
            await liar.connection.send(reduce_done(start.attempt))
            ended = await desk.ended
            assert isinstance(ended.error, SpillSpaceExhausted)
            assert f"the disk that holds {tmp_path}" in str(ended.error)

    run(scenario())


def test_a_worker_with_no_room_for_anything_fails_its_attempts_and_stays(tmp_path: Path) -> None:
    """It left and joined again, for ever, and took attempts with it each time."""

    async def scenario() -> None:
        async with session(tmp_path) as (task, server):
            (tmp_path / "job").symlink_to(FULL_DISK)
            await server.send(WELCOME)
            await server.send(messages.JobStart("job-1", 2, 2**20, None, 0.0, 1, body=b"x"))
            await server.send(messages.MapStart("job-1", "m-00000.0", [1], body=b"x"))
            failed = await server.receive()
            while isinstance(failed, messages.Heartbeat):
                failed = await server.receive()
            assert isinstance(failed, messages.AttemptFailed)
            assert f"the disk that holds {tmp_path / 'job'} is full" in failed.message
            await server.send(messages.Bye("that was all", again=True))
            await asyncio.wait([task])

    run(scenario())
