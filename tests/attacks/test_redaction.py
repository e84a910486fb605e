"""Nothing that proves anything to anybody, and no value of a record, is in a log or an error, however a job fails."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat.cluster import identity as identities
from mincemeat.wire import tickets
from mincemeat.wire.handshake import Authenticated, ClientHandshake
from tests.kit import clusters
from tests.kit.serving import ServedJob

pytestmark = pytest.mark.slow

PASSWORD = "the-password-that-is-looked-for"
VALUE = "a value that nobody else should read"
DATA = {f"key {number}": f"{VALUE} {number}" for number in range(4)}


def as_it_is(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield key, value


def raising(key: str, value: str) -> Iterator[tuple[str, str]]:
    if value:
        raise ValueError(f"{key} cannot be mapped")
    yield key, value


def dying(key: str, value: str) -> Iterator[tuple[str, str]]:
    if value:
        os._exit(3)
    yield key, value


def emitting_what_is_no_pair(key: str, value: str) -> Iterator[Any]:
    yield key, value, value


def emitting_what_cannot_travel(key: str, value: str) -> Iterator[tuple[str, Any]]:
    yield key, (value, lambda: value)


def giving_what_cannot_travel(key: str, values: list[str]) -> Any:
    return values, lambda: values


def overdue(key: str, value: str) -> Iterator[tuple[str, str]]:
    while value:
        pass
    yield key, value


WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None, dict[str, Any]]] = {
    "mapfn raises": (raising, None, {}),
    "no pair": (emitting_what_is_no_pair, None, {}),
    "an emission that cannot travel": (emitting_what_cannot_travel, None, {}),
    "a result that cannot travel": (as_it_is, giving_what_cannot_travel, {}),
    "the process dies": (dying, None, {}),
    "too long": (overdue, None, {"task_timeout_seconds": 0.2}),
    "too many are set aside": (raising, None, {"skips": True, "max_skipped": 1}),
}


class Secrets:
    """All that is made or read while a test runs, as bytes."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {"password": PASSWORD.encode()}

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ticket_key, ticket, receive = tickets.ticket_key, tickets.ticket, ClientHandshake.receive

        def spied_key(root: bytes, holder: str, epoch: int) -> bytes:
            self.found["root"] = root
            key = self.found[f"ticket key {len(self.found)}"] = ticket_key(root, holder, epoch)
            return key

        def spied_ticket(key: bytes, job: str, fetcher: str) -> str:
            made = ticket(key, job, fetcher)
            self.found[f"ticket {len(self.found)}"] = bytes.fromhex(made)
            return made

        def spied_receive(handshake: ClientHandshake, data: bytes) -> Any:
            step = receive(handshake, data)
            if isinstance(step.event, Authenticated):
                self.found[f"resume key {len(self.found)}"] = step.event.session.resume_key
            return step

        monkeypatch.setattr(tickets, "ticket_key", spied_key)
        monkeypatch.setattr(tickets, "ticket", spied_ticket)
        monkeypatch.setattr(ClientHandshake, "receive", spied_receive)

    def shown_in(self, text: str) -> list[str]:
        """Which of them are there, as they are, as digits, or as Python shows bytes."""
        ways = {
            name: (secret.hex(), repr(secret)[2:-1], secret.decode("latin-1")) for name, secret in self.found.items()
        }
        return [name for name, shown in ways.items() for each in shown if each in text]


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    seen = Secrets()
    seen.listen(monkeypatch)
    return seen


def all_of(error: BaseException) -> str:
    """Everything that a person or a program can make of an error: text, repr, attributes, causes, traceback."""
    told, causes = io.StringIO(), [error]
    for cause in causes:
        print(str(cause), repr(cause), vars(cause), cause.args, *getattr(cause, "__notes__", ()), file=told)
        causes += [each for each in (cause.__cause__, cause.__context__) if each is not None and each not in causes]
    traceback.print_exception(error, file=told)
    return told.getvalue()


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_fails_shows_no_secret_and_no_value(
    way: str, secrets: Secrets, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    mapfn, reducefn, options = WAYS[way]
    with ServedJob(DATA, mapfn, reducefn, password=PASSWORD, max_attempts=2, **options) as job:
        clients = [clusters.ClientThread(job.port, PASSWORD) for _ in range(2)]
        for client in clients:
            client.start()
        with pytest.raises(Exception) as caught:
            job.results()
        for client in clients:
            client.join(20)
    out, err = capfd.readouterr()
    story = getattr(caught.value, "__cause__", None) or caught.value
    data = getattr(story, "data", b"")
    # The record itself is there for ``mincemeat replay``, pickled, for who asks for it by name.
    shown = all_of(caught.value).replace(repr(data), "")
    everything = "\n".join([shown, caplog.text, out, err, *(all_of(c.error) for c in clients if c.error)])
    assert len(secrets.found) >= 4
    assert caplog.records
    assert secrets.shown_in(everything) == []
    assert VALUE not in everything


def test_a_wrong_password_is_shown_to_nobody(secrets: Secrets, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "another-password-that-is-looked-for"
    secrets.found["wrong"] = wrong.encode()
    with ServedJob(DATA, as_it_is, password=PASSWORD) as job:
        refused, right = clusters.ClientThread(job.port, wrong), clusters.ClientThread(job.port, PASSWORD)
        refused.start()
        refused.join(20)
        right.start()
        assert len(job.results()) == len(DATA)
        right.join(20)
    assert isinstance(refused.error, mincemeat.AuthenticationError)
    assert secrets.shown_in(all_of(refused.error) + caplog.text) == []


def test_an_identity_is_shown_by_nothing_but_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = Secrets()
    made = identities.make_identity(str(tmp_path / "identity"))
    secrets.found["token"] = made.token.text().encode()
    secrets.found["secret"] = made.token.secret
    secrets.found["key"] = made.pem[100:160]
    shown = f"{made!r} {made} {made.token!r} {made.token}"
    for damaged in (
        b"",
        (tmp_path / "identity").read_bytes()[:-40],
        b'{"token": "' + made.token.text().encode() + b'"}',
    ):
        (tmp_path / "damaged").write_bytes(damaged)
        os.chmod(tmp_path / "damaged", 0o600)
        with pytest.raises(mincemeat.InvalidJob) as caught:
            identities.read_identity(str(tmp_path / "damaged"))
        shown += all_of(caught.value)
    with contextlib.suppress(mincemeat.MincemeatError):
        mincemeat.Client(made.token.text()[:-2], wait=0).conn(clusters.LOOPBACK, 1)
    assert secrets.shown_in(shown + caplog.text) == []


def test_the_search_of_these_tests_does_find_what_is_there() -> None:
    """The control: a search that never finds anything would prove nothing."""
    secrets = Secrets()
    secrets.found["key"] = bytes(range(200, 232))
    for shown in (
        PASSWORD,
        PASSWORD.encode().hex(),
        repr(secrets.found["key"]),
        pickle.dumps(PASSWORD).decode("latin-1"),
    ):
        assert secrets.shown_in(shown)
