"""The one file that goes with this very process: its bytes, which are offered to workers, and their SHA-256.

Decides: where they are had from. Does not know: who gets them (cluster/updating.py).

From the one file, if that is what runs; else from the package's own copy, which the build of a wheel has put there and
which is therefore what the release published; else, in a checkout, they are made.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mincemeat.errors import MincemeatError
from mincemeat.interpreters import one_file
from mincemeat.limits import VERSION

if TYPE_CHECKING:
    from mincemeat.onefile.importer import OneFile

# Not .py: nobody should import it, and tools that compile or check packages should pass it over.
COPY: Final = "mincemeat.py.txt"


class NotToBeHad(MincemeatError):
    """There is no one file of this version here."""


class Release(NamedTuple):
    """One file: what it is called by, and its bytes."""

    version: str
    sha256: str
    content: bytes


@functools.cache  # hundreds of workers may ask at once
def own_release() -> Release:
    """The file of this version. Takes a tenth of a second, or the time of reading it. Raises: NotToBeHad."""
    file = one_file()
    content = _of_package() if file is None else content_of(file)
    return Release(VERSION, sha256(content), content)


def sha256(content: bytes) -> str:
    """As ``sha256sum`` prints it."""
    return hashlib.sha256(content).hexdigest()


def content_of(file: OneFile) -> bytes:
    """The bytes that this process was started from. Raises: NotToBeHad, if they are there no longer."""
    try:
        content = Path(file.path).read_bytes()
        code = compile(content, file.path, "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise NotToBeHad(f"{file.path}, which this process was started from, cannot be read: {error}") from error
    if code != file.code:
        raise NotToBeHad(f"{file.path} has been replaced since this process was started from it")
    return content


def _of_package() -> bytes:
    try:
        return Path(__file__).with_name(COPY).read_bytes()
    except OSError:
        pass  # no wheel was built: a checkout
    from mincemeat.onefile.building import CannotBuild, build

    try:
        return build()
    except CannotBuild as error:
        raise NotToBeHad(str(error)) from error
