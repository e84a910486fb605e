"""Real workers with ``--sandbox``: what a job's code gets at, and that honest jobs do not notice."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.errors import JobFailed
from mincemeat.model import SlotLimits
from tests.kit import jobs
from tests.kit.clusters import LOOPBACK, worker_process
from tests.kit.serving import ServedJob
from tests.system import helper_module

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

PASSWORD = "the-password-of-this-worker"


@pytest.fixture(scope="module")
def sentence() -> str:
    """What a worker says that starts with a sandbox on this machine."""
    with socket.create_server((LOOPBACK, 0)) as nobody:
        port = nobody.getsockname()[1]
    with worker_process(port, "--sandbox", "--wait", "0") as worker:
        _, said = worker.communicate(timeout=60)
    line = said.splitlines()[0]
    assert line.startswith("mincemeat: sandbox: ")
    return line


@pytest.fixture
def landlock(sentence: str) -> None:
    found = re.search(r"files \(Landlock ABI \d+\)", sentence)
    if found is None:
        pytest.skip(f"this kernel has no Landlock: {sentence}")


def verdict(attack: Callable[[], Any]) -> str:
    try:
        return f"got {attack()!r}"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except KeyError as error:
        return str(error)


def attack(key: str, given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything that it should not get at, from where a job's code runs."""
    worker = os.getppid()
    yield "read", verdict(lambda: Path(given["secret"]).read_text("utf-8"))
    yield "list", verdict(lambda: os.listdir(os.path.dirname(given["secret"])))
    yield "write", verdict(lambda: Path(given["secret"]).write_text("spoilt", "utf-8"))
    yield "connect", verdict(lambda: socket.create_connection((given["host"], given["port"])))
    yield "signal", verdict(lambda: os.kill(worker, signal.SIGCONT))
    yield "its environment", verdict(lambda: Path(f"/proc/{worker}/environ").read_bytes())
    yield "its memory", verdict(lambda: Path(f"/proc/{worker}/mem").read_bytes())
    yield "its command line", verdict(lambda: Path(f"/proc/{worker}/cmdline").read_bytes())
    yield "environment", verdict(lambda: [name for name, value in os.environ.items() if given["token"] in value])
    yield "descriptors", verdict(open_descriptors)
    yield "user", verdict(lambda: __import__("pwd").getpwuid(os.getuid()))


def open_descriptors() -> list[str]:
    """Where those lead that are not a slot's own: the one channel, standard streams, scratch, places of /proc, /sys."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
    known = ("/dev/null", "pipe", "socket", "/proc", "/sys", os.path.dirname(os.environ["TMPDIR"]))
    return [place for place in found if not place.startswith(known)] + ["socket"] * (found.count("socket") - 1)


@pytest.mark.usefixtures("landlock")
def test_code_of_a_job_gets_at_nothing(tmp_path: Path, sentence: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret", "utf-8")
    token = "a-token-of-the-user"
    with socket.create_server((LOOPBACK, 0)) as listener:
        given = {"secret": str(secret), "host": LOOPBACK, "port": listener.getsockname()[1], "token": token}
        with (
            ServedJob({"k": given}, attack, password=PASSWORD) as job,
            worker_process(job.port, "--sandbox", password=PASSWORD, environment={"CLOUD_TOKEN": token}) as worker,
        ):
            results = {name: verdicts[0] for name, verdicts in job.results().items()}
            assert worker.wait(20) == 0
    assert results.pop("connect") in ("EPERM", "EACCES", "ENETUNREACH")
    assert "not found" in results.pop("user")
    if "signals" in sentence.partition("not here")[0]:
        assert results["signal"] == "EPERM"
    del results["signal"]
    assert results == {
        "read": "EACCES",
        "list": "EACCES",
        "write": "EACCES",
        "its environment": "EACCES",
        "its memory": "EACCES",
        "its command line": "EACCES",
        "environment": "got []",
        "descriptors": "got []",
    }
    assert secret.read_text("utf-8") == "a secret"


def hog(key: int, value: int) -> Iterator[tuple[int, int]]:
    if value == 3:
        bytearray(600 * 2**20)
    yield value % 2, value


def spin(key: int, value: int) -> Iterator[tuple[int, int]]:
    while value == 3:
        pass
    yield value % 2, value


def stubborn_spin(key: int, value: int) -> Iterator[tuple[int, int]]:
    """Does what it can to be left alone."""
    import resource

    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while key == 0:
        pass
    yield key, value


@pytest.mark.parametrize("who", ["worker", "job"])
def test_a_record_that_wants_more_memory_than_a_slot_has_is_named(who: str) -> None:
    options = ["--sandbox", "--slot-memory", "300MiB"] if who == "worker" else []
    own = SlotLimits(300 * 2**20) if who == "job" else SlotLimits()
    with (
        ServedJob(dict(enumerate(range(5))), hog, max_attempts=1, slot_limits=own) as job,
        worker_process(job.port, "-n", "1", *options) as worker,
    ):
        with pytest.raises(MemoryError) as raised:
            job.results()
        assert worker.wait(20) == 0
    story = str(raised.value.__cause__)
    assert "mapfn for key 3" in story
    assert f"(its process may have {300 * 2**20:,} bytes)" in story


def test_a_record_that_wants_more_processor_time_than_an_attempt_has_is_named() -> None:
    """Of the worker's own limits without a sandbox, too."""
    with (
        ServedJob(dict(enumerate(range(5))), spin, max_attempts=2) as job,
        worker_process(job.port, "-n", "1", "--slot-cpu", "1") as worker,
    ):
        with pytest.raises(JobFailed, match=r"key 3.*used more than slot_cpu=1 seconds of processor time"):
            job.results()
        assert worker.wait(20) == 0


def test_the_end_of_processor_time_cannot_be_put_off() -> None:
    with (
        ServedJob({0: 0}, stubborn_spin, max_attempts=1) as job,
        worker_process(job.port, "-n", "1", "--sandbox", "--slot-cpu", "1") as worker,
    ):
        with pytest.raises(JobFailed, match=r"lost its process.*signal 9"):
            job.results()
        assert worker.wait(20) == 0


def test_strict_starts_only_where_nothing_is_missing(sentence: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as nobody:
        port = nobody.getsockname()[1]
    with worker_process(port, "--sandbox=strict", "--wait", "0") as worker:
        _, said = worker.communicate(timeout=60)
    assert worker.returncode == 1
    _, are_missing, missing = sentence.partition("; not here: ")
    if are_missing:
        assert said == (
            "mincemeat: the sandbox is not complete on this machine, and --sandbox=strict was asked for: "
            f"{missing}. --sandbox alone starts with what there is\n"
        )
    else:
        assert said.startswith("mincemeat: sandbox: ")
        assert "nothing listens at" in said, "it went on to join"


# -- honest jobs ---------------------------------------------------------------------------------------------------


def with_all_it_needs(key: int, value: int) -> Iterator[tuple[int, float]]:
    """A library that calculates, a module beside the job, a temporary file, and a word for the terminal."""
    import tempfile

    import numpy as np

    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(value))
        file.seek(0)
        yield helper_module.parity(value), float((np.ones((50, 50)) * int(file.read())).sum())
    print("printed in a slot")


def picky(key: int, value: int) -> Iterator[tuple[int, int]]:
    if value % 7 == 3:
        raise ValueError(f"not {value}")
    yield value % 3, value


NUMBERS = dict(enumerate(range(30)))


def by_value(key: int, value: str) -> Iterator[tuple[str, str]]:
    yield value, value * 500


def length(key: str, values: Any) -> tuple[int, str]:
    return len(values), values[0][:4]


class Workers:
    """One sandboxed worker that stays for job after job on one port."""

    def __init__(self, listed: Path) -> None:
        with socket.create_server((LOOPBACK, 0)) as free:
            self.port = free.getsockname()[1]
        self.listed = listed

    def run(self, *arguments: Any, **options: Any) -> Any:
        server = mincemeat.Server(*arguments, progress=False, **options)
        return server.run_server(password="changeme", port=self.port, host=LOOPBACK)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    listed = tmp_path_factory.mktemp("listed")
    workers = Workers(listed)
    options = ("-n", "2", "--sandbox", "--sandbox-read", str(listed), "--slot-memory", "1GB", "--slot-cpu", "100")
    # Of many threads the stacks alone would be more than a slot may have.
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    with worker_process(workers.port, *options, "--forever", environment=environment) as process:
        yield workers
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "printed in a slot" in said
    assert "Traceback" not in said


def lines_in(directory: Path) -> str:
    directory.joinpath("rhyme.txt").write_text("\n".join(jobs.RHYME.values()) + "\n", "utf-8")
    return str(directory / "rhyme.txt")


@pytest.mark.parametrize("where", ["listed", "elsewhere"])
def test_files_are_read_whether_or_not_slots_may(workers: Workers, tmp_path: Path, where: str) -> None:
    path = lines_in(workers.listed if where == "listed" else tmp_path)
    assert workers.run(mincemeat.lines(path), jobs.words, jobs.total) == jobs.count_words(jobs.RHYME)


def test_results_are_the_same_in_a_sandbox(workers: Workers, tmp_path: Path) -> None:
    expected = mincemeat.run(NUMBERS, with_all_it_needs, jobs.values_as_given, engine="inline")
    results = workers.run(NUMBERS, with_all_it_needs, jobs.values_as_given, output=tmp_path / "results.jsonl")
    assert dict(results.items()) == expected


def test_a_sorted_job_with_values_on_disk_is_the_same(workers: Workers) -> None:
    data = {number: f"{number * 7919 % 1000:04d}" for number in range(3000)}
    expected = mincemeat.run(data, by_value, length, sort=True, engine="inline", memory="1MiB")
    results = workers.run(data, by_value, length, sort=True, memory="1MiB")
    assert list(results.items()) == list(expected.items())


def test_bad_records_are_set_aside_and_can_be_run_again(workers: Workers) -> None:
    expected = mincemeat.run(NUMBERS, picky, jobs.total, on_error="skip", engine="inline")
    results = workers.run(NUMBERS, picky, jobs.total, on_error="skip")
    assert results == expected
    assert [(bad.key, bad.data) for bad in results.failures] == [(bad.key, bad.data) for bad in expected.failures]
    assert all(bad.data for bad in results.failures), "mincemeat replay runs them again"


@pytest.mark.usefixtures("landlock")
def test_a_client_has_the_same_sandbox(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret", "utf-8")
    code = (
        "import mincemeat, sys; client = mincemeat.Client('changeme', sandbox=True, slot_memory='1GB'); "
        f"client.conn({LOOPBACK!r}, int(sys.argv[1]))"
    )
    with ServedJob({0: str(secret)}, jobs.read_if_allowed) as job:
        subprocess.run([sys.executable, "-c", code, str(job.port)], check=True, timeout=60)
        assert job.results() == {"refused": [0]}
