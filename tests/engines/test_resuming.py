"""What a job with a journal may go on with, and where a journal may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.api import Server
from mincemeat.errors import InvalidJob
from mincemeat.journal import History, Journal
from mincemeat.journal.log import read_log


class Stopped(Exception):
    """The job ended here."""


def mapfn(key: int, value: str) -> Iterator[tuple[int, int]]:
    yield key % 3, len(value)


def run(journal: Path, data: Mapping[Any, Any], **options: Any) -> Any:
    settings: dict[str, Any] = {"split": 5, "workers": 1, "progress": False, "journal": journal} | options
    return mincemeat.run(data, mapfn, **settings)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "job.journal"


def data(count: int) -> dict[int, str]:
    return dict.fromkeys(range(count), "x")


@pytest.fixture
def mapped(journal: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of a job over ``data(20)`` that was stopped when all of its input was mapped."""
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise Stopped

        patch.setattr(Journal, "planned", stop)
        with pytest.raises(Stopped):
            run(journal, data(20))
    return journal


def test_a_job_that_was_stopped_goes_on(mapped: Path) -> None:
    assert run(mapped, data(20)) == {0: [1] * 7, 1: [1] * 7, 2: [1] * 6}
    assert not mapped.exists()


@pytest.mark.parametrize("count", [3, 7, 20])
def test_a_job_whose_input_was_read_at_once_goes_on(count: int, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several workers ask for as many splits before one is told: the journal had the end of an input without them."""

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "map_committed", stop)
        with pytest.raises(Stopped):
            run(journal, data(count), workers=8)
    assert sum(map(len, run(journal, data(count), workers=8).values())) == count
    assert not journal.exists()


def test_records_that_came_to_the_end_of_the_input_are_not_passed_over(mapped: Path) -> None:
    """The input counted as read, so that the results were without them."""
    with pytest.raises(InvalidJob, match="since it was begun, more records have come behind its last one"):
        run(mapped, data(21))
    assert run(mapped, data(20))[2] == [1] * 6


def test_files_that_came_to_the_end_of_the_input_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.txt").write_text("one\n" * 1000)

    def count() -> Any:
        source = mincemeat.lines(str(logs), split_bytes=2000)
        return mincemeat.run(source, workers=1, progress=False, journal=tmp_path / "job.journal")

    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise Stopped

        patch.setattr(Journal, "planned", stop)
        with pytest.raises(Stopped):
            count()
    (logs / "b.txt").write_text("two\n" * 1000)
    with pytest.raises(InvalidJob, match="does not fit the input"):
        count()
    (logs / "b.txt").unlink()
    assert len(count()) == 1000


def test_a_journal_is_let_go_of_whatever_goes_wrong(mapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was in use for as long as somebody held the error."""

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "go_on", stop)
        with pytest.raises(Stopped) as caught:
            run(mapped, data(20))
    assert run(mapped, data(20))[2] == [1] * 6
    assert caught


@pytest.mark.parametrize("name", ["counts.jsonl", "link/counts.jsonl"])
def test_results_and_journal_cannot_be_one_file(tmp_path: Path, name: str) -> None:
    """The journal was removed when the results had taken its place: there were none."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidJob, match="is where the results go; name another file for the journal"):
        run(tmp_path / name, data(5), output=tmp_path / "counts.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_an_input_cannot_be_the_journal(tmp_path: Path) -> None:
    """An empty one was taken for a journal that nobody had begun, and removed."""
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").touch()
    with pytest.raises(InvalidJob, match="is an input of this job; name another file for the journal"):
        mincemeat.run(mincemeat.lines(str(tmp_path / "*.txt")), progress=False, journal=tmp_path / "b.txt")
    assert (tmp_path / "b.txt").exists()


@pytest.mark.parametrize("journal", [5, True, b"job.journal", "", "a\0b"])
@pytest.mark.parametrize("engine", ["processes", "cluster"])
def test_a_journal_is_a_path(journal: Any, engine: str) -> None:
    with pytest.raises(InvalidJob, match="journal must be the path of a file, not "):
        mincemeat.run(data(5), engine=engine, journal=journal)
    with pytest.raises(InvalidJob, match="journal must be the path of a file, not "):
        Server(data(5), journal=journal).run_server(port=0)


def picky(key: int, value: str) -> Iterator[tuple[int, int]]:
    if key in (3, 8):
        raise ValueError(key)
    yield key % 3, len(value)


def test_a_job_that_set_too_many_records_aside_does_not_get_away_with_it_later(journal: Path) -> None:
    """They were committed before it failed, and did not count when it was started again: that time it ended well."""

    def run(**options: Any) -> Any:
        return mincemeat.run(data(20), picky, split=5, workers=1, progress=False, journal=journal, **options)

    with pytest.raises(ValueError):
        run(on_error="skip", max_skipped=1)
    with pytest.raises(InvalidJob, match=r"has set \d records aside, and max_skipped=1 allows no more"):
        run(on_error="skip", max_skipped=1)
    with pytest.raises(InvalidJob, match=r"has set \d records aside, and on_error='raise' allows none"):
        run()
    results = run(on_error="skip")
    assert sorted(failure.key for failure in results.failures) == ["3", "8"]
    assert sum(map(len, results.values())) == 18


def test_the_history_is_not_kept_while_the_job_goes_on(mapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a million map tasks it was gigabytes, to the end of the job."""
    kept: list[History | None] = []
    remove = Journal.remove

    def note(journal: Journal) -> None:
        kept.append(journal.history)
        assert journal.life == 1
        remove(journal)

    monkeypatch.setattr(Journal, "remove", note)
    run(mapped, data(20))
    assert kept == [None]


def test_a_key_that_a_worker_set_aside_keeps_its_worker(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's record of its reduce task had none, so that ``worker`` was "" when the job had gone on."""
    options: dict[str, Any] = {"engine": "cluster", "reducefn": fail_for_one, "on_error": "skip"}
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise Stopped

        patch.setattr(Journal, "remove", stop)
        with pytest.raises(Stopped):
            run(journal, data(20), **options)
    with journal.open("rb") as file:
        history = History.of(read_log(file).records)
    assert history is not None
    workers = {commit.worker for commit in history.reduce_commits() if commit.skipped}
    results = run(journal, data(20), **options)
    assert results == {0: 7, 2: 6}
    assert {failure.worker for failure in results.failures} == workers
    assert "" not in workers


def test_processes_have_no_worker_to_name_when_they_have_gone_on(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "" in a job that had not stopped, and the name of this machine in the scheduler in one that had."""
    options: dict[str, Any] = {"on_error": "skip", "reducefn": fail_for_one}
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise Stopped

        patch.setattr(Journal, "remove", stop)
        with pytest.raises(Stopped):
            run(journal, {**data(20), 20: None}, **options)
    results = run(journal, {**data(20), 20: None}, **options)
    assert [(failure.phase, failure.worker) for failure in results.failures] == [("map", ""), ("reduce", "")]


def fail_for_one(key: int, values: list[int]) -> int:
    if key == 1:
        raise ValueError("one")
    return sum(values)
