"""What waits for a record happens when that survives a power cut, in order, and never when the disk fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mincemeat.cluster.recording import Recorder
from tests.cluster.kit import run


class SlowJournal:
    """Notes what is asked of it. A sync waits for ``may_sync``, and raises ``error`` if there is one."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.may_sync = threading.Event()
        self.error: BaseException | None = None

    def say(self, word: str) -> None:
        self.said.append(word)

    def sync(self) -> None:
        assert self.may_sync.wait(30)
        if self.error is not None:
            raise self.error
        self.said.append("sync")


def saying(word: str) -> Callable[[Any], None]:
    return lambda journal: journal.say(word)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


def unexpected(error: BaseException) -> None:
    raise AssertionError(error)


def test_without_a_journal_everything_happens_at_once() -> None:
    done: list[str] = []
    recorder = Recorder(None, unexpected)
    recorder.note(saying("a"))
    recorder.commit(saying("b"), lambda: done.append("b"))
    assert done == ["b"]
    assert not recorder.is_recording


def test_nobody_acts_on_a_commit_before_it_is_synced() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        done: list[str] = []
        recorder = Recorder(journal, unexpected)
        recorder.commit(saying("a"), lambda: done.append("a"))
        await until(lambda: journal.said == ["a"])
        assert done == []
        journal.may_sync.set()
        await until(lambda: done == ["a"])
        await recorder.close()

    run(scenario())


def test_commits_that_come_in_meanwhile_share_the_next_sync() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        done: list[int] = []
        recorder = Recorder(journal, unexpected)
        for number in range(20):
            recorder.commit(saying(str(number)), lambda number=number: done.append(number))  # type: ignore[misc]
            if not number:
                await until(lambda: journal.said == ["0"])
        journal.may_sync.set()
        await until(lambda: len(done) == 20)
        assert done == list(range(20))
        assert journal.said == ["0", "sync", *map(str, range(1, 20)), "sync"]
        await recorder.close()

    run(scenario())


def test_notes_are_written_in_order_and_not_waited_for() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        recorder = Recorder(journal, unexpected)
        recorder.note(saying("a"))
        recorder.note(saying("b"))
        await until(lambda: journal.said == ["a", "b"])
        await recorder.close()

    run(scenario())


def test_what_follows_from_a_commit_may_be_another_record() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        journal.may_sync.set()
        recorder = Recorder(journal, unexpected)
        recorder.commit(saying("a"), lambda: recorder.note(saying("b")))
        await until(lambda: journal.said == ["a", "sync", "b"])
        await recorder.close()

    run(scenario())


def test_a_disk_that_fails_is_told_and_nothing_follows_from_the_commit() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        journal.error = OSError("the disk is gone")
        journal.may_sync.set()
        told: list[BaseException] = []
        recorder = Recorder(journal, told.append)
        recorder.commit(saying("a"), lambda: pytest.fail("nobody may act on it"))
        await until(lambda: told == [journal.error])
        journal.error = None
        recorder.note(saying("b"))
        recorder.commit(saying("c"), lambda: pytest.fail("what was before it may be lost"))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, str)
        await recorder.close()
        assert journal.said == ["a"]

    run(scenario())


def test_what_is_not_written_when_it_is_closed_never_is() -> None:
    async def scenario() -> None:
        journal: Any = SlowJournal()
        done: list[str] = []
        recorder = Recorder(journal, unexpected)
        recorder.commit(saying("a"), lambda: done.append("a"))
        await until(lambda: journal.said == ["a"])
        recorder.commit(saying("b"), lambda: done.append("b"))
        closing = asyncio.get_running_loop().create_task(recorder.close())
        journal.may_sync.set()
        await closing
        recorder.commit(saying("c"), lambda: done.append("c"))
        recorder.note(saying("d"))
        await asyncio.sleep(0)
        assert journal.said == ["a", "sync"]
        assert done == ["a"]

    run(scenario())
