"""The values of one key, gathered from the input again: for ``mincemeat replay``, if they were too large to be kept.

Decides: what is mapped again, and which keys count. Does not know: what is done with the values.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from mincemeat.api import run
from mincemeat.cli.failures import Failures
from mincemeat.cli.run import datasource_of
from mincemeat.errors import InvalidEmission, InvalidJob
from mincemeat.model import Pair, describe_key, key_text
from mincemeat.shuffle.batches import columns_of, is_batch
from mincemeat.sources.paths import passing_over


def gather_again(job: ModuleType, wanted: str, failures: Failures) -> Pair:
    """The key whose ``key_text`` is ``wanted``, with the list of its values, from the input of the job of ``failures``.

    Records on which mapfn fails now are passed over: they are not what is looked for.
    Raises: InvalidJob in one sentence; what ``run`` raises.
    """
    if "-" in failures.inputs:
        raise InvalidJob(
            f"the values of key {wanted} were too large to be kept, and came through a pipe: they cannot be had again"
        )
    with contextlib.chdir(failures.directory), passing_over(failures.path):
        found = run(
            datasource_of(job, failures.job, failures.inputs, failures.exclude),
            functools.partial(_pairs_of_key, getattr(job, "mapfn", None), wanted),
            collectfn=getattr(job, "collectfn", None),
            partitionfn=getattr(job, "partitionfn", None),
            on_error="skip",
            max_skipped=None,
            preflight=False,
        )
    if len(found) != 1:
        many = "no key" if not found else f"{len(found)} keys"
        raise InvalidJob(f"{many} of the input would be shown as {wanted} now, so there is nothing to run again")
    [(key, values)] = found.items()
    return key, values


def _pairs_of_key(mapfn: Callable[[Any, Any], Any] | None, wanted: str, key: Any, value: Any) -> Iterator[Pair]:
    if mapfn is None:
        answer: Any = [(key, value)]
    else:
        answer = mapfn(key, value)
    for element in elements_of(answer, key):
        pairs = columns_of(element) if is_batch(element) else (element,)
        for pair in pairs:
            if key_text(pair[0]) == wanted:
                yield pair


def elements_of(answer: Any, key: Any) -> Iterator[Any]:
    """Pairs, or what stands for many of them, of what mapfn gave for ``key``. Raises: InvalidEmission."""
    if is_batch(answer):
        return iter((answer,))
    if not hasattr(type(answer), "__iter__") and not hasattr(type(answer), "__getitem__"):
        raise InvalidEmission(
            f"mapfn must return or yield (key, value) pairs; for the record with key {describe_key(key)} it gave "
            f"{describe_key(answer)}"
        )
    return iter(answer)
