"""A worker on which every attempt fails costs a few of them, is named once in the log, and the job ends well elsewhere.

That of a full disk is in test_full_disk.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mincemeat import limits
from tests.kit import gates
from tests.kit.clusters import worker_process
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow

RECORDS = 60
SICK = "TEST_IS_SICK"


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(3600)


def fail() -> None:
    raise OSError("libfortran.so.5: cannot open shared object file")


def sick_where(symptom: Callable[[], None]) -> Callable[[str, gates.Record], Iterator[tuple[int, int]]]:
    def mapfn(key: str, record: gates.Record) -> Iterator[tuple[int, int]]:
        if os.environ.get(SICK):
            symptom()
        time.sleep(0.05)  # so that there is something left to be given to the sick one
        yield from gates.held(key, record)

    return mapfn


@pytest.mark.parametrize("symptom", [crash, hang, fail], ids=lambda symptom: symptom.__name__)
def test_a_worker_on_which_every_attempt_fails_is_excluded(
    symptom: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)
    options: dict[str, Any] = {}
    data = gates.records(tmp_path, RECORDS, held_from=RECORDS - 1)  # until the sick one has had its chance
    if symptom is hang:  # three times, while the other one must not seem to hang
        options["task_timeout_seconds"] = 1.5
        data = gates.records(tmp_path, 3 * RECORDS, held_from=3 * RECORDS)
    check_excluded(data, sick_where(symptom), tmp_path, caplog, "3 different tasks failed on it", {}, **options)


RARE = """
import time
from pathlib import Path
from tests.kit import gates

def mapfn(key, record):
    {lazily}
    time.sleep(0.05)
    assert rarepackage.twice(1) == 2
    yield from gates.held(key, record)
"""


@pytest.mark.parametrize(
    ("lazily", "reason"),
    [("pass", "the job's code could not be loaded on it"), ("import rarepackage", "3 different tasks failed on it")],
    ids=["imported by the script", "imported by the function"],
)
def test_a_worker_that_misses_a_package_is_excluded(
    lazily: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)
    package = tmp_path / "site-packages" / "rarepackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def twice(x): return 2 * x\n", "utf-8")
    monkeypatch.syspath_prepend(package.parent)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    source = RARE.format(lazily=lazily)
    exec(source if lazily != "pass" else "import rarepackage\n" + source, namespace)  # noqa: S102 - a script of its own
    healthy = {"PYTHONPATH": os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}
    data = gates.records(tmp_path, RECORDS, held_from=RECORDS - 1)
    try:
        check_excluded(data, namespace["mapfn"], tmp_path, caplog, reason, healthy)
    finally:
        sys.modules.pop("rarepackage", None)


def check_excluded(
    data: dict[str, gates.Record],
    mapfn: Callable[[str, gates.Record], Iterator[tuple[int, int]]],
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    healthy_environment: dict[str, str],
    **options: Any,
) -> None:
    caplog.set_level("INFO", "mincemeat")
    with (
        ServedJob(data, mapfn, gates.as_given, **options) as job,
        worker_process(job.port, "-n", "1", environment=healthy_environment) as healthy,
    ):
        gates.wait_until(lambda: "joined with" in caplog.text, "the healthy worker joined")
        with worker_process(job.port, "-n", "1", environment={SICK: "1"}) as sick:
            gates.wait_until(lambda: "gets no more attempts" in caplog.text, "the sick one is excluded")
            gates.open_gate(directory)
            assert job.results() == gates.grouped(len(data))
            assert [healthy.wait(20), sick.wait(20)] == [0, 0]
    told = [record.getMessage() for record in caplog.records if "gets no more attempts" in record.getMessage()]
    assert len(told) == 1
    who, _, why = told[0].partition(" gets no more attempts: ")
    assert why.startswith(reason)
    assert f"{who} joined with 1 slots" in caplog.text
    assert not gates.records_of(directory, sick.pid), "the sick one was not sick"
