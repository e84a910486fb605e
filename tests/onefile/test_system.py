"""The one file at work on a Python that has nothing else, with packaged servers and workers, as people would use it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.limits import VERSION
from tests.kit import jobs
from tests.kit.clusters import LOOPBACK, ROOT, run_server, worker_command, worker_process

pytestmark = pytest.mark.slow

# -I, -S: neither the environment's nor the user's nor the site's packages, nor the directory of the file.
ALONE = ("-I", "-S")


def call(
    *command: str, directory: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answer(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 0, told.stderr
    return told.stdout


class WatchedWorker:
    """A worker in a process. One that fails is replaced by an honest one, or its server would wait for ever."""

    def __init__(self, port: int, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self._errors = ""
        self._watch = threading.Thread(target=self._wait)
        self._watch.start()

    def _wait(self) -> None:
        _, self._errors = self._process.communicate()
        if self._process.returncode:
            mincemeat.Client("changeme").conn(LOOPBACK, self._port)

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        self._watch.join(timeout=60)
        assert self._process.returncode is not None
        return self._process.returncode, self._errors


def of_another_version(one_file: Path) -> Path:
    """The file as the version before it."""
    text = one_file.read_text("utf-8")
    assert text.count(f'VERSION: Final = "{VERSION}"') == 1
    one_file.write_text(text.replace(f'VERSION: Final = "{VERSION}"', 'VERSION: Final = "1.9.9"'), "utf-8")
    return one_file


JOB = """
import sys, os
import mincemeat
from mincemeat import lines as datasource

print(mincemeat.__file__, mincemeat is sys.modules["mincemeat"], mincemeat.limits.VERSION, file=sys.stderr)
os.unlink(mincemeat.__file__)  # the slots do not need it

def mapfn(position, line):
    for word in line.split():
        yield word, 1

def reducefn(word, counts):
    return sum(counts)
"""


def test_run_carries_out_a_job_file_that_imports_it_though_the_file_is_gone_meanwhile(
    bare_python: str, one_file: Path
) -> None:
    renamed = one_file.rename(one_file.with_name("mincemeat-2.py"))
    # Another mincemeat nearby is not this one.
    (one_file.parent / "mincemeat").mkdir()
    (one_file.parent / "mincemeat" / "__init__.py").write_text("raise SystemExit('the wrong one')", "utf-8")
    (one_file.parent / "job.py").write_text(JOB, "utf-8")
    (one_file.parent / "input.txt").write_text("a b a\nc a\n", "utf-8")
    told = call(bare_python, *ALONE, renamed.name, "run", "job.py", "input.txt", directory=one_file.parent)
    assert sorted(answer(told).splitlines()) == ["a\t3", "b\t1", "c\t1"]
    assert told.stderr == f"{renamed} True {VERSION}\n"


FAILING = """
datasource = {"a record": 0}

def mapfn(key, value):
    yield key, divided(value)

def divided(value):
    return 1 / value  # this line is shown
"""


def test_a_failure_is_told_as_the_package_tells_it(bare_python: str, one_file: Path) -> None:
    (one_file.parent / "job.py").write_text(FAILING, "utf-8")
    options = ("run", "job.py", "--no-preflight", "--workers", "1", "--max-attempts", "1")
    alone = call(bare_python, *ALONE, str(one_file), *options, directory=one_file.parent)
    (one_file.parent / "empty").mkdir()
    shutil.copy(one_file.with_name("job.py"), one_file.parent / "empty")
    packaged = call(sys.executable, "-m", "mincemeat", *options, directory=one_file.parent / "empty")
    assert alone.returncode == packaged.returncode == 1
    said = alone.stderr.replace("python mincemeat.py replay", "mincemeat replay")
    assert said == packaged.stderr.replace("/empty/", "/")
    # And again, as it says.
    again = call(bare_python, *ALONE, str(one_file), "replay", "job.failures.jsonl", directory=one_file.parent)
    assert again.returncode == 1
    assert "return 1 / value  # this line is shown" in again.stderr
    assert "return 1 / value  # this line is shown" in alone.stderr


def test_it_joins_a_packaged_server_under_any_name_and_is_not_needed_again(bare_python: str, one_file: Path) -> None:
    """With the word count's answer from its own slots, which start after the file has gone."""
    renamed = one_file.rename(one_file.with_name("mm.py"))
    workers: list[WatchedWorker] = []

    def join(port: int) -> None:
        command = [bare_python, *ALONE, str(renamed), "-p", "changeme", "-P", str(port), LOOPBACK]
        workers.append(WatchedWorker(port, command))

    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total), clients=0, on_listening=join)
    assert workers[0].end() == (0, "")
    assert results == jobs.count_words(jobs.RHYME)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_its_slots_are_in_a_sandbox_as_well(bare_python: str, one_file: Path) -> None:
    """The file lies among private ones: to open its directory would be to open those."""
    secret = one_file.with_name("secret.txt")
    secret.write_text("a secret", "utf-8")
    workers: list[WatchedWorker] = []

    def join(port: int) -> None:
        command = [bare_python, *ALONE, str(one_file), "-p", "changeme", "-P", str(port), "--sandbox", LOOPBACK]
        workers.append(WatchedWorker(port, command))

    results = run_server(mincemeat.Server([str(secret)], jobs.read_if_allowed), clients=0, on_listening=join)
    code, said = workers[0].end()
    assert (code, said.startswith("mincemeat: sandbox: ")) == (0, True), said
    if "Landlock" in said.partition("not here")[0]:
        assert results == {"refused": [0]}


def test_it_serves_packaged_workers_and_nobody_with_another_password(bare_python: str, one_file: Path) -> None:
    """By the original's example, beside the file."""
    source = (ROOT / "examples" / "example.py").read_text("utf-8")
    announce = "s.on_listening = lambda port: print('PORT', port, flush=True)\n"
    free = f'{announce}results = s.run_server(password="changeme", port=0, host="{LOOPBACK}")'
    script = one_file.with_name("example.py")
    script.write_text(source.replace('results = s.run_server(password="changeme")', free), "utf-8")
    with ExitStack() as ending:
        server = subprocess.Popen([bare_python, "-S", str(script)], stdout=subprocess.PIPE, text=True)
        ending.callback(server.communicate)
        ending.callback(server.kill)
        assert server.stdout is not None
        port = server.stdout.readline().split()[1]

        join = [bare_python, *ALONE, str(one_file), "-P", port, LOOPBACK, "-p", "wrong"]
        told = call(*join, directory=one_file.parent)
        assert told.returncode == 1
        assert told.stderr.count("\n") == 1
        assert "password" in told.stderr

        packaged = ending.enter_context(worker_process(int(port)))
        output, _ = server.communicate(timeout=120)
        assert packaged.wait(timeout=60) == 0
    assert eval(output) == jobs.count_words(jobs.RHYME)  # noqa: S307 - the printed dict of our own example


def test_a_server_starts_workers_of_its_own_from_the_file(bare_python: str, one_file: Path) -> None:
    (one_file.parent / "job.py").write_text(JOB, "utf-8")
    (one_file.parent / "input.txt").write_text("a b a\nc a\n", "utf-8")
    options = ("--serve", f"{LOOPBACK}:0", "--workers", "2")
    told = call(bare_python, str(one_file), "run", "job.py", "input.txt", *options, directory=one_file.parent)
    assert sorted(answer(told).splitlines()) == ["a\t3", "b\t1", "c\t1"]


def other_pythons(*versions: str) -> Iterator[str]:
    """Those of these versions that are on this machine, beside the one that runs the tests."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "/nowhere")) / "versions"
    for version in versions:
        found = shutil.which(f"python{version}")
        yield from [str(path) for path in pyenv.glob(f"{version}.*/bin/python")] or ([found] if found else [])


def test_it_tells_its_version_and_its_sha256_on_every_python(bare_python: str, one_file: Path) -> None:
    digest = hashlib.sha256(one_file.read_bytes()).hexdigest()
    for python in (bare_python, *other_pythons("3.12", "3.13", "3.14")):
        told = call(python, *ALONE, str(one_file), "--version", directory=one_file.parent)
        assert answer(told) == f"mincemeat {VERSION}\n{digest}  {one_file}\n", python


def test_it_runs_a_job_on_other_pythons(one_file: Path) -> None:
    pythons = list(other_pythons("3.12", "3.13", "3.14"))
    if not pythons:
        pytest.skip("there is no other Python here that it runs on")
    (one_file.parent / "job.py").write_text(FAILING.replace("1 / value", "1 + value"), "utf-8")
    for python in pythons:
        told = call(python, *ALONE, str(one_file), "run", "job.py", directory=one_file.parent)
        assert answer(told) == "a record\t[1]\n", python


def test_an_older_python_says_a_sentence(one_file: Path) -> None:
    pythons = list(other_pythons("3.8", "3.10"))
    if not pythons:
        pytest.skip("there is no older Python here")
    for python in pythons:
        told = call(python, str(one_file), "run", "job.py", directory=one_file.parent)
        assert re.fullmatch(r"mincemeat needs Python 3\.11 or later, and this is Python 3\.\d+\n", told.stderr), python


PRYING = """
def mapfn(key, path):
    try:
        with open(path) as file:
            yield key, file.read()
    except PermissionError:
        yield key, "closed"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_sandbox_opens_the_file_and_not_what_lies_around_it(bare_python: str, one_file: Path) -> None:
    """The sandbox took the directory above the file's for that of a package, and opened it."""
    inner = one_file.parent / "inner"
    inner.mkdir()
    file = shutil.copy(one_file, inner / "mm.py")
    secrets = [one_file.parent / "above.txt", inner / "beside.txt"]
    for path in secrets:
        path.write_text("a secret", "utf-8")
    workers: list[WatchedWorker] = []

    def join(port: int) -> None:
        command = [bare_python, *ALONE, str(file), "worker", "--sandbox", "-p", "changeme", "-P", str(port), LOOPBACK]
        workers.append(WatchedWorker(port, command))

    job: dict[str, Any] = {}
    exec(PRYING, job)  # noqa: S102 - our own text
    data = {str(path): str(path) for path in (file, *secrets)}
    results = run_server(mincemeat.Server(data, job["mapfn"]), clients=0, on_listening=join)
    code, said = workers[0].end()
    assert code == 0, said
    if "files (Landlock" not in said:
        pytest.skip(f"this kernel has no Landlock: {said}")
    assert [results[str(path)] for path in secrets] == [["closed"], ["closed"]]
    assert results[str(file)] == [one_file.read_text("utf-8")]


# -- worker --update ---------------------------------------------------------------------------------------------


def test_a_worker_of_another_version_becomes_the_servers_and_works(
    bare_python: str, one_file: Path, content: bytes
) -> None:
    old = of_another_version(one_file)
    old.chmod(0o750)
    workers: list[WatchedWorker] = []

    def join(port: int) -> None:
        start = [bare_python, *ALONE, str(old), "worker"]
        refused = call(*start, "-p", "changeme", "-P", str(port), LOOPBACK, directory=old.parent)
        assert refused.returncode == 1
        assert f"this server runs mincemeat {VERSION}, and the worker mincemeat 1.9.9" in refused.stderr
        assert "--update" in refused.stderr
        # The password is in the environment, from which it is removed, so it has to be handed on.
        environment = {**os.environ, "MINCEMEAT_PASSWORD": "changeme"}
        command = [*start, "--update", "-P", str(port), LOOPBACK]
        workers.append(WatchedWorker(port, command, environment))

    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total), clients=0, on_listening=join)
    assert workers[0].end() == (0, f"mincemeat: {old} is mincemeat {VERSION} now; starting again\n")
    assert results == jobs.count_words(jobs.RHYME)
    assert old.read_bytes() == content
    assert stat.S_IMODE(old.stat().st_mode) == 0o750


def test_a_server_that_runs_from_the_file_offers_itself_and_no_package_is_replaced(
    bare_python: str, one_file: Path
) -> None:
    of_another_version(one_file)
    (one_file.parent / "job.py").write_text(FAILING.replace("1 / value", "1 + value"), "utf-8")
    worker = one_file.with_name("worker.py")
    worker.write_text(one_file.read_text("utf-8").replace('"1.9.9"', '"1.8.8"'), "utf-8")
    serve = [bare_python, *ALONE, str(one_file), "run", str(one_file.with_name("job.py")), "--serve", f"{LOOPBACK}:0"]
    environment = {**os.environ, "MINCEMEAT_PASSWORD": "changeme"}
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = 0
            while not port:
                found = re.search(r"-P (\d+)|port (\d+)\b", process.stderr.readline())
                port = int(found[1] or found[2]) if found else 0
            elsewhere = one_file.parent / "elsewhere"  # beside the file, -m mincemeat is the file
            elsewhere.mkdir()
            packaged = call(*worker_command(port, "--update"), directory=elsewhere, environment=environment)
            assert packaged.returncode == 1
            assert f"this worker {VERSION}, which is installed" in packaged.stderr
            assert "pip install mincemeat==1.9.9" in packaged.stderr
            own = [bare_python, *ALONE, str(worker), "worker", "--update", "-p", "changeme", "-P", str(port), LOOPBACK]
            told = call(*own, directory=one_file.parent)
            assert told.returncode == 0, told.stderr
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == "a record\t[1]\n"
    assert worker.read_bytes() == one_file.read_bytes()
