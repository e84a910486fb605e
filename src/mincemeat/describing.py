"""Says as data why an attempt failed: the user's exception, their lines, the record, in words that can travel.

Decides: what is the job's own fault and what is not, which lines of a traceback are the user's, and whether an
exception comes back the same on the other side. Does not know: what becomes of a failure (the scheduler does).
"""

from __future__ import annotations

import copyreg
import io
import pickle
import traceback
from typing import Any

from mincemeat import limits
from mincemeat.errors import InvalidEmission, TooManySkipped, UserCodeError
from mincemeat.model import Failure, FailureKind, shorten
from mincemeat.shuffle.block import PICKLE_PROTOCOL

_PACKAGE = __name__.partition(".")[0]


def describe_failure(exc: BaseException, worker: str = "") -> Failure:
    """What made an attempt fail, as data that can travel. Never raises; may change the message of a NameError.

    Kinds: USER for what the job's functions raised or emitted, and for memory that ran out; SYSTEM for everything else
    that passed through ``run_map`` and ``run_reduce``: a full disk, a damaged block, a source that could not be read.
    """
    if isinstance(exc, TooManySkipped):
        failure: Failure = exc.failure
        return failure._replace(worker=worker)
    carrier = exc if isinstance(exc, UserCodeError) else UserCodeError()
    error = exc.__cause__ if carrier is exc and exc.__cause__ is not None else exc
    if isinstance(error, NameError):
        from mincemeat.usercode import explain_name_error

        explain_name_error(error)
    user = carrier is exc or isinstance(error, InvalidEmission | MemoryError | SystemExit)
    return Failure(
        kind=FailureKind.USER if user else FailureKind.SYSTEM,
        message=_message_of(error),
        function=carrier.function,
        key=carrier.key,
        exception_type=type(error).__name__,
        traceback=_traceback_in_user_terms(error),
        worker=worker,
        exception=_pickled_exception(error),
        record=carrier.record,
        split=carrier.split,
        data=carrier.data,
    )


def _message_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) was called; a function of a job may only return or raise"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__, and the failure matters more than its text
        text = f"<{type(error).__name__} whose str() raises>"
    if isinstance(error, MemoryError):
        hint = "memory ran out: run fewer slots at a time, or emit smaller values"
        text = f"{text}; {hint}" if text else hint
        from mincemeat.sandbox.resources import memory_limit

        if (size := memory_limit()) is not None:
            text += f" (its process may have {size:,} bytes)"
    return text


def _traceback_in_user_terms(error: BaseException) -> str:
    """The formatted traceback with source lines, without the frames of this package above the user's own."""
    try:
        described = traceback.TracebackException.from_exception(error)
        _drop_own_frames(described, error)
        text = "".join(described.format())
    except Exception:  # noqa: BLE001 - __str__ and source lookups are the user's; the type is always there
        text = f"{type(error).__name__}\n"
    return shorten(text, limits.TRACEBACK_CHARS_MAX)


def _drop_own_frames(described: traceback.TracebackException, error: BaseException) -> None:
    own = 0
    link = error.__traceback__
    while link is not None and link.tb_frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        own += 1
        link = link.tb_next
    described.stack = traceback.StackSummary.from_list(list(described.stack)[own:])
    for text, source in ((described.__cause__, error.__cause__), (described.__context__, error.__context__)):
        if text is not None and source is not None:
            _drop_own_frames(text, source)


class _WithoutInit(pickle.Pickler):
    """Pickles one exception so that it is made again from its ``args`` without its ``__init__``.

    By default an exception is made again by ``type(*args)``, which fails, or formats its message a second time, for
    every class whose ``__init__`` takes something else than it hands to ``Exception``; and such classes are common.
    """

    def __init__(self, file: io.BytesIO, error: BaseException) -> None:
        super().__init__(file, protocol=PICKLE_PROTOCOL)
        self._error = error

    def reducer_override(self, obj: Any) -> Any:
        if obj is self._error:
            make: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # what pickle itself names in a reduce value
            return make, (type(obj), *obj.args), obj.__dict__ or None
        return NotImplemented


def _pickled_exception(error: BaseException) -> bytes:
    """``error`` pickled (its notes with it, its traceback and cause not), or b"" if it would not come back the same.

    What is no Exception stays here: a SystemExit raised again in the caller's process would end the caller's program.
    """
    if not isinstance(error, Exception):
        return b""
    for dump in (_dump_as_usual, _dump_without_init):
        try:
            data = dump(error)
            back = pickle.loads(data)
            if type(back) is type(error) and str(back) == str(error):
                return data
        except Exception:  # noqa: BLE001 - the user's own __reduce__ and __init__ may raise anything
            continue
    return b""


def _dump_as_usual(error: Exception) -> bytes:
    return pickle.dumps(error, protocol=PICKLE_PROTOCOL)


def _dump_without_init(error: Exception) -> bytes:
    file = io.BytesIO()
    _WithoutInit(file, error).dump(error)
    return file.getvalue()
