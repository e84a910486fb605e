"""Failure is told: the user's own exception, its story, and nothing ever hangs."""

from __future__ import annotations

import gzip
import os
import re
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import AuthenticationError, ConnectionFailed, InvalidEmission, InvalidJob, JobFailed, PortInUse
from tests.kit import faulty, jobs
from tests.kit.clusters import LOOPBACK, run_script, run_server

pytestmark = pytest.mark.slow

DATA = {f"record {number}": number for number in range(20)}
UNLUCKY = {"a": 1, "b": 13}


def story_of(error: BaseException) -> JobFailed:
    assert isinstance(error.__cause__, JobFailed)
    return error.__cause__


# -- functions that raise ------------------------------------------------------------------------------------


def test_a_raising_mapfn_raises_its_own_exception_with_key_attempt_and_remote_traceback() -> None:
    with pytest.raises(faulty.Unlucky, match="unlucky number 13: of course") as caught:
        mincemeat.run(UNLUCKY, faulty.unlucky, faulty.total, workers=2, split=1)
    story = story_of(caught.value)
    assert caught.value.number == 13
    assert story.function == "mapfn"
    assert story.key == "'b'"
    assert story.attempt == "m-00001.3"
    assert "failed 4 times" in str(story)
    assert "map tasks" in str(story)
    assert 'raise Unlucky(13, reason="of course")' in story.remote_traceback
    assert "mincemeat/attempt.py" not in story.remote_traceback


def test_the_users_own_line_is_not_buried_under_frames_of_ours() -> None:
    with pytest.raises(faulty.Unlucky) as caught:
        mincemeat.run(UNLUCKY, faulty.unlucky, faulty.total, max_attempts=1)
    ours = [frame.name for frame in traceback.extract_tb(caught.tb) if "mincemeat" in frame.filename]
    assert ours == ["run", "run_job"]


def test_a_raising_mapfn_on_a_cluster_names_the_worker() -> None:
    with pytest.raises(faulty.Unlucky) as caught:
        run_server(mincemeat.Server(UNLUCKY, faulty.unlucky, faulty.total, split=1))
    story = story_of(caught.value)
    assert re.fullmatch(rf"{LOOPBACK}:\d+", story.worker)
    assert story.worker in str(story)
    assert 'raise Unlucky(13, reason="of course")' in story.remote_traceback


@pytest.mark.parametrize("argument", ["collectfn", "reducefn"])
def test_a_raising_collectfn_or_reducefn_names_itself_and_the_key(argument: str) -> None:
    functions: dict[str, Any] = {"reducefn": faulty.total, "collectfn": faulty.total}
    functions[argument] = faulty.unlucky_total
    with pytest.raises(faulty.Unlucky, match="as n") as caught:
        mincemeat.run(DATA, faulty.number, **functions, max_attempts=2)
    assert (story_of(caught.value).function, story_of(caught.value).key) == (argument, "'n'")


class Breaking:
    """A datasource that raises where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __iter__(self) -> Iterator[int]:
        if self.where == "iter":
            raise LookupError("no index")
        yield 1
        if self.where == "next":
            raise LookupError("torn index")
        yield 2

    def __getitem__(self, key: int) -> int:
        if self.where == "getitem" and key == 2:
            raise LookupError("record is gone")
        return key


@pytest.mark.parametrize("engine", ["inline", "processes", "cluster"])
@pytest.mark.parametrize(
    ("where", "text"), [("iter", "no index"), ("next", "torn index"), ("getitem", "record is gone")]
)
def test_a_raising_datasource_ends_the_job_with_its_exception(engine: str, where: str, text: str) -> None:
    network = {"password": "pw", "port": 0, "host": LOOPBACK, "workers": 1} if engine == "cluster" else {}
    with pytest.raises(LookupError, match=text) as caught:
        mincemeat.run(Breaking(where), faulty.number, faulty.total, engine=engine, **network)  # type: ignore[arg-type]
    story = story_of(caught.value)
    assert story.function == "datasource"
    assert ("2" in story.key) == (where == "getitem")


def test_a_damaged_archive_is_read_twice_and_named(tmp_path: Path) -> None:
    """It was read four times, which for a large one takes as long as the job."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(os.urandom(1000)))
    torn = tmp_path / "b.gz"
    torn.write_bytes(torn.read_bytes()[:500])
    with pytest.raises(InvalidJob, match="b.gz.* cannot be decompressed") as caught:
        mincemeat.run(mincemeat.files(tmp_path), faulty.number, faulty.total, workers=2, progress=False)
    story = str(story_of(caught.value))
    assert "failed 2 times" in story
    assert str(torn) in story


def test_a_transient_exception_costs_one_attempt(tmp_path: Path) -> None:
    assert mincemeat.run(in_directory(tmp_path), faulty.raises_once, faulty.total, workers=2) == {"n": 45}
    assert (tmp_path / "raise").exists()


# -- functions that take their process along ------------------------------------------------------------------


def in_directory(directory: Path) -> dict[str, int]:
    return {f"{directory}/{number}": number for number in range(10)}


@pytest.mark.parametrize(
    "mapfn",
    [
        faulty.segfaults_once,
        faulty.killed_once,
        faulty.exits_hard_once,
        faulty.leaves_a_child_once,
        faulty.sys_exits_once,
    ],
)
@pytest.mark.parametrize("engine", ["processes", "cluster"])
def test_a_function_that_ends_its_process_costs_one_attempt(
    mapfn: Callable[..., Any], engine: str, tmp_path: Path
) -> None:
    data = in_directory(tmp_path)
    if engine == "processes":
        results = mincemeat.run(data, mapfn, faulty.total, workers=2)
    else:
        results = run_server(mincemeat.Server(data, mapfn, faulty.total), clients=1)
    assert results == {"n": 45}
    assert len(list(tmp_path.iterdir())) == 1, "the function never misbehaved"


@pytest.mark.parametrize("engine", ["processes", "cluster"])
def test_an_endless_loop_costs_one_attempt_when_there_is_a_time_limit(engine: str, tmp_path: Path) -> None:
    data = in_directory(tmp_path)
    if engine == "processes":
        results = mincemeat.run(data, faulty.loops_once, faulty.total, workers=2, task_timeout=1)
    else:
        results = run_server(mincemeat.Server(data, faulty.loops_once, faulty.total, task_timeout=1))
    assert results == {"n": 45}


def test_a_function_that_always_crashes_fails_the_job_and_says_how_the_process_ended() -> None:
    with pytest.raises(JobFailed, match=r"map task m-00000 failed 4 times.*killed by signal 11 \(SIGSEGV\)"):
        mincemeat.run({1: 1}, faulty.always_segfaults, faulty.total)


def test_sys_exit_in_a_function_is_told_and_does_not_exit_the_caller() -> None:
    with pytest.raises(JobFailed, match=r"sys\.exit\('enough'\) was called"):
        mincemeat.run({1: 1}, faulty.exits, faulty.total, max_attempts=1)


def test_a_time_limit_that_is_always_exceeded_fails_the_job() -> None:
    with pytest.raises(JobFailed, match=r"longer than task_timeout=0\.2 seconds"):
        mincemeat.run({1: 60.0}, faulty.sleeps, faulty.total, task_timeout=0.2, max_attempts=2)


# -- what cannot be shuffled -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapfn", "text"),
    [
        (faulty.gives_none, "pairs.*'only'.*None"),
        (faulty.gives_a_number, "pairs.*'only'.* int"),
        (faulty.gives_single, "pairs.*'only'.* int"),
        (faulty.gives_triple, r"pairs.*'only'.*a tuple of 3 \(int, int, int\)"),
        (faulty.gives_list_key, "key.*list"),
        (faulty.gives_opaque_key, "Opaque.*partitionfn"),
        (faulty.gives_lock, "'s'.*lock.*cannot be pickled"),
    ],
)
@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_what_cannot_be_shuffled_has_its_sentence(mapfn: Callable[..., Any], text: str, engine: str) -> None:
    with pytest.raises(InvalidEmission, match=text):
        mincemeat.run({"only": 5}, mapfn, faulty.total, engine=engine)


def test_an_unpicklable_result_names_its_key() -> None:
    with pytest.raises(InvalidEmission, match="'n'.*lock.*cannot be pickled"):
        mincemeat.run({1: 1}, faulty.number, faulty.result_is_lock, max_attempts=1)


def test_an_unpicklable_record_names_its_key() -> None:
    with pytest.raises(InvalidEmission, match="'lock'.*cannot be pickled"):
        mincemeat.run({"lock": threading.Lock()}, faulty.number, faulty.total)


def test_a_function_that_cannot_be_shipped_names_what_it_holds() -> None:
    lock = threading.Lock()

    def mapfn(key: Any, value: Any) -> Iterator[Any]:
        with lock:
            yield key, value

    with pytest.raises(InvalidJob, match="mapfn cannot be sent.*lock"):
        mincemeat.run({1: 1}, mapfn, faulty.total)


# -- nothing to do, nobody to do it -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_an_empty_datasource_gives_an_empty_dict(engine: str) -> None:
    assert mincemeat.run({}, faulty.number, faulty.total, engine=engine) == {}


def test_an_empty_datasource_is_done_at_once_without_any_worker() -> None:
    assert run_server(mincemeat.Server({}, faulty.number, faulty.total), clients=0) == {}


def test_a_generated_password_is_printed_in_a_command_that_works(tmp_path: Path) -> None:
    script = """
import mincemeat, re, shlex, subprocess, sys, threading

class Tee:
    def __init__(self, stream): self.stream, self.text = stream, ""
    def write(self, text):
        self.text += text
        command = re.search(r"python (-m mincemeat -p \\S+ -P \\d+ \\S+)\\n", self.text)
        if command:
            self.text = ""
            subprocess.Popen([sys.executable, *shlex.split(command[1])])
        return self.stream.write(text)
    def __getattr__(self, name): return getattr(self.stream, name)

sys.stderr = Tee(sys.stderr)
pairs = lambda key, line: [(word, 1) for word in line.split()]
server = mincemeat.Server({1: "a b a"}, pairs, lambda key, ones: len(ones))
print(server.run_server(port=0, host="127.0.0.1"))
"""
    done = run_script(script, tmp_path)
    assert done.stdout.strip() == "{'a': 2, 'b': 1}", done.stderr


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = mincemeat.Server(DATA, faulty.number, faulty.total)
        with pytest.raises(PortInUse, match=f"port {port}"):
            server.run_server(password="changeme", port=port, host=LOOPBACK)


def test_a_wrong_password_is_refused_on_both_ends() -> None:
    errors: list[BaseException] = []

    def intrude(port: int) -> None:
        def join() -> None:
            try:
                mincemeat.Client("wrong").conn(LOOPBACK, port)
            except AuthenticationError as error:
                errors.append(error)
            # The intruder has been refused: let the job end with an honest worker.
            mincemeat.Client("changeme").conn(LOOPBACK, port)

        thread = threading.Thread(target=join, daemon=True)
        thread.start()
        threads.append(thread)

    threads: list[threading.Thread] = []
    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total), clients=0, on_listening=intrude)
    threads[0].join(timeout=20)
    assert results == jobs.count_words(jobs.RHYME)
    assert len(errors) == 1
    assert "password" in str(errors[0])


def test_no_server_there_is_one_sentence_after_the_wait() -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"{LOOPBACK}:{port}"):
        mincemeat.Client("changeme", wait=0.3).conn(LOOPBACK, port)


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"challenge:0123456789abcdef\n", "original mincemeat"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    ],
)
def test_a_server_that_is_not_mincemeat_is_named(greeting: bytes, text: str) -> None:
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, 0))
        stranger.listen()

        def greet() -> None:
            peer, _ = stranger.accept()
            with peer:
                peer.sendall(greeting)
                peer.settimeout(5)
                while peer.recv(4096):
                    pass

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(mincemeat.ProtocolError, match=text):
            mincemeat.Client("changeme").conn(LOOPBACK, stranger.getsockname()[1])
        thread.join(timeout=10)


def test_a_package_missing_on_the_worker_is_named_with_the_worker(tmp_path: Path) -> None:
    """The caller has a package that the worker's interpreter does not: here one that is only on the caller's path."""
    package = tmp_path / "site-packages" / "rarepackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def twice(x): return 2 * x\n", "utf-8")
    script = f"""
import sys
sys.path.append({str(package.parent)!r})
import mincemeat, rarepackage, threading

def mapfn(key, value):
    yield key, rarepackage.twice(value)

server = mincemeat.Server({{1: 1}}, mapfn, lambda key, values: values, max_attempts=1)
try:
    server.run_server(password="pw", port=0, host="127.0.0.1", workers=1)
except ModuleNotFoundError as error:
    print(error)
    print(error.__cause__)
"""
    done = run_script(script, tmp_path)
    assert "No module named 'rarepackage'" in done.stdout, done.stderr
    assert re.search(r"package 'rarepackage' is not installed", done.stdout)
    assert re.search(r"on worker 127\.0\.0\.1:\d+", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"engine": "warp"}, "no engine 'warp'"),
        ({"workers": 0}, "workers must be"),
        ({"split": 0}, "split must be"),
        ({"max_attempts": -1}, "max_attempts must be"),
        ({"task_timeout": -1}, "task_timeout must be"),
        ({"partitions": 0}, "partitions must be"),
        ({"backups": 1, "engine": "cluster"}, "backups must be True or False"),
        ({"engine": "inline", "workers": 2}, "engine 'inline' cannot honour workers"),
        ({"engine": "processes", "password": "x"}, "engine 'processes' cannot honour password"),
        ({"mapfn": 5}, "mapfn must be a function"),
        ({"datasource": None}, "datasource"),
        ({"datasource": "logs/*.gz"}, "mincemeat.text"),
    ],
)
def test_arguments_that_cannot_be_meant_are_one_sentence(arguments: dict[str, Any], text: str) -> None:
    complete: dict[str, Any] = {"datasource": DATA, "mapfn": faulty.number, "reducefn": faulty.total, **arguments}
    with pytest.raises(InvalidJob, match=text):
        mincemeat.run(**complete)


def test_a_time_limit_of_a_month_is_no_trouble() -> None:
    """select() refused to wait that long."""
    assert mincemeat.run({1: 1}, faulty.number, faulty.total, task_timeout=31 * 86_400.0, progress=False) == {"n": 1}


def test_a_failed_job_leaves_no_process_and_no_file_behind(tmp_path: Path) -> None:
    script = """
import mincemeat, os, subprocess, tempfile

def mapfn(key, value):
    raise ValueError("no")

try:
    mincemeat.run({1: 1}, mapfn, workers=2)
except ValueError:
    print(subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True).stdout)
    print(os.listdir(tempfile.gettempdir()))
"""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "job.py").write_text(script, "utf-8")
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    processes, _, files = done.stdout.strip().rpartition("\n")
    assert "slot_main" not in processes
    assert files == "[]"
