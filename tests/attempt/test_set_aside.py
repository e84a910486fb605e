"""Reports of records that were set aside: whole if they are few, bounded if they are many, refused if they are none."""

from __future__ import annotations

import base64
import pickle
import random
import zlib

import pytest

from mincemeat import limits
from mincemeat.describing import describe_failure
from mincemeat.errors import ProtocolError
from mincemeat.model import AttemptId, Failure, FailureKind
from mincemeat.set_aside import Report, SetAside, decode_report


def failure(record: int, **facts: object) -> Failure:
    made = Failure(FailureKind.USER, "no number", "mapfn", f"'key {record}'", "ValueError", record=record, split=7)
    return made._replace(**facts)  # type: ignore[arg-type]


def report(*failures: Failure) -> str:
    made = Report()
    for each in failures:
        made.add(each)
    return made.encode()


def test_what_was_told_comes_back() -> None:
    told = failure(3, traceback="Traceback ...", exception=b"\x00\xff", data=b"\x80", key="'\ud800'")
    assert decode_report(report(told), "worker 1") == [told._replace(worker="worker 1")]
    assert decode_report("") == []


def test_a_thousand_usual_ones_come_back_whole() -> None:
    told = [failure(n, traceback=f"Traceback {n} " * 40, exception=b"e" * 100, data=b"d" * 100) for n in range(1000)]
    assert decode_report(report(*told)) == told


@pytest.mark.parametrize("seed", range(5))
def test_any_number_of_any_size_fits_into_a_message(seed: int) -> None:
    chance = random.Random(seed)
    made = Report()
    for number in range(20_000):
        made.add(failure(number, traceback=chance.randbytes(600).hex(), data=chance.randbytes(900)))
    text = made.encode()
    assert made.count == 20_000
    assert len(text) <= limits.SET_ASIDE_REPORT_BYTES * 4 / 3 + 4
    listed = decode_report(text)
    assert [each.record for each in listed] == list(range(len(listed)))
    assert len(listed) > 500


@pytest.mark.parametrize(
    "text",
    [
        "x",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"no json")).decode(),
        base64.b64encode(zlib.compress(b"[1]")).decode(),
        base64.b64encode(zlib.compress(b'[{"kind": "user"}]')).decode(),
        base64.b64encode(zlib.compress(b" " * (limits.SET_ASIDE_INFLATED_BYTES_MAX + 1))).decode(),
        base64.b64encode(zlib.compress(b"[" * 100_000)).decode(),
        base64.b64encode(zlib.compress(b"[]")[:-1]).decode(),
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        decode_report(text)


def test_only_the_latest_report_of_a_task_counts() -> None:
    kept = SetAside()
    kept.committed(AttemptId.parse("r-00000.0"), report(failure(0, split=-1)), "w")
    kept.committed(AttemptId.parse("m-00007.1"), report(failure(1), failure(2)), "w")
    kept.committed(AttemptId.parse("m-00003.1"), report(failure(5)), "w")
    kept.committed(AttemptId.parse("m-00007.2"), report(failure(2)), "v")
    found = [(each.task, each.record, each.worker, each.attempts) for each in kept.failures()]
    assert found == [("m-00003", 5, "w", 2), ("m-00007", 2, "v", 3), ("r-00000", 0, "w", 1)]
    kept.committed(AttemptId.parse("m-00007.3"), "", "v")
    assert len(kept.failures()) == 2


def test_an_exception_is_made_again_when_it_is_asked_for() -> None:
    kept = SetAside()
    told = [failure(0, exception=pickle.dumps(KeyError("x"))), failure(1, exception=b"rubbish"), failure(2)]
    kept.committed(AttemptId.parse("m-00007.1"), report(*told))
    exceptions = [each.exception for each in kept.failures()]
    assert repr(exceptions) == repr([KeyError("x"), None, None])
    assert repr(kept.failures()[0]) == "<RecordFailure mapfn for key 'key 0': ValueError: no number>"


def test_what_is_beyond_its_memory_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SET_ASIDE_KEPT_BYTES", 2 * len(report(failure(0))))
    kept = SetAside()
    for number in range(5):
        kept.committed(AttemptId.parse(f"m-{number:05d}.0"), report(failure(0)))
    assert len(kept.failures()) == 2


def test_large_records_cost_their_own_copies_and_no_tracebacks() -> None:
    chance = random.Random(1)
    told = [failure(n, traceback="Traceback", exception=b"e", data=chance.randbytes(15_000)) for n in range(50)]
    assert decode_report(report(*told)) == [each._replace(data=b"") for each in told]


def test_no_more_are_listed_than_anybody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAILURES_LISTED_MAX", 3)
    kept = SetAside()
    kept.committed(AttemptId.parse("m-00007.1"), report(*map(failure, range(5))))
    assert [each.record for each in kept.failures()] == [0, 1, 2]


def test_of_an_exception_of_megabytes_the_traceback_is_kept() -> None:
    """With the exception its traceback was left out, too, and nothing said where it was raised."""
    chance = random.Random(7)
    for message in ("big" * 3_000_000, "".join(map(chr, chance.choices(range(32, 0xD000), k=1_000_000)))):
        try:
            raise ValueError(message)
        except ValueError as error:
            described = describe_failure(error)
        (back,) = decode_report(report(described))
        assert back.exception == b""
        assert back.exception_type == "ValueError"
        assert "raise ValueError(message)" in back.traceback
        assert back.traceback.rstrip().endswith(message[-20:].rstrip())
        assert back.message[:20] == message[:20]
