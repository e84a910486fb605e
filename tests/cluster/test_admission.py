"""Admission: guesses and places, with time as a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat import limits
from mincemeat.cluster.admission import GuessBudget, Places, address_group

A, B = "192.0.2.1", "192.0.2.2"


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a name", "a name"),
    ],
)
def test_address_groups(host: str, group: str) -> None:
    assert address_group(host) == group


def test_a_burst_then_one_guess_every_five_seconds() -> None:
    budget = GuessBudget()
    assert [budget.reserve(A, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not budget.reserve(A, 4.9)
    assert budget.reserve(A, 5.1)
    assert not budget.reserve(A, 5.2)
    assert sum(budget.reserve(A, 1000.0) for _ in range(20)) == 10


def test_addresses_do_not_share_their_guesses_but_a_64_does() -> None:
    budget = GuessBudget(burst=1)
    assert budget.reserve(A, 0.0)
    assert budget.reserve(B, 0.0)
    assert budget.reserve("2001:db8::1", 0.0)
    assert not budget.reserve("2001:db8::2", 0.0)
    assert not budget.reserve("::ffff:" + A, 0.0)


def test_a_worker_that_knew_the_password_costs_no_guess() -> None:
    budget = GuessBudget()
    for _ in range(500):
        assert budget.reserve(A, 0.0)
        budget.refund(A, 0.0)
    assert sum(budget.reserve(A, 0.0) for _ in range(20)) == 10


def test_refunds_do_not_exceed_the_burst() -> None:
    budget = GuessBudget(burst=2)
    for _ in range(5):
        budget.refund(A, 0.0)
    assert [budget.reserve(A, 0.0) for _ in range(3)] == [True, True, False]


def test_the_table_is_bounded_and_forgets_only_full_buckets() -> None:
    budget = GuessBudget(addresses_max=3)
    for number in range(100):
        budget.reserve(f"198.51.100.{number}", 0.0)
    assert len(budget) <= 4
    budget.reserve(A, 1000.0)
    assert len(budget) <= 4


def test_nobody_gets_a_fresh_burst_by_pushing_others_out() -> None:
    """With the oldest forgotten, going round more addresses than the table holds would give guesses without end."""
    budget = GuessBudget(burst=2, addresses_max=3)
    addresses = [f"198.51.100.{number}" for number in range(20)]
    granted = sum(budget.reserve(address, 0.0) for _ in range(10) for address in addresses)
    assert granted == 2 * 3 + 2  # three buckets, and one for all others together


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 5), st.booleans()), max_size=60),
    st.integers(1, 4),
)
def test_an_address_never_gets_more_than_burst_and_refill(calls: list[tuple[str, float, bool]], size: int) -> None:
    budget = GuessBudget(burst=3, refill_per_second=0.5, addresses_max=size)
    now = 0.0
    tested: dict[str, int] = {}
    for host, pause, knows_password in calls:
        now += pause
        if budget.reserve(host, now):
            if knows_password:
                budget.refund(host, now)
            else:
                tested[host] = tested.get(host, 0) + 1
        assert len(budget) <= size + 1
        # Twice: an address may have used its share of the common bucket before it got one of its own.
        assert all(count <= 2 * (3 + now * 0.5) for count in tested.values())


def test_the_oldest_of_an_address_makes_place_for_its_next() -> None:
    places: Places[int] = Places()
    assert [places.take(number, A) for number in range(16)] == [None] * 16
    assert places.take(100, B) is None
    assert places.take(16, A) == 0
    assert places.take(17, A) == 1
    assert len(places) == 17
    assert 1 not in places
    assert 2 in places


def test_the_oldest_of_all_makes_place_when_all_are_taken() -> None:
    places: Places[int] = Places()
    for number in range(limits.UNAUTHENTICATED_MAX):
        assert places.take(number, f"198.51.100.{number}") is None
    assert places.take(1000, A) == 0
    assert len(places) == limits.UNAUTHENTICATED_MAX


def test_a_place_that_is_kept_is_dropped_last() -> None:
    """A peer that is dropped while its password is tested would take that for a refusal."""
    places: Places[int] = Places(places=3, places_per_address=3)
    for number in range(3):
        places.take(number, A)
    places.keep(0)
    assert places.take(3, A) == 1
    places.keep(2)
    places.keep(3)
    assert places.take(4, B) == 0
    places.keep(99)


def test_a_place_that_was_left_is_free() -> None:
    places: Places[int] = Places(places=1, places_per_address=1)
    places.take(1, A)
    places.leave(1)
    places.leave(1)
    assert places.take(2, A) is None
    assert len(places) == 1
