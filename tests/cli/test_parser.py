from __future__ import annotations

import pytest

from mincemeat.cli.parser import parse
from mincemeat.limits import DEFAULT_PORT, VERSION, WAIT_SECONDS


def test_the_originals_command_line_joins_localhost_on_the_originals_port() -> None:
    options = parse([])
    assert (options.command, options.host, options.port) == ("worker", "localhost", DEFAULT_PORT)
    assert options.password is None


def test_the_originals_options_mean_what_they_meant() -> None:
    options = parse(["-p", "changeme", "-P", "9000", "-v", "-V", "example.org"])
    assert (options.command, options.password, options.port, options.host) == (
        "worker",
        "changeme",
        9000,
        "example.org",
    )
    assert options.verbose
    assert options.loud


def test_the_originals_form_takes_the_workers_options_too() -> None:
    plain, named = (parse([*words, "-n", "3", "--wait", "0.5", "-l", "h"]) for words in ([], ["worker"]))
    assert plain == named
    assert (plain.slots, plain.wait, plain.forever, plain.host) == (3, 0.5, True, "h")


def test_a_worker_waits_as_long_as_the_limits_say_and_for_one_job() -> None:
    options = parse(["worker"])
    assert (options.slots, options.wait, options.forever) == (None, WAIT_SECONDS, False)


def test_a_host_called_run_can_be_joined() -> None:
    assert parse(["worker", "run"]).host == "run"


def test_the_command_line_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mincemeat", "-P", "7"])
    assert parse().port == 7


@pytest.mark.parametrize("words", [["--version"], ["worker", "--version"], ["run", "--version"]])
def test_version_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        parse(words)
    assert ending.value.code == 0
    assert capsys.readouterr().out == f"mincemeat {VERSION}\n"


def test_options_may_stand_between_job_file_and_inputs() -> None:
    options = parse(["run", "job.py", "--top", "20", "a", "-", "--sort", "b*"])
    assert (options.jobfile, options.inputs, options.top, options.sort) == ("job.py", ["a", "-", "b*"], 20, True)
    assert options.engine == "processes"


def test_serving_means_the_cluster_engine() -> None:
    options = parse(["run", "job.py", "--serve", ":0", "-p", "x", "--workers", "0"])
    assert (options.engine, options.serve, options.workers) == ("cluster", ("", 0), 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":11235", ("", 11235)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:0", ("::1", 0)),
        ("[]:5", ("", 5)),
        ("some.host:65535", ("some.host", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse(["run", "job.py", "--serve", text]).serve == address


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run"], "the following arguments are required: JOBFILE\n"),
        (["run", "j", "--top", "0"], "'0' is not a whole number from 1 to"),
        (["run", "j", "--split", "many"], "'many' is not a whole number"),
        (["run", "j", "--task-timeout", "0"], "'0' is not a number of seconds"),
        (["run", "j", "--serve", "host"], "is not [HOST]:PORT, for example :11235"),
        (["run", "j", "--serve", "host:x"], "is not [HOST]:PORT"),
        (["run", "j", "--serve", ":65536"], "is not [HOST]:PORT"),
        (["run", "j", "--serve", "::1:80"], "stands in brackets"),
        (["run", "j", "--serve", ":0", "--engine", "inline"], "--serve is for the cluster engine"),
        (["run", "j", "-p", "x"], "-p is for the cluster engine, not for --engine processes"),
        (["run", "j", "--password-file", "x"], "--password-file is for the cluster engine"),
        (["run", "j", "--trust-workers"], "--trust-workers is for the cluster engine, not for --engine processes"),
        (["run", "j", "--no-such", "in.txt"], "unrecognized argument: --no-such (see: mincemeat run --help)\n"),
        (["-P", "0"], "'0' is not a whole number from 1 to 65535"),
        (["--wait", "nan"], "'nan' is not a number of seconds"),
        (["--wait", "soon"], "'soon' is not a number of seconds"),
        (["--wait", "inf"], "'inf' is not a number of seconds"),
        (["-n", "0"], "'0' is not a whole number"),
        (["host", "another"], "another"),
        (
            ["jobs/wordcount.py"],
            "'jobs/wordcount.py' is no host; a job file is run by: mincemeat run jobs/wordcount.py",
        ),
    ],
)
def test_misuse_is_told_and_exits_with_2(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        parse(words)
    assert ending.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_strict_sandbox_is_not_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["worker", "--sandbox", "strict"])
    assert "--sandbox=strict is written with an equals sign" in capsys.readouterr().err
    assert parse(["worker", "--sandbox=strict", "there"]).sandbox == "strict"
