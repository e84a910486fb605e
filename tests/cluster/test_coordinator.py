"""The coordinator and workers that lie, leave and fall silent: nothing they say may lose results or end the job."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from pathlib import Path

import pytest

from mincemeat import limits
from mincemeat.cluster.blocks import read_sections
from mincemeat.cluster.carrying import told
from mincemeat.cluster.connection import dial
from mincemeat.cluster.roster import WorkerRecord
from mincemeat.errors import ConnectionFailed
from mincemeat.journal.history import SplitGroup
from mincemeat.model import Failure, FailureKind
from mincemeat.scheduler import events, instructions
from mincemeat.scheduler.state import IllegalMove
from mincemeat.wire import messages
from mincemeat.wire.codec import encode
from mincemeat.wire.handshake import Role
from tests.cluster.kit import check_closed, run
from tests.kit.desk import HOST, PASSWORD, coordinating, get, hello, until


def test_inputs_asked_for_after_a_holder_left_still_name_all_map_outputs(tmp_path: Path) -> None:
    """The list was made anew when asked for: the reduce attempt took what was left for the whole."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as reducer:
            async with desk.liar() as holder:
                await asyncio.gather(reducer.do_map(), holder.do_map())
                start = await reducer.expect(messages.ReduceStart)
            await until(lambda: desk.coordinator.counts().workers == 1)
            channel = await reducer.channel()
            await channel.send(get("inputs", start.attempt))
            assert (await channel.receive()).ok  # type: ignore[attr-defined]
            inputs = json.loads(b"".join([piece async for piece in channel.receive_body()]))
            assert [index for index, _, _ in inputs["maps"]] == [0, 1]
            assert inputs["holders"][1]["worker"] in (holder.name, reducer.name)
            channel.abort()

    run(scenario())


@pytest.mark.parametrize("what", ["split", "split-data", "inputs"])
def test_what_belongs_to_an_attempt_that_does_not_run_is_not_to_be_had(what: str, tmp_path: Path) -> None:
    """An index that no split has raised a KeyError in the coordinator, which ended the job."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as liar:
            channel = await liar.channel()
            await channel.send(get(what, "m-00977.0"))
            answer = await channel.receive()
            assert isinstance(answer, messages.Answer)
            assert (answer.ok, answer.message) == (False, "m-00977.0 is not wanted any more")
            assert not desk.ended.done()
            channel.abort()

    run(scenario())


@pytest.mark.parametrize(("port", "fingerprint"), [(99_999, "00" * 32), (-1, "00" * 32), (80, "00"), (80, "zz" * 32)])
def test_a_data_address_that_would_crash_its_fetchers_is_refused(port: int, fingerprint: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            connection = await dial(HOST, desk.port, role=Role.WORKER, secret=PASSWORD)
            await connection.send(hello(data_port=port, data_fingerprint=fingerprint))
            assert isinstance(await connection.receive(), messages.Refused)
            connection.abort()

    run(scenario())


def test_a_worker_has_a_bounded_number_of_data_connections(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as liar:
            channels = [await liar.channel() for _ in range(limits.CHANNELS_PER_WORKER_MAX)]
            for channel in channels:
                await channel.send(get("code"))
                assert isinstance(await channel.receive(), messages.Answer)
            await check_closed(await liar.channel())
            for channel in channels:
                channel.abort()

    run(scenario())


def test_the_data_connections_of_a_worker_end_with_it(tmp_path: Path) -> None:
    """Those of a frozen worker stayed open, and whoever waited for its blocks waited on."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            async with desk.liar() as liar:
                channel = await liar.channel()
                await channel.send(get("code"))
                assert isinstance(await channel.receive(), messages.Answer)
                assert [piece async for piece in channel.receive_body()] == [b"code"]
            await check_closed(channel)

    run(scenario())


def test_a_worker_that_asks_and_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 3)

    class Deaf:
        aborted = 0

        def abort(self) -> None:
            self.aborted += 1

    connection = Deaf()
    record = WorkerRecord("w", connection, hello(), b"")  # type: ignore[arg-type]
    for _ in range(4):
        record.send(messages.Heartbeat())
    assert (connection.aborted, record.outbox.qsize()) == (1, 3)


# -- relays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"no JSON", b'["../../etc/passwd"]', b"[" * 100_000])
def test_nonsense_passed_on_to_a_holder_does_not_end_the_holder(body: bytes, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as liar, desk.honest() as honest:
            holder = next(
                record.worker for record in desk.coordinator._roster.everybody() if record.worker != liar.name
            )
            channel = await liar.channel()
            await channel.send(get("relay", holder, body))
            answer = await channel.receive()
            assert isinstance(answer, messages.Answer)
            assert not answer.ok
            await asyncio.sleep(0)
            assert desk.coordinator.counts().workers == 2
            assert not honest.done()
            channel.abort()

    run(scenario())


def test_an_output_that_its_holder_has_not_got_is_said_to_be_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as liar, desk.honest():
            holder = next(
                record.worker for record in desk.coordinator._roster.everybody() if record.worker != liar.name
            )
            channel = await liar.channel()
            await channel.send(get("relay", holder, b'["m-00007.0"]'))
            assert await channel.receive() == messages.Answer(ok=True, message="", size=12)
            path = tmp_path / "stretch"
            path.write_bytes(b"".join([piece async for piece in channel.receive_body()]))
            assert read_sections(path, {7}) == {7: None}
            channel.abort()

    run(scenario())


def test_a_fetcher_that_dies_while_blocks_pass_through_does_not_end_their_holder(tmp_path: Path) -> None:
    """Its holder's upload was broken off, which the holder took for the loss of the server."""

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as holder, desk.liar() as fetcher:
            channel = await fetcher.channel()
            await channel.send(get("relay", holder.name))
            serve = await holder.expect(messages.Serve)
            upload = await holder.channel()
            await upload.send(messages.Put("relay", "job-1", "", serve.request))
            await upload.send(messages.Answer(ok=True, message="", size=-1))
            assert isinstance(await channel.receive(), messages.Answer)
            channel.abort()
            endless = itertools.repeat(b"x" * limits.CHUNK_BYTES)
            with pytest.raises(ConnectionFailed):
                await upload.send_body(endless)
            assert await holder.is_connected()
            upload.abort()

    run(scenario())


def test_a_holder_that_never_uploads_costs_its_fetcher_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_SECONDS", 0.1)

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as holder, desk.liar() as fetcher:
            channel = await fetcher.channel()
            await channel.send(get("relay", holder.name))
            answer = await channel.receive()
            assert isinstance(answer, messages.Answer)
            assert answer.message in (f"worker {holder.name} did not send its blocks", f"worker {holder.name} is gone")
            channel.abort()

    run(scenario())


def test_a_crowd_of_fetchers_asks_a_holder_for_few_uploads_at_a_time(tmp_path: Path) -> None:
    """They were all asked for at once; those that had to wait at the holder were taken for lost."""

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.liar() as holder, desk.liar() as fetcher:
            channels = [await fetcher.channel() for _ in range(limits.DATA_CONNECTIONS_PER_PEER + 2)]
            for channel in channels:
                await channel.send(get("relay", holder.name))
            requests = [await holder.expect(messages.Serve) for _ in range(limits.DATA_CONNECTIONS_PER_PEER)]
            await holder.connection.send(messages.Heartbeat())
            assert isinstance(await holder.connection.receive(), messages.Heartbeat)  # and no Serve
            upload = await holder.channel()
            await upload.send(messages.Put("relay", "job-1", "", requests[0].request))
            await upload.send(messages.Answer(ok=False, message="gone", size=0))
            await holder.expect(messages.Serve)
            assert isinstance(await upload.receive(), messages.Answer)  # it may be used again
            for connection in (upload, *channels):
                connection.abort()

    run(scenario())


# -- stopping --------------------------------------------------------------------------------------------------


def test_a_coordinator_stopped_before_it_started_returns_at_once(tmp_path: Path) -> None:
    """Ctrl-C in its first moments was forgotten, and the program waited for ever."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            other = type(desk)(tmp_path, 0).coordinator
            other.stop()
            await other.start(HOST, 0)
            await other.serve_until_stopped()

    run(scenario())


def test_a_worker_that_is_stopped_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mincemeat")

    async def scenario() -> None:
        async with coordinating(tmp_path, splits=0) as desk, desk.honest() as honest:
            honest.cancel()
            await asyncio.gather(honest, return_exceptions=True)
            await until(lambda: not desk.coordinator.counts().workers)

    run(scenario())
    assert "left: it said 'it was stopped'" in caplog.text


# -- what travels ----------------------------------------------------------------------------------------------


def test_a_failure_of_any_size_fits_into_a_message() -> None:
    """A message beyond a frame ended the session; the next worker's, too; and nobody told of the failure."""
    huge = "\N{PILE OF POO}" * 2**20
    failure = Failure(FailureKind.USER, huge, "mapfn", huge, huge, huge, exception=bytes(2**21))
    message = told("job-1", "m-00000.0", failure)
    assert len(encode(message)) <= limits.FRAME_BYTES_MAX
    assert message.body == b""


def test_splits_that_come_when_the_job_has_failed_are_not_recorded(tmp_path: Path) -> None:
    """The journal had more splits than were said to be all of them, and a job that went on was told that it was
    damaged. Found by the simulation, seed 20363."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            coordinator = desk.coordinator
            recorded: list[object] = []
            coordinator._recorder.note = recorded.append  # type: ignore[assignment,method-assign]
            coordinator.handle(events.SourceFailed(Failure(FailureKind.USER, "the source failed")))
            await asyncio.wait_for(desk.ended, 10)
            coordinator.splits_produced(range(1), [b"payload"], SplitGroup(0, (1,), (7,), (1,)))
            coordinator.input_exhausted()
            assert not recorded
            assert not coordinator._supply.payloads

    run(scenario())


# -- workers that were here before -------------------------------------------------------------------------------


def test_outputs_of_an_earlier_connection_are_taken_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            async with desk.liar() as first:
                attempt = await first.do_map()
                await until(lambda: desk.coordinator.counts().map_committed == 1)
            await until(lambda: desk.coordinator.counts().map_committed == 0)
            async with desk.liar(held_job="job-1", held=[attempt]):
                await until(lambda: desk.coordinator.counts().map_committed == 1)

    run(scenario())


def test_what_was_laid_ready_to_make_an_output_again_is_forgotten_when_the_output_is_back(tmp_path: Path) -> None:
    """The payload stayed in memory until the job was over. Found by the simulation."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            async with desk.liar() as first:
                attempt = await first.do_map()
                await until(lambda: desk.coordinator.counts().map_committed == 1)
            await until(lambda: desk.coordinator.counts().map_committed == 0)
            async with desk.liar() as second:
                again = await second.expect(messages.MapStart)
                assert again.attempt == "m-00000.1"
                async with desk.liar(held_job="job-1", held=[attempt]):
                    assert (await second.expect(messages.AttemptCancel)).attempt == again.attempt
                    assert 0 not in desk.coordinator._supply.payloads

    run(scenario())


def test_outputs_of_another_job_are_none_of_this_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            async with desk.liar() as first:
                attempt = await first.do_map()
                await until(lambda: desk.coordinator.counts().map_committed == 1)
            await until(lambda: desk.coordinator.counts().map_committed == 0)
            async with desk.liar(held_job="job-2", held=[attempt]) as second:
                assert await second.do_map() != attempt

    run(scenario())


def test_outputs_that_nobody_knows_of_are_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        held = ["m-00000.7", "m-99999.0", "r-00000.0"]
        async with coordinating(tmp_path) as desk, desk.liar(held_job="job-1", held=held) as worker:
            assert (await worker.expect(messages.DropOutputs)).attempts == held

    run(scenario())


def test_a_worker_that_holds_more_than_its_outbox_has_room_for_is_not_cut_off(tmp_path: Path) -> None:
    """Each was dropped in a message of its own: it was cut off, came back with the same outputs, and so on."""

    async def scenario() -> None:
        held = [f"m-{index:05d}.7" for index in range(limits.OUTBOX_MESSAGES_MAX + 1)]
        async with coordinating(tmp_path) as desk, desk.liar(held_job="job-1", held=held) as worker:
            dropped: list[str] = []
            while len(dropped) < len(held):
                dropped += (await worker.expect(messages.DropOutputs)).attempts
            assert dropped == held

    run(scenario())


@pytest.mark.parametrize(
    "said",
    [
        [messages.Heartbeat()],
        [messages.Holding([])],
        [messages.Holding(["nonsense"])],
        [messages.Holding(["m-00000.0"]), messages.MapDone("job-1", "m-00000.0", 1, 1, 0.1, 0, [10, 10])],
    ],
)
def test_a_worker_that_does_not_hold_to_what_it_announced_is_not_taken(
    tmp_path: Path, said: list[messages.Message]
) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            connection = await dial(HOST, desk.port, role=Role.WORKER, secret=PASSWORD)
            await connection.send(hello(held_job="job-1", held=2 if len(said) > 1 else 1))
            for message in said:
                await connection.send(message)
            with pytest.raises(ConnectionFailed):
                await connection.receive()
            connection.abort()
            assert desk.coordinator.counts().workers == 0

    run(scenario())


@pytest.mark.parametrize("held", [-1, limits.HELD_OUTPUTS_MAX + 1])
def test_a_worker_cannot_announce_more_than_there_can_be(tmp_path: Path, held: int) -> None:
    async def scenario() -> None:
        async with coordinating(tmp_path) as desk:
            connection = await dial(HOST, desk.port, role=Role.WORKER, secret=PASSWORD)
            await connection.send(hello(held_job="job-1", held=held))
            with pytest.raises(ConnectionFailed):
                await connection.receive()
            connection.abort()

    run(scenario())


def test_a_fault_of_the_scheduler_ends_the_job_and_is_not_taken_for_the_end_of_a_connection(tmp_path: Path) -> None:
    """It is one of our own errors, as those of a peer are: the worker was disconnected, and the job went on in the
    state that had just been found to be wrong."""

    async def scenario() -> None:
        async with coordinating(tmp_path) as desk, desk.liar() as liar:
            machine = desk.coordinator._machine
            handle = machine.handle

            def fail(event: events.Event, now: float) -> list[instructions.Instruction]:
                if isinstance(event, events.AttemptDone):
                    raise IllegalMove("m-00000 cannot go from COMMITTED to COMMITTED")
                return handle(event, now)

            machine.handle = fail  # type: ignore[method-assign]
            await liar.do_map()
            ended = await asyncio.wait_for(desk.ended, 10)
            assert isinstance(ended.error, IllegalMove)

    run(scenario())
