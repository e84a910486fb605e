"""The two ways through the shuffle: with the compiled table and without it. The same claims hold on both.

A room's ``conftest.py`` imports ``each_way``, and all of its tests run twice, one module after the other. Processes
that a test starts go the same way, by the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mincemeat.reducers import Fold
from mincemeat.shuffle import texttable
from mincemeat.shuffle.block import Payload, encode_columns, encode_text
from mincemeat.shuffle.texttable import TextTable


@pytest.fixture(scope="module", autouse=True, params=["compiled", "plain"])
def each_way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of the module rather than of the test, because Hypothesis calls a test many times with one fixture."""
    if request.param == "compiled" and texttable.compiled is None:
        pytest.skip("the compiled module is not there")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(texttable, "compiled", None)
            patch.setenv("MINCEMEAT_COMPILED", "0")
        yield request.param


@pytest.fixture(scope="module")
def only_compiled() -> None:
    """For a module that imports it as ``each_way``: its tests run once, and choose the way by themselves."""
    if texttable.compiled is None:
        pytest.skip("the compiled module is not there")


def encoded(keys: list[Any], columns: list[Any], *, single: bool) -> Payload:
    """A block's payload: text columns where the table can hold the pairs, as a map attempt would write it."""
    table = TextTable.for_fold(Fold.SUM) if single else None
    if table is not None and table.take(keys, columns)[1] and len(table) == len(keys):
        return encode_text(table.everything())[0]
    return encode_columns(keys, columns, single=single)


def in_a_dict(groups: dict[Any, Any] | TextTable) -> dict[Any, Any]:
    """What ``read_groups`` gave for one partition, whichever way it went; a table is folded."""
    return dict(zip(*groups.everything().lists(), strict=True)) if isinstance(groups, TextTable) else groups
