"""kill -9 the process that holds a job, at any moment; the same script goes on, and nothing is lost or done twice."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.clusters import LOOPBACK, ClientThread
from tests.kit.gates import PATIENCE_SECONDS, as_given, grouped, held, open_gate, records, starts, wait_for_slots
from tests.kit.rerunning import NOTE, Rerun, free_port, maps, records_of, reduces
from tests.kit.serving import ServedJob
from tests.kit.wiretap import RecordingProxy

pytestmark = pytest.mark.slow

SCRIPT = (
    NOTE
    + """
import sys, time
import mincemeat

def mapfn(key, value):
    note(f"map {key}")
    time.sleep(0.02)
    for word in value.split():
        yield word, f"{key:01000d}"  # so much that there are several reduce tasks

def reducefn(key, values):
    note(f"reduce {key}")
    time.sleep(0.04)
    return len(values)

if __name__ == "__main__":
    data = {number: f"word{number % 23} text{number % 7}" for number in range(120)}
    options = eval(os.environ["OPTIONS"])
    results = mincemeat.run(data, mapfn, reducefn, split=4, partitions=32, memory="1MiB", progress=False, **options)
    print(sorted(results.items()))
"""
)
ORACLE = sorted(Counter(word for n in range(120) for word in (f"word{n % 23}", f"text{n % 7}")).items())


class Scene(Rerun):
    """The script with ``options`` of ``run``."""

    def __init__(self, directory: Path, cleanup: ExitStack, options: dict[str, object]) -> None:
        script = directory / "script.py"
        script.write_text(SCRIPT)
        journal = str(directory / "job.journal")
        super().__init__(directory, cleanup, [str(script)], OPTIONS=repr({**options, "journal": journal}))


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


MOMENTS = {
    "as soon as it has begun": maps(0),
    "in the map phase": maps(9),
    "late in the map phase": maps(22),
    "in the reduce phase": reduces(1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_processes_go_on_after_kill_9(tmp_path: Path, cleanup: ExitStack, moment: str) -> None:
    scene = Scene(tmp_path, cleanup, {"workers": 2})
    history = scene.killed(MOMENTS[moment])
    before = scene.noted("map", records_of(history.map_commits()))
    output, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert output.strip() == str(ORACLE), errors
    assert "going on with the job of the journal" in errors
    assert scene.noted("map", set(before)) == before
    assert not scene.journal.exists()
    assert not Path(f"{scene.journal}.files").exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_workers_come_back_by_themselves_after_kill_9_of_the_server(
    tmp_path: Path, cleanup: ExitStack, moment: str
) -> None:
    port = free_port()
    scene = Scene(
        tmp_path,
        cleanup,
        {"engine": "cluster", "password": "changeme", "port": port, "host": LOOPBACK},
    )
    workers = [scene.start_worker(port) for _ in range(2)]
    history = scene.killed(MOMENTS[moment])
    before = scene.noted("map", records_of(history.map_commits()))
    output, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert output.strip() == str(ORACLE), errors
    assert scene.noted("map", set(before)) == before
    for worker in workers:
        _, said = worker.communicate(timeout=PATIENCE_SECONDS)
        assert worker.returncode == 0, said
        assert not before or "lost the server" in said


def test_outputs_of_workers_beside_the_server_outlive_it(tmp_path: Path, cleanup: ExitStack) -> None:
    scene = Scene(
        tmp_path,
        cleanup,
        {"engine": "cluster", "password": "changeme", "port": 0, "host": LOOPBACK, "workers": 2},
    )
    history = scene.killed(maps(9))
    before = scene.noted("map", records_of(history.map_commits()))
    output, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert output.strip() == str(ORACLE), errors
    assert scene.noted("map", set(before)) == before
    assert not Path(f"{scene.journal}.files").exists()


def test_an_output_file_is_written_once_and_whole(tmp_path: Path, cleanup: ExitStack) -> None:
    scene = Scene(tmp_path, cleanup, {"workers": 2, "output": str(tmp_path / "out" / "counts.jsonl")})
    (tmp_path / "out").mkdir()
    scene.killed(reduces(1))
    assert not (tmp_path / "out" / "counts.jsonl").exists()
    output, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert output.strip() == str(ORACLE), errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["counts.jsonl"]


def test_the_journal_of_a_job_that_was_interrupted_says_that_it_can_go_on(tmp_path: Path, cleanup: ExitStack) -> None:
    scene = Scene(tmp_path, cleanup, {"workers": 1})
    first = scene.start()
    scene.wait_until(maps(3), first)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate(timeout=PATIENCE_SECONDS)
    assert "keeps what was done so far: start the same job again to go on" in errors
    output, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert output.strip() == str(ORACLE), errors


def test_an_input_that_has_changed_is_refused(tmp_path: Path, cleanup: ExitStack) -> None:
    scene = Scene(tmp_path, cleanup, {"workers": 1})
    scene.killed(maps(3))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("range(120)", "range(1, 120)"))
    _, errors = scene.start().communicate(timeout=PATIENCE_SECONDS)
    assert "does not fit the input: since it was begun, what was split 0 has changed" in errors


def test_a_worker_that_was_cut_off_comes_back_with_what_it_had_done(tmp_path: Path) -> None:
    with ExitStack() as stack:
        job = stack.enter_context(ServedJob(records(tmp_path, 30, held_from=20), held, as_given))
        proxy = stack.enter_context(RecordingProxy(job.port))
        worker = ClientThread(proxy.port, "changeme")
        worker.start()
        done = job.wait_for(lambda seen: seen.map_committed > 0 and holds(tmp_path), "a record is held").map_committed
        proxy.cut()
        wait_for_slots(tmp_path, 2)  # it has dialed again, and has a new slot
        open_gate(tmp_path)
        assert job.results() == grouped(30)
        worker.join(PATIENCE_SECONDS)
        assert worker.error is None
    # One worker takes the records in their order.
    assert sorted(number for number, _, _ in starts(tmp_path) if number < done) == list(range(done))


def holds(directory: Path) -> bool:
    return any(number >= 20 for number, _, _ in starts(directory))
