"""Options that would be accepted and mean nothing are refused, each in one sentence and before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidJob, limits
from mincemeat.cli.parser import parse
from mincemeat.sandbox import resources


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_skipped": 3}, "max_skipped= is for on_error='skip'"),
        ({"max_skipped": None}, "max_skipped= is for on_error='skip'"),
        ({"on_nondeterminism": "raise"}, "engine 'inline' cannot honour on_nondeterminism="),
        ({"on_nondeterminism": "restart"}, "engine 'inline' cannot honour on_nondeterminism="),
        ({"on_nondeterminism": "perhaps"}, "on_nondeterminism must be 'raise', 'restart' or 'ignore'"),
        ({"progress": "x"}, "progress must be True or False, not 'x'"),
        ({"progress": 1}, "progress must be True or False, not 1"),
        ({"slot_memory": "1GB"}, "engine 'inline' cannot honour slot_memory="),
        ({"slot_cpu": 5}, "engine 'inline' cannot honour slot_cpu="),
        ({"trust_workers": True}, "engine 'inline' cannot honour trust_workers="),
        ({"mapfn": 5}, "mapfn must be a function, not int"),
        ({"sort_values": 5}, "sort_values must be True, False or a key function, not 5"),
    ],
)
def test_run_refuses(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence) as refused:
        mincemeat.run({1: 1}, engine="inline", **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"slot_memory": "1 MB"}, r"slot_memory must be from 64 MiB to 64 TiB for each slot, not '1 MB'"),
        ({"slot_memory": "much"}, r"slot_memory must be a number of bytes, or text such as '256MB'"),
        (
            {"slot_memory": "1GiB", "memory": "1GiB"},
            r"of 1,073,741,824 bytes the plan can be 268,435,456, not 1,073,741,824",
        ),
        ({"slot_cpu": 0.5}, "slot_cpu must be a whole number from 1 to"),
        ({"slot_cpu": True}, "slot_cpu must be a whole number from 1 to"),
    ],
)
def test_limits_of_a_slot_that_cannot_be_meant(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        mincemeat.run({1: 1}, **options)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_limits_that_this_system_cannot_keep_are_refused(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "CAN_LIMIT_MEMORY", False)
    monkeypatch.setattr(resources, "CAN_LIMIT_CPU", system != "win32")
    with pytest.raises(InvalidJob, match=r"slot_memory cannot be kept on .*; leave it out"):
        mincemeat.run({1: 1}, slot_memory="1GB")
    with pytest.raises(InvalidJob, match="slot_memory cannot be kept"):
        mincemeat.Client(slot_memory="1GB").conn("nowhere.invalid")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sandbox": "loose"}, "sandbox must be True, False or 'strict', not 'loose'"),
        ({"sandbox_read": ["/usr"]}, "sandbox_read is for a sandbox"),
        ({"sandbox": True, "sandbox_read": "/usr"}, "sandbox_read must be a list of paths, not '/usr'"),
        (
            {"sandbox": True, "sandbox_read": ["/no/such/place"]},
            "sandbox_read names /no/such/place, which is not there",
        ),
    ],
)
def test_a_sandbox_that_cannot_be_meant(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        mincemeat.Client(**options).conn("nowhere.invalid")


@pytest.mark.parametrize("seconds", [True, False, float("nan"), float("inf"), 0, -1, "1"])
def test_what_is_no_number_of_seconds_is_no_time_limit(seconds: Any) -> None:
    """True was taken for one second."""
    with pytest.raises(InvalidJob, match="task_timeout must be a positive number of seconds"):
        mincemeat.run({1: 1}, task_timeout=seconds)


@pytest.mark.parametrize("name", ["on_listening", "mapfn", "reducefn", "collectfn", "partitionfn"])
def test_a_server_refuses_what_is_no_function(name: str) -> None:
    """``on_listening=5`` was found out when workers had been started."""
    server = mincemeat.Server({1: 1})
    setattr(server, name, 5)
    with pytest.raises(InvalidJob, match=f"{name} must be a function, not int"):
        server.run_server(port=0)


def test_a_server_refuses_as_run_does() -> None:
    with pytest.raises(InvalidJob, match="max_skipped= is for"):
        mincemeat.Server({1: 1}, max_skipped=3).run_server(port=0)


def test_the_defaults_are_no_slip() -> None:
    options: dict[str, Any] = {"max_skipped": limits.MAX_SKIPPED, "on_nondeterminism": "ignore", "progress": False}
    assert mincemeat.run({1: 1}, engine="inline", **options) == {1: [1]}


@pytest.mark.parametrize("many", ["3", "any", str(limits.MAX_SKIPPED)])
def test_the_command_line_refuses_a_number_that_nothing_is_done_with(
    many: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["run", "job.py", "--max-skipped", many])
    assert ended.value.code == 2
    assert "--max-skipped is for --on-error skip" in capsys.readouterr().err
    asked = parse(["run", "job.py", "--on-error", "skip", "--max-skipped", many])
    assert asked.max_skipped == (None if many == "any" else int(many))
    assert parse(["run", "job.py"]).max_skipped == limits.MAX_SKIPPED


@pytest.mark.parametrize("value", ["yes", 1])
def test_trust_in_workers_is_said_in_one_word(value: Any) -> None:
    with pytest.raises(InvalidJob, match=f"trust_workers must be True or False, not {value!r}"):
        mincemeat.run({1: 1}, engine="cluster", trust_workers=value)
    with pytest.raises(InvalidJob, match=f"trust_workers must be True or False, not {value!r}"):
        mincemeat.Server({1: 1}, trust_workers=value).run_server(password="x", port=0)
