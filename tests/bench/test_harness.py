from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import harness, measure
from bench.contenders import CONTENDERS, Contender, choose
from bench.environments import here
from bench.harness import Disagreement, Entry
from bench.measure import Measurement, RunFailed
from bench.workloads import WORKLOADS, parse_size

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="the bench measures process trees by /proc")


def entry(name: str, *seconds: float, skipped: str = "") -> Entry:
    found = Entry(Contender(name, name), here(), skipped=skipped)
    found.rounds += [Measurement(wall, wall / 2, 3 * 10**6) for wall in seconds]
    return found


def measured(code: str, timeout: float = 30.0) -> Measurement:
    return measure.run([sys.executable, "-c", code], timeout_seconds=timeout, environment=dict(os.environ))


def test_ratios_are_taken_round_by_round() -> None:
    entries = [entry("mincemeat", 1.0, 4.0, 2.0), entry("pool", 2.0, 4.0, 8.0)]
    row = harness.table(entries, "pool").splitlines()[2]
    assert row == "| mincemeat | 2.00 (1.00–4.00) | 0.50 (0.25–1.00) | 1.00 | 3 |"


def test_contender_that_did_not_run_is_in_the_table_with_its_reason() -> None:
    rows = harness.table([entry("pool", 1.0), entry("ray", skipped="could not be\ninstalled")], "pool")
    assert rows.splitlines()[3] == "| ray | could not be installed | | | |"


def test_a_different_result_fails_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        script = f"import sys; open(sys.argv[2], 'w').write({name!r})"
        (tmp_path / f"{name}.py").write_text(script, "utf-8")
    monkeypatch.setattr(Contender, "path", lambda self, workload: tmp_path / f"{self.script}.py")
    entries = [entry("one"), entry("other")]
    with pytest.raises(Disagreement, match="other wrote .* one wrote"):
        harness.compare("W1", entries, "", rounds=1, workers=1, timeout_seconds=30.0, warm_up=False)


def test_contender_that_fails_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("import sys; sys.exit('no such engine')", "utf-8")
    monkeypatch.setattr(Contender, "path", lambda self, workload: tmp_path / "broken.py")
    entries = [entry("broken")]
    assert harness.compare("W1", entries, "", rounds=3, workers=1, timeout_seconds=30.0) == ""
    assert "no such engine" in entries[0].skipped


def test_checksum_of_part_files_is_that_of_one_file(tmp_path: Path) -> None:
    for name, text in (("part-00001", "b\n"), ("part-00000", "a\n"), ("_SUCCESS", "")):
        (tmp_path / name).write_text(text, "utf-8")
    assert harness.checksum(tmp_path) == hashlib.sha256(b"a\nb\n").hexdigest()


@needs_proc
def test_memory_and_seconds_of_grandchildren_count() -> None:
    grandchild = (
        "x = b'x' * 60_000_000; import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass"
    )
    found = measured(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])")
    assert found.cpu_seconds >= 0.1
    assert found.peak_bytes >= 60_000_000


@needs_proc
def test_daemon_left_behind_is_ended(tmp_path: Path) -> None:
    daemon = "import time; time.sleep(600)"
    note = tmp_path / "pid"
    measured(
        "import subprocess, sys\n"
        f"daemon = subprocess.Popen([sys.executable, '-c', {daemon!r}], start_new_session=True)\n"
        f"open({str(note)!r}, 'w').write(str(daemon.pid))\n"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text("utf-8")), 0)


@needs_proc
def test_run_that_takes_too_long_is_ended() -> None:
    with pytest.raises(RunFailed, match="took more than 0 s"):
        measured("import time; time.sleep(600)", timeout=0.05)


@pytest.mark.parametrize(("text", "size"), [("200MB", 200_000_000), ("10M", 10_000_000), ("1.5kb", 1500), ("7", 7)])
def test_sizes_are_decimal(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_each_script_belongs_to_a_contender() -> None:
    bench = Path(harness.__file__).parent
    for workload in WORKLOADS:
        scripts = {path.stem for path in (bench / workload.lower()).glob("*.py")}
        assert scripts == {f"by_{found.script}" for found in CONTENDERS if found.path(workload).exists()}


def test_unknown_contender_is_named() -> None:
    with pytest.raises(ValueError, match="W1 has no contender 'spork'; there are mincemeat, "):
        choose("W1", "pool,spork")


@needs_proc
def test_contender_ends_with_the_process_that_measures(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    sleeper = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    command = [sys.executable, measure.__file__, "60", sys.executable, "-c", sleeper]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as supervisor:
        while not (note.exists() and note.read_text("utf-8")):
            assert supervisor.poll() is None
        supervisor.terminate()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text("utf-8")), 0)
