"""A look at a job's functions that costs a second, so that a slip of the pen does not cost the map phase.

Decides: which faults end a job early: those of a record that will certainly fail it, and, where it is not so certain,
what is missing whichever of them is tried. Knows nothing of processes; who calls it may be ended at any moment.
Anything else that goes wrong here is left for the job to meet and to tell, with all its attempts. Little is imported
here for the first part, for which every job waits.
"""

from __future__ import annotations

import io
import pickle
import time
import types
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from mincemeat import limits
from mincemeat.errors import InvalidEmission, InvalidJob, UserCodeError
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


class Finding(NamedTuple):
    """What fails, and ``grounds``: what the job has to fear from it, as the end of a sentence about it."""

    error: UserCodeError
    grounds: str


def try_records(
    load: Callable[[], UserFunctions], payloads: Sequence[bytes], *, is_everywhere: bool, skips: bool
) -> Finding | None:
    """What is wrong when a few records of ``payloads`` go through all functions of a job; None: nothing.

    ``is_everywhere``: what cannot be imported here cannot be imported where the job runs. ``skips``: a record on which
    mapfn fails is set aside. Cost: no record is begun after ``limits.PREFLIGHT_SECONDS``, and then as long again for
    keys. Raises nothing.
    """
    try:
        functions = load()
    except BaseException:  # noqa: BLE001 - the first attempt tells it
        return None
    trial = _Trial(functions, is_everywhere, skips)
    try:
        return trial.map(payloads) or trial.reduce()
    except BaseException:  # noqa: BLE001 - also what only the job can judge: a split that cannot be read here
        return None


class _Tally:
    """How one function has fared: a fault that might be a record's own is told only if each of them has met it."""

    def __init__(self, what: str, *, in_part: bool = False) -> None:
        self._what = what  # was tried, in the singular
        self._in_part = in_part
        self._tried = 0
        self._faults: list[UserCodeError] = []

    def passed(self) -> None:
        self._tried += 1

    def failed(self, fault: UserCodeError | None) -> None:
        """``fault``: what failed, if it may well fail whatever the record; None for anything else."""
        self._tried += 1
        if fault is not None:
            self._faults.append(fault)

    def finding(self) -> Finding | None:
        if not self._faults or len(self._faults) < self._tried:
            return None
        if self._tried == 1:
            tried, values = f"the one {self._what} that was tried", ", with a few of its values"
        else:
            tried, values = f"all {self._tried} {self._what}s that were tried", ", with a few of their values"
        return Finding(self._faults[0], f"it failed so for {tried}{values if self._in_part else ''}")


class _Trial:
    def __init__(self, functions: UserFunctions, is_everywhere: bool, skips: bool) -> None:
        self._functions = functions
        self._is_everywhere = is_everywhere
        self._skips = skips
        self._groups: dict[Any, list[Any]] = {}
        self._give_up_at = time.monotonic() + limits.PREFLIGHT_SECONDS

    def map(self, payloads: Sequence[bytes]) -> Finding | None:
        mapfn = self._functions.mapfn
        tally = _Tally("record")
        for key, value in _first_records(payloads):
            calling: Any = mapfn
            try:
                emitted: Any = [(key, value)] if mapfn is None else mapfn(key, value)
                calling = None
                self._gather([emitted] if is_batch(emitted) else islice(emitted, limits.PREFLIGHT_PAIRS))
            except Exception as error:  # noqa: BLE001 - most of it is the job's to tell
                if not self._skips and self._is_certain(calling, error):
                    return Finding(_blamed("mapfn", key, error), "and this record would fail the job")
                tally.failed(self._fault("mapfn", calling, key, error))
            else:
                tally.passed()
            if time.monotonic() >= self._give_up_at:
                break
        return tally.finding()

    def _gather(self, elements: Any) -> None:
        for element in elements:
            if is_batch(element):
                pairs = list(islice(columns_of(element), limits.PREFLIGHT_PAIRS))
            else:
                key, value = element
                pairs = [(key, value)]
            for key, value in pairs:
                self._groups.setdefault(key, []).append(value)

    def reduce(self) -> Finding | None:
        functions = self._functions
        self._give_up_at = time.monotonic() + limits.PREFLIGHT_SECONDS  # a slow mapfn has had its own
        collectfn, reducefn = map_side(functions).collectfn, reduce_side(functions)
        # With a part of its values a key may fail that with all of them does not.
        dealing, combining, reducing = _Tally("key"), _Tally("key", in_part=True), _Tally("key", in_part=True)
        for key, values in islice(self._groups.items(), limits.PREFLIGHT_RECORDS):
            if functions.partitionfn is not None and self._has_time():
                self._call(dealing, "partitionfn", functions.partitionfn, key)
            if collectfn is not None and self._has_time():
                combined = self._call(combining, "collectfn", collectfn, key, values)
                if combined is _FAILED:
                    continue
                values = [combined]
            if reducefn is not None and self._has_time():
                result = self._call(reducing, "reducefn", reducefn, key, values)
                if isinstance(result, types.GeneratorType):
                    reducing.failed(self._refusal(key, result))
                elif result is not _FAILED:
                    reducing.passed()
        return dealing.finding() or combining.finding() or reducing.finding()

    def _has_time(self) -> bool:
        return time.monotonic() < self._give_up_at

    def _call(self, tally: _Tally, name: str, function: Any, key: Any, *arguments: Any) -> Any:
        """What the function gives, which is not counted for reducefn yet; ``_FAILED``: it is, as a failure."""
        try:
            result = function(key, *arguments)
        except Exception as error:  # noqa: BLE001 - most of it may come from so few values
            tally.failed(self._fault(name, function, key, error))
            return _FAILED
        if name != "reducefn":
            tally.passed()
        return result

    def _is_certain(self, function: Any, error: Exception) -> bool:
        """Whether the record that raised ``error`` here will raise it in the job; ``function`` was being called."""
        if isinstance(error, ImportError):
            return self._is_everywhere
        return isinstance(error, NameError) or _is_of_call(function, error)

    def _fault(self, name: str, function: Any, key: Any, error: Exception) -> UserCodeError | None:
        """``error``, if it looks as if it did not depend on the record."""
        if isinstance(error, ModuleNotFoundError):
            is_fault = self._is_everywhere
        else:
            is_fault = _is_missing_global(error) or _is_of_call(function, error)
        return _blamed(name, key, error) if is_fault else None

    def _refusal(self, key: Any, result: Any) -> UserCodeError | None:
        """What the job would say of a result that no job can take; None if it has a use for it."""
        try:
            if self._functions.output:
                _write_part(self._functions.output, key, result)
            else:
                from mincemeat.shuffle.blame import encode_or_blame

                encode_or_blame([key], [result], single=True, function="reducefn", stays_here=True)
        except UserCodeError as error:
            return error
        return None


_FAILED: Final = object()


def _blamed(name: str, key: Any, error: Exception) -> UserCodeError:
    from mincemeat.shuffle.blame import user_code_error

    return user_code_error(name, key, error)


def _is_of_call(function: Any, error: Exception) -> bool:
    """Whether our call of ``function`` is the only frame: the arguments do not suit it."""
    is_of_call = isinstance(error, TypeError) and isinstance(function, types.FunctionType | types.MethodType)
    return is_of_call and error.__traceback__ is not None and error.__traceback__.tb_next is None


def _is_missing_global(error: Exception) -> bool:
    """Whether a name is missing that nothing but a later assignment to a global would bring about."""
    if not isinstance(error, NameError) or isinstance(error, UnboundLocalError) or error.name is None:
        return False
    link = error.__traceback__
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    if link is None:
        return False
    code, known = link.tb_frame.f_code, (link.tb_frame.f_globals, link.tb_frame.f_builtins)
    is_local = error.name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    return not is_local and not any(error.name in names for names in known)


def _write_part(form: str, key: Any, result: Any) -> None:
    """Raises: UserCodeError if the output has no form for ``result``."""
    import os
    import tempfile

    from mincemeat.sinks.parts import open_part

    with tempfile.TemporaryDirectory(prefix="mincemeat-preflight-") as directory:
        part = open_part(form, os.path.join(directory, "part"))
        try:
            part.write([key], [result])
        except InvalidEmission as error:
            raise UserCodeError(str(error), function="reducefn", key=getattr(error, "key", "")) from error
        finally:
            part.close()


def _first_records(payloads: Sequence[bytes]) -> Iterator[tuple[Any, Any]]:
    from mincemeat.sources.base import open_split

    for payload in payloads:
        with io.BytesIO(payload) as stream:
            yield from islice(open_split(stream), limits.PREFLIGHT_RECORDS)


def answer_preflight(
    load: Callable[[], UserFunctions], payloads: bytes, describe: Callable[[BaseException], Failure], **facts: bool
) -> Failure | None:
    """A slot's answer: what is wrong with ``payloads``, a pickled list; its message says on which grounds."""
    finding = try_records(load, pickle.loads(payloads), **facts)
    if finding is None:
        return None
    failure = describe(finding.error)
    return failure._replace(message=f"{failure.message}; {finding.grounds}" if failure.message else finding.grounds)
