"""Tickets: one fetcher, one job, one holder, one epoch."""

from __future__ import annotations

import hmac

import pytest

from mincemeat.wire.cpace import lv_cat
from mincemeat.wire.tickets import is_ticket_valid, ticket, ticket_key

ROOT = bytes(range(32))
KEY = ticket_key(ROOT, "10.0.0.7:4000", 0)


def test_the_bytes_follow_the_specification() -> None:
    key = hmac.digest(ROOT, lv_cat(b"holder", b"10.0.0.7:4000", bytes(8)), "sha256")
    assert key == KEY
    assert ticket(KEY, "job-1", "f") == hmac.digest(key, lv_cat(b"fetch", b"job-1", b"f"), "sha256").hex()


def test_a_ticket_is_valid_for_its_job_and_fetcher_only() -> None:
    made = ticket(KEY, "job-1", "10.0.0.8:5000")
    assert is_ticket_valid(KEY, "job-1", "10.0.0.8:5000", made)
    assert not is_ticket_valid(KEY, "job-2", "10.0.0.8:5000", made)
    assert not is_ticket_valid(KEY, "job-1", "10.0.0.9:5000", made)
    assert not is_ticket_valid(KEY, "job-11", "0.0.0.8:5000", made)


def test_another_holder_and_a_new_epoch_revoke_it() -> None:
    made = ticket(KEY, "job-1", "f")
    assert not is_ticket_valid(ticket_key(ROOT, "10.0.0.7:4000", 1), "job-1", "f", made)
    assert not is_ticket_valid(ticket_key(ROOT, "10.0.0.7:4001", 0), "job-1", "f", made)


@pytest.mark.parametrize("presented", ["", "0" * 64, "ä", "\ud800", "0" * 100_000])
def test_garbage_is_no_ticket(presented: str) -> None:
    assert not is_ticket_valid(KEY, "job-1", "f", presented)
    assert not is_ticket_valid(KEY, "\ud800", "\udfff", presented)
