"""A worker that was written from the documents alone works beside one of the program, for a server of the program."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from mincemeat import limits
from mincemeat.cluster.identity import make_identity
from mincemeat.wire import messages
from tests.kit import gates
from tests.kit.clusters import LOOPBACK, worker_process
from tests.kit.overhearing import Overheard
from tests.kit.serving import ServedJob
from tests.second import peer

pytestmark = pytest.mark.slow

RECORDS = {number: f"the word {number} and the word {number % 5} of größe" for number in range(12)}


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> Overheard:
    heard = Overheard()
    heard.listen(monkeypatch)
    return heard


def counted(records: dict[int, str]) -> dict[str, int]:
    return dict(Counter(word for text in records.values() for word in text.split()))


def words(key: int, text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        yield word, 1


def total(key: str, counts: list[int]) -> int:
    return sum(counts)


class Meeting:
    """Functions of a job that two workers take part in: in both phases each waits until the other one is at work."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def meet(self, who: str, phase: str) -> None:
        gates.open_gate(self._directory, f"{who}-{phase}")
        for other in ("program", "foreign"):
            gates.pass_gate(self._directory, f"{other}-{phase}")

    def functions(self, who: str) -> tuple[Any, Any]:
        def mapfn(key: int, text: str) -> Iterator[tuple[str, int]]:
            self.meet(who, "map")
            for word in text.split():
                yield word, 1

        def reducefn(key: str, counts: list[int]) -> int:
            self.meet(who, "reduce")
            return sum(counts)

        return mapfn, reducefn


@contextlib.contextmanager
def at_work(worker: peer.Worker) -> Iterator[list[str]]:
    """The foreign worker in a thread; the list has its good-bye in it when the block is left."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(worker.run()), daemon=True)
    thread.start()
    yield said
    thread.join(gates.PATIENCE_SECONDS)
    assert not thread.is_alive(), "the foreign worker did not come back"


def unreachable(*_: Any, **__: Any) -> bytes:
    raise ConnectionRefusedError


@pytest.mark.parametrize("listens", [True, False], ids=["direct", "relayed"])
def test_it_shares_a_job_with_a_worker_of_the_program(
    listens: bool, overheard: Overheard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLITS_PER_ATTEMPT_MAX", 1)
    meeting = Meeting(tmp_path)
    with ServedJob(RECORDS, *meeting.functions("program"), partitions=8, reduce_task_bytes=1, backups=False) as job:
        foreign = peer.Worker(LOOPBACK, job.port, "changeme", *meeting.functions("foreign"), listens=listens)
        if not listens:
            monkeypatch.setattr(foreign, "_fetch_directly", unreachable)
        with at_work(foreign) as said, worker_process(job.port, "-n", "1"):
            assert job.results() == counted(RECORDS)
    assert said == ["the job is over"]
    done = [heard.attempt for heard in overheard.received if isinstance(heard, messages.MapDone | messages.ReduceDone)]
    assert len(done) == len(set(done))
    assert set(foreign.done) < set(done)
    phases = Counter((attempt in foreign.done, attempt[0]) for attempt in done)
    assert set(phases) == {(True, "m"), (True, "r"), (False, "m"), (False, "r")}
    assert phases[True, "m"] + phases[False, "m"] == len(RECORDS)
    way = "directly" if listens else "by relay"
    assert foreign.served
    assert foreign.fetched
    assert all(told.startswith(way) for told in foreign.served + foreign.fetched)


def test_bodies_larger_than_a_message_travel_on_channels(overheard: Overheard) -> None:
    records = {key: " ".join(f"{key}-{number:06}" for number in range(40_000)) for key in range(2)}
    table = random.Random(1).randbytes(2**19)

    def mapfn(key: int, text: str) -> Iterator[tuple[str, int]]:
        yield text, table[key]  # only so that the job's code is large

    with ServedJob(records, mapfn) as job:
        foreign = peer.Worker(LOOPBACK, job.port, "changeme", words, total)
        with at_work(foreign):
            assert job.results() == counted(records)
    assert overheard.requests["get code"] == 1
    assert overheard.requests["get split"] == len(records)
    assert overheard.requests["put result"] >= 1


@pytest.mark.parametrize("source", [mincemeat.lines, mincemeat.text])
def test_it_is_sent_the_data_of_files_that_it_does_not_see(source: Any, overheard: Overheard, tmp_path: Path) -> None:
    text = "".join(f"line {number} ends in\rgröße\r\n" * (number % 3) + "\n" for number in range(2_000))
    (tmp_path / "some.txt").write_bytes(text.encode())

    def keyed(key: tuple[str, int], words: str) -> Iterator[tuple[str, int]]:
        assert (tmp_path / "some.txt").read_bytes()[key[1] :].startswith(words.encode())
        for word in words.split():
            yield word, 1

    with (
        ServedJob(source(str(tmp_path / "some.txt"), split_bytes=8_192), keyed, total) as job,
        at_work(peer.Worker(LOOPBACK, job.port, "changeme", keyed, total)),
    ):
        assert job.results() == counted({0: text})
    assert overheard.requests["get split-data"] > 4


def held_words(directory: Path) -> Any:
    def mapfn(key: int, text: str) -> Iterator[tuple[str, int]]:
        gates.open_gate(directory, "begun")
        gates.pass_gate(directory, "go")
        return words(key, text)

    return mapfn


def test_one_that_drains_gets_no_more_and_serves_what_it_has(overheard: Overheard, tmp_path: Path) -> None:
    with ServedJob(RECORDS, words, total) as job:
        draining = peer.Worker(LOOPBACK, job.port, "changeme", held_words(tmp_path), total)
        with at_work(draining) as said:
            gates.pass_gate(tmp_path, "begun")
            draining.drain()
            gates.wait_until(lambda: messages.Draining() in overheard.received, "the server knows")
            gates.open_gate(tmp_path, "go")
            gates.wait_until(lambda: draining.done, "it finishes what it has begun")
            last = peer.Worker(LOOPBACK, job.port, "changeme", words, total)
            with at_work(last):
                assert job.results() == counted(RECORDS)
        assert said[0] in {"nobody needs this worker any more", "the job is over"}
    assert draining.done == ["m-00000.0"]
    assert last.fetched
    assert draining.served == [f"directly to {last.welcome['worker']}"] * len(last.fetched)


def test_what_one_that_leaves_has_begun_is_done_by_others(tmp_path: Path) -> None:
    with ServedJob(RECORDS, words, total) as job:
        leaving = peer.Worker(LOOPBACK, job.port, "changeme", held_words(tmp_path), total)
        with at_work(leaving) as said:
            gates.pass_gate(tmp_path, "begun")
            leaving.leave("it was asked to")
        assert said == ["it left"]
        gates.open_gate(tmp_path, "go")
        last = peer.Worker(LOOPBACK, job.port, "changeme", words, total)
        with at_work(last):
            assert job.results() == counted(RECORDS)
    assert "m-00000.1" in last.done


def test_one_that_comes_back_has_kept_its_outputs(tmp_path: Path) -> None:
    def held_total(key: str, counts: list[int]) -> int:
        gates.open_gate(tmp_path, "begun")
        gates.pass_gate(tmp_path, "go")
        return sum(counts)

    with ServedJob(RECORDS, words, total) as job:
        first = peer.Worker(LOOPBACK, job.port, "changeme", words, held_total)
        with at_work(first):
            gates.pass_gate(tmp_path, "begun")
            first.break_off()
        gates.open_gate(tmp_path, "go")
        again = peer.Worker(LOOPBACK, job.port, "changeme", words, total, kept=first)
        with at_work(again):
            assert job.results() == counted(RECORDS)
    assert {attempt[0] for attempt in again.done} == {"r"}


class Forgetful(peer.Worker):
    """Has lost an output when it reduces for the first time."""

    def _reduce(self, start: peer.Message) -> tuple[bytes, dict[str, Any]]:
        self.outputs.pop("m-00000.0", None)
        return super()._reduce(start)


def test_an_output_that_is_gone_is_told_and_made_again(overheard: Overheard) -> None:
    with ServedJob(RECORDS, words, total) as job:
        forgetful = Forgetful(LOOPBACK, job.port, "changeme", words, total)
        with at_work(forgetful):
            assert job.results() == counted(RECORDS)
    (told,) = (heard for heard in overheard.received if isinstance(heard, messages.BlocksUnreachable))
    assert (told.maps, told.damaged) == ([0], True)
    assert "m-00000.1" in forgetful.done


def test_a_wrong_password_is_refused() -> None:
    with ServedJob(RECORDS, words, total) as job, pytest.raises(peer.Refused, match="does not know our secret"):
        peer.join(LOOPBACK, job.port, "changedme")


def test_a_password_is_normalised() -> None:
    with ServedJob(RECORDS, words, total, password="gro\u0308\u00dfe") as job:
        peer.join(LOOPBACK, job.port, "gr\u00f6\u00dfe")[0].close()


def with_another_pin(token: str) -> str:
    start, pin, secret = token.split("-")
    return "-".join([start, ("b" if pin[0] == "a" else "a") + pin[1:], secret])


def test_it_joins_by_a_token_and_leaves_a_server_of_another_certificate(tmp_path: Path) -> None:
    path = tmp_path / "mincemeat.identity"
    token = make_identity(str(path)).token.text()
    with ServedJob(RECORDS, words, total, identity=path) as job:
        with pytest.raises(peer.Refused, match="another certificate than the pinned one"):
            peer.join(LOOPBACK, job.port, with_another_pin(token))
        with at_work(peer.Worker(LOOPBACK, job.port, token, words, total)) as said:
            assert job.results() == counted(RECORDS)
    assert said == ["the job is over"]


def test_it_serves_nobody_but_whom_the_ticket_was_made_for(tmp_path: Path) -> None:
    with ServedJob(RECORDS, words, total) as job:
        worker = peer.Worker(LOOPBACK, job.port, "changeme", held_words(tmp_path), total)
        with at_work(worker):
            gates.pass_gate(tmp_path, "begun")
            right = peer.make_ticket(worker.ticket_key, "job-of-a-test", "me")
            for ticket in ("", "\ud800", peer.make_ticket(worker.ticket_key, "job-of-a-test", "another"), right):
                assert worker.holder is not None
                stream, _ = peer.dial(LOOPBACK, worker.holder.port, worker.holder.fingerprint)
                fields = {"what": "blocks", "job": "job-of-a-test", "name": worker.welcome["worker"], "split": 0}
                fields |= {"first_partition": 0, "last_partition": 64, "ticket": ticket, "fetcher": "me"}
                with (
                    contextlib.closing(stream),
                    contextlib.nullcontext() if ticket is right else pytest.raises(EOFError),
                ):
                    assert peer.ask(stream, b'["m-00007.0"]', **fields) == struct.pack(">IQ", 7, peer.GONE)
            gates.open_gate(tmp_path, "go")
            assert job.results() == counted(RECORDS)
