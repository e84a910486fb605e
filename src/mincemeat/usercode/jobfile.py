"""The job file of ``mincemeat run``: a plain Python file, executed in the caller's process as a module.

Decides: its module name, and the sentences when it cannot be loaded. Does not know what is in it.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Final

from mincemeat.errors import InvalidJob

# What it defines travels by value, like a script's ``__main__``; being another name, it leaves guarded code alone.
JOB_MODULE: Final = "__mincemeat_job__"


def load_job_file(path: str | os.PathLike[str]) -> types.ModuleType:
    """Execute a job file; its functions can be given to ``pack`` then, and its neighbours can be imported.

    The module is ``sys.modules["__mincemeat_job__"]`` until the next call, and its directory is first on ``sys.path``;
    if it fails neither is.
    Raises: InvalidJob, for a file that is not there or no Python, or with what the file itself raised as its cause.
    """
    name = os.fspath(path)
    source = _read(name)
    file = os.path.abspath(name)
    try:
        code = compile(source, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, before 3.12
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise InvalidJob(f"the job file {name} is not valid Python{where}: {getattr(error, 'msg', error)}") from error
    module = types.ModuleType(JOB_MODULE)
    module.__file__ = file
    former = sys.modules.get(JOB_MODULE)
    directory = os.path.dirname(file)
    sys.modules[JOB_MODULE] = module
    sys.path.insert(0, directory)
    try:
        exec(code, vars(module))  # noqa: S102 - the user asks for this file to be run
    except BaseException as error:
        _restore(former, directory)
        if isinstance(error, (Exception, SystemExit)):
            raise InvalidJob(_describe(name, file, error)) from error
        raise
    return module


def _read(name: str) -> bytes:
    try:
        with open(name, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise InvalidJob(f"there is no job file {name}") from error
    except OSError as error:
        # Windows refuses to open a directory with a PermissionError.
        if os.path.isdir(name):
            raise InvalidJob(f"{name} is a directory; a job file is one Python file with mapfn and reducefn") from error
        raise InvalidJob(f"the job file {name} cannot be read: {error.strerror}") from error


def _restore(former: types.ModuleType | None, directory: str) -> None:
    del sys.modules[JOB_MODULE]
    if former is not None:
        sys.modules[JOB_MODULE] = former
    if directory in sys.path:
        sys.path.remove(directory)


def _describe(name: str, file: str, error: BaseException) -> str:
    import traceback

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f", line {lines[-1]}," if lines else ""
    text = f": {error}" if str(error) else ""
    return f"the job file {name}{where} raised {type(error).__name__} while it was loaded{text}"
