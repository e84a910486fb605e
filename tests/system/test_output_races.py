"""Several processes that finish the same output at the same moment: one whole result, and nothing else."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mincemeat.attempt import run_map, run_reduce
from mincemeat.errors import MincemeatError
from mincemeat.model import AttemptId, Job, UserFunctions
from mincemeat.shuffle.store import JobStore
from mincemeat.sinks.base import sink_for_path
from mincemeat.sinks.results import open_results
from tests.kit import jobs
from tests.kit.clusters import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that begin at the same moment are forked"),
]

ROUNDS = 15
WRITER = """
import sys
from tests.kit.outputs import written_in_parts
path, who, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(rounds):
    written_in_parts(path, {f"word{n}": f"{who}{number}" for n in range(40)}, parts=3)
"""


@pytest.mark.parametrize("name", ["counts.jsonl", "counts.jsonl/"])
def test_jobs_that_write_the_same_output_at_once_never_leave_a_mixture(name: str, tmp_path: Path) -> None:
    """One of them was refused when another took its file, made and not yet locked, for that of a dead job; and a reader
    that found the size of one file and opened the next read that only so far, without a word."""
    output = f"{tmp_path}/{name}"
    path = output.rstrip("/")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, output, who, str(ROUNDS)], cwd=ROOT) for who in ("a", "b", "c")
    ]
    looks = 0
    try:
        while any(writer.poll() is None for writer in writers):
            try:
                rows = dict(open_results(path).items())
            except (OSError, MincemeatError):  # none yet, or replaced while it was read, which is told
                continue
            assert len(rows) == 40
            assert len(set(rows.values())) == 1, rows
            looks += 1
    finally:
        for writer in writers:
            writer.wait()
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert looks
    rows = dict(open_results(path).items())
    assert len(rows) == 40
    assert set(rows.values()) <= {f"{who}{ROUNDS - 1}" for who in "abc"}
    if name.endswith("/"):
        assert len([each for each in os.listdir(path) if each.startswith("part-")]) == 3
        assert sorted(each for each in os.listdir(path) if not each.startswith("part-")) == ["manifest.json"]
    assert os.listdir(tmp_path) == [name.rstrip("/")]


def forked(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def first_to_end(children: Iterable[int]) -> int:
    for pid in itertools.cycle(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0
            return pid
    raise AssertionError


@pytest.mark.parametrize("name", ["counts.jsonl", "counts.jsonl/", "counts.sqlite/"])
def test_two_attempts_of_a_reduce_task_that_finish_at_once_leave_one_whole_result(name: str, tmp_path: Path) -> None:
    """A backup attempt and the one it backs up, in one store; whichever is heard of first is taken."""
    store = JobStore(tmp_path / "blocks")
    with sink_for_path(f"{tmp_path}/{name}") as sink:
        form = sink.form
    functions = UserFunctions(jobs.words, jobs.total, output=form)
    map_attempt = AttemptId.parse("m-00000.0")
    lines = {n: " ".join(f"w{n * k % 97}" for k in range(40)) for n in range(40)}
    run_map(functions, lines.items(), store, map_attempt, partitions=4, memory_bytes=2**20)
    attempts = [AttemptId.parse("r-00000.0"), AttemptId.parse("r-00000.1")]
    for number in range(ROUNDS):
        moment = time.monotonic() + 0.02

        def work(attempt: AttemptId, moment: float = moment) -> None:
            spans = store.spans(map_attempt, range(4))
            while time.monotonic() < moment:
                pass
            run_reduce(functions, spans, range(4), store, attempt, memory_bytes=2**20)

        children = {forked(functools.partial(work, attempt)): attempt for attempt in attempts}
        output = f"{tmp_path}/{number}-{name}"
        with sink_for_path(output) as sink:
            sink.prepare(Job("job", functions, partitions=4))
            first = first_to_end(children)
            sink.take_part(store.path(children.pop(first)))
            (late,) = children
            assert os.waitpid(late, 0)[1] == 0
            store.drop(children[late])
        assert dict(sink.results.items()) == jobs.count_words(lines)
        assert os.listdir(store.directory) == ["m-00000.0.blocks"]
