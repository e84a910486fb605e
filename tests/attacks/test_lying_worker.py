"""A worker that knows the password and lies, in every field of every message: it costs nobody but itself.

What it says cannot end the coordinator or the calling thread, makes, reads or removes no file outside of the job's
directory, and is never unpickled; and when it is gone, an honest worker ends the job with the right results.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.errors import JobFailed, MincemeatError, RemoteProtocolError
from mincemeat.wire import messages
from mincemeat.wire.codec import decode, encode
from mincemeat.wire.frames import FrameDecoder
from tests.attacks import lies
from tests.attacks.stage import RESULTS, is_heard_out, staging
from tests.cluster.kit import run
from tests.kit.auditing import watching
from tests.kit.desk import JOB

EVERY = tuple(messages.KINDS.values())
OF_WORKERS = tuple(cls for number, cls in messages.KINDS.items() if number < 32)
NOT_OF_WORKERS = tuple(cls for number, cls in messages.KINDS.items() if number >= 32)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The job's directory, and one beside it in which nobody may so much as look."""
    scratch, victim = tmp_path / "job" / "scratch", tmp_path / "victim"
    scratch.mkdir(parents=True)
    victim.mkdir()
    for name in ("m-00000.0", "m-00000.0.blocks", "m-00000.0.result", "m-00000.0.upload"):
        (victim / name).write_text("somebody else's")
    return scratch, victim


@pytest.mark.parametrize("cls", EVERY)
def test_what_is_none_of_the_types_is_refused_before_it_is_a_message(cls: type[messages.Message]) -> None:
    for told, frame in lies.frames_of_no_message(lies.plain(cls)):
        (received,) = FrameDecoder().feed(frame)
        with pytest.raises(RemoteProtocolError):
            pytest.fail(f"{cls.__name__} with {told} was taken as {decode(received)!r}")


@pytest.mark.parametrize(
    ("cls", "skips"),
    [(cls, skips) for cls in OF_WORKERS for skips in (False, True) if not skips or "skipped" in lies.fields_of(cls)],
)
def test_no_lie_ends_the_job_or_leaves_its_directory(
    cls: type[messages.Message], skips: bool, places: tuple[Path, Path]
) -> None:
    scratch, victim = places
    canary = victim / "canary"

    async def scenario() -> None:
        async with staging(scratch) as stage:
            _, honest = await stage.staged(cls)
        for told, lie in [("nothing", honest), *lies.lies_about(honest, str(canary))]:
            try:
                frame = encode(lie)
            except MincemeatError:  # too large for a frame
                continue
            async with staging(scratch, skips=skips) as stage:
                peer, _ = await stage.staged(cls)
                await peer.connection._stream.write(frame)
                await peer.is_heard_out()
                peer.connection.abort()
                try:
                    results = await stage.finish()
                except BaseException as error:
                    if isinstance(error, JobFailed) and getattr(lie, "skipped", 0) > limits.MAX_SKIPPED:
                        continue  # it may count what it likes, and a job that skips records has a limit
                    raise AssertionError(f"{cls.__name__} with {told}") from error
                assert results == RESULTS, told

    with watching(scratch.parent, victim) as watch:
        run(scenario())
    assert watch.violations == []
    assert not canary.exists()


@pytest.mark.parametrize("cls", NOT_OF_WORKERS)
def test_what_no_worker_says_ends_its_connection(cls: type[messages.Message], places: tuple[Path, Path]) -> None:
    """It was passed over in silence, because it is of no job."""

    async def scenario() -> None:
        async with staging(places[0]) as stage:
            peer = await stage.join()
            await peer.connection.send(lies.plain(cls, job=JOB))
            assert not await peer.is_heard_out()
            assert await stage.finish() == RESULTS

    run(scenario())


@pytest.mark.parametrize("cls", EVERY)
def test_no_lie_on_a_data_connection_does_harm(cls: type[messages.Message], places: tuple[Path, Path]) -> None:
    scratch, victim = places
    canary = victim / "canary"

    async def scenario() -> None:
        whats = {
            messages.Get: ("code", "split", "split-data", "inputs", "relay", "blocks"),
            messages.Put: ("result", "relay", "code"),
        }
        async with staging(scratch) as stage:
            peer, _ = await stage.staged(messages.MapDone)
            for what in whats.get(cls, ("",)):
                honest = lies.plain(cls, what=what, job=JOB, name="m-00000.0", last_partition=1)
                # Of what does not belong there, the kind alone is refused.
                said = list(lies.lies_about(honest, str(canary))) if cls in whats else [("", honest)]
                for _, lie in said:
                    try:
                        frame = encode(lie)
                    except MincemeatError:
                        continue
                    channel = peer.channel()
                    try:
                        await channel._stream.write(frame)
                        if isinstance(lie, messages.Put):
                            await channel.send_body(lies.hostile_bodies(str(canary)))
                    except MincemeatError:
                        pass
                    await is_heard_out(channel)
                    channel.abort()
                    await is_heard_out(channel)
            assert await peer.is_heard_out(), "only the data connection was lost"
            peer.connection.abort()
            assert await stage.finish() == RESULTS

    with watching(scratch.parent, victim) as watch:
        run(scenario())
    assert watch.violations == []
    assert not canary.exists()
