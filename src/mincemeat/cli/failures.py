"""The file of records that failed a job or were set aside: ``mincemeat run`` writes it, ``mincemeat replay`` reads it.

Decides: its form, its name, and what the person at the terminal is told. Does not know: how a record is run again.

One JSON object a line. The first says whose records these are; each of the others is one of them, in the order of the
input. ``kept`` is what it takes to run it again, in base64: a payload as slots get it, of that record alone or of the
files that it is in, where it is number ``at``. Values of a key that are not kept are gathered from the input again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import time
from argparse import Namespace
from collections import Counter
from typing import Any, Final, NamedTuple

from mincemeat import limits
from mincemeat.cli.ending import say
from mincemeat.errors import InvalidJob
from mincemeat.interpreters import typed
from mincemeat.model import shorten, told
from mincemeat.set_aside import RecordFailure
from mincemeat.sources.again import Kept, find_record, kept_record
from mincemeat.sources.base import Source

ENDING: Final = ".failures.jsonl"
_FORMAT: Final = 1
# How many a person reads on the screen; the file has all.
_SHOWN: Final = 5
# What is kept of the input for all records together.
_KEPT_BYTES_MAX: Final = 64 * 2**20
# The first line names the inputs, as many as a command line holds.
_HEAD_CHARS_MAX: Final = 16 * 2**20


class FailureFile:
    """What ``mincemeat run`` writes, if it has something to write."""

    def __init__(self, options: Namespace) -> None:
        self.path: str = options.failures or os.path.basename(os.path.splitext(options.jobfile)[0]) + ENDING
        self._head = {
            "mincemeat failures": _FORMAT,
            "job": os.path.abspath(options.jobfile),
            "directory": os.getcwd(),
            "inputs": options.inputs,
            "exclude": options.exclude,
            "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        self._taken = {
            "the job file": options.jobfile,
            "where the results go": options.output,
            "the journal": options.journal,
            "the password file": options.password_file,
        }
        self._problem = ""
        self.failures: tuple[RecordFailure, ...] = ()

    def check(self, datasource: object) -> None:
        """Raises: InvalidJob if writing the file would overwrite something of this job."""
        path = os.path.realpath(self.path)
        for what, other in self._taken.items():
            if other is not None and _is_at_or_below(path, other, is_directory=other.endswith(("/", os.sep))):
                raise self._refusal(what)
        if isinstance(datasource, Source) and datasource.reads(self.path):
            raise self._refusal("an input of this job")

    def _refusal(self, what: str) -> InvalidJob:
        return InvalidJob(f"{self.path!r} is {what}, and records that failed would go there; --failures names another")

    def remove_former(self) -> None:
        """No record has failed now: remove what an earlier run of the same job has left. Raises nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            with open(self.path, encoding="ascii") as file:
                head = json.loads(file.readline(_HEAD_CHARS_MAX))
            if head["mincemeat failures"] == _FORMAT and head["job"] == self._head["job"]:
                os.unlink(self.path)

    def keep(self, failures: tuple[RecordFailure, ...], source: Source) -> None:
        """Write ``failures`` with what it takes to run them again. Raises nothing: a job is not lost for it."""
        self.failures = failures
        room = _KEPT_BYTES_MAX
        private = f"{self.path}.{os.getpid()}"
        try:
            with open(private, "w", encoding="ascii") as file:
                file.write(json.dumps(self._head) + "\n")
                for number, failure in enumerate(failures, 1):
                    line = {"number": number, **_described(failure)}
                    kept = _kept(failure, source) if room > 0 else None
                    if kept is not None:
                        room -= len(kept.payload)
                        line |= {"kept": base64.b64encode(kept.payload).decode("ascii"), "at": kept.record}
                    file.write(json.dumps(line) + "\n")
            os.replace(private, self.path)
        except OSError as error:
            self._problem = error.strerror or str(error)
            with contextlib.suppress(OSError):
                os.unlink(private)

    def tell_set_aside(self) -> None:
        """Say on standard error what the results lack."""
        failures = self.failures
        if not failures:
            return
        many = f"{len(failures):,} records were" if len(failures) > 1 else "1 record was"
        say(f"{many} set aside ({_kinds(failures)}), and the results are without:")
        for number, failure in enumerate(failures[:_SHOWN], 1):
            say(f"  {number}. {_in_a_line(failure)}")
        if len(failures) > _SHOWN:
            say(f"  and {len(failures) - _SHOWN:,} more")
        say(self.hint("To run one of them again" if len(failures) > 1 else "To run it again"))

    def hint(self, what: str) -> str:
        """How a record can be run again, as a sentence; "" if there is none."""
        if not self.failures:
            return ""
        if self._problem:
            return (
                f"failed records could not be written to {self.path} ({self._problem}); --failures names another file"
            )
        number = " 1" if len(self.failures) > 1 else ""
        return f"{what}: {typed('mincemeat')} replay {shlex.quote(self.path)}{number} [--pdb]"


def _is_at_or_below(path: str, other: str, *, is_directory: bool) -> bool:
    """``path`` is a real one."""
    taken = os.path.realpath(other)
    return path == taken or (is_directory and path.startswith(taken + os.sep))


def _described(failure: RecordFailure) -> dict[str, Any]:
    fields = failure._asdict()
    del fields["pickled"], fields["data"]
    return fields


def _kept(failure: RecordFailure, source: Source) -> Kept | None:
    if failure.data:
        return kept_record(failure.data)
    if failure.phase == "map" and failure.split >= 0 and failure.record >= 0:
        return find_record(source, failure.split, failure.record)
    return None


def _kinds(failures: tuple[RecordFailure, ...]) -> str:
    """How many of which kind, the most frequent first."""
    counts = Counter(failure.exception_type for failure in failures).most_common(_SHOWN + 1)
    kinds = [(kind or f"lost {'its' if count == 1 else 'their'} process", count) for kind, count in counts[:_SHOWN]]
    listed = [f"{count:,} {kind}" if len(failures) > 1 else kind for kind, count in kinds]
    return ", ".join(listed) + (", ..." if len(counts) > _SHOWN else "")


def _in_a_line(failure: RecordFailure) -> str:
    what = told(failure.exception_type, failure.message)
    return f"{failure.function} for key {failure.key}: {shorten(' '.join(what.split()))}"


class Failures(NamedTuple):
    """What is in the file ``path``: the job file, its directory and inputs, and records with what was kept."""

    path: str
    job: str
    directory: str
    inputs: list[str]
    exclude: list[str]
    records: list[tuple[RecordFailure, Kept | None]]


def read_failures(path: str) -> Failures:
    """Raises: InvalidJob in one sentence."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidJob(f"{path} cannot be read: {reason}") from error
    try:
        head = json.loads(lines[0])
        if head["mincemeat failures"] != _FORMAT:
            raise ValueError("another format")
        records = [_record_of(json.loads(line)) for line in lines[1:]]
        inputs, exclude = (list(map(str, head[name])) for name in ("inputs", "exclude"))
        return Failures(os.path.abspath(path), str(head["job"]), str(head["directory"]), inputs, exclude, records)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        hint = f"; give the file that mincemeat run named, such as wordcount{ENDING}"
        raise InvalidJob(f"{path} is no file of failed records (mincemeat {limits.VERSION}){hint}") from error


def _record_of(line: dict[str, Any]) -> tuple[RecordFailure, Kept | None]:
    fields = {name: line[name] for name in RecordFailure._fields if name not in ("pickled", "data")}
    kept = Kept(base64.b64decode(line["kept"]), int(line["at"])) if "kept" in line else None
    return RecordFailure(**fields), kept
