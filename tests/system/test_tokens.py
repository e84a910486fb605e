"""Join tokens as people use them: made on the command line, given to a server and to real workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.clusters import LOOPBACK

pytestmark = pytest.mark.slow

JOB = """
datasource = {n: n for n in range(20)}

def mapfn(key, value):
    yield key % 2, value

def reducefn(key, values):
    return sum(values)
"""


def mincemeat(*words: str, directory: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MINCEMEAT_PASSWORD"}
    return subprocess.Popen(
        [sys.executable, "-m", "mincemeat", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=environment,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, said = process.communicate(timeout=60)
    return process.returncode, output, said


def test_workers_join_by_a_token_and_no_other_server_gets_them(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB, "utf-8")
    code, former, _ = ended(mincemeat("token", directory=tmp_path))
    assert (code, former) == (0, ended(mincemeat("token", directory=tmp_path))[1])
    code, token, said = ended(mincemeat("token", "--new", directory=tmp_path))
    assert code == 0
    assert token != former
    assert "mincemeat.identity is a new identity" in said
    with ExitStack() as cleanup:
        server = mincemeat(
            *("run", "job.py", "--serve", f"{LOOPBACK}:0", "--identity", "mincemeat.identity", "--no-progress"),
            directory=tmp_path,
        )
        cleanup.callback(server.kill)
        assert server.stderr is not None
        told = server.stderr.readline() + server.stderr.readline()
        printed = re.search(r"python -m mincemeat --token (\S+) -P (\d+) (\S+)", told)
        assert printed is not None, told
        assert (printed[1], printed[3]) == (token.strip(), LOOPBACK)
        port = printed[2]
        # One that was replaced is for another certificate; a password was never given.
        code, _, said = ended(mincemeat("worker", "--token", former.strip(), "-P", port, LOOPBACK, directory=tmp_path))
        assert code == 1
        assert "another certificate than the pinned one" in said
        code, _, said = ended(mincemeat("worker", "-p", "changeme", "-P", port, LOOPBACK, directory=tmp_path))
        assert code == 1
        assert "refused the password" in said
        # The printed command, as it stands there.
        worker = mincemeat("--token", printed[1], "-P", port, LOOPBACK, directory=tmp_path)
        cleanup.callback(worker.kill)
        assert ended(server)[:2] == (0, "0\t90\n1\t100\n")
        assert ended(worker)[0] == 0


def test_what_cannot_be_a_token_or_an_identity_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB, "utf-8")
    for words, sentence in (
        (("worker", "--token", "changeme", LOOPBACK), "what follows --token is no join token"),
        (("worker", "--token", "mm2-abc-def", LOOPBACK), "that is no join token"),
        (("run", "job.py", "--serve", ":0", "--identity", "job.py"), "job.py is no identity of a server"),
        (("run", "job.py", "--serve", ":0", "--identity", "none"), "cannot be read: No such file"),
        (("token", "--new", "job.py"), "job.py is no identity of a server"),
    ):
        code, output, said = ended(mincemeat(*words, directory=tmp_path))
        assert (code, output) == (1, "")
        assert sentence in said
        assert len(said.splitlines()) == 1
    assert (tmp_path / "job.py").read_text("utf-8") == JOB
