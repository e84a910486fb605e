"""The contract of ``Engine``, over every engine: the same results in the same order, and nothing left behind.

What a job gives is compared with the plain way, a dict. Each random job has its seed in its name.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidJob, JobFailed, limits
from mincemeat.api import make_engine
from mincemeat.attempt import run_map
from mincemeat.engines.base import Engine
from mincemeat.errors import InvalidEmission
from mincemeat.model import AttemptId, Job, Pair, Phase, Snapshot, TaskId, UserFunctions
from mincemeat.shuffle.partition import make_partitioner
from mincemeat.shuffle.store import JobStore
from mincemeat.sources.base import as_source
from tests.kit import emissions, faulty, sorting
from tests.kit.clusters import LOOPBACK, run_script
from tests.kit.watching import RecordingSink, WatchedSource

pytestmark = pytest.mark.slow

ENGINES = ["inline", "processes", "cluster"]
Observer = Callable[[Snapshot], None]


def engine_called(name: str, split: int | None = None) -> Engine:
    match name:
        case "inline":
            return make_engine(name, split=split)
        case "cluster":
            return make_engine(name, split=split, workers=2, password="changeme", host=LOOPBACK, port=0)
        case _:
            return make_engine(name, split=split, workers=2)


def children() -> list[str]:
    """The command lines of this process's children, ``ps`` itself apart."""
    listed = subprocess.run(["ps", "-axo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    found = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [args for ppid, args in found if int(ppid) == os.getpid() and not args.startswith("ps ")]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test of the contract ends without a process and without a file of its job, however the job ended."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = children()
    yield
    assert list(scratch.iterdir()) == []
    assert [child for child in children() if child not in before] == []


def carry_out(
    name: str,
    datasource: Any,
    *functions: Any,
    split: int | None = None,
    sink: RecordingSink | None = None,
    observe: Observer | None = None,
    **options: Any,
) -> list[Pair]:
    """The pairs that reach the sink, in their order. ``functions`` are those of UserFunctions in its order, or one
    UserFunctions; ``options`` are fields of Job."""
    given = functions[0] if functions and isinstance(functions[0], UserFunctions) else UserFunctions(*functions)
    sink = RecordingSink() if sink is None else sink
    source = as_source(datasource)
    try:
        with sink:
            engine_called(name, split).run(Job("contract", given, **options), source, sink, observe)
    finally:
        source.close()
    return sink.pairs


# -- the same results in the same order --------------------------------------------------------------------------


class RandomJob:
    """Records whose values are the pairs to emit, and options that make the way there anything but straight."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.datasource: dict[Any, emissions.Pairs] = {
            f"record {number}": [emissions.random_pair(chance) for _ in range(chance.choice([0, 1, 5, 40]))]
            for number in range(chance.choice([1, 7, 40]))
        }
        self.split = chance.choice([1, 3, 10, None])
        self.has_combiner = chance.random() < 0.5
        self.options: dict[str, Any] = {
            "partitions": chance.choice([1, 2, 64, 1000]),
            "memory_bytes": chance.choice([limits.MEMORY_BYTES_MIN, 2000, limits.MEMORY_BYTES]),
            "reduce_task_bytes": chance.choice([1, 500, limits.REDUCE_TASK_BYTES]),
        }

    @property
    def functions(self) -> tuple[Any, ...]:
        return emissions.emit, emissions.joined, emissions.joined if self.has_combiner else None

    def plain(self) -> list[Pair]:
        """By ascending partition, within one in order of first appearance; values in input order."""
        groups: dict[Any, list[Any]] = {}
        for pairs in self.datasource.values():
            for key, values in pairs:
                groups.setdefault(key, []).extend(values)
        partition = make_partitioner(self.options["partitions"])
        return [(key, tuple(groups[key])) for key in sorted(groups, key=partition)]


# The slow ones need few: what they do with pairs is the same code, and how they carry it is tested below.
SEEDS = {"inline": 60, "processes": 4, "cluster": 2}


@pytest.mark.parametrize(("engine", "seed"), [(engine, seed) for engine in ENGINES for seed in range(SEEDS[engine])])
def test_results_and_their_order_are_those_of_a_dict(engine: str, seed: int) -> None:
    """Of a partition that does not fit into memory, the keys may come in another order."""
    job = RandomJob(seed)
    results = carry_out(engine, job.datasource, *job.functions, split=job.split, **job.options)
    plain = job.plain()
    if job.options["memory_bytes"] < limits.MEMORY_BYTES:
        partition = make_partitioner(job.options["partitions"])
        assert [partition(key) for key, _ in results] == [partition(key) for key, _ in plain]
        results.sort(key=repr)
        plain.sort(key=repr)
    # By repr, because 1, 1.0 and True are one key, and the first that appeared is the one to be kept.
    assert repr(results) == repr(plain)


@pytest.mark.parametrize("has_combiner", [False, True], ids=["values", "combined"])
@pytest.mark.parametrize("engine", ENGINES)
def test_spills_partitions_and_reduce_tasks_change_nothing(engine: str, has_combiner: bool, tmp_path: Path) -> None:
    """Everything at once: a buffer that holds next to nothing, thousands of partitions, a reduce task for each key."""
    job = RandomJob(7)
    job.datasource = {
        number: [(f"key {number * 7 % 50}", (number,)), (number % 7, ("seventh", number))] for number in range(600)
    }
    job.has_combiner = has_combiner
    job.options = {"partitions": 5000, "memory_bytes": limits.MEMORY_BYTES_MIN, "reduce_task_bytes": 1}
    seen: list[Snapshot] = []
    results = carry_out(engine, job.datasource, *job.functions, split=300, observe=seen.append, **job.options)
    assert repr(results) == repr(job.plain())
    assert seen[-1].reduce_total > 40
    # That the buffer is as small as it should be shows in the report of the same map attempt.
    functions = UserFunctions(*job.functions)
    with_spills = run_map(
        functions,
        iter(job.datasource.items()),
        JobStore(tmp_path / "spills"),
        AttemptId(TaskId(Phase.MAP, 0), 0),
        partitions=5000,
        memory_bytes=limits.MEMORY_BYTES_MIN,
    )
    assert with_spills.spills > 1


@pytest.mark.parametrize("engine", ENGINES)
def test_values_beyond_the_memory_are_read_from_disk_in_order(engine: str) -> None:
    data = {number: [("many", (number, n)) for n in range(50)] + [(number, (number,))] for number in range(20)}
    options: dict[str, Any] = {"partitions": 1, "memory_bytes": 10_000, "split": 5}
    pairs = carry_out(engine, data, emissions.emit, emissions.kind_and_list, **options)
    assert dict(pairs)["many"] == ("StoredValues", [(number, n) for number in range(20) for n in range(50)])
    assert {key: value for key, value in pairs if key != "many"} == {
        number: ("list", [(number,)]) for number in range(20)
    }
    # Without a reducefn the result is a list all the same, and so it is where the values are the result.
    assert dict(carry_out(engine, data, emissions.emit, **options))["many"] == dict(pairs)["many"][1]


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_functions_are_the_identity_and_the_list(engine: str) -> None:
    pairs = carry_out(engine, {"a": None, "b": [1]}, partitions=1)
    assert pairs == [("a", [None]), ("b", [[1]])]


@pytest.mark.parametrize("datasource", [{}, {"silent": []}], ids=["no records", "no pairs"])
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_gives_nothing(engine: str, datasource: dict[str, list[Pair]]) -> None:
    assert carry_out(engine, datasource, emissions.emit, emissions.joined) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_partitionfn_places_keys_of_any_class(engine: str) -> None:
    keys = [emissions.Plain(number) for number in (4, 1, 3)]
    data = {str(key.number): [(key, (key.number,))] for key in keys}
    pairs = carry_out(engine, data, emissions.emit, emissions.joined, None, emissions.number_of, partitions=5)
    assert [(type(key), key.number, values) for key, values in pairs] == [
        (emissions.Plain, number, (number,)) for number in (1, 3, 4)
    ]


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_carries_out_one_job_after_the_other(name: str) -> None:
    engine = engine_called(name)
    for number in range(2):
        sink = RecordingSink()
        job = Job(f"job-{number}", UserFunctions(emissions.emit, emissions.joined))
        engine.run(job, as_source({1: [("n", (number,))]}), sink)
        assert sink.pairs == [("n", (number,))]


SCRIPT = """
import dataclasses, enum, mincemeat

class Colour(enum.Enum):
    RED = 1
    BLUE = 2

@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int
    colour: Colour

def mapfn(key, point):
    yield point, 1
    yield point.colour, point

def reducefn(key, values):
    return Point(len(values), key) if isinstance(key, Colour) else sum(values)

points = [Point(1, Colour.RED), Point(2, Colour.BLUE), Point(1, Colour.RED)]
results = mincemeat.run(points, mapfn, reducefn, {options})
assert results == {{
    Point(1, Colour.RED): 2,
    Point(2, Colour.BLUE): 1,
    Colour.RED: Point(2, Colour.RED),
    Colour.BLUE: Point(1, Colour.BLUE),
}}, results
assert all(type(key) in (Point, Colour) for key in results)
print(list(results))
"""


def test_classes_of_the_script_may_be_keys_and_values_in_the_same_order_everywhere(tmp_path: Path) -> None:
    options = [
        "engine='inline'",
        "workers=2, split=1",
        f"engine='cluster', workers=2, split=1, password='changeme', host='{LOOPBACK}', port=0",
    ]
    done = [run_script(SCRIPT.format(options=given), tmp_path) for given in options]
    assert [script.stderr for script in done] == ["", "", ""]
    assert len({script.stdout for script in done}) == 1


# -- in order ----------------------------------------------------------------------------------------------------


SORTED_JOBS = [
    (engine, sort_values, partitions, memory_bytes)
    for engine in ENGINES
    for sort_values in (False, True, sorting.first_part)
    for partitions in (1, 2, 64)
    for memory_bytes in (3000, limits.MEMORY_BYTES)
    if engine == "inline" or (partitions != 2 and (sort_values is not True or memory_bytes == 3000))
]


@pytest.mark.parametrize(("engine", "sort_values", "partitions", "memory_bytes"), SORTED_JOBS)
def test_a_sorted_job_gives_its_keys_in_order(
    engine: str, sort_values: Any, partitions: int, memory_bytes: int
) -> None:
    groups: dict[Any, list[Any]] = {}
    for number in range(200):
        for key, value in sorting.random_keys(number, None):
            groups.setdefault(key, []).append(value)
    if sort_values is not False:
        for values in groups.values():
            values.sort(key=None if sort_values is True else sort_values)
    functions = UserFunctions(sorting.random_keys, sorting.as_list, sort=True, sort_values=sort_values)
    options: dict[str, Any] = {"partitions": partitions, "memory_bytes": memory_bytes, "reduce_task_bytes": 500}
    seen: list[Snapshot] = []
    assert carry_out(engine, range(200), functions, observe=seen.append, **options) == sorted(groups.items())
    # Keys are shared out between tasks, which only a sample can bring about.
    assert seen[-1].reduce_total == 1 if engine == "inline" or partitions == 1 else seen[-1].reduce_total > 1


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_of_a_class_of_ones_own_come_in_their_own_order(engine: str) -> None:
    functions = UserFunctions(sorting.versions, sort=True)
    results = carry_out(engine, range(101), functions, reduce_task_bytes=1)
    assert [key.number for key, _ in results] == list(reversed(range(101)))
    assert all(type(key) is sorting.Version for key, _ in results)


@pytest.mark.parametrize("engine", ENGINES)
def test_partitionfn_and_sort_give_each_partition_in_order(engine: str) -> None:
    data = {number: [(number * 7 % 20, (number,))] for number in range(20)}
    functions = UserFunctions(emissions.emit, emissions.joined, None, emissions.parity, sort=True)
    results = carry_out(engine, data, functions, partitions=2)
    assert [key for key, _ in results] == [*range(0, 20, 2), *range(1, 20, 2)]


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_without_an_order_between_them_are_named(engine: str) -> None:
    with pytest.raises(
        InvalidEmission, match=r"sort=True needs keys that can be compared .* \(mapfn gave the keys "
    ) as it:
        carry_out(engine, range(10), UserFunctions(sorting.mixed_keys, sort=True))
    assert isinstance(it.value.__cause__, JobFailed)
    assert it.value.__cause__.function == "mapfn"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_key_function_of_values_raises_is_raised(engine: str) -> None:
    functions = UserFunctions(emissions.emit, sort_values=sorting.without_parity)
    with pytest.raises(ZeroDivisionError) as caught:
        carry_out(engine, {1: [("k", 1), ("k", 2)]}, functions)
    assert isinstance(caught.value.__cause__, JobFailed)
    assert (caught.value.__cause__.function, caught.value.__cause__.key) == ("sort_values", "'k'")


@pytest.mark.parametrize("spoil", [sorting.crash_once, sorting.hang_once, sorting.raise_once])
@pytest.mark.parametrize("engine", ["processes", "cluster"])
def test_a_sample_that_fails_costs_the_job_nothing(
    engine: str, spoil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SAMPLE_SECONDS_MAX", 3.0)
    source = [str(tmp_path)] * 50
    results = carry_out(engine, source, UserFunctions(spoil, sort=True), max_attempts=1)
    assert results == [(-number, [number]) for number in reversed(range(50))]


def test_inline_calls_mapfn_once_for_each_record(tmp_path: Path) -> None:
    source = [str(tmp_path)] * 5
    results = carry_out("inline", source, UserFunctions(sorting.note_calls, sort=True))
    assert results == [(-number, [number]) for number in reversed(range(5))]
    assert [path.read_text("utf-8") for path in tmp_path.glob("*.calls")] == ["called\n"] * 5


def test_classes_of_the_script_may_be_keys_of_a_sorted_job(tmp_path: Path) -> None:
    script = """
import dataclasses, mincemeat

@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int

def mapfn(key, number):
    yield Point(number * 37 % 101), number

for options in ({options}):
    results = mincemeat.run(list(range(101)), mapfn, sum, sort=True, **options)
    assert list(results) == [Point(x) for x in range(101)], results
"""
    network = f"engine='cluster', workers=2, password='changeme', host='{LOOPBACK}', port=0"
    done = run_script(script.format(options=f"dict(engine='inline'), dict(workers=2), dict({network})"), tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


def test_server_sorts_too() -> None:
    server = mincemeat.Server(range(9), sorting.versions, sort=True, sort_values=True, progress=False)
    results = server.run_server(password="changeme", port=0, host=LOOPBACK, workers=1)
    assert [key.number for key in results] == sorted((number * 37 % 101 for number in range(9)), reverse=True)


@pytest.mark.parametrize("option", ["sort", "sort_values"])
def test_an_order_that_cannot_be_meant_is_refused(option: str) -> None:
    with pytest.raises(InvalidJob, match=f"{option} must be True"):
        mincemeat.run({1: 1}, **{option: "descending"})  # type: ignore[arg-type]


# -- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_users_exception_is_raised_and_the_sink_aborted(engine: str) -> None:
    sink = RecordingSink()
    with pytest.raises(faulty.Unlucky, match="unlucky number 13: of course") as caught:
        carry_out(engine, {"a": 1, "b": 13}, faulty.unlucky, faulty.total, split=1, sink=sink)
    assert type(caught.value) is faulty.Unlucky
    assert caught.value.number == 13
    story = caught.value.__cause__
    assert isinstance(story, JobFailed)
    assert (story.function, story.key, story.exception_type) == ("mapfn", "'b'", "Unlucky")
    assert sink.pairs == []
    assert not sink.is_committed


@pytest.mark.parametrize("engine", ["processes", "cluster"])
def test_splits_that_were_attempted_together_are_counted_once_after_a_failure(engine: str, tmp_path: Path) -> None:
    data = [(number, str(tmp_path)) for number in range(1000)]
    results = carry_out(engine, data, faulty.once_in_a_while, faulty.in_order, split=1)
    assert dict(results) == {rest: list(range(rest, 1000, 3)) for rest in range(3)}
    assert len(results) == 3
    assert sorted(os.listdir(tmp_path)) == ["500", "700", "scratch"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_record_that_fails_among_many_attempted_together_is_named(engine: str) -> None:
    with pytest.raises(faulty.Unlucky, match="unlucky number 500: always") as caught:
        carry_out(engine, range(1000), faulty.unlucky_at_500, faulty.in_order, split=1)
    assert isinstance(caught.value.__cause__, JobFailed)
    assert caught.value.__cause__.key == "500"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_exception_larger_than_any_message_is_told(engine: str) -> None:
    """On a cluster it could not be sent, and the job waited for its workers for ever."""
    with pytest.raises((OverflowError, JobFailed), match="too much ") as caught:
        carry_out(engine, {1: 2 * 2**20}, emissions.raise_at_length, max_attempts=1)
    story = caught.value if isinstance(caught.value, JobFailed) else caught.value.__cause__
    assert isinstance(story, JobFailed)
    assert (story.function, story.key, story.exception_type) == ("mapfn", "1", "OverflowError")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_changed_while_the_job_ran_is_named(engine: str, tmp_path: Path) -> None:
    """On a cluster the reason was lost on the way: the server had closed the connection."""
    path = tmp_path / "changing.txt"
    path.write_text("as it was planned\n", "utf-8")
    source = mincemeat.lines(str(path))
    path.write_text("as it is found\n", "utf-8")
    with pytest.raises(JobFailed, match=r"changing\.txt' is not the file that the job was planned with"):
        carry_out(engine, source, max_attempts=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_results_that_were_written_before_a_failure_are_aborted(engine: str) -> None:
    """With a reduce task for each of two partitions, the first may have reached the sink when the second fails."""
    data = {0: [(0, (0,)), (1, (1,))]}
    functions = (emissions.emit, emissions.joined_unless_one, None, emissions.itself)
    sink = RecordingSink()
    with pytest.raises(ZeroDivisionError):
        carry_out(engine, data, *functions, sink=sink, partitions=2, reduce_task_bytes=1)
    assert sink.pairs == []
    assert not sink.is_committed


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_sink_raises_is_raised(engine: str) -> None:
    data = {number: [(number, (number,))] for number in range(10)}
    sink = RecordingSink(full_after=3)
    with pytest.raises(OSError, match="the sink is full"):
        carry_out(engine, data, emissions.emit, emissions.joined, sink=sink)
    assert sink.pairs == []


class Enough(BaseException):
    """As KeyboardInterrupt: not an Exception, and none of the engine's business."""


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_observer_raises_is_raised(engine: str) -> None:
    def observe(snapshot: Snapshot) -> None:
        if snapshot.map_committed:
            raise Enough

    with pytest.raises(Enough):
        carry_out(engine, {1: [(1, (1,))]}, emissions.emit, emissions.joined, observe=observe)


# -- what the caller sees ------------------------------------------------------------------------------------------

NEVER_FALLING = (
    *("seconds", "map_committed", "map_total", "input_exhausted", "reduce_committed", "reduce_total"),
    *("failed_attempts", "records", "pairs", "input_bytes"),
)


@pytest.mark.parametrize("engine", ENGINES)
def test_snapshots_never_fall_and_end_with_everything_committed(engine: str) -> None:
    data = {number: [(number, (number,)), (-number, (number,))] for number in range(1, 31)}
    seen: list[Snapshot] = []
    carry_out(engine, data, emissions.emit, emissions.joined, split=3, observe=seen.append, reduce_task_bytes=1)
    for name in NEVER_FALLING:
        values = [getattr(snapshot, name) for snapshot in seen]
        assert values == sorted(values), name
    last = seen[-1]
    assert (last.job_id, last.input_exhausted, last.failed_attempts) == ("contract", True, 0)
    assert last.map_committed == last.map_total == 10
    assert last.reduce_committed == last.reduce_total > 1
    assert (last.records, last.pairs) == (30, 60)
    assert last.input_bytes > 0
    assert all(snapshot.map_committed <= snapshot.map_total for snapshot in seen)
    assert all(snapshot.running <= snapshot.slots for snapshot in seen)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_callers_objects_are_touched_in_the_callers_thread_only(engine: str) -> None:
    """They may be bound to it: a database connection, a notebook."""
    source = WatchedSource({number: [(number, (number,))] for number in range(6)})
    sink = RecordingSink()
    observers: set[int] = set()
    carry_out(
        engine,
        source,
        emissions.emit,
        emissions.joined,
        split=2,
        sink=sink,
        observe=lambda snapshot: observers.add(threading.get_ident()),
    )
    assert source.threads == sink.threads == observers == {threading.get_ident()}
    assert sorted(source.released) == [0, 1, 2]


ONLY_CLUSTER: dict[str, Any] = {
    "password": "changeme", "host": LOOPBACK, "port": 0, "backups": True, "trust_workers": False
}  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "option", "value"),
    [("inline", option, value) for option, value in {"workers": 2, "max_attempts": 4, "task_timeout": 1.0}.items()]
    + [(engine, option, value) for engine in ("inline", "processes") for option, value in ONLY_CLUSTER.items()],
)
def test_an_option_that_an_engine_cannot_honour_is_refused_by_name(engine: str, option: str, value: object) -> None:
    with pytest.raises(InvalidJob, match=f"engine '{engine}' cannot honour {option}="):
        mincemeat.run({1: 1}, engine=engine, **{option: value})  # type: ignore[arg-type]
