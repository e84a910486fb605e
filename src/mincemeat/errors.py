"""The exceptions of mincemeat: one root, and below it only what a caller would treat differently.

Every error keeps its facts as attributes and survives pickling, because many of them are raised in one process
and read in another.
"""

from __future__ import annotations

import pickle
from typing import Any


def rebuild(kind: str | type[MincemeatError], message: str, facts: dict[str, Any]) -> MincemeatError:
    """Called by the unpickler. ``kind``: a class, or the name of one in this file, as bytes of a worker may say it."""
    cls = globals().get(kind) if isinstance(kind, str) else kind
    if not (isinstance(cls, type) and issubclass(cls, MincemeatError)):
        raise RefusedAsData(f"{kind!r} is no error of mincemeat's")
    error = cls(message)
    error.__dict__.update(facts)
    return error


class MincemeatError(Exception):
    """Root of all errors of this package. Keyword arguments become attributes."""

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        cls = type(self)
        kind = cls.__name__ if globals().get(cls.__name__) is cls else cls
        return rebuild, (kind, str(self), dict(self.__dict__))


class JobFailed(MincemeatError):
    """A task failed in all its attempts, or the datasource did.

    Raised itself when the failure has no exception of the user's own (a slot that was killed, a time limit); otherwise
    it is the ``__cause__`` of the user's exception and carries the same story.

    Attributes: ``task`` and ``attempt`` (printed identities, "" for the datasource), ``worker``, ``function``
    (``"mapfn"``, ...), ``key`` (a repr), ``exception_type``, ``remote_traceback``; ``record``, which of split ``split``
    it is about (-1: not known, or none), and ``data``, that record, pickled, or ``b""``; ``reason``, what was wrong;
    ``hint``, what the person at the terminal may do next.
    """

    task: str = ""
    attempt: str = ""
    worker: str = ""
    function: str = ""
    key: str = ""
    exception_type: str = ""
    remote_traceback: str = ""
    record: int = -1
    split: int = -1
    data: bytes = b""
    reason: str = ""
    hint: str = ""


class InvalidJob(MincemeatError, ValueError):
    """The job as written cannot run: a missing function, an unknown option, an input that is not there."""


class InvalidEmission(MincemeatError, TypeError):
    """A function of the job gave something that cannot be shuffled: not a pair, an unpicklable value, a key that
    cannot be partitioned."""


class AuthenticationError(MincemeatError):
    """The other end did not prove knowledge of the password, or presented another certificate than the pinned one.

    Attributes: ``is_certain``, False where the other end closed the connection instead of saying that it refuses: it
    may just as well have been too busy, and a further attempt is worth making.
    """

    is_certain: bool = True


class ProtocolError(MincemeatError):
    """Bytes that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol does not allow: a fault of the program."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what the protocol does not allow: a fault of the peer, or no mincemeat at all."""


class JoinRefused(MincemeatError):
    """The server knows the password is right and still does not want this worker (another Python, for example)."""


class ServerBusy(MincemeatError):
    """The server closed the connection before the password was tried: try again a little later."""


class ConnectionFailed(MincemeatError, ConnectionError):
    """No mincemeat server could be reached, or the connection to it broke."""


class PortInUse(MincemeatError, OSError):
    """The server cannot listen on the port it was given."""


class BlockCorrupt(MincemeatError):
    """A block on disk or from a peer is not what its writer wrote. Attributes: ``path``, ``offset``."""

    path: str = ""
    offset: int = 0


class SpillSpaceExhausted(MincemeatError, OSError):
    """The disk that holds spilled blocks is full. Attributes: ``path``, ``bytes_needed``."""

    path: str = ""
    bytes_needed: int = 0


class EngineUnavailable(MincemeatError):
    """The engine asked for needs something that is not there."""


class SandboxIncomplete(MincemeatError):
    """This machine's kernel cannot enforce what a strict sandbox needs, or no slot can start in the sandbox at all."""


class UserCodeError(MincemeatError):
    """Carries an exception of the user's own (its ``__cause__``) up to whoever turns it into a Failure.

    Internal: no caller of the package sees it. Attributes: ``function`` (``"mapfn"``, ``"datasource"``, ...) and
    ``key``, a short repr of the record's or group's key, ``""`` when there is none; ``record``, ``split`` and ``data``
    as in ``model.Failure``, but that on the way up to ``run_map`` records count from the attempt's first one.
    """

    function: str = ""
    key: str = ""
    record: int = -1
    split: int = -1
    data: bytes = b""


class RefusedAsData(MincemeatError, pickle.UnpicklingError):
    """Bytes of a worker would make what is no data, or a function of the job gave what would be refused so.

    Internal: what users see of it is the text, in an InvalidEmission.
    """


class TooManySkipped(MincemeatError):
    """An attempt set more records aside than the job allows.

    Internal, as UserCodeError is. Attributes: ``failure``, a model.Failure that tells it.
    """

    failure: Any = None
