"""What a look at a job's functions finds, and what it leaves for the job to find."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable
from typing import Any

import pytest

from mincemeat import limits, reducers
from mincemeat.errors import InvalidEmission, InvalidJob, UserCodeError
from mincemeat.model import UserFunctions
from mincemeat.preflight import Finding, check_calls, try_records
from mincemeat.sources.base import as_source

# Of functions whose types are not as they should be.
Wrong: Any = UserFunctions


def two(key: Any, value: Any) -> Any:
    return []


def one(key: Any) -> Any:
    return 0


def three(key: Any, values: Any, more: Any) -> Any:
    return None


def with_default(key: Any, values: Any, more: Any = 1) -> Any:
    return None


def any_number(*arguments: Any) -> Any:
    return []


def needs_keyword(key: Any, values: Any, *, more: Any) -> Any:
    return None


async def coroutine(key: Any, value: Any) -> Any:
    return []


class Methods:
    def two(self, key: Any, value: Any) -> Any:
        return []

    def one(self, key: Any) -> Any:
        return []

    @staticmethod
    def static(key: Any, value: Any) -> Any:
        return []

    def __call__(self, key: Any, values: Any) -> Any:
        return None


class CalledWithOne:
    def __call__(self, key: Any) -> Any:
        return None


@functools.wraps(one)
def wrapped(*arguments: Any) -> Any:
    """It looks like ``one``, and takes what it is given."""
    return []


FITTING: list[Any] = [
    two,
    with_default,
    any_number,
    Methods().two,
    Methods.static,
    Methods(),
    wrapped,
    lambda key, value: [],
    functools.partial(three, "first"),
    functools.partial(needs_keyword, more=1),
    divmod,
    operator.add,
    print,
    max,
]


@pytest.mark.parametrize("function", FITTING)
def test_what_can_be_called_passes(function: Any) -> None:
    check_calls(UserFunctions(mapfn=function))
    check_calls(UserFunctions(reducefn=function))


@pytest.mark.parametrize(
    "reducefn", [sum, len, min, max, operator.add, reducers.mean, reducers.top(3), reducers.collect, reducers.count]
)
def test_reducers_that_mean_of_the_values_pass(reducefn: Any) -> None:
    check_calls(UserFunctions(reducefn=reducefn))


@pytest.mark.parametrize(
    ("functions", "sentence"),
    [
        (Wrong(mapfn=one), r"mapfn is called as mapfn\(key, value\), and one takes 1 argument$"),
        (Wrong(reducefn=three), r"reducefn\(key, values\), and three takes 3 arguments"),
        (Wrong(collectfn=one), r"collectfn is called as collectfn\(key, values\), and one takes 1"),
        (Wrong(partitionfn=two), r"partitionfn is called as partitionfn\(key\), and two takes 2"),
        (Wrong(sort_values=two), r"sort_values is called as sort_values\(value\), and two takes 2"),
        (Wrong(mapfn=needs_keyword), "needs the keyword argument 'more'"),
        (Wrong(mapfn=coroutine), "coroutine is a coroutine"),
        (Wrong(mapfn=Methods().one), r"Methods.one\(key: 'Any'\)"),
        (Wrong(mapfn=Methods.two), "Methods.two takes 3 arguments"),
        (Wrong(mapfn=CalledWithOne()), "CalledWithOne"),
        (Wrong(mapfn=functools.partial(two, 1, 2)), "cannot be: too many positional arguments"),
        (Wrong(mapfn=lambda: ()), "takes 0 arguments"),
        (Wrong(mapfn=lambda a, b, c, d=1: []), "takes 3 to 4 arguments"),
    ],
)
def test_what_cannot_be_called_is_refused_in_one_sentence(functions: UserFunctions, sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence) as refused:
        check_calls(functions)
    assert "\n" not in str(refused.value)


# -- records -----------------------------------------------------------------------------------------------------


def payloads(*values: Any) -> list[bytes]:
    source = as_source(list(values))
    assert source.next_split(100) is not None
    return [source.payload(0)]


def found(functions: UserFunctions, *, is_everywhere: bool = True, skips: bool = False) -> Finding | None:
    return try_records(lambda: functions, payloads(1, 2, 3), is_everywhere=is_everywhere, skips=skips)


def tried(functions: UserFunctions, *, is_everywhere: bool = True, skips: bool = False) -> UserCodeError | None:
    finding = found(functions, is_everywhere=is_everywhere, skips=skips)
    return None if finding is None else finding.error


def emit(key: Any, value: Any) -> Any:
    yield "k", value


def misspelt(*arguments: Any) -> Any:
    return lenght(arguments)  # type: ignore[name-defined]  # noqa: F821


def misspelt_map(key: Any, value: Any) -> Any:
    yield "k", lenght(value)  # type: ignore[name-defined]  # noqa: F821


def unbound(*arguments: Any) -> Any:
    if not arguments:
        found = 1
    return found


def imports(*arguments: Any) -> Any:
    import nowhere_to_be_found  # type: ignore[import-not-found]  # noqa: F401


def imports_map(key: Any, value: Any) -> Any:
    imports()
    yield "k", value


def too_few_values(key: Any, values: list[int]) -> int:
    return values[1000]


def calls_wrongly(key: Any, values: Any) -> Any:
    return one()  # type: ignore[call-arg]  # a TypeError of its own, as it may depend on the values


@pytest.mark.parametrize(
    ("functions", "function", "cause"),
    [
        (UserFunctions(emit, misspelt), "reducefn", NameError),
        (UserFunctions(unbound), "mapfn", UnboundLocalError),
        (UserFunctions(emit, imports), "reducefn", ImportError),
        (UserFunctions(emit, None, misspelt), "collectfn", NameError),
        (UserFunctions(emit, None, None, misspelt), "partitionfn", NameError),
        (UserFunctions(misspelt_map), "mapfn", NameError),
        (UserFunctions(imports_map), "mapfn", ImportError),
        (UserFunctions(None, misspelt), "reducefn", NameError),
        (Wrong(emit, three), "reducefn", TypeError),
    ],
)
def test_what_fails_with_any_record_is_found(functions: UserFunctions, function: str, cause: type[Exception]) -> None:
    error = tried(functions)
    assert error is not None
    assert error.function == function
    assert isinstance(error.__cause__, cause)


@pytest.mark.parametrize(
    "functions",
    [
        Wrong(emit, sum),
        Wrong(emit, reducers.mean),
        Wrong(emit, too_few_values),
        Wrong(emit, calls_wrongly),
        Wrong(emit, lambda key, values: values.nothing),
        Wrong(lambda key, value: [(value, 1 / 0)], misspelt),
        Wrong(lambda key, value: None),
        Wrong(lambda key, value: [value], misspelt),
        Wrong(lambda key, value: [([], value)], misspelt),
        Wrong(lambda key, value: iter(int, 1), sum),
        Wrong(lambda key, value: ((number, 1) for number in iter(int, 1)), sum),
    ],
)
def test_anything_else_is_left_to_the_job(functions: UserFunctions) -> None:
    assert tried(functions) is None


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), MemoryError(), RecursionError()])
def test_it_survives_whatever_is_raised(raised: BaseException) -> None:
    def mapfn(key: Any, value: Any) -> Any:
        raise raised

    assert tried(UserFunctions(mapfn, misspelt)) is None


def test_code_that_cannot_be_loaded_and_splits_that_cannot_be_read_are_left_to_the_job() -> None:
    def load() -> UserFunctions:
        raise ImportError("numpy")

    facts = {"is_everywhere": True, "skips": False}
    assert try_records(load, payloads(1), **facts) is None
    assert try_records(lambda: UserFunctions(emit, misspelt), [b"?"], **facts) is None
    assert try_records(lambda: UserFunctions(emit, misspelt), [], **facts) is None


def test_what_other_machines_may_have_is_not_missed_here() -> None:
    assert tried(UserFunctions(emit, imports), is_everywhere=False) is None
    assert tried(UserFunctions(emit, misspelt), is_everywhere=False) is not None


def of_each(key: Any, value: Any) -> Any:
    yield value, value


def unbound_for_few(key: Any, values: list[int]) -> int:
    for value in values:
        if value > 300:
            last = value
    return last


def misspelt_for_some(key: Any, value: Any) -> Any:
    return misspelt(value) if value == 1 else [(value, value)]


def imports_for_some(key: Any, value: Any) -> Any:
    return imports(value) if value == 1 else [(value, value)]


def no_cell_yet() -> Any:
    helper: int

    def reducefn(key: Any, values: Any) -> Any:
        return helper

    if len(str(reducefn)) == 0:
        helper = 1
    return reducefn


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(
    "functions",
    [
        Wrong(emit, unbound_for_few),
        Wrong(emit, None, unbound_for_few),
        Wrong(of_each, misspelt_for_some),
        Wrong(of_each, imports_for_some),
        Wrong(of_each, None, imports_for_some),
        Wrong(emit, no_cell_yet()),
    ],
)
def test_what_may_come_from_few_values_is_left_to_the_job(functions: UserFunctions, skips: bool) -> None:
    """An UnboundLocalError, or a name missing for one key of several, failed jobs that would have ended well."""
    assert tried(functions, skips=skips) is None


def test_a_record_that_would_be_set_aside_does_not_fail_the_job() -> None:
    """With on_error="skip" an import that is missing for one record failed the job instead of the record."""
    for mapfn in (misspelt_for_some, imports_for_some):
        assert tried(UserFunctions(mapfn), skips=True) is None
        assert tried(UserFunctions(mapfn), skips=False) is not None
    assert tried(UserFunctions(unbound), skips=True) is None
    assert tried(UserFunctions(misspelt_map), skips=True) is not None
    assert tried(UserFunctions(emit, misspelt), skips=True) is not None


def test_what_is_not_known_is_not_claimed() -> None:
    for functions, grounds in (
        (UserFunctions(misspelt_map), "and this record would fail the job"),
        (UserFunctions(emit, misspelt), "it failed so for the one key that was tried, with a few of its values"),
        (UserFunctions(of_each, misspelt), "it failed so for all 3 keys that were tried, with a few of their values"),
    ):
        finding = found(functions)
        assert finding is not None
        assert finding.grounds == grounds


def lazy(key: Any, values: list[int]) -> Any:
    yield from values


@pytest.mark.parametrize("output", ["", "jsonl", "tsv", "csv", "txt", "pickle", "sqlite"])
def test_a_reducefn_that_gives_a_generator_is_refused_in_the_words_of_the_job(output: str) -> None:
    error = tried(UserFunctions(emit, lazy, output=output))
    assert error is not None
    assert isinstance(error.__cause__, InvalidEmission)
    assert "generator" in str(error.__cause__)
    assert "'k'" in str(error.__cause__)


def test_a_reducefn_that_gives_a_generator_for_some_keys_is_left_to_the_job() -> None:
    functions = Wrong(of_each, lambda key, values: lazy(key, values) if key == 1 else key)
    assert tried(functions) is None


def test_no_function_is_called_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PREFLIGHT_SECONDS", 0.01)
    called: list[str] = []

    def slow(name: str) -> Callable[..., Any]:
        def function(key: Any, value: Any) -> Any:
            called.append(name)
            time.sleep(0.02)
            return [(key, value)]

        return function

    assert tried(UserFunctions(slow("mapfn"), slow("reducefn"), slow("collectfn"))) is None
    assert called == ["mapfn", "collectfn"]
