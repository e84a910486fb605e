"""What the engine of this machine's slots does beside what every engine does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.engines.bookkeeping import Ledger
from mincemeat.engines.local_run import _LocalRun
from mincemeat.errors import JobFailed
from mincemeat.model import AttemptId, Job, UserFunctions
from mincemeat.sinks.memory import MemorySink
from mincemeat.slots import SlotProcess
from mincemeat.sources.base import as_source
from tests.kit import jobs

pytestmark = pytest.mark.slow


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a directory that only this process sees."""
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    directory = f"/{uuid.uuid4().hex}"
    for number in range(6):
        files.pipe(f"{directory}/{number}.txt", b"".join(b"%d %d\n" % (number, line) for line in range(200)))
    yield f"memory:/{directory}"
    files.rm(directory, recursive=True)


def plain() -> dict[str, int]:
    counts: dict[str, int] = {}
    for number in range(6):
        for line in range(200):
            for word in (str(number), str(line)):
                counts[word] = counts.get(word, 0) + 1
    return counts


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_files_that_only_this_process_sees_are_read_all_the_same(engine: str, memory: str) -> None:
    """A slot that could not read them failed its attempt, and four of those the job."""
    datasource = mincemeat.lines(memory, split_bytes=300)
    options: dict[str, Any] = {"workers": 2} if engine == "processes" else {}
    assert mincemeat.run(datasource, jobs.words, jobs.total, engine=engine, progress=False, **options) == plain()


def left_so_far(directory: str) -> list[str]:
    """The splits with data that lie in the scratch directory of a job whose temporary directory this is."""
    return sorted(path.name for path in Path(directory).glob("mincemeat-*/*.splits"))


def test_what_was_laid_down_for_a_slot_is_removed_with_the_attempt(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def mapfn(key: Any, line: str) -> Iterator[tuple[str, list[str]]]:
        if line.endswith(" 7"):
            yield "seen", left_so_far(str(tmp_path))

    datasource = mincemeat.lines(memory, split_bytes=300)
    results = mincemeat.run(datasource, mapfn, max_attempts=1, workers=2, progress=False)
    assert all(1 <= len(seen) <= 2 for seen in results["seen"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_nobody_can_read_any_more_ends_the_job_at_once(memory: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    datasource = mincemeat.lines(f"{memory}/3.txt")
    fsspec.filesystem("memory").rm(f"{memory.removeprefix('memory:/')}/3.txt")
    with pytest.raises(JobFailed, match=r"the job failed: .* in datasource: .*3\.txt"):
        mincemeat.run(datasource, jobs.words, jobs.total, workers=1, progress=False)


def test_the_files_of_an_attempt_that_is_cancelled_go_with_it(tmp_path: Path) -> None:
    source = as_source({1: 1})
    job = Job("job", UserFunctions(jobs.as_list), partitions=1)
    run = _LocalRun(job, Ledger(job, source, None), source, MemorySink(), str(tmp_path), 1)
    try:
        run.add_slot(SlotProcess())
        attempt = AttemptId.parse("m-00000.0")
        run._slots[0].attempt = attempt
        with run._store.writing(attempt):
            pass
        assert [path.name for path in tmp_path.glob("blocks/*")] == ["m-00000.0.blocks.part"]
        run._cancel(attempt)
        assert list(tmp_path.glob("blocks/*")) == []
        assert run._slots == []
    finally:
        run.close()
