"""What a reduce attempt gathers from outputs that are damaged here, there or on their way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mincemeat.cluster import blocks
from mincemeat.cluster.blocks import Stretch, read_sections
from mincemeat.cluster.fetching import Fetcher, Holder, Unreachable
from mincemeat.cluster.gathering import Gathering
from mincemeat.model import AttemptId, Span
from mincemeat.shuffle.block import decode_columns, encode_columns, iter_blocks
from mincemeat.shuffle.damage import is_whole
from mincemeat.shuffle.store import JobStore
from tests.cluster.kit import run

PARTITIONS = range(2)


def write(store: JobStore, *names: str) -> list[AttemptId]:
    attempts = [AttemptId.parse(name) for name in names]
    for attempt in attempts:
        with store.writing(attempt) as writer:
            for partition in PARTITIONS:
                payload = encode_columns([attempt.task.index], [[partition]])
                writer.append(partition, payload, keys=1, pairs=1, single=False)
        store.commit(attempt)
    return attempts


def flip(path: str | Path, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 4]))


# -- a holder ------------------------------------------------------------------------------------------------


def stretch(store: JobStore, attempts: list[AttemptId], path: Path) -> dict[int, Span | None]:
    """What a fetcher gets of ``attempts``, saved at ``path``."""
    sent = Stretch(store, attempts, PARTITIONS)
    data = b"".join(sent.chunks())
    assert len(data) == sent.size
    path.write_bytes(data)
    return read_sections(path, {attempt.task.index for attempt in attempts})


def test_one_output_that_is_gone_does_not_keep_the_others_back(tmp_path: Path) -> None:
    """The whole request was refused, and all that was asked for was made again."""
    store = JobStore(tmp_path / "blocks")
    attempts = write(store, "m-00000.0", "m-00001.0", "m-00002.0", "m-00003.0")
    store.drop(attempts[1])
    path = Path(store.path(attempts[2]))
    flip(path, path.stat().st_size - 1)
    sections = stretch(store, attempts, tmp_path / "stretch")
    assert [index for index, span in sections.items() if span is None] == [1, 2]
    assert all(is_whole(span) for span in sections.values() if span is not None)


def test_a_file_that_cannot_be_read_to_its_end_costs_its_own_output_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was broken off in the middle, and again on the way over the server."""
    store = JobStore(tmp_path / "blocks")
    attempts = write(store, "m-00000.0", "m-00001.0", "m-00002.0")
    real = blocks.read_span

    def failing(span: Span) -> Any:
        if span.path == store.path(attempts[1]):
            yield next(real(span))[:7]
            raise OSError(5, "Input/output error")
        yield from real(span)

    monkeypatch.setattr(blocks, "read_span", failing)
    sections = stretch(store, attempts, tmp_path / "stretch")
    assert [span is not None and is_whole(span) for span in sections.values()] == [True, False, True]


# -- a fetcher -----------------------------------------------------------------------------------------------


class World:
    """One worker with outputs of its own and one holder; ``damage`` lists what comes of each fetch, first to last."""

    def __init__(self, directory: Path, *damage: tuple[int, ...]) -> None:
        self.damage = list(damage)
        self.own = JobStore(directory / "own")
        self.other = JobStore(directory / "other")
        self.own_outputs = write(self.own, "m-00000.0", "m-00002.1")
        write(self.other, "m-00001.0", "m-00003.0")
        self.fetches: list[list[int]] = []
        (directory / "fetched").mkdir()
        holders = [Holder(name, "h", 1, "00" * 32, "t") for name in ("me", "other")]
        names = ("m-00000.0", "m-00001.0", "m-00002.1", "m-00003.0")
        inputs = holders, [(AttemptId.parse(name), place % 2) for place, name in enumerate(names)]
        self.gathering = Gathering(self, self.own, "job", PARTITIONS, inputs, directory / "fetched")  # type: ignore[arg-type]

    worker = "me"

    async def fetch(
        self, job: str, holder: Holder, outputs: list[AttemptId], partitions: range, path: Path
    ) -> dict[int, Span]:
        assert holder.worker == "other"
        assert not path.exists()
        self.fetches.append([output.task.index for output in outputs])
        sections = stretch(self.other, outputs, path)
        spans = {index: span for index, span in sections.items() if span is not None}
        for index in self.damage.pop(0):
            flip(path, spans[index].offset + 50)
        return spans

    def damaged(self) -> list[int]:
        return [place for place, span in enumerate(self.gathering.spans) if not is_whole(span)]


def test_spans_are_in_the_order_of_map_tasks_wherever_they_lie(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, ())
        await world.gathering.gather()
        assert world.damaged() == []
        found = [block for span in world.gathering.spans for block in iter_blocks(span)]
        keys = [decode_columns(block)[0] for block in found]
        assert keys == [[0], [0], [1], [1], [2], [2], [3], [3]]

    run(scenario())


def test_a_damaged_copy_is_fetched_once_more_and_nobody_hears_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, (3,), ())
        await world.gathering.gather()
        assert world.damaged() == [3]
        await world.gathering.replace([3], "checksum mismatch")
        assert world.damaged() == []
        assert world.fetches == [[1, 3], [3]]

    run(scenario())


def test_a_second_copy_that_is_damaged_is_told_of_its_holder(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, (1, 3), (1,))
        await world.gathering.gather()
        await world.gathering.replace([1, 3], "checksum mismatch")
        assert world.damaged() == [1]
        with pytest.raises(Unreachable, match="checksum mismatch") as caught:
            await world.gathering.replace([1], "checksum mismatch")
        assert (caught.value.holder, caught.value.maps, caught.value.damaged) == ("other", [1], True)

    run(scenario())


def test_an_own_output_that_is_damaged_is_told_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, (1,))
        await world.gathering.gather()
        with pytest.raises(Unreachable) as caught:
            await world.gathering.replace([1, 2], "checksum mismatch")
        assert (caught.value.holder, caught.value.maps, caught.value.damaged) == ("me", [2], True)

    run(scenario())


def test_own_outputs_that_are_gone_are_named_and_no_others(tmp_path: Path) -> None:
    """All outputs of the worker were named, and made again."""

    async def scenario() -> None:
        world = World(tmp_path, ())
        world.own.drop(world.own_outputs[1])
        with pytest.raises(Unreachable) as caught:
            await world.gathering.gather()
        assert (caught.value.holder, caught.value.maps, caught.value.damaged) == ("me", [2], True)

    run(scenario())


def test_outputs_that_the_holder_has_lost_are_named_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = JobStore(tmp_path / "other")
        attempts = write(store, "m-00001.0", "m-00003.0")
        store.drop(attempts[0])
        fetcher = Fetcher("me", "h", None)  # type: ignore[arg-type]

        async def directly(holder: Holder, request: Any, path: Path) -> bool:
            stretch(store, attempts, path)
            return True

        monkeypatch.setattr(fetcher, "_fetch_directly", directly)
        with pytest.raises(Unreachable, match="no longer has the outputs of 1 map tasks") as caught:
            await fetcher.fetch("job", Holder("other", "h", 1, "", ""), attempts, PARTITIONS, tmp_path / "blocks")
        assert (caught.value.maps, caught.value.damaged) == ([1], True)

    run(scenario())


def test_what_cannot_be_opened_for_another_reason_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(tmp_path / "blocks")
    attempts = write(store, "m-00000.0")

    def out_of_descriptors(*_: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(store, "spans", out_of_descriptors)
    with pytest.raises(OSError, match="Too many open files"):
        Stretch(store, attempts, PARTITIONS)
