"""Another interpreter with this very mincemeat: how slots and local workers are started.

Decides: the command line, and where the child has its modules from. Does not know: what the child is for.

A package is imported from where it lies. The one file, mincemeat.py (onefile/), is not: the child is given what this
process runs, as compiled code in a file without a name. So it does not matter whether mincemeat.py has another name,
was moved, removed, or replaced by a newer one since (``mincemeat worker --update`` does that), and nothing is
compiled twice.
"""

from __future__ import annotations

import marshal
import os
import shlex
import sys
import tempfile
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mincemeat.onefile.importer import OneFile

_CALL: Final = "; from {module} import main; main({arguments})"
_PACKAGE: Final = "import sys; sys.path.insert(0, {root!r})"
_GIVEN: Final = (
    "import marshal, os; code, compiled = marshal.loads(os.pread({descriptor}, {size}, 0)); os.close({descriptor})"
)
# Where a process cannot be given a file without a name (Windows).
_READ: Final = "compiled = {{}}; code = compile(open({path!r}, 'rb').read(), {path!r}, 'exec')"
_ONE_FILE: Final = "; exec(code, {{'__name__': 'mincemeat', '__file__': {path!r}, '__compiled__': compiled}})"


class Interpreter(NamedTuple):
    """How to start one: a command line, and the descriptors that it has to inherit."""

    command: list[str]
    descriptors: tuple[int, ...] = ()


def another(module: str, *arguments: int | None) -> Interpreter:
    """One that calls ``main(*arguments)`` of ``module``. It must be started by this process, and soon."""
    file = one_file()
    descriptors: tuple[int, ...] = ()
    if file is None:
        get = _PACKAGE.format(root=os.path.dirname(own_path()))
    elif sys.platform == "win32":
        get = (_READ + _ONE_FILE).format(path=file.path)
    else:
        descriptor, size = _kept_code(file)
        descriptors = (descriptor,)
        get = (_GIVEN + _ONE_FILE).format(descriptor=descriptor, size=size, path=file.path)
    call = _CALL.format(module=module, arguments=", ".join(map(repr, arguments)))
    # -P: the current directory must not shadow the standard library (a script called random.py beside the user's own).
    return Interpreter([sys.executable, "-P", "-c", get + call], descriptors)


# Numbers and not files: whoever is forked may have closed all that it inherited, and has other files by these numbers.
_kept: list[tuple[int, int]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.clear)


def _kept_code(file: OneFile) -> tuple[int, int]:
    """Descriptor and size of what a child needs of ``file``, in memory where that can be had.

    As long as this process lives: children read it by position, all at once.
    """
    if not _kept:
        code = marshal.dumps((file.code, file.compiled))
        try:
            descriptor = os.memfd_create("mincemeat")
        except (OSError, AttributeError):  # another kernel, or one that does not allow it
            with tempfile.TemporaryFile() as unnamed:
                descriptor = os.dup(unnamed.fileno())
        with open(descriptor, "wb", closefd=False) as kept:
            kept.write(code)
        _kept.append((descriptor, len(code)))
    return _kept[0]


def one_file() -> OneFile | None:
    """The one file that this process runs; None if it runs the package."""
    return getattr(sys.modules["mincemeat"], "__onefile__", None)


def own_path() -> str:
    """What the file names of all our code begin with: the package's directory, or the one file."""
    file = one_file()
    return os.path.dirname(os.path.abspath(__file__)) if file is None else file.path


def typed(otherwise: str) -> str:
    """What a person types to start the one file, if that is what runs here, and ``otherwise`` for the package."""
    file = one_file()
    return otherwise if file is None else f"python {shlex.quote(os.path.basename(file.path))}"
