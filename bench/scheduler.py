"""How many events the scheduler handles in a second, and how many bytes it keeps for a task.

One process, one thread, the machine alone: no sockets, no user code. The loop around it carries out every instruction
at once (a split is produced, an attempt succeeds) and its time is counted in; every fourth event is a heartbeat. There
is one reduce task for each partition. The dearest event is measured apart: a tick that looks for stragglers among the
running attempts of all workers but one. Seconds are those of the processor, so that others on the machine do not count.

    python bench/scheduler.py                        1,000 workers, 100,000 map tasks, 64 reduce tasks
    python bench/scheduler.py --workers 10000 --maps 1000000 --partitions 5000 --sizes-every 1000

A map attempt reports a size for each partition, and to add them up takes time in proportion: with 5,000 partitions that
is what would be measured, so --sizes-every lets most attempts report no output. Exit code 1: a target was missed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import tracemalloc
from collections import deque

from mincemeat.model import Phase
from mincemeat.scheduler import (
    AttemptDone,
    Event,
    FinishJob,
    Heartbeat,
    InputExhausted,
    Machine,
    ProduceSplit,
    SplitsProduced,
    StartAttempt,
    Tick,
    WorkerJoined,
)

STEP_SECONDS = 1e-5

# Meant for 10,000 workers and a million map tasks: a coordinator that spends less of its time on scheduling than on
# sockets, and a gigabyte for the records of a million tasks.
EVENTS_PER_SECOND_LEAST = 50_000
BYTES_PER_TASK_MOST = 1024
# What a heartbeat may wait for: a fortieth of the lease.
TICK_SECONDS_MOST = 0.2


def run_job(workers: int, slots: int, maps: int, partitions: int, sizes_every: int) -> tuple[Machine, int, float]:
    """Run one whole job. Returns the machine, the number of events, and the seconds they took."""
    machine = Machine(partitions=partitions, reduce_task_bytes=1, lease_seconds=1e9, backups=True)
    sizes = (1,) * partitions
    names = [f"10.0.{i >> 8}.{i & 255}:11235#1" for i in range(workers)]
    waiting: deque[Event] = deque(WorkerJoined(name, slots) for name in names)
    events = splits = 0
    now = 0.0
    started = time.process_time()
    while waiting:
        event = waiting.popleft()
        now += STEP_SECONDS
        events += 1
        for instruction in machine.handle(event, now):
            if type(instruction) is StartAttempt:
                attempt = instruction.attempt
                reports = attempt.task.phase is Phase.MAP and not attempt.task.index % sizes_every
                waiting.append(AttemptDone(instruction.worker, attempt, sizes if reports else ()))
            elif type(instruction) is ProduceSplit:
                if splits < maps:
                    waiting.append(SplitsProduced(splits))
                    splits += 1
                elif splits == maps:
                    waiting.append(InputExhausted())
                    splits += 1
            elif type(instruction) is FinishJob:
                return machine, events, time.process_time() - started
        if not events % 4:
            waiting.append(Heartbeat(names[events % workers]))
    raise AssertionError(f"the job came to a stop: {machine.counts()}")


def time_tick(workers: int) -> float:
    """Seconds of one tick late in a phase: one slot of each worker is busy, but for one, and nobody is a straggler."""
    machine = Machine(partitions=1, lease_seconds=1e9, backups=True)
    waiting: list[Event] = [WorkerJoined(f"10.0.{i >> 8}.{i & 255}:11235#1", 1) for i in range(workers)]
    waiting += map(SplitsProduced, range(4 * workers - 1))
    waiting.append(InputExhausted())
    while waiting:
        starts = [said for event in waiting for said in machine.handle(event, 0.0) if type(said) is StartAttempt]
        if machine.counts().map_committed == 3 * workers:
            break
        waiting = [AttemptDone(start.worker, start.attempt, (1,)) for start in starts]
    assert machine.counts().running == workers - 1
    started = time.process_time()
    machine.handle(Tick(), 0.0)
    return time.process_time() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--slots", type=int, default=1, help="slots of each worker")
    parser.add_argument("--maps", type=int, default=100_000, help="map tasks")
    parser.add_argument("--partitions", type=int, default=64, help="partitions, each with its reduce task")
    parser.add_argument("--sizes-every", type=int, default=1, help="every which map attempt reports sizes")
    parser.add_argument("--repeats", type=int, default=3, help="runs for the speed; memory takes one more")
    parser.add_argument("--least", type=float, default=EVENTS_PER_SECOND_LEAST, help="events per second to be reached")
    parser.add_argument("--most", type=float, default=BYTES_PER_TASK_MOST, help="bytes per task to be kept to")
    options = parser.parse_args()
    shape = (options.workers, options.slots, options.maps, options.partitions, options.sizes_every)
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(
        f"{options.workers} workers x {options.slots} slots, {options.maps} map and {options.partitions} reduce tasks"
    )
    rates = []
    for _ in range(options.repeats):
        machine, events, seconds = run_job(*shape)
        del machine
        rates.append(events / seconds)
    rate = statistics.median(rates)
    spread = f"{min(rates):,.0f} .. {max(rates):,.0f}"
    print(f"events/s: median {rate:,.0f}, {spread} in {options.repeats} runs of {events:,} events")
    tick = statistics.median(time_tick(options.workers) for _ in range(options.repeats))
    print(f"tick: {tick * 1000:,.1f} ms")
    tracemalloc.start()
    machine, _, _ = run_job(*shape)
    tasks = machine.counts().map_total + machine.counts().reduce_total
    kept = tracemalloc.get_traced_memory()[0] / tasks
    print(f"bytes/task: {kept:,.0f} (all that the machine keeps, workers included)")
    missed = [
        sentence
        for is_missed, sentence in (
            (rate < options.least, f"fewer than {options.least:,.0f} events in a second"),
            (kept > options.most, f"more than {options.most:,.0f} bytes for a task"),
            (tick > TICK_SECONDS_MOST, f"a tick took more than {TICK_SECONDS_MOST * 1000:g} ms"),
        )
        if is_missed
    ]
    for sentence in missed:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
