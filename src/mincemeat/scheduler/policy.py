"""The judgements of the scheduler, each a pure function of numbers.

Decides: how partitions share reduce tasks, when a worker is excluded, how long a split is, which attempts get a backup.
Knows nothing of the machine that asks. The numbers and their reasons stand in ``limits.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mincemeat import limits
from mincemeat.model import TIME_LIMIT, Failure, FailureKind, RecordMark, key_digest, shorten, told


def coalesce(partition_bytes: Sequence[int], reduce_task_bytes: int, slots: int) -> list[range]:
    """Cut the partitions into ranges, one for each reduce task.

    Shape: consecutive ranges that together cover every partition once; each holds at least one partition that is not
    empty. All of them empty: no range at all. Together at most ``reduce_task_bytes``: exactly one. More: about
    ``reduce_task_bytes`` each, or less so that every one of ``slots`` has something to do, but not less than an
    eighth of it (``limits.REDUCE_TASK_SHRINK_MAX``), where starting a task would cost more than it saves.
    """
    total = sum(partition_bytes)
    if not total:
        return []
    smallest = max(1, reduce_task_bytes // limits.REDUCE_TASK_SHRINK_MAX)
    wanted_bytes = reduce_task_bytes
    if total > reduce_task_bytes:
        wanted_bytes = max(smallest, min(reduce_task_bytes, total // max(1, slots)))
    tasks = -(-total // max(1, wanted_bytes))
    # Cut where the running sum passes the next multiple of total/tasks: this evens the sizes out over the whole, where
    # filling one range after the other would leave a small one at the end, for which everybody waits.
    plan: list[range] = []
    first = 0
    seen = 0
    quota = 1
    for partition, size in enumerate(partition_bytes):
        seen += size
        if seen * tasks >= quota * total and seen < total:
            plan.append(range(first, partition + 1))
            first = partition + 1
            quota = seen * tasks // total + 1
    plan.append(range(first, len(partition_bytes)))
    return plan


def is_of_the_worker(kind: FailureKind) -> bool:
    """Whether a failure says nothing of the records: its disk, a package that is missing there."""
    return kind in (FailureKind.SYSTEM, FailureKind.CODE)


def counts_against_worker(kind: FailureKind, *, failed_elsewhere: bool) -> bool:
    """Whether a failed attempt is held against its worker at once, before the task has been committed elsewhere.

    A function that raises will most likely raise everywhere: USER never counts at once. A crash or a time limit may
    come from the machine (memory, a broken library) or from the record. The first worker it happens on is suspected,
    so that a sick one cannot run through the whole input before others have committed what it failed; where a second
    worker sees the same, the record is the suspect. SYSTEM is the worker's own disk or memory, whoever failed before.
    For all of these, the task's commit on another worker is the proof, and counts then. CODE is judged apart, at once.
    """
    if kind is FailureKind.SYSTEM:
        return True
    return kind in (FailureKind.CRASH, FailureKind.TIMEOUT) and not failed_elsewhere


def is_of_the_data(failure: Failure) -> bool:
    """Whether a record cannot be read because the input itself is damaged, which hardly another attempt will cure.

    One more, elsewhere if there is anybody else, tells a damaged file from a machine whose disk reads it wrongly. What
    one machine may have and the next may not (modules that pickled records need, memory) is another matter.
    """
    return (
        failure.kind is FailureKind.USER
        and failure.function == "datasource"
        and failure.exception_type not in ("ModuleNotFoundError", "ImportError", "AttributeError", "MemoryError")
    )


def calls_for_care(failure: Failure) -> bool:
    """Whether the next attempt should go record by record: one of them may be to blame."""
    if failure.kind is FailureKind.USER:
        return failure.function != "datasource"
    return failure.kind in (FailureKind.CRASH, FailureKind.TIMEOUT)


def lost_at(failure: Failure) -> RecordMark | None:
    """The record that a process was at when it was lost, if the attempt was a careful one.

    The same one in two attempts is taken to be the cause: once may be chance (the machine ran out of memory), and a
    third look would cost another process.
    """
    if failure.kind not in (FailureKind.CRASH, FailureKind.TIMEOUT) or failure.record < 0:
        return None
    return RecordMark(failure.record, key_digest(failure.key))


def reason_to_skip(failure: Failure) -> str:
    """What ``RecordMark.reason`` says of the record at which a process was lost."""
    return shorten(told(failure.exception_type, failure.message), limits.SKIP_REASON_CHARS_MAX)


def skipped_failure(mark: RecordMark, function: str) -> Failure:
    """What is told of a record that is not run any more: the failure that ``reason_to_skip`` was asked of."""
    kind, _, message = mark.reason.partition(f"{TIME_LIMIT}: ")
    if kind or not message:
        return Failure(FailureKind.CRASH, mark.reason, function)
    return Failure(FailureKind.TIMEOUT, message, function, exception_type=TIME_LIMIT)


def is_excess(skipped: int, max_skipped: int | None) -> bool:
    """Whether a job that set ``skipped`` records aside has to fail for it."""
    return max_skipped is not None and skipped > max_skipped


def excess_failure(skipped: int, max_skipped: int | None, first: Failure | None) -> Failure:
    """Why such a job fails, with the exception and the traceback of ``first``, one of the records."""
    count = "1 record was" if skipped == 1 else f"{skipped} records were"
    message = f"{count} set aside, and max_skipped={max_skipped} allows no more"
    if first is None:
        return Failure(FailureKind.EXCESS, message)
    raised = f" raised {told(first.exception_type, first.message)}"
    what = raised if first.kind is FailureKind.USER else f": {first.message}"
    message += f". One of them: {first.function or 'a function'}{first.place()}{what}"
    return first._replace(kind=FailureKind.EXCESS, message=message)


def should_exclude(*, failed_tasks: int, code_missing: bool, other_workers: int) -> bool:
    """Whether a worker with ``failed_tasks`` different tasks held against it gets no more attempts.

    A task held against it is set off by each task committed on it, so ``failed_tasks`` is what is left: a function that
    fails at random once in a hundred records would else exclude every worker of a long job, one after the other.
    ``code_missing``: the job's code could not be loaded there, which no other task will cure. ``other_workers``: how
    many others are alive and not excluded; the last one is never excluded, for a sick worker may still get some of the
    work done and a job without workers gets none.
    """
    return other_workers > 0 and (code_missing or failed_tasks >= limits.EXCLUDE_AFTER_FAILED_TASKS)


def next_split_records(records_done: int, seconds_done: float, previous_records: int) -> int:
    """How many records the next split of a dict-like datasource should have, at least 1.

    ``records_done`` in ``seconds_done`` seconds: what committed map attempts took, so far; 0 while there are none.
    ``previous_records``: the size of the split before, 0 for the first one.
    """
    if previous_records < 1:
        return 1
    if records_done < 1:
        return previous_records
    most = min(previous_records * limits.SPLIT_GROWTH, limits.SPLIT_RECORDS_MAX)
    # Compared as a product: a clock too coarse for the records must not become a division by zero.
    if limits.SPLIT_SECONDS * records_done >= most * seconds_done:
        return most
    return max(1, int(limits.SPLIT_SECONDS * records_done / seconds_done))


def attempt_bytes(bytes_done: int, seconds_done: float, bytes_left: int | None, slots: int) -> float:
    """How many bytes of files the next map attempt should take; 0, one split, while nothing is known.

    ``bytes_done`` in ``seconds_done`` seconds: what committed map attempts took, so far. ``bytes_left``: what no
    attempt has taken yet, ``None`` where nobody knows; then an attempt is as long as a split of a dict-like datasource.
    Source: guided self-scheduling (Polychronopoulos and Kuck 1987), with a bound for what a death may cost.
    """
    if not bytes_done or seconds_done <= 0:
        return 0
    rate = bytes_done / seconds_done
    if bytes_left is None:
        return rate * limits.SPLIT_SECONDS
    return min(rate * limits.ATTEMPT_SECONDS, bytes_left * limits.ATTEMPT_SHARE_OF_REST / max(1, slots))


def attempt_timeout(task_timeout: float, splits: int) -> float:
    """How long an attempt over ``splits`` splits may take, in seconds, where one may take ``task_timeout``.

    Of several each is attempted alone after that, so this need not be the time that all of them may take: they were
    expected to be quick, and one that never ends should not go unnoticed for a thousand times its limit.
    """
    return min(task_timeout * splits, task_timeout + limits.ATTEMPT_SECONDS)


def straggler_seconds(*, committed: int, total: int, recent_seconds: Sequence[float], was_slow: bool = False) -> float:
    """How long an attempt must have run to be a straggler; infinite while its phase is too young to tell.

    ``committed`` of ``total`` tasks of the phase are done, the latest of them in ``recent_seconds``. ``was_slow``: its
    worker took so long for its last one, too, that it is not given as much time to prove it again.
    Source: Dean and Ghemawat 2004, section 3.6.
    """
    share = 0.0 if total < limits.SMALL_JOB_TASKS else limits.BACKUP_AFTER_COMMITTED_SHARE
    if not recent_seconds or committed < share * total:
        return math.inf
    times = 1.0 if was_slow else limits.BACKUP_WHEN_SLOWER_THAN_MEDIAN
    return max(limits.BACKUP_SECONDS_LEAST, times * _median(recent_seconds))


def slow_seconds(recent_seconds: Sequence[float]) -> float:
    """Whoever took longer than this for its last attempt, in a phase whose latest took ``recent_seconds``, is slow."""
    return limits.BACKUP_WHEN_SLOWER_THAN_MEDIAN * _median(recent_seconds) if recent_seconds else math.inf


def clone_seconds(*, total: int, recent_seconds: Sequence[float]) -> float:
    """How long an attempt must have run to be repeated on another machine, straggler or not; infinite: it is not.

    A phase of fewer than ``limits.SMALL_JOB_TASKS`` tasks is so cheap that idle machines repeat what is not done when
    others were.
    Source: Ananthanarayanan et al. 2013 (Dolly).
    """
    if total >= limits.SMALL_JOB_TASKS:
        return math.inf
    return max(limits.BACKUP_SECONDS_LEAST, _median(recent_seconds) if recent_seconds else 0.0)


def backup_room(*, running_total: int, backups_running: int, idle_slots: int, total: int) -> int:
    """How many more attempts may get a backup: only on idle slots, and a few at a time in a phase of many tasks.

    ``running_total`` counts all running attempts and ``backups_running`` the backups among them.
    """
    if total < limits.SMALL_JOB_TASKS:
        return idle_slots
    # One is always allowed: a tenth of the last nine attempts would be none, and they are what everybody waits for.
    return min(idle_slots, max(1, int(limits.BACKUP_SHARE_MAX * running_total)) - backups_running)


def _median(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
