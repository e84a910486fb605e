"""Who has joined, and whose tickets are worth something."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from mincemeat.cluster.roster import Roster, WorkerRecord
from mincemeat.wire import messages
from mincemeat.wire.tickets import is_ticket_valid, ticket


class FakeConnection(SimpleNamespace):
    def abort(self) -> None:
        self.is_aborted = True


def join(roster: Roster, port: int) -> WorkerRecord:
    session = SimpleNamespace(resume_id=bytes([port % 256]) * 16, resume_key=bytes(32))
    connection: Any = FakeConnection(peer=("10.0.0.2", port), session=session, is_aborted=False)
    hello: Any = None
    return roster.add(connection, hello)


def waiting(record: WorkerRecord) -> list[messages.Message | None]:
    return [record.outbox.get_nowait() for _ in range(record.outbox.qsize())]


def test_when_somebody_has_left_the_tickets_of_before_are_worth_nothing_from_the_next_epoch_on() -> None:
    roster = Roster(bytes)
    holder, fetcher, leaver = (join(roster, port) for port in (1, 2, 3))
    of_leaver = ticket(holder.ticket_key, "job", leaver.worker)
    roster.remove(leaver)
    assert is_ticket_valid(holder.ticket_key, "job", leaver.worker, of_leaver), "not before the epoch ends"
    roster.begin_epoch()
    assert not is_ticket_valid(holder.ticket_key, "job", leaver.worker, of_leaver)
    for record in (holder, fetcher):
        assert waiting(record) == [messages.NewEpoch(ticket_key=record.ticket_key.hex())]
    assert holder.ticket_key != fetcher.ticket_key


def test_an_epoch_in_which_nobody_leaves_does_not_end() -> None:
    roster = Roster(bytes)
    record = join(roster, 1)
    key = record.ticket_key
    roster.begin_epoch()
    assert (record.ticket_key, waiting(record)) == (key, [])
    roster.revoke()
    roster.begin_epoch()
    roster.begin_epoch()
    assert len(waiting(record)) == 1


def test_who_joins_later_has_a_key_of_the_epoch_that_is() -> None:
    roster = Roster(bytes)
    former = join(roster, 1)
    roster.remove(former)
    roster.begin_epoch()
    again = join(roster, 1)
    assert again.worker == "10.0.0.2:1/2"
    assert again.ticket_key != former.ticket_key
