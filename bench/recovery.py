"""How long a job needs to go on after kill -9 of the process that holds it.

A server and two workers on loopback, over TLS, with a journal; each record is a map task (``split=1``), a few of which
share an attempt. When so many map tasks are committed the server is killed, and started again at once. Told is the time
from there until an attempt of the new life is committed, and what it is made of:

    python bench/recovery.py                  100,000 map tasks, 3 times
    python bench/recovery.py --alone          every map task an attempt of its own: the largest journal there can be;
                                              read and restored without processes
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mincemeat.engines.resuming import Resumable
from mincemeat.journal import Journal, MapCommit, SplitGroup
from mincemeat.model import AttemptId, Job, MapReport, Phase, TaskId, UserFunctions
from mincemeat.scheduler.machine import Machine

TARGET_SECONDS = 5.0

SCRIPT = """
import sys
import mincemeat

def mapfn(key, value):
    yield key % 7, 1

def reducefn(key, values):
    return len(values)

if __name__ == "__main__":
    tasks, port, journal = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    mincemeat.run(
        range(tasks), mapfn, reducefn, engine="cluster", host="127.0.0.1", port=port, password="loopback", split=1,
        journal=journal, progress=False,
    )
"""


def recover_once(tasks: int, directory: Path) -> tuple[float, float]:
    """Seconds until the first commit of the new life, and until the job's end."""
    script, journal, port = directory / "job.py", directory / "journal", free_port()
    script.write_text(SCRIPT)
    # Twice as many, so that the job is in the middle of its map phase.
    server = [sys.executable, str(script), str(2 * tasks), str(port), str(journal)]
    worker = [sys.executable, "-m", "mincemeat", "-p", "loopback", "-P", str(port), "-n", "1", "127.0.0.1"]
    quiet = {"stderr": subprocess.DEVNULL}
    workers = [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
    first = subprocess.Popen(server, **quiet)  # type: ignore[call-overload]
    processes = [first, *workers]
    try:
        wait_for(journal, lambda done, _: done >= tasks, first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        started = time.perf_counter()
        second = subprocess.Popen(server, **quiet)  # type: ignore[call-overload]
        processes.append(second)
        wait_for(journal, lambda _, lives: lives > 1, second)
        recovered = time.perf_counter() - started
        second.wait()
        ended = time.perf_counter() - started
        for process in workers:
            process.wait()
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return recovered, ended


def wait_for(journal: Path, holds: object, process: subprocess.Popen[bytes]) -> None:
    """Until ``holds(map tasks committed, lives that have committed something)``, reading only what is new."""
    assert callable(holds)
    done, lives, position = 0, 0, 0
    has_committed = True
    while not holds(done, lives):
        if process.poll() is not None:
            sys.exit("the job ended before it could be killed; give it more --tasks")
        if journal.exists():
            with journal.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += data.rfind(b"\n") + 1
            for line in data[: data.rfind(b"\n") + 1].splitlines():
                if b' {"life":' in line:
                    has_committed = False
                elif b' {"map":' in line:
                    done += int(line.partition(b'"splits":')[2].partition(b",")[0])
                    if not has_committed or not lives:
                        has_committed = True
                        lives += 1
        time.sleep(0.002)


def restore_alone(tasks: int, directory: Path) -> dict[str, float]:
    """Seconds to read and restore a journal in which every map task is an attempt of its own with 64 sizes."""
    path = directory / "journal"
    job = Job("job", UserFunctions())
    report = MapReport(1, 64, 0.001, 0, tuple(range(1000, 1064)))
    journal = Journal.open(path, {})
    journal.begin(job.job_id, {}, ())
    for index in range(tasks):
        journal.splits_cut(SplitGroup(index, (1,), (100,), (12345678,)))
        journal.map_committed(MapCommit(AttemptId(TaskId(Phase.MAP, index), 0), 1, "10.0.0.7:51822", report))
    journal.sync()
    journal.close()
    seconds = {"bytes": float(path.stat().st_size)}
    started, started_cpu = time.perf_counter(), time.process_time()
    with Resumable.collector_off():
        journal = Journal.open(path, {})
        seconds["read"] = time.perf_counter() - started
        resumable = Resumable(job, journal, {})
        restored = resumable.restored(resumable.map_commits())
        seconds["told"] = time.perf_counter() - started
        machine = Machine(life=1)
        machine.handle(restored, 0.0)
    seconds["restored"] = time.perf_counter() - started
    seconds["of the processor"] = time.process_time() - started_cpu
    assert machine.counts().map_committed == tasks
    journal.remove()
    return seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    worst = 0.0
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as directory:
            if options.alone:
                seconds = restore_alone(options.tasks, Path(directory))
                worst = max(worst, seconds["restored"])
                told = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items() if name != "bytes")
                print(f"{options.tasks:,} commits, {seconds['bytes'] / 1e6:.0f} MB: {told}", flush=True)
            else:
                recovered, ended = recover_once(options.tasks, Path(directory))
                worst = max(worst, recovered)
                print(
                    f"killed at {options.tasks:,} map tasks: went on after {recovered:.2f} s, done after {ended:.2f} s"
                )
    print(f"the slowest took {worst:.2f} s, and should take at most {TARGET_SECONDS:g}")
    if worst > TARGET_SECONDS:
        sys.exit(1)


if __name__ == "__main__":
    main()
