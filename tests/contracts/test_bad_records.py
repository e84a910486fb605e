"""on_error="skip" over every engine: bad records are set aside whole, listed once, and bounded; what is no record's
fault fails the job as ever. And without it: a failure names its record."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import InvalidJob, JobFailed
from tests.contracts.test_engines import ENGINES, _nothing_is_left_behind  # noqa: F401 - a fixture
from tests.kit import faulty, poison
from tests.kit.clusters import LOOPBACK

pytestmark = pytest.mark.slow

APART = ["processes", "cluster"]  # those whose slots may be lost
NUMBERS = range(300)


def run(engine: str, datasource: Any, mapfn: Any, reducefn: Any = poison.collected, **options: Any) -> Any:
    where: dict[str, Any] = {"workers": 2}
    if engine == "cluster":
        where |= {"password": "changeme", "host": LOOPBACK, "port": 0}
    if engine == "inline":
        where = {}
    return mincemeat.run(datasource, mapfn, reducefn, engine=engine, progress=False, **(where | options))


def skip(engine: str, *functions: Any, **options: Any) -> Any:
    return run(engine, *functions, on_error="skip", **options)


# -- mapfn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [None, 1, 100, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_records_on_which_mapfn_raises_are_set_aside_whole(engine: str, split: int | None) -> None:
    results = skip(engine, NUMBERS, poison.raises_in_sevens, split=split)
    assert results == poison.expected(NUMBERS, {7, 107, 207})
    assert [failure.key for failure in results.failures] == ["7", "107", "207"]
    first = results.failures[0]
    assert (first.phase, first.function, first.exception_type) == ("map", "mapfn", "Unlucky")
    assert isinstance(first.exception, faulty.Unlucky)
    assert first.exception.number == 7
    assert first.message == "unlucky number 7: seven"
    assert 'raise Unlucky(number, reason="seven")' in first.traceback
    assert pickle.loads(first.data) == (7, 7)
    assert bool(first.worker) == (engine == "cluster")
    assert first.attempts == (1 if engine == "inline" else 2)
    if split == 100:
        assert [(failure.split, failure.record) for failure in results.failures] == [(0, 7), (1, 7), (2, 7)]


@pytest.mark.parametrize("engine", ENGINES)
def test_records_that_emit_what_cannot_be_shuffled_are_set_aside_whole(engine: str) -> None:
    results = skip(engine, range(100), poison.emits_nonsense)
    assert results == poison.expected(range(100), {3, 13, 23, 33, 43, 53, 63})
    assert [failure.record for failure in results.failures if failure.split < 0] == []
    assert [failure.key for failure in results.failures] == ["3", "13", "23", "33", "43", "53", "63"]
    assert {failure.exception_type for failure in results.failures} == {"InvalidEmission", "SystemExit"}


@pytest.mark.parametrize("engine", APART)
def test_what_ends_programs_is_a_records_failure_in_a_slot(engine: str) -> None:
    """KeyboardInterrupt and GeneratorExit failed the job: "could not be carried out: ki", without a record or key."""
    for mapfn in (poison.raises_what_ends_programs, poison.ends_programs_at_once):
        results = skip(engine, range(100), mapfn)
        assert results == poison.expected(range(100), {3, 4})
        assert [(each.key, each.exception_type, each.message) for each in results.failures] == [
            ("3", "GeneratorExit", "ge"),
            ("4", "KeyboardInterrupt", "ki"),
        ]
    results = skip(engine, range(100), None, poison.collects_what_ends_programs, split=50)
    assert sorted(results) == [key for key in range(100) if key not in (3, 4)]
    assert sorted((each.key, each.exception_type) for each in results.failures) == [
        ("3", "GeneratorExit"),
        ("4", "KeyboardInterrupt"),
    ]
    with pytest.raises(JobFailed, match=r"raised KeyboardInterrupt in mapfn for key 0 \(record 0 of split 0\): ki"):
        run(engine, [4], poison.raises_what_ends_programs)


def test_inline_a_keyboard_interrupt_is_the_persons_and_a_generator_exit_a_failure() -> None:
    for function in (poison.raises_what_ends_programs, poison.ends_programs_at_once):
        with pytest.raises(KeyboardInterrupt):
            skip("inline", range(4, 100), function)
        assert [each.exception_type for each in skip("inline", range(4), function).failures] == ["GeneratorExit"]
        with pytest.raises(JobFailed, match="mapfn raised GeneratorExit for key 3"):
            run("inline", range(4), function)


@pytest.mark.parametrize("engine", ENGINES)
def test_sorted_results_and_files_lack_the_same_records(engine: str, tmp_path: Path) -> None:
    results = skip(engine, NUMBERS, poison.raises_in_sevens, sort=True, output=str(tmp_path / "out.jsonl"), split=50)
    assert dict(results) == poison.expected(NUMBERS, {7, 107, 207})
    assert len(results.failures) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_set_aside_is_an_empty_tuple(engine: str) -> None:
    for on_error in ("raise", "skip"):
        results = run(engine, range(5), poison.by_last_digit, on_error=on_error)
        assert results == poison.expected(range(5), set())
        assert results.failures == ()


@pytest.mark.parametrize("engine", APART)
def test_records_that_end_their_process_are_found_and_set_aside(engine: str) -> None:
    results = skip(engine, NUMBERS, poison.kills_in_sevens, split=100)
    assert results == poison.expected(NUMBERS, {57, 157})
    assert [(failure.key, failure.split, failure.record) for failure in results.failures] == [
        ("57", 0, 57),
        ("157", 1, 57),
    ]
    ends = "exited with code 57", "was killed by signal 11 (SIGSEGV)"
    for failure, number, end in zip(results.failures, (57, 157), ends, strict=True):
        assert failure.message == f"the process that ran the user's function {end}"
        assert (failure.exception, failure.exception_type, failure.function) == (None, "", "mapfn")
        assert pickle.loads(failure.data) == (number, number)


@pytest.mark.parametrize("engine", APART)
def test_records_that_raise_and_one_that_kills_in_one_split(engine: str) -> None:
    results = skip(engine, NUMBERS, poison.kills_and_raises, split=1000)
    assert results == poison.expected(NUMBERS, {7, 99, 107, 207})
    assert [failure.key for failure in results.failures] == ["7", "99", "107", "207"]


@pytest.mark.parametrize("engine", APART)
def test_a_record_that_never_ends_is_found_by_its_time(engine: str) -> None:
    results = skip(engine, range(20), poison.hangs_at_seven, split=20, task_timeout=1.0)
    assert results == poison.expected(range(20), {7})
    [failure] = results.failures
    assert (failure.key, failure.record) == ("7", 7)
    assert "task_timeout=1 seconds" in failure.message
    assert failure.exception_type == "TimeoutError"  # as it is with on_error="raise"


def test_a_split_that_is_too_long_as_a_whole_loses_no_record() -> None:
    """Each of them takes a quarter of the time that all of them may take: none is to blame."""
    with pytest.raises(JobFailed, match="which had not taken most of that time") as caught:
        skip("processes", [0.2] * 20, poison.slow_all_over, split=20, task_timeout=0.8, max_attempts=3)
    assert caught.value.record == -1


# -- reducefn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reducefn", [poison.refuses_three, poison.result_of_three_is_a_lock])
@pytest.mark.parametrize("engine", ENGINES)
def test_keys_on_which_reducefn_fails_are_set_aside(engine: str, reducefn: Any) -> None:
    results = skip(engine, range(100), poison.by_last_digit, reducefn)
    left = poison.expected(range(100), set())
    values = left.pop(3)
    assert results == left
    [failure] = results.failures
    assert (failure.phase, failure.function, failure.key, failure.split) == ("reduce", "reducefn", "3", -1)
    assert pickle.loads(failure.data) == (3, values)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ending", ["jsonl", "csv", "txt", "sqlite", "parquet", "pickle"])
def test_keys_whose_results_have_no_form_are_set_aside(engine: str, ending: str, tmp_path: Path) -> None:
    if engine == "cluster" and ending not in ("jsonl", "parquet"):
        pytest.skip("what writes parts is the same as with processes")
    path = tmp_path / f"out.{ending}"
    results = skip(engine, range(100), poison.by_last_digit, poison.result_of_three_is_a_lock, output=str(path))
    assert len(results) == 9 or ending == "txt"  # there each element has a line of its own
    assert [failure.key for failure in results.failures] == ["3"]
    results.verify()


@pytest.mark.parametrize("engine", APART)
def test_keys_that_end_their_process_are_set_aside(engine: str) -> None:
    results = skip(engine, range(100), poison.by_last_digit, poison.exits_at_three)
    left = poison.expected(range(100), set())
    del left[3]
    assert results == left
    [failure] = results.failures
    assert (failure.phase, failure.key) == ("reduce", "3")
    assert "exited with code 33" in failure.message


# -- how many, and what is no record's fault ----------------------------------------------------------------------


@pytest.mark.parametrize("split", [1000, 50])
@pytest.mark.parametrize("engine", ENGINES)
def test_more_than_max_skipped_fail_the_job_with_the_users_exception(engine: str, split: int) -> None:
    """All of them in one split, and each in one of its own."""
    with pytest.raises(faulty.Unlucky, match=r"unlucky number \d*7: seven") as caught:
        skip(engine, NUMBERS, poison.raises_in_sevens, split=split, max_skipped=2, partitions=1)
    story = str(caught.value.__cause__)
    assert "3 records were set aside, and max_skipped=2 allows no more" in story
    assert "max_skipped= (--max-skipped)" in story
    assert "(record 7 of split " in story


@pytest.mark.parametrize("engine", ENGINES)
def test_as_many_as_max_skipped_are_fine(engine: str) -> None:
    assert len(skip(engine, NUMBERS, poison.raises_in_sevens, max_skipped=3).failures) == 3


def test_without_a_bound_a_job_may_lose_everything() -> None:
    results = skip("processes", range(5000), poison.refuses_everything, max_skipped=None)
    assert results == {}
    assert [failure.key for failure in results.failures] == [str(number) for number in range(5000)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("options", "reason"),
    [({"collectfn": poison.refuses_to_combine}, "combining"), ({"partitionfn": poison.refuses_to_place}, "placing")],
)
def test_combiners_and_partitioners_that_fail_are_no_bad_records(
    engine: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(faulty.Unlucky, match=reason):
        skip(engine, range(10), poison.by_last_digit, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_datasource_that_fails_is_no_bad_record(engine: str) -> None:
    with pytest.raises(faulty.Unlucky, match="reading"):
        skip(engine, poison.Broken({1: 1}), poison.by_last_digit)


# -- without skipping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("split", [1, 100])
def test_an_exception_is_told_with_its_record_at_the_first_attempt(engine: str, split: int) -> None:
    options = {} if engine == "inline" else {"max_attempts": 1}
    if split == 1 and engine != "inline":
        options = {"max_attempts": 2}  # several splits may share the first
    with pytest.raises(faulty.Unlucky) as caught:
        run(engine, range(57, 100), faulty_at_seventy, split=split, **options)
    story = caught.value.__cause__
    assert isinstance(story, JobFailed)
    assert (story.key, story.record, story.split) == (("13", 0, 13) if split == 1 else ("13", 13, 0))
    assert f"(record {story.record} of split {story.split})" in str(story)


def faulty_at_seventy(key: Any, value: int) -> list[Any]:
    if value == 70:
        raise faulty.Unlucky(value, reason="seventy")
    return [(key, value)]


@pytest.mark.parametrize("engine", APART)
def test_a_record_that_ends_its_process_is_named_within_two_attempts(engine: str) -> None:
    with pytest.raises(JobFailed, match=r"exited with code 57") as caught:
        run(engine, NUMBERS, poison.kills_in_sevens, split=300, max_attempts=2)
    assert (caught.value.function, caught.value.key, caught.value.record) == ("mapfn", "57", 57)
    assert "in mapfn for key 57 (record 57 of split 0)" in str(caught.value)


@pytest.mark.parametrize("engine", APART)
def test_a_key_that_ends_its_process_is_named_within_two_attempts(engine: str) -> None:
    with pytest.raises(JobFailed, match=r"in reducefn for key 3: .* exited with code 33") as caught:
        run(engine, range(100), poison.by_last_digit, poison.exits_at_three, max_attempts=2)
    assert pickle.loads(caught.value.data)[0] == 3


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip', not 'ignore'"),
        ({"on_error": "skip", "max_attempts": 2}, "needs max_attempts of at least 3, not 2"),
        ({"max_skipped": -1}, "max_skipped must be a whole number"),
        ({"max_skipped": "many"}, "max_skipped must be a whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        mincemeat.run({1: 1}, **options)


def test_results_are_a_dict_that_pickles_with_its_failures() -> None:
    results = skip("inline", range(10), poison.raises_in_sevens)
    assert dict in type(results).__mro__
    back: Any = pickle.loads(pickle.dumps(results))
    assert (back, type(back), back.failures) == (results, type(results), results.failures)
    assert repr(results) == repr(dict(results))
    assert back.failures[0].exception.number == 7


def test_server_skips_too() -> None:
    server = mincemeat.Server(NUMBERS, poison.raises_in_sevens, poison.collected, on_error="skip", progress=False)
    server.max_skipped = 5
    results = server.run_server(password="changeme", port=0, host=LOOPBACK, workers=1)
    assert results == poison.expected(NUMBERS, {7, 107, 207})
    assert len(results.failures) == 3
