"""A look at a job's functions that costs a second, so that a slip of the pen does not cost the map phase.

Decides: which faults are certain: those that no other record, value or machine would cure. Knows nothing of processes;
who calls it may be ended at any moment. Anything else that goes wrong here is left for the job to meet and to tell,
with all its attempts. Little is imported here for the first part, for which every job waits.
"""

from __future__ import annotations

import io
import pickle
import time
import types
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from mincemeat import limits
from mincemeat.errors import InvalidJob, UserCodeError
from mincemeat.model import Failure, UserFunctions
from mincemeat.shuffle.batches import columns_of, is_batch
from mincemeat.shuffle.recognise import map_side, reduce_side

_VARARGS: Final = 0x04  # of a code object's flags: it takes *args
_COROUTINE: Final = 0x80 | 0x200  # async def, without or with yield


# -- before anything starts -------------------------------------------------------------------------------


def check_calls(functions: UserFunctions) -> None:
    """Raises: InvalidJob for a function that cannot be called as it will be."""
    _check_call("mapfn", functions.mapfn, "key, value")
    _check_call("reducefn", reduce_side(functions), "key, values")
    _check_call("collectfn", map_side(functions).collectfn, "key, values")
    _check_call("partitionfn", functions.partitionfn, "key")
    if callable(functions.sort_values):
        _check_call("sort_values", functions.sort_values, "value")


def _check_call(name: str, function: Any, arguments: str) -> None:
    if function is None:
        return
    given = arguments.count(",") + 1
    problem = _problem_of_code(function, given) if type(function) is types.FunctionType else _problem(function, given)
    if problem:
        raise InvalidJob(f"{name} is called as {name}({arguments}), and {problem}")


def _problem_of_code(function: types.FunctionType, given: int) -> str:
    """As ``_problem``, at once, for what nearly all functions are."""
    code = function.__code__
    if code.co_flags & _COROUTINE:
        return f"{_name(function)} is a coroutine (async def), which would never run"
    least = code.co_argcount - len(function.__defaults__ or ())
    needed = [
        name
        for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        if name not in (function.__kwdefaults__ or {})
    ]
    if needed:
        return f"{_name(function)} needs the keyword argument {needed[0]!r}"
    if given < least or (given > code.co_argcount and not code.co_flags & _VARARGS):
        most = code.co_argcount
        count = str(most) if least == most else f"{least} to {most}"
        return f"{_name(function)} takes {count} argument{'' if count == '1' else 's'}"
    return ""


def _problem(function: Any, given: int) -> str:
    """Why ``function`` cannot be called with so many arguments; "" if it can, or nobody can tell."""
    import inspect

    try:
        # The call goes to the wrapper itself, whatever it wraps.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin that does not say
        return ""
    try:
        signature.bind(*[None] * given)
    except TypeError as error:
        return f"{_name(function)}{signature} cannot be: {error}"
    return ""


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


# -- a few records, in a slot -----------------------------------------------------------------------------


def try_records(
    load: Callable[[], UserFunctions], payloads: Sequence[bytes], *, is_everywhere: bool, skips: bool
) -> UserCodeError | None:
    """What certainly fails when a few records of ``payloads`` go through all functions of a job; None: nothing.

    ``is_everywhere``: what cannot be imported here cannot be imported where the job runs. ``skips``: what mapfn raises
    sets a record aside. Cost: no record is begun after ``limits.PREFLIGHT_SECONDS``, and then as long again for keys.
    Raises nothing.
    """
    try:
        functions = load()
    except BaseException:  # noqa: BLE001 - the first attempt tells it
        return None
    trial = _Trial(functions, is_everywhere)
    try:
        trial.map(payloads, skips)
        trial.reduce()
    except UserCodeError as error:
        return error
    except BaseException:  # noqa: BLE001 - also what only the job can judge: a split that cannot be read here
        return None
    return None


class _Trial:
    def __init__(self, functions: UserFunctions, is_everywhere: bool) -> None:
        self._functions = functions
        self._certain = (NameError, ImportError) if is_everywhere else (NameError,)
        self._groups: dict[Any, list[Any]] = {}
        self._give_up_at = time.monotonic() + limits.PREFLIGHT_SECONDS

    def map(self, payloads: Sequence[bytes], skips: bool) -> None:
        mapfn = self._functions.mapfn
        for key, value in _first_records(payloads):
            calling: Any = mapfn
            try:
                emitted: Any = [(key, value)] if mapfn is None else mapfn(key, value)
                calling = None
                self._gather([emitted] if is_batch(emitted) else islice(emitted, limits.PREFLIGHT_PAIRS))
            except Exception as error:  # noqa: BLE001 - most of it is the job's to tell
                if not skips:
                    self._judge("mapfn", calling, key, error)
            if time.monotonic() >= self._give_up_at:
                return

    def _gather(self, elements: Any) -> None:
        for element in elements:
            if is_batch(element):
                pairs = list(islice(columns_of(element), limits.PREFLIGHT_PAIRS))
            else:
                key, value = element
                pairs = [(key, value)]
            for key, value in pairs:
                self._groups.setdefault(key, []).append(value)

    def reduce(self) -> None:
        functions = self._functions
        self._give_up_at = time.monotonic() + limits.PREFLIGHT_SECONDS  # a slow mapfn has had its own
        collectfn, reducefn = map_side(functions).collectfn, reduce_side(functions)
        for key, values in islice(self._groups.items(), limits.PREFLIGHT_RECORDS):
            if functions.partitionfn is not None and time.monotonic() < self._give_up_at:
                self._call("partitionfn", functions.partitionfn, key)
            if collectfn is not None and time.monotonic() < self._give_up_at:
                values = [self._call("collectfn", collectfn, key, values)]
            if reducefn is not None and time.monotonic() < self._give_up_at:
                self._call("reducefn", reducefn, key, values)

    def _call(self, name: str, function: Any, key: Any, *arguments: Any) -> Any:
        try:
            return function(key, *arguments)
        except Exception as error:  # noqa: BLE001 - most of it may come from so few values
            self._judge(name, function, key, error)

    def _judge(self, name: str, function: Any, key: Any, error: Exception) -> None:
        """Raises: UserCodeError if ``error`` would come whatever the record; ``function`` is what was being called."""
        # Our call of it is the only frame: the arguments do not suit it.
        is_of_call = isinstance(error, TypeError) and isinstance(function, types.FunctionType | types.MethodType)
        link = error.__traceback__
        if isinstance(error, self._certain) or (is_of_call and link is not None and link.tb_next is None):
            from mincemeat.shuffle.blame import user_code_error

            raise user_code_error(name, key, error) from error


def _first_records(payloads: Sequence[bytes]) -> Iterator[tuple[Any, Any]]:
    from mincemeat.sources.base import open_split

    for payload in payloads:
        with io.BytesIO(payload) as stream:
            yield from islice(open_split(stream), limits.PREFLIGHT_RECORDS)


def answer_preflight(
    load: Callable[[], UserFunctions], payloads: bytes, describe: Callable[[BaseException], Failure], **facts: bool
) -> Failure | None:
    """A slot's answer: what certainly fails with ``payloads``, a pickled list."""
    error = try_records(load, pickle.loads(payloads), **facts)
    return None if error is None else describe(error)
