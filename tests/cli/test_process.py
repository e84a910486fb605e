"""``python -m mincemeat`` as a real process: pipes, signals, exit codes, and no child left behind."""

from __future__ import annotations

import gzip
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import EXAMPLES, REPOSITORY, call, environment, start

pytestmark = pytest.mark.slow

WORDCOUNT = EXAMPLES / "wordcount.py"
RHYME = "Humpty Dumpty sat on a wall\nHumpty Dumpty had a great fall\n"


def test_standard_input_is_counted() -> None:
    assert call("run", WORDCOUNT, "--top", "2", "-", stdin=RHYME) == (0, "Dumpty\t2\nHumpty\t2\n", "")


def test_files_directories_globs_and_archives_are_counted(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "rhyme.txt").write_text(RHYME, "utf-8")
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(RHYME.encode()))
    words = ("run", WORDCOUNT, "plain", "*.gz", "plain/rhyme.txt", "--sort", "--workers", "1")
    code, output, errors = call(*words, cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert output.splitlines()[:2] == ["Dumpty\t6", "Humpty\t6"]


def test_nothing_asks_for_the_standard_input_by_itself() -> None:
    reader = EXAMPLES / "grep.py"
    code, output, errors = call("run", reader, stdin=RHYME)
    assert (code, output) == (1, "")
    assert "or - for standard input" in errors


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text("datasource = range(20_000)\nreducefn = lambda key, values: values[0]\n", "utf-8")
    process = start("run", "--engine", "inline", job)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().count("\t") == 1
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(30) == 0
    process.stderr.close()


def test_misuse_is_2_and_a_mistake_is_1(tmp_path: Path) -> None:
    assert call("run")[0] == 2
    code, output, errors = call("run", tmp_path / "nowhere.py")
    assert (code, output, errors.count("\n")) == (1, "", 1)


def test_an_unreachable_server_is_1() -> None:
    code, output, errors = call("-p", "changeme", "--wait", "0", "-P", "1", "127.0.0.1")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("mincemeat: ")


def test_importing_the_package_does_not_load_what_only_the_command_line_needs() -> None:
    program = "import sys, mincemeat; print({'argparse', 'logging', 'asyncio', 'ssl', 'getpass'} & set(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", program], env=environment(), text=True)
    assert output == "set()\n"


ENDLESS = """
import os, time

def mapfn(key, value):
    with open(value, "w") as file:
        print(os.getpid(), file=file)
    while True:
        time.sleep(0.01)

def datasource(inputs):
    return dict(enumerate(inputs))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_ends_a_running_job_and_its_children(
    tmp_path: Path, number: signal.Signals, code: int, sentence: str
) -> None:
    job = tmp_path / "job.py"
    job.write_text(ENDLESS, "utf-8")
    told = tmp_path / "pid"
    os.mkfifo(told)
    reading = os.open(told, os.O_RDONLY | os.O_NONBLOCK)  # to wait for a writer here would be to wait for a dead one
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = start("run", "--workers", "1", job, told, temporary=scratch)
    with open(reading, encoding="ascii") as line:
        select.select([line], [], [], 30)  # until the attempt is in the user's function
        child = int(line.read())
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (code, "", f"mincemeat: {sentence}\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="redirections of a Unix shell")
@pytest.mark.parametrize(("redirection", "code", "output", "errors"), [
    ("<&-", 0, "a b\t[1]\n", "mapping\n"),
    ("2>&-", 0, "a b\t[1]\n", ""),
    (">&-", 1, "", "mincemeat: standard output is closed, so the results need -o FILE\n"),
    (">&- 2>&-", 1, "", ""),
])  # fmt: skip
def test_closed_standard_streams_are_no_fault_of_ours(
    tmp_path: Path, redirection: str, code: int, output: str, errors: str
) -> None:
    """With standard error closed its number went to a slot's channel: what user code printed landed there, and the job
    waited for ever."""
    job = tmp_path / "job.py"
    job.write_text("datasource = ['a b']\ndef mapfn(key, value):\n    print('mapping')\n    yield value, 1\n", "utf-8")
    command = f'exec "$0" -m mincemeat run --workers 1 "$1" {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, job], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, output, errors)


def test_the_originals_example_is_the_originals_but_for_print() -> None:
    text = (REPOSITORY / "examples" / "example.py").read_text("utf-8")
    assert text.endswith('results = s.run_server(password="changeme")\nprint(results)\n')
    assert "s = mincemeat.Server()\ns.datasource = datasource\ns.mapfn = mapfn\ns.reducefn = reducefn\n" in text
