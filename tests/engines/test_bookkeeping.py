"""How many splits an attempt takes, and what of them is counted when it commits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.engines.bookkeeping import Ledger
from mincemeat.model import Job, MapReport, UserFunctions
from mincemeat.scheduler.policy import attempt_bytes
from mincemeat.scheduler.state import Counts
from mincemeat.sources.base import Source, as_source
from mincemeat.sources.text import text

COUNTS = Counts(1, 2, 0, 0, 0, False, 0, 0, 0)


def ledger_of(source: Source, split: int | None = None) -> Ledger:
    return Ledger(Job("job", UserFunctions()), source, split)


def report(records: int, seconds: float) -> MapReport:
    return MapReport(records, records, seconds, 0, (0,))


def pull_all(ledger: Ledger, *, slots: int, seconds_per_split: float) -> list[int]:
    """Carry out a whole map phase in no time; how many splits each attempt took."""
    taken: list[int] = []
    while (splits := ledger.pull(slots)) is not None:
        assert splits.start == sum(taken)
        taken.append(len(splits))
        ledger.map_done(splits, report(len(splits), seconds_per_split * len(splits)))
    return taken


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("the quick brown fox\n" * 50_000)
    return path


def test_quick_splits_of_a_size_that_the_user_chose_are_taken_together() -> None:
    taken = pull_all(ledger_of(as_source(range(20_000)), split=1), slots=2, seconds_per_split=1e-5)
    assert taken[0] == 1
    assert max(taken) == limits.SPLITS_PER_ATTEMPT_MAX
    assert len(taken) < 40


def test_slow_splits_of_a_size_that_the_user_chose_are_taken_one_by_one() -> None:
    assert pull_all(ledger_of(as_source(range(7)), split=1), slots=2, seconds_per_split=5.0) == [1] * 7


def test_splits_that_the_driver_may_choose_are_made_larger_instead() -> None:
    ledger = ledger_of(as_source(range(5_000)))
    assert set(pull_all(ledger, slots=2, seconds_per_split=1e-4)) == {1}
    assert ledger.snapshot(COUNTS).records < 5_000  # of records there were many in a split


def test_pieces_of_files_are_taken_in_shrinking_shares_of_the_rest(words: Path) -> None:
    source = text(words, split_bytes=10_000)
    taken = pull_all(ledger_of(source), slots=2, seconds_per_split=0.001)
    assert sum(taken) == 100
    assert taken[0] == 1  # nothing is known yet
    assert taken[1] == 24  # half of a fair share of 99
    assert taken[1:] == sorted(taken[1:], reverse=True)
    assert taken[-1] == 1


def test_an_attempt_over_slow_pieces_is_bounded_in_time(words: Path) -> None:
    taken = pull_all(ledger_of(text(words, split_bytes=10_000)), slots=1, seconds_per_split=1.0)
    assert max(taken) == limits.ATTEMPT_SECONDS


def test_a_slow_datasource_keeps_no_slot_waiting_for_more_than_one_record() -> None:
    class Slow:
        def __iter__(self) -> Iterator[int]:
            return iter(range(4))

        def __getitem__(self, key: int) -> int:
            if key:
                time.sleep(1.5 * limits.CUTTING_SECONDS)
            return key

    assert pull_all(ledger_of(as_source(Slow()), split=1), slots=1, seconds_per_split=1e-6) == [1, 1, 1, 1]


def test_what_is_committed_again_counts_once(words: Path) -> None:
    source = text(words, split_bytes=10_000)
    ledger = ledger_of(source)
    first = ledger.pull(2)
    assert first is not None
    ledger.map_done(first, report(1, 0.001))
    rest = ledger.pull(2)
    assert rest is not None
    ledger.map_done(rest, report(24, 0.024))
    for index in rest:  # the output was lost: each is attempted alone
        ledger.map_done(range(index, index + 1), report(1, 0.001))
    snapshot = ledger.snapshot(COUNTS)
    assert (snapshot.records, snapshot.input_bytes) == (25, 250_000)
    source.close()


@given(
    done=st.integers(0, 2**40),
    seconds=st.floats(0, 1e6),
    left=st.none() | st.integers(0, 2**50),
    slots=st.integers(0, 5000),
)
def test_an_attempt_is_bounded_by_time_and_by_its_share(
    done: int, seconds: float, left: int | None, slots: int
) -> None:
    size = attempt_bytes(done, seconds, left, slots)
    assert size >= 0
    if not done or not seconds:
        assert size == 0
    elif left is None:
        assert size == pytest.approx(limits.SPLIT_SECONDS * done / seconds)
    else:
        assert size <= limits.ATTEMPT_SECONDS * done / seconds * (1 + 1e-9)
        assert size <= left * limits.ATTEMPT_SHARE_OF_REST
