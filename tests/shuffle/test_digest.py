"""Digests of map outputs: equal for equal pairs however they were made, and else most likely not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mincemeat import reducers
from mincemeat.attempt import run_map
from mincemeat.model import AttemptId, UserFunctions
from mincemeat.scheduler.digests import Digests, differing, parse_digests
from mincemeat.shuffle import texttable
from mincemeat.shuffle.store import JobStore
from tests.kit.clusters import ROOT

ATTEMPT = AttemptId.parse("m-00000.0")
PARTITIONS = 8


def emit(key: int, pairs: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    yield from pairs


def emit_at_once(key: int, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return pairs


def joined(key: Any, values: list[Any]) -> list[Any]:
    return sorted(values, key=repr)


def digests_of(
    directory: Path,
    pairs: Iterable[tuple[Any, Any]],
    *,
    mapfn: Callable[..., Any] = emit,
    memory_bytes: int = 2**28,
    records: int = 3,
    **functions: Any,
) -> str:
    pairs = list(pairs)
    size = -(-len(pairs) // records) or 1
    source = [(n, pairs[n * size : (n + 1) * size]) for n in range(records)]
    report = run_map(
        UserFunctions(mapfn, **functions),
        source,
        JobStore(directory / "blocks"),
        ATTEMPT,
        partitions=PARTITIONS,
        memory_bytes=memory_bytes,
        with_digest=True,
    )
    return report.digests


KINDS: dict[str, Callable[[random.Random], tuple[Any, Any]]] = {
    "counts": lambda chance: (f"w{chance.randrange(300)}", 1),
    "numbers": lambda chance: (f"w{chance.randrange(300)}", chance.randrange(-5, 2**40)),
    "texts": lambda chance: (f"w{chance.randrange(300)}", f"é{chance.randrange(9)}"),
    "floats": lambda chance: (f"w{chance.randrange(300)}", chance.random()),
    "tuples": lambda chance: ((chance.randrange(30), "x"), (chance.randrange(9), chance.random())),
    "mixed": lambda chance: (chance.choice([1, "a", None, (1, 2)]), chance.choice([1, "a", 2.5, None, [1], {2}])),
    "none": lambda chance: (f"w{chance.randrange(10**9)}", None),
    "objects": lambda chance: (f"w{chance.randrange(300)}", Fraction(chance.randrange(9), 7)),
}
WAYS: dict[str, dict[str, Any]] = {
    "no combiner": {},
    "sum": {"collectfn": reducers.sum, "reducefn": reducers.sum},
    "sorted": {"sort": True, "splitters": ("w2", "w5")},
    "own combiner": {"collectfn": joined},
}


def pairs_of(kind: str, count: int = 2_000) -> list[tuple[Any, Any]]:
    chance = random.Random(kind)
    return [KINDS[kind](chance) for _ in range(count)]


def combinations() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        for way in WAYS:
            adds = kind in ("counts", "numbers", "floats")
            orders = kind not in ("tuples", "mixed")
            if (way != "sum" or adds) and (way != "sorted" or orders) and (way != "own combiner" or kind != "mixed"):
                yield kind, way


@pytest.mark.parametrize(("kind", "way"), [*combinations()])
def test_equal_pairs_have_equal_digests_however_they_were_dealt_out(
    kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of(kind)
    first = digests_of(tmp_path, pairs, **WAYS[way])
    assert parse_digests(first, PARTITIONS) is not None
    others = [
        digests_of(tmp_path, pairs, mapfn=emit_at_once, **WAYS[way]),
        digests_of(tmp_path, pairs, records=17, **WAYS[way]),
    ]
    small = [digests_of(tmp_path, pairs, memory_bytes=size, **WAYS[way]) for size in (4_000, 20_000)]
    shuffled = list(pairs)
    random.Random(1).shuffle(shuffled)
    if way == "no combiner":
        others.append(digests_of(tmp_path, shuffled, **WAYS[way]))
    monkeypatch.setattr(texttable.TextTable, "for_fold", staticmethod(lambda fold: None))
    monkeypatch.setattr(texttable.TextTable, "for_lists", staticmethod(lambda: None))
    monkeypatch.setattr(texttable.TextTable, "for_keys", staticmethod(lambda: None))
    others += [digests_of(tmp_path, pairs, **WAYS[way]), digests_of(tmp_path, pairs, mapfn=emit_at_once, **WAYS[way])]
    small += [digests_of(tmp_path, pairs, memory_bytes=size, **WAYS[way]) for size in (4_000, 20_000)]
    assert {first, *others} == {first}
    # Dealt out in portions the same, or nothing is said: never another.
    assert set(small) <= {first, ""}
    if way in ("no combiner", "sorted") or (way == "sum" and kind != "floats"):
        assert set(small) == {first}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("objects", "counts", "none")])
def test_another_value_or_key_or_one_pair_more_is_another_digest(kind: str, tmp_path: Path) -> None:
    pairs = pairs_of(kind, 200)
    first = parse_digests(digests_of(tmp_path, pairs), PARTITIONS)
    assert first is not None
    key = pairs[77][0]
    for change in (
        [*pairs[:77], (key, "another value"), *pairs[78:]],
        [*pairs[:77], ("another key", pairs[77][1]), *pairs[78:]],
        [*pairs[:77], *pairs[78:]],
        [*pairs, pairs[5]],
    ):
        again = parse_digests(digests_of(tmp_path, change), PARTITIONS)
        changed = differing(first, [again], PARTITIONS)
        assert 1 <= sum(map(len, changed)) <= 2, "only the partitions in which it is"


def test_digests_of_splits_add_up_without_a_combiner_and_for_sums(tmp_path: Path) -> None:
    pairs = pairs_of("numbers")
    for way in ("no combiner", "sum"):
        whole = parse_digests(digests_of(tmp_path, pairs, **WAYS[way]), PARTITIONS)
        parts = [
            parse_digests(digests_of(tmp_path, part, **WAYS[way]), PARTITIONS) for part in (pairs[:700], pairs[700:])
        ]
        assert whole is not None
        assert whole.is_additive
        assert differing(whole, parts, PARTITIONS) == []
        assert differing(whole, parts[:1], PARTITIONS) == [range(PARTITIONS)]


def test_of_another_combiner_they_do_not_add_up_and_nothing_is_said(tmp_path: Path) -> None:
    pairs = pairs_of("numbers")
    whole = parse_digests(digests_of(tmp_path, pairs, collectfn=joined), PARTITIONS)
    assert whole is not None
    assert not whole.is_additive
    parts = [parse_digests(digests_of(tmp_path, part, collectfn=joined), PARTITIONS) for part in (pairs[:9], pairs[9:])]
    assert differing(whole, parts, PARTITIONS) == []


def test_what_was_folded_until_a_value_did_not_suit_has_none(tmp_path: Path) -> None:
    """How far it was folded depends on batches, and so on the way."""
    pairs = [*pairs_of("numbers", 1_000), ("w1", None)]
    assert digests_of(tmp_path, pairs, reducefn=min) == ""


class Odd:
    """What has no hash of ours."""


def test_keys_without_a_hash_count_as_being_there(tmp_path: Path) -> None:
    pairs = [(Odd(), n) for n in range(5)]
    digests = {digests_of(tmp_path, pairs, partitionfn=lambda key: 3) for _ in range(2)}
    assert len(digests) == 1
    assert digests != {digests_of(tmp_path, pairs[1:], partitionfn=lambda key: 3)}


SCRIPT = """
from pathlib import Path
import sys, tempfile
from tests.shuffle.test_digest import digests_of, emit
pairs = [({text!r}[n % 7:], value) for n in range(50) for value in ({{"a", "b"}}, {{"x": 1, "y": 2}}, "text", (1, "a"))]
pairs += [(frozenset("abc"), 1), (("a", None), 2.5)]
with tempfile.TemporaryDirectory() as directory:
    print(digests_of(Path(directory), pairs))
"""


@pytest.mark.slow
def test_they_are_the_same_in_every_process() -> None:
    """Hashes of text have another salt there, sets another order, None another address."""
    found = set()
    for seed in ("1", "2", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        script = SCRIPT.format(text="some text")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_many_partitions_share_a_few_digests(tmp_path: Path) -> None:
    report = run_map(
        UserFunctions(emit),
        [(0, pairs_of("texts"))],
        JobStore(tmp_path),
        ATTEMPT,
        partitions=65_536,
        memory_bytes=2**28,
        with_digest=True,
    )
    assert len(report.digests) < 1_000
    found = parse_digests(report.digests, 65_536)
    assert found is not None
    other = Digests(True, bytes(len(found.ranges)))
    changed = differing(found, [other], 65_536)
    assert (changed[0].start, changed[-1].stop) == (0, 65_536)
